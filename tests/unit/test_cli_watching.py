"""Commands that look on: who they are to the broker."""

from pathlib import Path

from mt1bridge.cli.watching import passing_by
from mt1bridge.config.loading import load


def test_every_run_of_a_command_is_another_client(tmp_path: Path) -> None:
    file = tmp_path / "mt1bridge.yaml"
    file.write_text("mt1: {username: club, password: x}\n")
    mqtt = load(file, {"HOME": "/home/club"}).settings.mqtt
    ids = {passing_by(mqtt, "check").client_id for _ in range(10)}
    assert len(ids) == 10
    assert all(one.startswith("mt1bridge-check-") for one in ids)
