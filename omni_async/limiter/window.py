"""Requests in flight at one account, found out. Plain arithmetic: times are passed in."""

import math

START = 16
ONE_EVENT = 1.5
"""Timeouts so close together are one event."""
REST, RARE, LONGEST_REST = 10.0, 75.0, 60.0
"""Seconds between two tries of one more, or as long as so many requests take: their refusal is the price of a try."""
PER_PAUSE = 45.0
"""A pause costs throughput: more is tried after so many times as long at the soonest."""
LONGEST_PAUSED = 600.0
STEP = 0.5
"""Seconds between the steps of a try that gets through."""
NEVER = 1 << 60


class Window:
    """Requests in flight: as many as lately got through, and now and then one more.

    Args:
        ceiling: The most in flight, ever.
    """

    __slots__ = ("_before", "_cut_at", "_grow_at", "_step", "ceiling", "grows_from", "safe", "size", "tested")

    def __init__(self, ceiling: int = 64) -> None:
        self.ceiling = ceiling
        self.tested = False
        self._grow_at, self._step = 0.0, 1
        self._cut_at = -math.inf
        self._before: int | None = None  # its size before a refusal that may not have been its fault
        self.safe = 1
        """The most in flight that lately got through."""
        self._resize(min(ceiling, START))

    def _resize(self, size: int) -> None:
        self.size = max(min(size, self.ceiling), 1)
        if self.size >= self.ceiling:
            self.grows_from = NEVER
        else:  # less than half used proves nothing; once tested, only all of it does
            self.grows_from = self.size if self.tested else (self.size + 1) // 2

    @property
    def trying(self) -> bool:
        """Whether a try has just begun: after a rest one more may go, and not yet some more."""
        return self._step == 2

    def grow(self, now: float) -> None:
        """A request got through that was sent with at least `grows_from` in flight."""
        if not self.tested:
            self._resize(self.size + 1)
        elif now >= self._grow_at:
            self._resize(self.size + self._step)
            self._step *= 2
            self._grow_at = now + STEP

    def refused(self, in_flight: int, now: float, *, pause: float = 0.0, per_second: float = math.inf) -> None:
        """A request that was sent with so many in flight was refused: from now on one fewer.

        Args:
            in_flight: How many, itself included.
            now: When.
            pause: Seconds that the refusal costs.
            per_second: Requests that get through per second.
        """
        self._before = self.size
        rest = max(REST, min(PER_PAUSE * pause, LONGEST_PAUSED), min(RARE / max(per_second, 0.1), LONGEST_REST))
        self._settle(min(self.size, in_flight - 1), now, rest)

    def doubt(self, in_flight: int) -> None:
        """A refusal at no more than the window allows: if it was just cut, that was no help, and is taken back."""
        if self._before is not None and in_flight <= self.size:
            self._resize(self._before)
            self._before = None

    def timed_out(self, now: float) -> None:
        """A request got no answer in time: half."""
        if now - self._cut_at >= ONE_EVENT:
            self._settle(self.size // 2, now, REST)

    def _settle(self, size: int, now: float, rest: float) -> None:
        self.tested = True
        self._resize(size)
        self._step = 1
        self._cut_at, self._grow_at = now, now + rest
        self.safe = min(self.safe, self.size)

    def __repr__(self) -> str:
        return f"<Window {self.size} of {self.ceiling} in flight>"
