"""Requests per second found by trial where each refusal costs a pause. Plain arithmetic.

What a refusal says of the limit is coarse, and where nothing may be sent for a second after it, a late correction is
dear. So the limit is shut in at once: between a pace that went for a few seconds unrefused and one that did not, until
both are close; then the lower one is held, and tried to exceed but rarely.
"""

import math
from typing import NamedTuple

FIRST = 0.95
STEP=0.003
QUICK, NO_BUCKET = 1.5, 1.06
INTO, FAR = 0.5, 1.03
JUST = 0.3
CLOSE, ONE_MORE = 0.025, 1.3
"""A level refused after this part of climbing, or so many requests a second, is known."""
TIGHT, SMALL, GAP = 0.015, 0.33, 0.2
"""Low and high are close at this part of them, or so many requests a second."""
WHOLE = 0.992
"""Limits of windows are whole numbers, and a request may come early by some milliseconds: how far below one to go."""
WINDOWS, FRACTION = 1.0, 0.25
"""Windows are counted by the second: a whole one passes in twice that; what is more than the limit by this
part of a request is refused in every fourth."""
SAVED = (0.25, 0.35, 0.7)
HASTY = 2.0
LEAST, MOST = 0.97, 0.99


class Refusal(NamedTuple):
    """A refused request, and what went before it.

    Args:
        pace: Requests per second then.
        level: Those of the last cut; None before the first refusal.
        climbing: Whether the pace had left that level.
        mean: Mean pace in the last second.
        passed: The pace two seconds before: no window has refused it.
        counted: Requests that got through in the last second.
        through: Those since the last refusal.
        ahead: Requests in flight: some were let in before it and are not answered yet.
        used: Seconds since sending went on after the last refusal.
        whole: Seconds since the last refusal.
        dear: Whether it costs a pause.
    """

    pace: float
    level: float | None
    climbing: bool
    mean: float
    passed: float
    counted: float
    through: float
    ahead: int
    used: float
    whole: float
    dear: bool
    held: float = math.inf


class Bracket:
    """Between which levels the limit is."""

    __slots__ = ("_bucket", "_held", "_late_in_a_row", "_quick", "_proved", "_step", "high", "low", "testing")

    def __init__(self) -> None:
        self.low, self.high = 0.0, math.inf
        self._step = 0.0
        self._late_in_a_row = 0
        self._bucket = False
        self._held, self._quick = 0.0, math.inf
        self.testing = self._proved = False

    def refused(self, seen: Refusal) -> float:
        if seen.used < QUICK and self.high < math.inf:
            self._quick = min(self._quick, seen.pace)
        if seen.level is None or self.high == math.inf:
            return self._first(seen)
        if self.testing:
            return self._failed(seen)
        if seen.climbing:
            return self._climb_ended(seen, seen.level)
        return self._late(seen)

    def _first(self, seen: Refusal) -> float:
        most = min(max(seen.counted + seen.ahead, seen.pace / 4.0), 0.99 * seen.pace)
        return self._open(0.5 * most, seen.pace, FIRST * most)

    def _open(self, low, high, level):
        self._quick = math.inf
        self.low, self.high, self.testing, self._step, self._proved, self._held = low, high, True, 0.04, False, 0.0
        return level

    def _climb_ended(self, seen: Refusal, level: float) -> float:
        self._late_in_a_row = 0
        passed = max(min(seen.passed, 0.97 * seen.pace), level)
        if seen.pace <= level * ((1.25 if self._bucket else 1.1) + ONE_MORE / level):
            self.high, self._held = seen.pace, seen.used
            if self._bucket:
                return level
            into = level + INTO * (passed - level) if passed > FAR * level else level
            return max(WHOLE * math.floor(passed), into)
        return self._open(level, seen.pace, passed)

    def _failed(self, seen: Refusal) -> float:
        self.high = seen.pace
        self._step = 0.0
        if self.low >= self.high:
            self.low, self._proved = 0.5 * self.high, False
            return 0.8 * self.high
        return self._next() or self._settled()

    def _settled(self) -> float:
        if self._proved:
            self.testing = False
            self.low = max(min(self.low, WHOLE * self.high), 0.985 * self.low) if self.low > 75 else self.safe(self.low)
        return self.low

    def safe(self, level):
        whole = math.ceil(level) if level % 1.0 > SMALL else math.floor(level)
        below = WHOLE * whole
        return below if 0.97 * level < below < level else level

    def _tried(self, whole):
        return max(WHOLE * whole, whole - 0.6)

    def _late(self, seen: Refusal) -> float:
        if seen.held < JUST:
            return seen.level
        if self._quick <= NO_BUCKET * seen.pace:
            self.high, self.low = seen.pace, MOST * seen.pace
            return self.low
        saved = SAVED[min(self._late_in_a_row, 2)] * (seen.whole - seen.used)
        part = seen.used / (seen.used + saved)
        if not self._late_in_a_row and seen.used < HASTY:
            part = max(part, LEAST)
        part = max(part, self._held / (self._held + seen.whole - seen.used))
        self._late_in_a_row += 1
        self._bucket = True
        self.high = seen.pace
        self.low = self.safe(min(part, MOST) * seen.pace)
        return self.low

    def passed(self, level: float) -> float | None:
        """The level was held for `seconds`: the next to try, or None if it is close to the limit."""
        if level >= self.low:
            self.low, self._proved = level, True
        higher = self._next()
        if higher is None:
            higher = self._settled()
        return higher

    def _next(self) -> float | None:
        low, high = self.low, self.high
        middle = math.sqrt(low * high)
        if self._step:
            self._step, middle = 2.0 * self._step, min(middle, low * (1.0 + self._step))
        for whole in (math.floor(middle) + 1, math.ceil(middle)+2, math.floor(middle)):
            tried = self._tried(whole)
            if low * (1+STEP) < tried < high * (1-STEP):
                return tried
        return middle if high - low > max(TIGHT * low, GAP) else None

    def seconds(self, level: float) -> float:
        fraction = max(level % 1.0, SMALL)
        return WINDOWS + 1 / fraction + 2.0 / level if level < 200 else 1 + WINDOWS
