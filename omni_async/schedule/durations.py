"""How long tasks take, learned from looks: a hazard over ages. Pure arithmetic, no clock.

Ages are cut into bins that widen with age. Two counts are kept of each, both fading: tasks that ended in it, and tasks
that went through it, running ones as far as they were seen. Their quotient is the chance of ending there for a task
that gets there; so a task that still runs counts for what it shows, and no more. A kind with little of its own leans on
the more general kind above it, and the most general one on a guess.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise, zip_longest
from operator import mul, neg, sub
from typing import Any, Self

WIDTH = math.log(1.06)
"""A bin is 6 % of an age wide (of a second more than it, so that there is a first one)."""
BINS = 196
EDGES = tuple(math.expm1(number * WIDTH) for number in range(BINS + 1))
"""Ages in seconds between the bins, the last about a day. What is older teaches nothing."""
DENSITY = tuple(math.exp(-(number + 0.5) * WIDTH) / WIDTH for number in range(BINS))
"""Hazard per second, in the middle of a bin, of a hazard of one per bin."""
MEMORY = 250.0
"""Finished tasks in which the weight of older ones falls to a third."""
LEAN, LEAN_AT_FIRST, SOON = 0.5, 6.0, 10.0
"""What stands above counts as so many tasks; as more until about so many were seen finished, for few leave holes."""
GROUP = 6
EXPECTED, BROAD = 8.0, 10.0
"""A squared deviation that chance gives; how much more than that lets what is known fade to a third."""
FRESH, FEWEST_NEWS, MOST_NEWS = 0.1, 8, 512
"""What is new is taken into account when it is a tenth of what is known, in finished tasks or in looks."""
STRANGE, KEPT = 16.0, 0.04
"""Where all that is new strays by so many times what chance gives, squared, it is taken into account at once; what is
left of what was known then."""
NEVER = 1e-12
FEW = 0.5
"""Finished tasks of other kinds below which those are not asked."""
LEAST_KEPT, MOST_KEPT = 0.05, 1e9
CLOCKS_DIFFER, WHOLE_SECONDS = 2.0, 0.5
"""How far, in seconds, a gateway's word may be off to be believed; how exact it is then."""


def guess(scale: float) -> list[float]:
    """A hazard per bin to start from: 2 / (scale + age), so a mean of `scale` seconds with a heavy tail."""
    return [2.0 * math.log((scale + high) / (scale + low)) for low, high in pairwise(EDGES)]


class Counts:
    """Of each bin, tasks that ended in it and tasks that went through it, not always whole ones; none past the lists.

    Short tasks fill few of the bins, and what is done for each bin is done for those alone.
    """

    __slots__ = ("ended", "finishes", "passed")

    def __init__(self, ended: list[float], passed: list[float]) -> None:
        self.ended, self.passed = ended, passed
        self.finishes = sum(ended)

    def _pairs(self, other: "Counts") -> "Iterator[Iterator[tuple[float, float]]]":
        yield zip_longest(self.ended, other.ended, fillvalue=0.0)
        yield zip_longest(self.passed, other.passed, fillvalue=0.0)

    def faded(self, fade: float, new: "Counts") -> "Counts":
        """A part of this, and all that is new."""
        return Counts(*([fade * old + more for old, more in pairs] for pairs in self._pairs(new)))

    def plus(self, more: "Counts") -> "Counts":
        """Both, with nothing below zero."""
        return Counts(*([both if (both := a + b) > 0.0 else 0.0 for a, b in pairs] for pairs in self._pairs(more)))

    def less(self, part: "Counts") -> "Counts":
        """This without a part of it; differences may be negative."""
        return Counts(*([whole - some for whole, some in pairs] for pairs in self._pairs(part)))

    def clipped(self) -> "Counts":
        """This with nothing below zero."""
        return NOTHING.plus(self)

    def hazard(self, guessed: list[float]) -> list[float]:
        """The chance of ending in each bin, leaning on a guess, which is all there is past what was counted."""
        lean = LEAN + LEAN_AT_FIRST / (1.0 + self.finishes / SOON)
        counted = [
            (ended + lean * chance) / (passed + lean)
            for ended, passed, chance in zip(_smooth(self.ended), _smooth(self.passed), guessed, strict=False)
        ]
        return counted + guessed[len(counted) :]

    def to_plain(self) -> list[Any]:
        """The first bin with anything in it, and the counts from there."""
        used = [number for number, count in enumerate(self.passed) if count >= LEAST_KEPT] or [0]
        part = slice(used[0], used[-1] + 1)
        return [used[0], *([round(count, 2) for count in counts[part]] for counts in (self.ended, self.passed))]

    @classmethod
    def from_plain(cls, plain: Sequence[Any], *, most: float) -> Self:
        """What `to_plain` gave, lessened to at most `most` finished tasks.

        Raises:
            ValueError, TypeError: It is nothing of that kind.
        """
        first, ended, passed = plain
        if len(ended) != len(passed) or not 0 <= first <= first + len(ended) <= BINS:
            raise ValueError("counts outside of the bins")
        if not all(0.0 <= count <= MOST_KEPT for count in (*ended, *passed)):
            raise ValueError("no counts")
        weight = min(1.0, most / (sum(ended) or 1.0))
        return cls(*([*[0.0] * first, *(weight * count for count in counts)] for counts in (ended, passed)))

    def surprise(self, new: "Counts", hazard: Sequence[float]) -> float:
        """How far what is new is from what was expected of it: about 1 for each group of bins if nothing changed."""
        expected = list(map(mul, new.passed, hazard))
        known = self.passed[: len(expected)]
        groups = zip_longest(*map(_groups, (new.ended, expected, new.passed, known)), fillvalue=0.0)
        total = 0.0
        for seen, foreseen, more, old in groups:
            total += (seen - foreseen) ** 2 / (1.0 + foreseen * (1.0 + more / (1.0 + old)))
        return total


