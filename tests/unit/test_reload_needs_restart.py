"""What a reload cannot apply is told, and stays as it was; all else is taken."""

from dataclasses import replace
from pathlib import Path

from bridge_house import HUT, device, settings

from mt1bridge.app import lifelong
from mt1bridge.config.settings import JournalSettings, LogSettings


def test_instance_directory_and_format_are_for_life(tmp_path):
    before = settings(tmp_path, device(HUT))
    wanted = replace(
        before,
        instance="other",
        journal=JournalSettings(Path("/elsewhere"), 86_400),
        log=LogSettings("debug", "json"),
        reconcile=replace(before.reconcile, interval_s=60),
    )
    kept, changed = lifelong(before, wanted)
    assert changed == [
        ("instance", "mt1bridge", "other"),
        ("journal.directory", str(tmp_path), "/elsewhere"),
        ("log.format", "auto", "json"),
    ]
    assert kept == replace(
        before,
        journal=JournalSettings(tmp_path, 86_400),
        log=LogSettings("debug", "auto"),
        reconcile=replace(before.reconcile, interval_s=60),
    )


def test_the_same_settings_need_nothing(tmp_path):
    before = settings(tmp_path, device(HUT))
    assert lifelong(before, before) == (before, [])
