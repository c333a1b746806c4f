"""README's table of topics has every topic of the contract, and says the same of what is retained."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def in_contract() -> dict[str, bool]:
    """Topic -> whether it is retained."""
    section = (ROOT / "docs/contract.md").read_text("utf-8").partition("## 2. Topics")[2].partition("\n## 3.")[0]
    found = {}
    for topics, retained in re.findall(r"^\| (`mt1/[^|]*) \| \**(yes|no|never)\b", section, re.MULTILINE):
        found |= dict.fromkeys(re.findall(r"`([^`]+)`", topics), retained == "yes")
    return found


def in_readme() -> dict[str, bool]:
    section = (ROOT / "README.rst").read_text("utf-8").partition("\nWhat arrives\n")[2].partition("\nA trigger::")[0]
    found = {}
    for topics, retained in re.findall(r"^(``.*?``) +(yes|no|never) ", section, re.MULTILINE):
        before = ""
        for topic in re.findall(r"``([^`]+)``", topics):
            above = "mt1/bridge" if "bridge" in before else "mt1/device/<device>"
            before = topic.replace("…", above)
            found[before] = retained == "yes"
    return found


def test_every_topic_of_the_contract_is_in_readme_and_no_other() -> None:
    assert len(in_contract()) > 15
    assert in_readme() == in_contract()
