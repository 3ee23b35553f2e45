"""Creates in flight at a gateway that may let them wait in line. Pure: times are passed in."""

import math

QUICK, SLOW = 40.0, 60.0
"""Seconds that creates take to be answered, lately, up to which one more goes, and from which fewer do: half of their
timeout."""
IN_LINE, LEAST = 12.0, 4.0
"""Creates in flight at first, and those that always may be."""


class Line:
    """Creates in flight. A gateway that refuses none may let them wait in line instead; one too many in it outlasts its
    timeout, is paid for, and nobody learns its id. So fewer go where answers take ever longer.
    """

    __slots__ = ("_count", "_cut_at", "_most", "_takes")

    def __init__(self) -> None:
        self._count, self._most = 0, IN_LINE
        self._takes, self._cut_at = 0.0, -math.inf

    @property
    def full(self) -> bool:
        """Whether the next one waits for an answer."""
        return self._count >= self._most

    def goes(self) -> None:
        """A create goes."""
        self._count += 1

    def ended(self) -> None:
        """It is over, whatever came of it."""
        self._count -= 1

    def answered(self, sent: float, now: float) -> None:
        """One that was sent then was accepted now, or given up."""
        self._takes += (now - sent - self._takes) / (3.0 if self._takes else 1.0)
        if self._takes > SLOW:
            if sent >= self._cut_at:  # else of the same flight
                self._most, self._cut_at = max(self._most * max((SLOW / self._takes) ** 2, 0.5), LEAST), now
        elif self._takes < QUICK and 2 * self._count >= self._most:
            self._most += 1.0
