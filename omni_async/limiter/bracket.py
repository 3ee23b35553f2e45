"""Requests per second found by trial, where each refusal costs a pause. Plain arithmetic.

What one refusal tells of the limit is coarse, and each correction later costs a pause again. So the limit is shut in at
once, by tests of some seconds each: between a pace that went unrefused and one that did not. When both are close, the
lower is held, and only rarely tried to exceed; if that is refused, it is gone back to.

Windows allow a whole number in a second or so, and their refusals come within two. A bucket refuses later, the later
the less too much was sent: what it had saved up is spent by then.
"""

import math
from typing import NamedTuple

FIRST, LEAST_OF_FIRST = 0.95, 0.5
"""Part of what got through just before the first refusal to go on with: a sliding window has counted exactly that, a
fixed one at least half of it."""
WHOLE, PART_OF_ONE = 0.992, 0.6
"""How far below a whole number to go, since requests arrive some milliseconds early or late. A test goes no further
below than this part of one request, or a window of one fewer would let it pass."""
TIGHT, GAP, APART = 0.015, 0.2, 0.003
"""Low and high are close if they differ by this part, or so many requests a second; how far from both to try."""
LONG, MOST_COARSE = 2.0, 10.0
"""From so many seconds of pause on, up to so many, they may differ by as many times that part: a test more would cost
too much."""
STRIDE = 0.04
"""The first step above a pace that passed; each is twice as long, up to the middle."""
SMALL = 0.33
"""So much more than a whole number a fixed window refuses in every third second only."""
REFUSED_LOW = 0.8
"""Part of a refused pace to go on with, if what was thought to pass was refused; the least where a bucket is empty."""
DOUBLES = 6.0
"""Seconds in which a climb doubles. How far it goes costs nothing: the refusal costs the same pause."""
STEEP, ONE_MORE = 1.2, 1.3
"""A climb whose last second went at less than so many times its level, and so many requests a second more, has found
the same window again: one that begins within a fixed window ends late in the next."""
SAME, FARTHEST, USUAL = 1.1, 1.6, 1.25
"""A bucket refuses a climb late, always at as many times its rate: what it has saved up tells how many. A climb that
goes further by more than this factor has found a greater rate. While that is not known: how far the first may go,
unless the bucket is so great that pauses cost nothing; and how far one goes, to tell a greater rate by."""
COARSE = 1.12
"""Once a greater window is found, low and high may differ by this factor until the next climb: tests more would cost as
much as they give."""
QUICK, NO_BUCKET = 1.5, 1.06
"""A refusal in the first so many seconds of a pace that is at most this factor too high: no bucket is so small."""
SLOW, SLOW_TESTS = 2.0, 2
"""So many tests in a row, each refused after more than so many seconds, are a bucket's: more tests tell nothing."""
AGAIN = 3
"""So many refusals in a row, each at once after its pause, are of a level far too high."""
SAVED = (0.25, 0.35, 0.7)
"""Part of the pause that a bucket saved up, at the first late refusal, the second and more: if it is little, a cut too
small costs the next pause, and if it is much, a pause costs nothing."""
HASTY, HASTY_PART, JITTER = 2.0, 0.97, 0.995
"""A refusal within so many seconds tells little of a bucket: at most this part is cut at first. And the least cut: some
milliseconds of a second, as requests are early or late."""


class Observation(NamedTuple):
    """A refused request, and what went before it.

    Args:
        pace: Requests per second then.
        level: Those of the last cut; None before the first refusal.
        climbing: Whether the pace had left that level.
        mean: Mean pace in the second before it.
        passed: The pace two seconds before: no window has refused it.
        counted: Requests that were let in in the second before it.
        through: Those since the last that was refused went.
        used: Seconds since sending went on after the last refusal.
        whole: Seconds since the last that was refused went.
        dear: Whether it costs a pause.
        held: Seconds in which the level was used.
        blind: Whether so much is in flight that how far a climb went tells little.
    """

    pace: float
    level: float | None
    climbing: bool
    mean: float
    passed: float
    counted: float
    through: float
    used: float
    whole: float
    dear: bool
    held: float
    blind: bool = False


