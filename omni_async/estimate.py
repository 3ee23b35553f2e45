"""What the refusals of an account tell of its requests per second. Plain arithmetic.

Gateways count in two ways, and after a refusal it matters which. A *window* (so many in a second) forgets: what was
sent in the last second is the limit. A *bucket* saves up: only what got through between two refusals, at both of which
it was empty, is the limit. So it is taken for a window until sending just below what was refused is refused at once;
then it is a bucket, and whether it still is one is tried more and more rarely.

A refusal that costs a pause is *dear*: then what was held without one is worth more than a closer guess.
"""

import math
from typing import NamedTuple

from .bracket import Bracket

BELOW_WINDOW, BELOW_BUCKET, ONE_OF_FEW = 0.989, 0.99, 0.4
AGAIN = 2.1
"""A refusal sooner after sending went on shows that the last cut was not enough; a later one, though the pace has not
climbed, that so little too much is saved up: a second's window would have forgotten it."""
SECOND, HASTY = 0.9, 0.75
"""Seconds after a refusal in which the same window may refuse again; that alone proves no pace below this part."""
FAR = 1.15
"""A bucket refuses closer than this to what it allows, unless it has saved up for long or was enlarged."""
CHEAP = 40.0
"""Requests per second at which a refusal more costs next to nothing."""
PATIENCE, DEAR_PATIENCE = 80.0, 6
"""Where fewer requests go, whether a bucket still is one is tried the more rarely: each try costs a refusal."""
LONG = 0.2
"""A pause of so many seconds is dear, and may fill a bucket or not."""
CAUTIOUS, FEWER_OF_FEW = 0.95, 0.75
"""Parts of the first guess, and of `ONE_OF_FEW`, where refusals are dear."""
CLOSE, ONE_MORE, INTO = 0.025, 1.3, 0.8
"""A level refused after this part of climbing, or so many requests a second, is known; how far to go into the part
that passed."""
BACK, EARLY, LATE = 0.85, 0.97, 0.985
"""From a refused level one goes back to one that was held, if that is no further; or to this part of it."""


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

    @property
    def margin(self) -> float:
        """How far below a window's count to stay: of few requests, one more or less is much."""
        few = ONE_OF_FEW * (FEWER_OF_FEW if self.dear else 1.0)
        return min(BELOW_WINDOW, 1.0 - min(few / self.pace, 0.04))

    @property
    def early(self) -> bool:
        """Whether it came as soon as a window that was as full as before would have refused."""
        return self.used < max(AGAIN, 2.5 / self.pace)

    @property
    def below(self) -> float:
        """Just below what a window has refused."""
        most = min(self.mean, self.counted + max(math.sqrt(self.counted), 3.0) + 1.0)
        return most * (max(self.margin, 0.995) if self.dear else self.margin)


class Estimate:
    """Requests per second to go on with after each refusal.

    `again` counts the cuts in a row that were no help, `coarse` the dear refusals in a row that told little.
    """

    __slots__ = ("_as_bucket", "_climbed", "_held", "_patience", "_was_window", "again", "bracket", "coarse")

    def __init__(self) -> None:
        self.again = self.coarse = 0
        self.bracket = Bracket()
        self._climbed: float | None = None  # what got through per second before the last refusal, if that ended a climb
        self._held: float | None = None  # what the last climb began with, where refusals are dear
        self._as_bucket, self._patience, self._was_window = 0, 1, False

    def level(self, seen: Refusal) -> float:
        """Just below what the account allows, by what is known of it now."""
        if seen.dear:
            self.again = 0
            return self.bracket.refused(seen)
        self.bracket.high, self.bracket.testing = math.inf, False
        if seen.level is None:
            self.coarse = int(seen.dear)
            most = min(max(seen.counted + seen.ahead, seen.pace / 4.0), seen.margin * seen.pace)
            return most * (CAUTIOUS if seen.dear else 1.0)
        if seen.climbing:
            self.again, self._climbed = 0, seen.through / seen.used
            return self._climb_ended(seen, seen.level)
        self.again = self.again + 1 if seen.early else 0
        if not self.again:
            self._climbed = None
        return self._level_refused(seen)

    def _climb_ended(self, seen: Refusal, level: float) -> float:
        if seen.dear:
            self._held = level
        if self._as_bucket:
            return max(self._bucket(seen), level if seen.dear else 0.0)
        if self._was_window:
            self._patience = 1
        self._was_window = True
        return self._bracketed(seen, level) if seen.dear else seen.below

    def _bracketed(self, seen: Refusal, level: float) -> float:
        """A window's limit lies between what it passed and what it refused: far apart after a steep climb."""
        below, passed = seen.below, min(max(seen.passed, level), seen.below)
        if below <= (1.0 + max(CLOSE, ONE_MORE / below)) * level:
            self.coarse = 0
            return level + INTO * (passed - level)
        self.coarse += 1
        return (passed + below) / 2.0 if self.coarse > 1 else passed

    def _level_refused(self, seen: Refusal) -> float:
        through = max(seen.through, min(seen.through + seen.ahead, seen.pace * seen.used))
        seen = seen._replace(through=through)
        held, self._held = self._held, None
        if held is not None and BACK * seen.pace < held < seen.pace:
            return self._back_to(held, seen)
        if seen.early:
            return self._no_help(seen)
        if self._as_bucket:
            return self._bucket(seen)
        self._take_for_bucket(seen)
        spent = seen.whole if seen.whole - seen.used < LONG else math.sqrt(seen.whole * seen.used)
        return self._between((seen.through - 0.5) / spent, seen)

    def _back_to(self, held: float, seen: Refusal) -> float:
        self.coarse = 0
        if not seen.early:
            self._as_bucket = DEAR_PATIENCE
        least = (EARLY if seen.early else LATE) * seen.pace
        if least > held:  # and if that is refused too, to what was held
            self._held = held
        return max(least, held)

    def _no_help(self, seen: Refusal) -> float:
        """The last cut was too small; one after the other they grow."""
        paused = seen.whole - seen.used
        measured = seen.through / max(seen.used, min(seen.whole, 1.0))
        if self.again > 1 and self._climbed is not None and FAR * self._climbed < seen.pace:
            self._take_for_bucket(seen)  # it was full, and is empty since the climb before
            # In a long pause it was filled by more or less than the climb's mean tells.
            measured = self._climbed if paused < LONG else math.sqrt(self._climbed * measured)
        least = seen.pace * (HASTY if seen.whole < SECOND else 1.0 / 3.0)
        return min(max(measured, least), seen.pace) * math.pow(seen.margin, 2 ** min(self.again - 1, 4))

    def _bucket(self, seen: Refusal) -> float:
        self._as_bucket -= 1
        self._was_window = False
        return self._between(BELOW_BUCKET * (seen.through - 1) / seen.used, seen)

    def _between(self, measured: float, seen: Refusal) -> float:
        """For a bucket: what it was seen to allow, and the more above that the cheaper a refusal is."""
        below, measured = seen.below, max(measured, seen.pace / 3.0)
        if seen.dear:
            self.coarse = 0
            return min(measured, seen.pace)
        part = 0.5 if below > FAR * measured else min(seen.pace / CHEAP, 0.5)
        return min(measured * math.pow(below / measured, part), seen.pace)

    def _take_for_bucket(self, seen: Refusal) -> None:
        if self._was_window:
            most = max(min(PATIENCE / seen.pace, 16.0), 1.0)
            self._patience = int(min(2 * self._patience, most))
        self._as_bucket = max(self._patience, DEAR_PATIENCE) if seen.dear else self._patience
        self._was_window = False
