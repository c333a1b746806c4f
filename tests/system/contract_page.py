"""docs/contract.md, read by a program: topics, payloads, keys, states. What it tells in prose is transcribed here.

A sentence of the page that this file no longer finds is an error: page and tests change together.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "contract.md"
ADDITIONS = PAGE.with_name("additions.md").read_text()
TEXT = PAGE.read_text(encoding="utf-8")

# Cells of section 2 that tell keys in prose: topic -> (what the page says, keys).
PROSE: Mapping[str, tuple[str, frozenset[str]]] = MappingProxyType(
    {
        "mt1/bridge/info": (
            "version, schema, started_at, instance, account, MT1 URL, devices, journal id, config digest: no secret",
            frozenset(
                {
                    "version",
                    "schema",
                    "started_at",
                    "instance",
                    "account",
                    "mt1_url",
                    "devices",
                    "journal",
                    "config_digest",
                }
            ),
        ),
        "mt1/device/<device>/info": (
            "id, name, type, channels, what the server says of the device (raw)",
            frozenset(("id", "name", "type", "channels", "raw")),
        ),
    }
)
LAST_WITHOUT = "without `sequence` and `delay_ms`"
BOTH_CARRY = "`trigger` and `correction` carry `in_effect`"
NAMES_LEFT_OUT = "`device_name` and `channel_name` are left out where there is none"


@dataclass(frozen=True, slots=True)
class Topic:
    """A row of section 2. name: as the page writes it. payload, tells: its cells."""

    name: str
    retained: bool
    never_retained: bool
    payload: str
    tells: str

    def pattern(self, base: str) -> re.Pattern[str]:
        text = re.escape(self.name).replace("mt1", re.escape(base), 1)
        for place, what in self._places().items():
            text = text.replace(re.escape(place), what)
        return re.compile(text)

    def _places(self) -> dict[str, str]:
        listed = re.sub(r"\(.*?\)", "", self.tells).partition(" of `last`")[0].partition("true`: ")
        words = [re.escape(word) for word in re.findall(r"`([a-z_]+(?:<id>)?(?:_<channel>)?)`", listed[2] or listed[0])]
        words = [word.replace("<id>", "[0-9]+").replace("<channel>", "C[0-8]") for word in words]
        return {
            "<device>": "[0-9]+",
            "<channel>": "C[0-8]",
            "<name>": f"(?:{'|'.join(words)})",
            "<field>": f"(?:{'|'.join(words)})",
            "<verb>": f"(?:{'|'.join(verbs())})",
            "<transaction>": "[A-Za-z0-9_-]{1,64}",
        }

    def words(self) -> frozenset[str]:
        """The payloads of a topic that has no JSON; empty for one that has."""
        return frozenset() if "JSON" in self.payload else frozenset(re.findall(r"`([a-z]+)`", self.payload))


def added(where: str, field: str) -> None:
    """Make sure that docs/additions.md tells of a field that the contract does not name."""
    assert f"| {where} | `{field}` |" in ADDITIONS, f"docs/additions.md does not tell of {field} in {where}"


def said(sentence: str) -> str:
    """The sentence, if the page still has it."""
    assert sentence in TEXT, f"docs/contract.md no longer says: {sentence}"
    return sentence


def section(number: int) -> str:
    return re.split(r"^## \d+\. .*$", TEXT, flags=re.MULTILINE)[number]


def topics() -> list[Topic]:
    rows = []
    for line in section(2).splitlines():
        if line.startswith("| `mt1/"):
            names, retained, payload, tells = (cell.strip() for cell in line.strip("|").split(" | "))
            for name in re.findall(r"`([^`]+)`", names):
                rows.append(Topic(name, retained.startswith("yes"), retained == "**never**", payload, tells))
    return rows


def topic(name: str) -> Topic:
    return next(one for one in topics() if one.name == name)


def verbs() -> list[str]:
    return re.findall(r"^\| `([a-z_]+)` \|", section(6), flags=re.MULTILINE)


def states() -> list[str]:
    """The words for the upstream link, section 4."""
    return re.findall(r"`([a-z_]+)`", section(4).partition("The same words stand")[0].replace("`reasons`", ""))


def example() -> dict[str, Any]:
    """The trigger of section 3."""
    found = re.search(r"```json\n(.*?)```", section(3), flags=re.DOTALL)
    assert found, "section 3 has no example"
    body: dict[str, Any] = json.loads(found[1])
    return body


def added_to_triggers() -> str:
    added("`bridge/health`, `triggers`", "malformed")
    return "malformed"


def health_keys() -> dict[str, frozenset[str]]:
    """Key of section 5 -> its own keys; empty where it is a plain value."""
    inner = {name: re.findall(r"`([a-z0-9_]+)`", text) for name, text in re.findall(r"`(\w+)` \{([^}]*)\}", section(5))}
    inner["triggers"].append(added_to_triggers())
    names = re.findall(r"`([a-z0-9_]+)`", re.sub(r"\{.*?\}", "", section(5)))
    return {name: frozenset(inner.get(name, ())) for name in names}


def previous_keys() -> frozenset[str]:
    found = re.search(r"A correction adds `previous`: \{(.*?)\}", section(3))
    assert found, "section 3 does not tell what previous holds"
    return frozenset(re.findall(r"`([a-z_]+)`", found[1]))


def plain_keys(name: str) -> frozenset[str]:
    """Keys of a JSON topic whose payload cell, or its prose, names them."""
    if name in PROSE:
        sentence, keys = PROSE[name]
        assert topic(name).tells == sentence, f"docs/contract.md says something else of {name}"
        return keys
    row = topic(name)
    if name.endswith("/tally"):
        return frozenset(re.findall(r"(?:^|; )`([a-z_]+)`", row.tells))
    return frozenset(re.findall(r"`([a-z_]+)`", row.payload))


def message_keys(kind: str) -> tuple[frozenset[str], frozenset[str]]:
    """(keys that are always there, keys that may be) of trigger, correction or rejected, section 3."""
    said(NAMES_LEFT_OUT)
    said(BOTH_CARRY)
    names = frozenset({"device_name", "channel_name"})
    always = frozenset(example()) - names
    if kind == "trigger":
        return always, names
    if kind == "correction":
        return always, names | {"previous"}
    said("A rejected one adds `reasons`, and `raw`")
    added("`rejected` messages", "in_effect")
    added("`rejected` messages", "change")
    return always | {"reasons"}, names | {"raw", "change"}


def last_keys() -> tuple[frozenset[str], frozenset[str]]:
    said(LAST_WITHOUT)
    always, names = message_keys("trigger")
    return always - {"sequence", "delay_ms"}, names


def event_types(kind: str) -> frozenset[str]:
    """Words of section 3 for one topic."""
    found = re.search(r"`event_type` on `trigger`: (.*?)\. On `correction`: (.*?)\. On `rejected`: (.*?)\.", section(3))
    assert found, "section 3 does not tell the event types"
    texts = dict(zip(("trigger", "correction", "rejected"), found.groups(), strict=True))
    return frozenset(re.findall(r"`([a-z]+)`", texts[kind]))


def reasons() -> frozenset[str]:
    return frozenset(re.findall(r"`([a-z]+)`", topic("mt1/device/<device>/<channel>/rejected").tells)) - {"reasons"}