class Bracket:
    """Requests per second between which the limit is."""

    __slots__ = (
        "_bucket",
        "_coarse",
        "_enough",
        "_late",
        "_peak",
        "_proved",
        "_quick",
        "_slow",
        "_soon",
        "_stride",
        "high",
        "low",
        "testing",
    )

    def __init__(self) -> None:
        self.low, self.high = 0.0, math.inf
        self.testing = False
        """Whether the level is a test: unrefused for `seconds`, `passed` tells the next."""
        self._proved = False  # whether low ever passed
        self._stride, self._slow = 0.0, 0  # tests in a row that were refused later than by most windows
        self._enough = 0.0  # part by which low and high may differ, since a pause is long
        self._coarse = 1.0  # factor by which they may differ, since a greater limit was just found
        self._peak = 0.0  # the pace at which the bucket refused the last climb
        self._quick = math.inf  # the lowest pace that was refused as only windows do
        self._late, self._bucket = 0, False  # late refusals in a row
        self._soon = 0  # those so soon after a pause that the level is not what is allowed

    def forget(self) -> None:
        """Refusals cost nothing any more: the level is found without tests."""
        self.testing, self._bucket = False, False
        self._late = self._slow = self._soon = 0
        self._quick, self._peak = math.inf, 0.0

    def refused(self, seen: Observation) -> float:
        """The level after a refusal that costs a pause."""
        if seen.level is None:
            most = min(max(seen.counted, seen.pace / 4.0), JITTER * seen.pace)
            return self._open(LEAST_OF_FIRST * most, seen.pace, FIRST * most)
        paused = seen.whole - seen.used
        self._enough = TIGHT * min(paused, MOST_COARSE) if paused > LONG else 0.0
        if seen.used < QUICK:
            self._quick = min(self._quick, seen.pace)
        resting = not (self.testing or seen.climbing)
        self._soon = self._soon + 1 if seen.used < QUICK and resting else 0
        if self.testing:
            return self._failed(seen)
        if seen.climbing:
            return self._climb_ended(seen, seen.level)
        if self._soon == AGAIN:
            return self._open_below(seen.pace)
        return self._refused_late(seen)

    def _open(self, low: float, high: float, level: float, *, coarse: float = 1.0) -> float:
        self.forget()
        self._coarse = coarse
        self.low, self.high = low, high
        self.testing, self._proved, self._stride = True, False, STRIDE
        return level

    def _failed(self, seen: Observation) -> float:
        pace = self.high = seen.pace
        self._stride = 0.0
        self._slow = self._slow + 1 if seen.held > SLOW else 0
        if self._slow == SLOW_TESTS and self._quick > NO_BUCKET * pace:
            self.testing = False
            return self._refused_late(seen)
        if self.low >= pace:
            self.low, self._proved = LEAST_OF_FIRST * pace, False
            return REFUSED_LOW * pace
        return self._next() or self._closed()

    def _climb_ended(self, seen: Observation, level: float) -> float:
        self._late = 0
        passed = max(min(seen.passed, 0.97 * seen.pace), level)
        if seen.blind and seen.pace > level * STEEP + ONE_MORE:
            return self._open(level, seen.pace, passed)
        if self._bucket:
            return self._bucket_climbed(seen, level)
        if seen.mean > STEEP * level + ONE_MORE:
            return self._open(level, seen.pace, FIRST * seen.mean, coarse=COARSE)  # `passed` may be what was saved up
        self.high = seen.pace
        found, self._coarse = FIRST * seen.mean if self._coarse > 1.0 else 0.0, 1.0
        return max(WHOLE * math.floor(passed), level, found)

    def _bucket_climbed(self, seen: Observation, level: float) -> float:
        """Back to the level, or if the climb went further than usual, to where one usually begins that ends so high."""
        usual, self._peak, self.high = self._peak / level, seen.pace, seen.pace
        if seen.pace <= level * (SAME * usual or FARTHEST):
            return level
        self._quick = math.inf
        self.low = WHOLE * seen.pace / (usual or USUAL)
        return self.low

    def _open_below(self, pace: float) -> float:
        lower = REFUSED_LOW * pace
        return self._open(LEAST_OF_FIRST * lower, pace, lower)

    def _refused_late(self, seen: Observation) -> float:
        """A level that had passed is refused: by a window for some milliseconds, or by a bucket that is empty now."""
        self.high = seen.pace
        if self._quick <= NO_BUCKET * seen.pace:
            self.low = JITTER * seen.pace
            return self.low
        paused = max(seen.whole - seen.used, 1e-3)
        part = seen.used / (seen.used + SAVED[min(self._late, 2)] * paused)
        if seen.used < HASTY and not self._late:
            part = max(part, HASTY_PART)
        part = max(part, REFUSED_LOW)  # the pause may be far longer than it saves up for
        self._late, self._bucket = self._late + 1, True
        self.low = _below_whole(min(part, JITTER) * seen.pace)
        return self.low

    def passed(self, level: float) -> float:
        """A test went unrefused: the next, or with `testing` no longer set the level to hold."""
        if level >= self.low:
            self.low, self._proved = level, True
        return self._next() or self._closed()

    def _next(self) -> float | None:
        low, high = self.low, self.high
        if high <= low * max(1.0 + self._enough, self._coarse) and self._proved:
            return None
        middle = math.sqrt(low * high)
        if self._stride:
            middle, self._stride = min(middle, low * (1.0 + self._stride)), 2.0 * self._stride
        below = math.floor(middle)
        for whole in (below + 1, below, below + 2):
            tried = max(WHOLE * whole, whole - PART_OF_ONE)
            if low * (1.0 + APART) < tried < high * (1.0 - APART):
                return tried
        return middle if high - low > max(TIGHT * low, GAP) else None

    def _closed(self) -> float:
        if self._proved:  # else low itself is tested
            self.testing = False
            many = self.low * (1.0 - WHOLE) > PART_OF_ONE
            self.low = min(self.low, WHOLE * self.high) if many else _below_whole(self.low)
        return self.low

    def seconds(self, level: float) -> float:
        """How long a test takes: until a fixed window would have refused what is more than a whole number."""
        return 1.0 + 1.0 / max(level % 1.0, SMALL) + 2.0 / level


def _below_whole(level: float) -> float:
    """A level that a fixed window would refuse now and then, for the part above a whole number: just below that."""
    whole = math.ceil(level) if level % 1.0 > SMALL else math.floor(level)
    return WHOLE * whole if 0.97 * level < WHOLE * whole < level else level
