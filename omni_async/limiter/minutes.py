"""Accounts that count by the minute, or longer: they let in many, and then nothing for long. Plain arithmetic.

No second of that tells what is allowed: from one such opening to the next it shows, and is then to be spread evenly.
"""

import math
from collections import deque

BARREN, FADING = 3.0, 0.9
"""Seconds without one request let in, after a refusal, that no window or bucket of a second or two explains; and how
fast that is forgotten, with each refusal that is followed by no such time."""
LONGER = 90.0
"""Seconds without any that no counting by the minute explains: once, that is a storm of refusals or a limit that was
down for a while, and only from the second time on an account that counts by the hour."""
LESS, TOO_SOON = 0.97, 0.9
"""How far to stay below what was let in, and what is kept of a pace that is refused at once."""
HALF = 0.5
"""The least part of a pace to go on with: in the minute before, pauses may have kept most from being sent."""
MINUTE, MARK = 60.0, 5.0
"""Seconds for which most of them count, and how exactly that is looked back on."""


class Minutes:
    """What is seen of such counting. `drought` is how many seconds nothing gets through, 0 while that was not seen."""

    __slots__ = ("_dry", "_longer", "_marks", "_minute", "_opened", "_waited", "drought")

    def __init__(self) -> None:
        self.drought = 0.0
        self._dry = self._waited = 0.0  # seconds in which nothing gets through; how long the last try of it waited
        self._longer = False  # whether it was too long for minutes before
        self._minute = 0.0  # how many got through per second in the minute before the last refusal
        self._opened: tuple[float, int] | None = None  # when it went on after such a time, and how many had by then
        self._marks: deque[tuple[float, int]] = deque(maxlen=int(MINUTE / MARK) + 1)

    def goes_on(self, now: float, through: int) -> None:
        """Requests go, and so many got through by now."""
        if self._opened is None:
            self._opened = now, through
        if not self._marks or now >= self._marks[-1][0] + MARK:
            self._marks.append((now, through))

    def refused(self, now: float, through: int) -> None:
        """One was refused, and ends what was let in."""
        at, before = next((mark for mark in self._marks if mark[0] >= now - MINUTE), (now, through))
        self._minute = (through - before) / max(now - at, 1.0)
        self.drought = FADING * self.drought if self.drought > BARREN else 0.0

    def allows(self, rate: float, used: float, *, passed: float | None = None) -> float:
        """Requests per second to go on with, of those that were refused after so many seconds of use.

        The refusal that ends a climb is a bucket's, for its pace, or a window's, for what went in a minute: `passed` is
        the pace just before, and the next refusal will tell.
        """
        seen = max(min(self._minute, rate), HALF * rate)
        if passed is not None:
            seen = max(seen, math.sqrt(seen * min(passed, LESS * rate)))
        return seen * (LESS if used > BARREN else TOO_SOON)

    def waits(self, seconds: float) -> None:
        """The one request that tried again was refused too, and the next waits."""
        self._waited = seconds
        self._dry += seconds

    def opens(self, now: float, through: int) -> float | None:
        """One gets through again: requests per second to go on with, if nothing did for so long."""
        dry, self._dry = self._dry, 0.0
        if dry <= BARREN or self._opened is None:
            return None
        (opened, before), self._opened = self._opened, (now, through)
        if dry > LONGER and not self._longer:
            self._longer = True
            return None
        late = self._waited / 2.0  # it may have opened while the last try waited
        level = (through - before) / max(now - opened - late, 1.0)
        if self.drought:  # in the minute before the refusal it may have allowed more already
            level = max(level, MINUTE * self._minute / (MINUTE + dry - late))
        self.drought = max(dry, self.drought)
        return level

    def forget(self) -> None:
        """What nothing gets through for is somebody else's fault."""
        self._dry, self._opened = 0.0, None

    def slower(self, pace: float = 1.0) -> float:
        """A climb goes at this part of its usual pace: it takes long until it is refused."""
        return min(pace, BARREN / self.drought) if self.drought else pace
