"""What reported progress says about when a task will finish, as far as it proves true. Pure arithmetic.

A task that is p % done at an age is expected to go on for age * (100 - p) / p. What part or multiple of that it really
takes is learned like durations are, apart for each stage of progress and for progress that does not move as it did
before. Which of the two hazards foresaw better what the looks then found, this one or that of the age alone, decides
at each stage whether it is followed: a bar that stalls, jumps or lies loses its word by that.
"""

import math

from .durations import EDGES, Durations, guess, reach

STAGES = (20, 50, 80)
UNSTEADY = len(STAGES) + 1
MOVED_OTHERWISE = 128
"""Flag in a mark, above the progress: small whole numbers cost no memory."""
WHOLE = 60.0
"""Seconds on the scale of durations that stand for just the time foretold."""
SOONEST = 0.5
TRUSTED, MOST_TRUST = 3.0, 12.0
"""How much likelier (as a logarithm) what was found must have been by progress than by age; and at most."""
FADING = 0.99
ONE_LOOK = 3.0
"""What one look can say for or against it at most."""


def marked(since: float, age: float, progress: int | None, mark: int | None) -> int | None:
    """What to keep of a progress seen at `age` seconds: itself, and whether it moved otherwise than before."""
    if progress is None or progress <= 0:
        return None
    done = min(progress, 99)
    if mark is None or since <= 0.0:
        return done
    before = mark % MOVED_OTHERWISE
    step = (before + 0.5) * (age - since) / since
    return done if abs(done - before - step) <= max(3.0, 0.5 * step) else done + MOVED_OTHERWISE


def foretold(age: float, mark: int) -> float:
    """Seconds that a task of this age still takes if its progress tells the truth."""
    done = mark % MOVED_OTHERWISE
    return min(max(age * (99.5 - done) / (done + 0.5), SOONEST), EDGES[-1])


def _stage(mark: int) -> int:
    if mark >= MOVED_OTHERWISE:
        return UNSTEADY
    return sum(mark >= stage for stage in STAGES)


class Forecast:
    """What is known about progress where it is reported in one way."""

    __slots__ = ("_reaches", "_shares", "_trust")

    def __init__(self) -> None:
        start = guess(2.5 * WHOLE)
        self._shares = [Durations(start) for _ in range(UNSTEADY + 1)]
        self._trust = [0.0] * (UNSTEADY + 1)
        self._reaches: list[dict[int, float]] = [{} for _ in self._shares]

    def ahead(self, age: float, mark: int, price: float) -> float | None:
        """Seconds to the next look after one at `age`, a look being worth `price` seconds; None: not to be trusted."""
        stage = _stage(mark)
        if self._trust[stage] < TRUSTED:
            return None
        rest = foretold(age, mark)
        octave = round(math.log2(price / rest))  # a price wrong by less than 1.5 costs 1 %
        reaches = self._reaches[stage]
        share = reaches.get(octave)
        if share is None:
            share = reaches[octave] = reach(self._shares[stage], WHOLE * 2.0**octave) / WHOLE
        return share * rest

    def survived(self, since: float, age: float, mark: int, *, expected: float) -> None:
        """A task with this mark at `since` ran on until `age`; by its age alone that meant a hazard of `expected`."""
        self._learn(since, age, mark, expected, ended=False)

    def ended(self, since: float, age: float, mark: int, *, expected: float) -> None:
        """It finished in between."""
        self._learn(since, age, mark, expected, ended=True)

    def _learn(self, since: float, age: float, mark: int, expected: float, *, ended: bool) -> None:
        stage, passed = _stage(mark), min(WHOLE * (age - since) / foretold(since, mark), EDGES[-2])
        shares = self._shares[stage]
        here = _likelihood(shares.expected(passed), ended=ended) - _likelihood(expected, ended=ended)
        trust = FADING * self._trust[stage] + min(max(here, -ONE_LOOK), ONE_LOOK)
        self._trust[stage] = min(max(trust, -MOST_TRUST), MOST_TRUST)
        if shares.ended(0.0, passed) if ended else shares.survived(0.0, passed):
            shares.settle()
            self._reaches[stage].clear()


def _likelihood(hazard: float, *, ended: bool) -> float:
    """Logarithm of the chance of what was found, by a cumulative hazard."""
    return math.log(max(-math.expm1(-hazard), 1e-9)) if ended else -hazard
