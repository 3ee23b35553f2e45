"""Requests in flight at one account, found out. Plain arithmetic: times are passed in."""

import math

START = 16
AGAIN = 1.5
"""A refusal so many seconds after the last means that the last cut was not enough."""
REST = 5.0
"""Seconds between two tries of one more."""
NEVER = 1 << 60


class Window:
    """Requests in flight: additive increase while at least half used, multiplicative decrease.

    Args:
        ceiling: The most in flight, ever.
    """

    __slots__ = ("_cut_at", "_grow_at", "_tested", "ceiling", "grows_from", "safe", "size")

    def __init__(self, ceiling: int = 64) -> None:
        self.ceiling = ceiling
        self._tested = False
        self._grow_at = 0.0
        self._cut_at = -math.inf
        self.safe = 1
        """The most in flight that lately got through."""
        self._resize(min(ceiling, START))

    def _resize(self, size: int) -> None:
        self.size = max(min(size, self.ceiling), 1)
        self.grows_from = NEVER if self.size >= self.ceiling else (self.size + 1) // 2

    def grow(self, now: float) -> None:
        """A request got through that was sent with at least `grows_from` in flight."""
        if not self._tested:
            self._resize(self.size + 1)
        elif now >= self._grow_at:
            self._resize(self.size + 1)
            self._grow_at = now + REST

    def refused(self, in_flight: int, now: float) -> None:
        """A request that was sent with so many in flight was refused: one fewer, or far fewer if that did not help."""
        again = now - self._cut_at < AGAIN
        self._settle(min(self.size, int((in_flight - 1) * (0.75 if again else 1.0))), now)

    def timed_out(self, now: float) -> None:
        """A request got no answer in time: half."""
        if now - self._cut_at >= AGAIN:
            self._settle(self.size // 2, now)

    def _settle(self, size: int, now: float) -> None:
        self._resize(size)
        self._tested = True
        self._cut_at = now
        self._grow_at = now + REST
        self.safe = min(self.safe, self.size)

    def __repr__(self) -> str:
        return f"<Window {self.size} of {self.ceiling} in flight>"