NOTHING = Counts([], [])


class Durations:
    """What is known of the durations of one kind of task.

    Args:
        above: The more general kind, or the hazard per bin to start from.
    """

    __slots__ = (
        "_chance",
        "_due",
        "_endings",
        "_entered",
        "_left",
        "_news",
        "_part",
        "_strayed",
        "_top",
        "_worth",
        "above",
        "counts",
        "cumulative",
        "hazard",
    )

    def __init__(self, above: "Durations | list[float]") -> None:
        self.above = above
        self.counts = NOTHING
        self._forget_news()
        self._refresh()

    def _forget_news(self) -> None:
        """Of each bin: who ended in it, who came into it less who was last seen in it, and what part those missed."""
        self._left, self._entered, self._part = [0.0] * BINS, [0.0] * BINS, [0.0] * BINS
        self._news = 0.0
        self._top = 0  # no look came into a bin from here on
        self._strayed, self._chance = 0.0, 1.0

    # --- what looks tell ---------------------------------------------------------------------------------------

    def survived(self, since: float, age: float) -> bool:
        """A task seen running at both ages, in seconds. Returns whether enough is new to `settle`."""
        if 0.0 <= since < age < EDGES[-1]:
            low, high = math.log1p(since) / WIDTH, math.log1p(age) / WIDTH
            first, last = int(low), int(high)
            entered, part = self._entered, self._part
            entered[first] += 1.0
            part[first] += first - low
            entered[last] -= 1.0
            part[last] += high - last
            self._news += 1.0
            if last >= self._top:
                self._top = last + 1
            self._compare(low, high, ended=0.0)
        return self._news >= self._due or self._changed()

    def ended(self, since: float, age: float, *, told: float | None = None) -> bool:
        """A task that finished between two ages; at about `told` if that can be. Returns as `survived`."""
        if 0.0 <= since < age < EDGES[-1]:
            low, high = math.log1p(since) / WIDTH, math.log1p(age) / WIDTH
            self._entered[int(low)] += 1.0
            self._part[int(low)] += int(low) - low
            self._compare(low, high, ended=1.0)
            if told is not None and since - CLOCKS_DIFFER < told <= age + CLOCKS_DIFFER:
                told = min(max(told, since), age)
                low = math.log1p(max(told - WHOLE_SECONDS, since)) / WIDTH
                high = math.log1p(min(told + WHOLE_SECONDS, age)) / WIDTH
            self._top = max(self._top, self._spread(low, high))
            self._news += self._worth
        return self._news >= self._due or self._changed()

    def _compare(self, low: float, high: float, *, ended: float) -> None:
        """Add how far a look strayed from what was expected of it, and the variance that chance gives it."""
        first, last, hazard, cumulative = int(low), int(high), self.hazard, self.cumulative
        before = cumulative[first] + (low - first) * hazard[first]
        alive = math.exp(before - cumulative[last] - (high - last) * hazard[last])
        self._strayed += ended - 1.0 + alive
        self._chance += alive * (1.0 - alive)

    def _changed(self) -> bool:
        """Whether the looks together stray so far that tasks cannot take what they took."""
        return self._strayed * self._strayed > STRANGE * self._chance

    def _spread(self, low: float, high: float) -> int:
        """One finished task over the bins in which it may have ended, by the chance of each; gives the one past."""
        first, last = int(low), min(int(high), BINS - 1)
        shares = self._endings[first : last + 1]
        shares[0] *= first + 1 - low
        shares[-1] *= high - last
        total = sum(shares)
        if first == last or total < NEVER:
            shares, total, high = [1.0], 1.0, min(high, first + 1)
        left, scale, bins = self._left, 1.0 / total, slice(first, first + len(shares))
        left[bins] = [before + scale * share for before, share in zip(left[bins], shares, strict=True)]
        # Where `settle` takes the middle of a bin, here only a part of it was possible.
        self._part[first] += 0.5 * (low - first) * shares[0] / total
        self._part[first + len(shares) - 1] -= 0.5 * (first + len(shares) - high) * shares[-1] / total
        return last + 1

    # --- what is known -----------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Count what is new, here and in all kinds above, and take the quotients again."""
        ended = self._left[: self._top]
        through = accumulate(map(sub, self._entered, ended))
        passed = [
            some if (some := whole + part + 0.5 * left) > 0.0 else 0.0
            for whole, part, left in zip(through, self._part, ended, strict=False)
        ]
        new = Counts(ended, passed)
        excess = max(self.counts.surprise(new, self.hazard) - EXPECTED, 0.0)
        fade = KEPT if self._changed() else math.exp(-new.finishes / MEMORY - excess / BROAD)
        self._forget_news()
        self._become(self.counts.faded(fade, new))

    def _become(self, counts: Counts) -> None:
        change = counts.less(self.counts)
        for kind in self._all_above():
            kind.counts = kind.counts.plus(change)  # not below zero: it may have faded faster than this one
        self.counts = counts
        self._refresh()

    def _all_above(self) -> "Iterator[Durations]":
        kind = self.above
        while isinstance(kind, Durations):
            yield kind
            kind = kind.above

    def _refresh(self) -> None:
        self.hazard = self.counts.hazard(self.guessed())
        self.cumulative = list(accumulate(self.hazard, initial=0.0))
        self._endings = list(map(mul, self.hazard, map(math.exp, map(neg, self.cumulative))))
        self._due = min(max(FRESH * sum(self.counts.passed), FEWEST_NEWS), MOST_NEWS)
        self._worth = self._due / max(FRESH * self.finishes, 1.0)

    def guessed(self) -> list[float]:
        """What stands above says without what this kind told it, for nothing counts twice."""
        above = self.above
        if not isinstance(above, Durations):
            return above
        if above.finishes - self.finishes < FEW:
            return above.guessed()
        return above.counts.less(self.counts).clipped().hazard(above.guessed())

    @property
    def finishes(self) -> float:
        """Finished tasks of this kind that what is known rests on, faded."""
        return self.counts.finishes

    @property
    def known(self) -> float:
        """The same, or those of a kind above."""
        return max(kind.finishes for kind in (self, *self._all_above()))

    @property
    def median(self) -> float:
        """Seconds after which half are finished."""
        return EDGES[min(bisect_left(self.cumulative, math.log(2.0)), BINS)]

    def expected(self, age: float) -> float:
        """The cumulative hazard up to an age in seconds."""
        place = math.log1p(min(age, EDGES[-2])) / WIDTH
        number = int(place)
        return self.cumulative[number] + (place - number) * self.hazard[number]

    def add(self, counts: Counts) -> None:
        """Add what an earlier run knew, here and in all kinds above."""
        self._become(self.counts.plus(counts))


