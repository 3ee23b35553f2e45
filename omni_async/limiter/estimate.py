"""What the refusals of an account tell of its requests per second. Plain arithmetic.

Gateways count in two ways, and after a refusal it matters which. A *window* (so many in a second) forgets: what was
sent in the last second is the limit. A *bucket* saves up: only what got through between two refusals, at both of which
it was empty, is the limit. So it is taken for a window until sending just below what was refused is refused at once;
then it is a bucket, and whether it still is one is tried more and more rarely.

A refusal that costs a pause is *dear*: then the level is found by trial (`bracket.py`).
"""

import math

from .bracket import Bracket, Observation

BELOW_WINDOW, BELOW_BUCKET, ONE_OF_FEW = 0.989, 0.99, 0.4
EARLY = 2.1
"""A refusal sooner after sending went on shows that the last cut was not enough; a later one, though the pace has not
climbed, that so little too much is saved up: a second's window would have forgotten it."""
SECOND, HASTY = 0.9, 0.75
"""Seconds after a refusal in which the same window may refuse again; that alone proves no pace below this part."""
FAR = 1.15
"""A bucket refuses closer than this to what it allows, unless it has saved up for long or was enlarged."""
CHEAP = 40.0
"""Requests per second at which a refusal more costs next to nothing."""
PATIENCE = 80.0
"""Where fewer requests go, whether a bucket still is one is tried the more rarely: each try costs a refusal."""


class Estimate:
    """Requests per second to go on with after each refusal.

    `again` counts the cuts in a row that were no help; `bracket` finds the level where refusals are dear.
    """

    __slots__ = ("_as_bucket", "_climbed", "_patience", "_was_window", "again", "bracket")

    def __init__(self) -> None:
        self.again = 0
        self.bracket = Bracket()
        self._climbed: float | None = None  # what got through per second before the last refusal, if that ended a climb
        self._as_bucket, self._patience, self._was_window = 0, 1, False

    def level(self, seen: Observation) -> float:
        """Just below what the account allows, by what is known of it now."""
        if seen.dear:
            self.again = 0
            return self.bracket.refused(seen)
        self.bracket.forget()
        if seen.level is None:
            return min(max(seen.counted, seen.pace / 4.0), _margin(seen.pace) * seen.pace)
        if seen.climbing:
            self.again, self._climbed = 0, seen.through / seen.whole
            return self._climb_ended(seen)
        self.again = self.again + 1 if _early(seen) else 0
        if not self.again:
            self._climbed = None
        return self._level_refused(seen)

    def _climb_ended(self, seen: Observation) -> float:
        if self._as_bucket:
            return self._bucket(seen)
        if self._was_window:
            self._patience = 1
        self._was_window = True
        return _below(seen)

    def _level_refused(self, seen: Observation) -> float:
        if _early(seen):
            return self._no_help(seen)
        if self._as_bucket:
            return self._bucket(seen)
        self._take_for_bucket(seen.pace)
        return self._between(seen.through / seen.whole, seen)

    def _no_help(self, seen: Observation) -> float:
        """The last cut was too small; one after the other they grow."""
        measured = seen.counted + 1.0
        climbed = self._climbed
        if self.again > 1 and climbed is not None and (seen.through - 0.5) / seen.whole < FAR * climbed < seen.pace:
            self._take_for_bucket(seen.pace)  # it was full, and is empty since the climb before
            measured = climbed
        least = seen.pace * (HASTY if seen.whole < SECOND else 1.0 / 3.0)
        return min(max(measured, least), seen.pace) * math.pow(_margin(seen.pace), 2 ** min(self.again - 1, 4))

    def _bucket(self, seen: Observation) -> float:
        self._as_bucket -= 1
        self._was_window = False
        return self._between(BELOW_BUCKET * seen.through / seen.whole, seen)

    def _between(self, measured: float, seen: Observation) -> float:
        """For a bucket: what it was seen to allow, and the more above that the cheaper a refusal is."""
        below, measured = _below(seen), max(measured, seen.pace / 3.0)
        part = 0.5 if below > FAR * measured else min(seen.pace / CHEAP, 0.5)
        return min(measured * math.pow(below / measured, part), seen.pace)

    def _take_for_bucket(self, pace: float) -> None:
        if self._was_window:
            most = max(min(PATIENCE / pace, 16.0), 1.0)
            self._patience = int(min(2 * self._patience, most))
        self._as_bucket = self._patience
        self._was_window = False


def _margin(pace: float) -> float:
    """How far below a window's count to stay: of few requests, one more or less is much."""
    return min(BELOW_WINDOW, 1.0 - min(ONE_OF_FEW / pace, 0.04))


def _early(seen: Observation) -> bool:
    """Whether it came as soon as a window that was as full as before would have refused."""
    return seen.used < max(EARLY, 2.5 / seen.pace)


def _below(seen: Observation) -> float:
    """Just below what a window has refused."""
    most = min(seen.mean, seen.counted + max(math.sqrt(seen.counted), 3.0) + 1.0)
    return most * _margin(seen.pace)
