"""A machine that tells the bridge's process wrong things: its clock, its resolver. For no other process.

lies = Lies(tmp_path)
bridge.environment |= lies.environment
bridge.start()
lies.tell(clock_off_s=-3600)
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
YEAR_S = 365.25 * 86_400


class Lies:
    def __init__(self, directory: Path) -> None:
        self._file = directory / "false-machine.json"
        self._told: dict[str, Any] = {"clock_off_s": 0.0, "names_fail": False}
        self.environment = {"PYTHONPATH": str(HERE / "false_machine"), "FALSE_MACHINE": str(self._file)}
        self.tell()

    def tell(self, **changes: Any) -> None:
        """clock_off_s: how far the system's clock is ahead; names_fail: no name can be resolved."""
        self._told |= changes
        draft = self._file.with_suffix(".draft")
        draft.write_text(json.dumps(self._told))
        draft.replace(self._file)