def _groups(counts: Sequence[float]) -> list[float]:
    return [sum(counts[first : first + GROUP]) for first in range(0, len(counts), GROUP)]


def _smooth(counts: Sequence[float]) -> list[float]:
    """Each bin, and the one past them, with half of its neighbours: holes between few finished tasks mean nothing."""
    return [
        0.25 * (before + after) + 0.5 * here
        for before, here, after in zip((0.0, *counts), (*counts, 0.0), (*counts[1:], 0.0, 0.0), strict=False)
    ]


def reach(durations: Durations, price: float, number: int = 0) -> float:
    """For a task last looked at at `EDGES[number]`, seconds until the next look is worth its price in seconds of lag.

    With g the cumulative hazard since the last look, and h the hazard, the best distance g / h for a steady hazard and
    a price c solves exp(g) - 1 - g = c h (Barlow and Proschan's condition for inspections, of a memoryless task);
    sqrt(2 c h) / (1 + sqrt(2 c h) / 6) is within 3 % of it for c h below 10. Taken with the hazard at the next look it
    comes within 1 % of the best schedule for smooth hazards.
    """
    hazard, cumulative, twice = durations.hazard, durations.cumulative, 2.0 * price
    before = cumulative[number]
    for last in range(number, BINS):
        chance = hazard[last]
        root = math.sqrt(twice * chance * DENSITY[last])
        missing = before + root / (1.0 + root / 6.0) - cumulative[last]
        if missing <= chance:
            return math.expm1((last + max(missing / chance, 0.0)) * WIDTH) - EDGES[number]
    return math.inf
