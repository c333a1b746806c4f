"""Home Assistant's configurations on the board: what is new, what is gone, and in how many steps. Pure."""

from collections.abc import Callable, Sequence

from mt1bridge.model.broker import Publication
from mt1bridge.topics import discovery
from mt1bridge.topics.board import Board

SLOT = "discovery:"


class Introduction:
    """clear(key, topics): puts a slot on the board that empties these topics."""

    def __init__(self, board: Board, clear: Callable[[str, Sequence[str]], None]) -> None:
        self._board = board
        self._clear = clear
        self._told: list[Publication] = []
        self._first_steps: dict[str, Publication] = {}  # by topic, until the broker has both steps

    def introduce(self, house: discovery.House) -> None:
        """Tell what has changed since the last time."""
        now = discovery.discovery(house)
        before = {publication.topic: publication for publication in self._told}
        gone, _ = discovery.removal(self._told, now)
        for step in gone:
            if not step.payload:
                self._clear(f"{SLOT}{step.topic}", [step.topic])
        steps = {step.topic: step for step in gone if step.payload}
        for step in discovery.first_step(house):  # an earlier process may have told of more than we do
            if step.topic not in before:
                steps[step.topic] = step
        for publication in now:
            if before.get(publication.topic) != publication:
                if publication.topic in steps:
                    self._first_steps[publication.topic] = steps[publication.topic]
                self._put(publication)
        self._told = now

    def _put(self, publication: Publication) -> None:
        """In two steps where something is gone: first its platform alone, then without it (CONTRACT, section 7)."""

        def render() -> list[Publication]:
            step = self._first_steps.get(publication.topic)
            return [publication] if step is None or step == publication else [step, publication]

        self._board.put(f"{SLOT}{publication.topic}", render)

    def acknowledged(self, key: str) -> None:
        """The broker has all of this slot."""
        self._first_steps.pop(key.removeprefix(SLOT), None)

    def again(self) -> None:
        """Home Assistant was born anew."""
        for publication in self._told:
            self._board.touch(f"{SLOT}{publication.topic}")
