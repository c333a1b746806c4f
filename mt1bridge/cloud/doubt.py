"""Whether a refusal is the token's end or that of one path alone (MT1-API, sections 2 and 3). Pure.

A server that refuses calls of one kind must not cost a login for each of them: in doubt the token is verified.
"""

from mt1bridge.cloud.calls import Request

TOKEN_YOUNG_S = 3600.0  # tokens live some hours (MT1-API, section 2)


class Doubt:
    """Of one session. `verify`: the token is to be verified before anything else is asked."""

    def __init__(self) -> None:
        self.verify = False
        self._proven = False  # the token was accepted by a call since it was obtained
        self._obtained_at: float | None = None  # monotonic second of the last login
        self._waiting: Request | None = None  # refused, and judged once the token is verified
        self._suspects: set[str] = set()  # paths that were refused, and that no later token was accepted for yet
        self._refused_paths: set[str] = set()  # paths that are refused with a token that is good

    @property
    def is_unproven(self) -> bool:
        """We logged in for this token, and no call was accepted with it yet."""
        return self._obtained_at is not None and not self._proven

    def obtained(self, now_s: float) -> None:
        """A login brought another token. now_s: monotonic."""
        self._proven, self._obtained_at = False, now_s

    def accepted(self) -> None:
        """A call was answered as one with a token that is good."""
        self._proven = True

    def answered(self, path: str) -> None:
        """This path was answered whole."""
        self._suspects.discard(path)
        self._refused_paths.discard(path)

    def refused(self, request: Request, now_s: float) -> bool:
        """Whether it may be the path alone: then the token is to be verified; else it is at its end."""
        path = request.path
        if self._may_be_the_path(path, now_s):
            self.verify, self._waiting = True, request
            return True
        self._suspects.add(path)
        return False

    def _may_be_the_path(self, path: str, now_s: float) -> bool:
        if path in self._suspects | self._refused_paths or self.is_unproven:
            return True
        is_young = self._obtained_at is not None and now_s - self._obtained_at < TOKEN_YOUNG_S
        return bool(self._refused_paths) and is_young

    def settled(self) -> Request | None:
        """The token was verified, or that is given up: what waited for it."""
        self.verify = False
        waiting, self._waiting = self._waiting, None
        return waiting

    def is_the_path(self, path: str) -> None:
        """It is refused though the token is good."""
        self._suspects.discard(path)
        self._refused_paths.add(path)
