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
LASTING, WELL = 15.0, 120.0
"""Seconds of it that are worth a doubt: what is shorter slows a climb but little. And seconds without any before the
first, from which that is forgiven: it would have come sooner."""
SQUEEZED, FADES, HALVES = 0.45, 0.99, 120.0
"""Part of the most that got through in a minute, below which somebody else takes the account for a while: counting by
the minute lets in twice its number at most, around the end of a fixed one. What is left of that most five seconds on,
and seconds of such squeezing in which it is halved: it may not end.
"""
MINUTE, MARK = 60.0, 5.0
"""Seconds for which most of them count, and how exactly that is looked back on."""


class Minutes:
    """What is seen of such counting. `drought` is how many seconds nothing gets through, 0 while that was not seen.

    Args:
        doubts: Whether the first such time may have been a storm of refusals. It costs refusals to learn that.
    """

    __slots__ = (
        "_doubts",
        "_droughts",
        "_dry",
        "_longer",
        "_marks",
        "_minute",
        "_most",
        "_opened",
        "_waited",
        "_well",
        "drought",
    )

    def __init__(self, *, doubts: bool = True) -> None:
        self._doubts = doubts
        self.drought = 0.0
        self._dry = self._waited = 0.0  # seconds in which nothing gets through; how long the last try of it waited
        self._longer = self._well = False  # whether one was too long for minutes; whether one was forgiven
        self._droughts = 0  # those that were believed
        self._minute = 0.0  # how many got through per second in the minute before the last refusal
        self._most = 0.0  # the same of the best minute
        self._opened: tuple[float, int] | None = None  # when it went on after such a time, and how many had by then
        self._marks: deque[tuple[float, int]] = deque(maxlen=int(MINUTE / MARK) + 1)

    @property
    def suspected(self) -> bool:
        """Whether it was seen once only: a storm of refusals looks the same."""
        return self._doubts and self._droughts == 1 and self.drought > LASTING

    def goes_on(self, now: float, through: int) -> None:
        """Requests go, and so many got through by now."""
        if self._opened is None:
            self._opened = now, through
        if not self._marks or now >= self._marks[-1][0] + MARK:
            self._marks.append((now, through))
            self._most = max(FADES * self._most, (through - self._minute_ago(now, through)[1]) / MINUTE)

    def _minute_ago(self, now: float, through: int) -> tuple[float, int]:
        """The first moment of the last minute that is remembered, and how many had got through by then."""
        return next((mark for mark in self._marks if mark[0] >= now - MINUTE), (now, through))

    def refused(self, now: float, through: int) -> None:
        """One was refused, and ends what was let in."""
        at, before = self._minute_ago(now, through)
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
        if level < SQUEEZED * self._most:
            self._most *= math.pow(0.5, min((now - opened) / HALVES, 1.0))
            return SQUEEZED * self._most
        well = now - dry - opened > WELL and not (self.drought or self._well)
        if self._doubts and dry > LASTING and well:
            self._well = True
            return None
        self._droughts += 1
        self.drought = max(dry, self.drought)
        return level

    def refuted(self) -> None:
        """For a whole minute more was let in than was thought to be all of it."""
        self.drought = 0.0

    def forget(self) -> None:
        """What nothing gets through for is somebody else's fault."""
        self._dry, self._opened = 0.0, None

    def slower(self, pace: float = 1.0) -> float:
        """A climb goes at this part of its usual pace: it takes long until it is refused."""
        return min(pace, BARREN / self.drought) if self.drought else pace
