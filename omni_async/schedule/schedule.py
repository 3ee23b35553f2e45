"""When to look at a running task again. Pure, and replaceable: the poller asks nothing else.

A look is worth its price when the lag it saves is. How long tasks take is learned for each kind of task from the looks
themselves; progress that proves true sharpens it. With nothing learned the first looks follow the dialect's advice and
come more and more slowly, since a task that has run for long is likely to run for long still.
"""

import json
import math
import random
from collections.abc import Sequence
from typing import Protocol

import attrs

from .durations import BINS, EDGES, WIDTH, Counts, Durations, guess, reach
from .forecast import Forecast, marked

Traits = tuple[str, ...]
"""What may tell how long a task takes, from general to special: gateway, model, mode, duration, resolution."""
AGELESS: Traits = ("", "age unknown")
Mark = int | None
"""What the schedule keeps of one task between looks: None where the gateway reports no progress."""

PRICE = 0.25
"""Seconds of lag that a look is worth: tasks of 90 s are found about 2.5 s late by it, as by looking every 5 s."""
JITTER = 0.1
"""Part of an interval over which ids submitted together are spread."""
CENTRE = 1.0 + JITTER / 2.0
LONGEST_EVER, A_MINUTE = 600.0, 60.0
"""No id is left alone for longer, in seconds; after the first look for no longer than its age and a minute."""
SLACK = 0.03
"""Part of an interval that a look may come later: a third of what the jitter moves it, for a fifth of the CPU time."""
SHARE_OF_AGE = 0.05
"""Before anything is learned an id is not left alone for longer than the advice, or this part of its age."""
ENOUGH = 3.0
"""Finished tasks from which on what was learned may go beyond the advice."""
FINEST = 0.05
"""Part of a usual run time between looks at least, where that is less than half of the advice."""
EAGER_ENOUGH = 10.0
EAGER, FIRST_EAGER = 0.07, 1.0 / 3.0
"""Parts of a usual run time to the next and the first look while a create waits for the slot, with little learned."""
EAGER_PRICE = 0.0012
"""What a look is worth then, as a part of the usual run time: a slot is found free within 2.5 % of it."""
SHORTEST_EAGER, BRIEF_EAGER, BRIEF = 0.5, 0.25, 10.0
"""Seconds between such looks at least, and for tasks of less than BRIEF seconds."""
MOST_KINDS, DEEPEST = 128, 8
VERSION = 1
MOST_TEXT = 32_000
LEAST_KEPT = 0.5
"""Finished tasks that make a kind worth keeping."""
LOADED = 50.0
"""Finished tasks that what an earlier run learned counts for at most."""


class Course(Protocol):
    """The looks at all tasks of one kind; it keeps nothing of a single task."""

    @property
    def slack(self) -> float:
        """Part of an interval that a look may come later, so that it goes together with others."""
        ...

    def interval(self, age: float, mark: Mark, rng: random.Random, *, awaited: float | None = None) -> float:
        """Seconds until the next look at a task.

        Args:
            age: Seconds from the submit to the last look at it, 0 for none yet.
            mark: What `running` returned for that look.
            rng: Source of the jitter that keeps thousands of ids from falling due at once.
            awaited: What tasks take, in seconds, if a create waits for this one to finish.
        """
        ...

    def running(self, since: float, age: float, progress: int | None, mark: Mark) -> Mark:
        """A look at `age` seconds found a task running, as that at `since` had (0 for none). Returns its new mark."""
        ...

    def finished(self, since: float, age: float, mark: Mark, *, told: float | None = None) -> None:
        """A look at `age` seconds found a task finished that the one at `since` had found running.

        Args:
            since: Seconds from the submit to the look before; 0 for none.
            age: Seconds from the submit to this look.
            mark: What `running` returned for the look before.
            told: How long it took by the gateway's own times.
        """
        ...


class Steady:
    """A fixed interval, without jitter: nothing is learned."""

    __slots__ = ("_seconds",)
    slack = 0.0

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def interval(self, age: float, mark: Mark, rng: random.Random, *, awaited: float | None = None) -> float:
        """Always the same."""
        return self._seconds

    def running(self, since: float, age: float, progress: int | None, mark: Mark) -> Mark:
        """Nothing is kept."""
        return None

    def finished(self, since: float, age: float, mark: Mark, *, told: float | None = None) -> None:
        """Nothing is kept."""


class Distances(dict[int, float]):
    """From each of EDGES on, by its number, seconds to the next look within bounds; found out when first asked for.

    Args:
        durations: What is known of the kind.
        price: What a look is worth, in seconds of lag.
        least: The shortest distance.
        most: The longest from each edge on.
    """

    __slots__ = ("_durations", "_least", "_most", "_price")

    def __init__(self, durations: Durations, *, price: float, least: float, most: Sequence[float]) -> None:
        super().__init__()
        self._durations, self._price, self._least, self._most = durations, price, least, most

    def __missing__(self, number: int) -> float:
        seconds = reach(self._durations, self._price, number) / CENTRE  # for the jitter that is added
        self[number] = bounded = min(max(seconds, self._least), self._most[number])
        return bounded


class Learned:
    """Intervals by what was learned of a kind.

    Args:
        schedule: Its bounds and price.
        durations: What is known of this kind.
        forecast: What is known of the progress reported.
    """

    __slots__ = ("_distances", "_durations", "_eager", "_forecast", "_median", "_schedule")

    def __init__(self, schedule: "Schedule", durations: Durations, forecast: Forecast) -> None:
        self._schedule, self._durations, self._forecast = schedule, durations, forecast
        self.renew()

    @property
    def slack(self) -> float:
        """See `Course`; none where the caller has named the longest interval."""
        return 0.0 if self._schedule.bounded else SLACK

    def interval(self, age: float, mark: Mark, rng: random.Random, *, awaited: float | None = None) -> float:
        """See `Course`."""
        if mark is not None and age > 0.0:
            seconds = self._foreseen(age, mark, awaited)
        elif awaited is not None:
            seconds = self._awaited(age, awaited)
        else:
            seconds = _between(self._distances, age)
        return min(seconds * (1.0 + JITTER * rng.random()), self._schedule.highest)

    def running(self, since: float, age: float, progress: int | None, mark: Mark) -> Mark:
        """See `Course`."""
        if mark is not None and 0.0 < since < age:
            self._forecast.survived(since, age, mark, expected=self._expected(since, age))
        if self._durations.survived(since, age):
            self._settle()
        return None if progress is None else marked(since, age, progress, mark)

    def finished(self, since: float, age: float, mark: Mark, *, told: float | None = None) -> None:
        """See `Course`."""
        if mark is not None and 0.0 < since < age:
            self._forecast.ended(since, age, mark, expected=self._expected(since, age))
        if self._durations.ended(since, age, told=told):
            self._settle()

    def _expected(self, since: float, age: float) -> float:
        return self._durations.expected(age) - self._durations.expected(since)

    def _settle(self) -> None:
        self._durations.settle()
        self.renew()

    def renew(self) -> None:
        """Take up what has become known of this kind."""
        self._median = self._durations.median
        self._eager: Distances | None = None
        self._distances = self._within(self._schedule.price, self._schedule.least(self._median))

    def _within(self, price: float, least: float) -> Distances:
        """Distances within what the advice, or the caller, allows."""
        most = self._schedule.most(known=self._durations.known >= ENOUGH)
        return Distances(self._durations, price=price, least=least, most=most)

    def _awaited(self, age: float, awaited: float) -> float:
        """While a create waits for the task's slot an idle second costs more, and looks come sooner."""
        schedule, usual = self._schedule, self._usual(awaited)
        plain, least = _between(self._distances, age), schedule.least_eager(usual)
        if usual is awaited:
            return min(plain, max(EAGER * usual if age > 0.0 else FIRST_EAGER * usual, least))
        if self._eager is None:
            self._eager = self._within(schedule.eager_price(usual), least)
        return min(plain, _between(self._eager, age))

    def _usual(self, awaited: float) -> float:
        """What tasks take: as told until enough is known here."""
        return self._median if self._durations.finishes >= EAGER_ENOUGH else awaited

    def _foreseen(self, age: float, mark: int, awaited: float | None) -> float:
        """By the progress, where that is worth more than the age."""
        schedule = self._schedule
        if awaited is None:
            price, least = schedule.price, schedule.least(self._median)
        else:
            usual = self._usual(awaited)
            price, least = schedule.eager_price(usual), schedule.least_eager(usual)
        seconds = self._forecast.ahead(age, mark, price)
        if seconds is None:
            return _between(self._distances, age) if awaited is None else self._awaited(age, awaited)
        return min(max(seconds / CENTRE, least), _between(schedule.most(known=True), age))


def _between(distances: Distances | Sequence[float], age: float) -> float:
    """The distance at an age, between those at the edges of its bin."""
    if 0.0 < age < EDGES[-1]:
        place = math.log1p(age) / WIDTH
        number = int(place)
        low = distances[number]
        return low + (place - number) * (distances[number + 1] - low)
    return distances[BINS if age > 0.0 else 0]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Schedule:
    """The looks of one poller: bounds in seconds, and what was learned.

    Args:
        first: When to look first after the submit, with nothing learned.
        shortest: The shortest interval.
        longest: The longest interval.
        fixed: Just this interval instead, without jitter.
        strict: Whether `shortest` is the caller's own word; else it is advice, and looks come up to twice as often when
            a task is likely to finish, and still sooner for tasks of seconds or while a create waits for their slot.
        bounded: Whether `longest` is the caller's own word; else it is advice for as long as nothing is learned.
        price: Seconds of lag that a look is worth. Intervals grow with its square root.
    """

    first: float = 5.0
    shortest: float = 5.0
    longest: float = 15.0
    fixed: float | None = None
    strict: bool = False
    bounded: bool = False
    price: float = PRICE
    _most: tuple[Sequence[float], Sequence[float]] = attrs.field(init=False)
    _courses: dict[Traits, Course] = attrs.field(factory=dict, init=False)
    _durations: dict[Traits, Durations] = attrs.field(factory=dict, init=False)
    _forecasts: dict[Traits, Forecast] = attrs.field(factory=dict, init=False)

    @_most.default
    def _both_longest(self) -> tuple[Sequence[float], Sequence[float]]:
        return self._longest(known=False), self._longest(known=True)

    def course(self, traits: Traits = ()) -> Course:
        """The looks at tasks with these traits, one object for all; past MOST_KINDS kinds a more general one."""
        course = self._courses.get(traits)
        if course is None:
            if traits and self.fixed is not None:
                return self.course()
            if traits and len(self._courses) >= MOST_KINDS:
                return self.course(traits[:-1])
            course = self._courses[traits] = self._new_course(traits)
        return course

    def ageless(self) -> Course:
        """The looks at tasks whose submit nobody saw, counted from the first: by the advice, for nothing tells when."""
        course = self._courses.get(AGELESS)
        if course is None:
            untold = Learned(self, Durations(self._guess()), Forecast())
            course = self._courses[AGELESS] = Steady(self.fixed) if self.fixed is not None else untold
        return course

    def _new_course(self, traits: Traits) -> Course:
        if self.fixed is not None:
            return Steady(self.fixed)
        if traits[:2] not in self._forecasts:
            self._forecasts[traits[:2]] = Forecast()
        return Learned(self, self._known(traits), self._forecasts[traits[:2]])

    def _known(self, traits: Traits) -> Durations:
        """What is known of a kind, leaning on the more general ones."""
        durations = self._durations.get(traits)
        if durations is None:
            durations = self._durations[traits] = Durations(self._known(traits[:-1]) if traits else self._guess())
        return durations

    def _guess(self) -> list[float]:
        """For this guess the first look is worth its price just at `first`."""
        return guess(min(max(self.first, 0.05), 86400.0) ** 2 / self.price)

    @property
    def highest(self) -> float:
        """The caller's own longest interval, in seconds: no jitter exceeds it."""
        return self.longest if self.bounded else math.inf

    def soonest(self, looked: float | None) -> float:
        """When an id may be looked at again that was looked at then: waits of a second must not look each second."""
        return looked + self.shortest if self.strict and looked is not None else -math.inf

    def least(self, usual: float) -> float:
        """The shortest interval, in seconds, for tasks that usually take `usual`."""
        return self.shortest if self.strict else min(self.shortest / 2.0, max(FINEST * usual, BRIEF_EAGER))

    def least_eager(self, usual: float) -> float:
        """The same while a create waits for a task's slot."""
        return self.shortest if self.strict else min(SHORTEST_EAGER if usual >= BRIEF else BRIEF_EAGER, self.shortest)

    def eager_price(self, usual: float) -> float:
        """What a look is worth then."""
        return min(EAGER_PRICE * usual, self.price)

    def most(self, *, known: bool) -> Sequence[float]:
        """After a look at each of the ages EDGES, the longest interval before jitter."""
        return self._most[known]

    def _longest(self, *, known: bool) -> tuple[float, ...]:
        advice = max(self.longest / (1.0 + JITTER), self.shortest)
        if self.bounded:
            return (advice,) * len(EDGES)
        if not known:
            return tuple(max(advice, min(SHARE_OF_AGE * age, LONGEST_EVER)) for age in EDGES)
        return tuple(max(advice, min(A_MINUTE + age if age > 1.0 else LONGEST_EVER, LONGEST_EVER)) for age in EDGES)

    def after_error(self, failures: int, rng: random.Random) -> float:
        """Seconds until an id whose looks fail is looked at again: doubling, up to four times the longest."""
        if self.fixed is not None:
            return self.fixed * 2.0 ** min(failures, 3)
        return min(self.shortest * 2.0 ** min(failures, 20), self.longest * 4.0) * (1.0 + JITTER * rng.random())

    # --- kept between runs -------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """What was learned of durations, of the kinds best known, in at most 32 KiB."""
        own = {traits: durations.counts for traits, durations in self._durations.items()}
        for traits, durations in self._durations.items():
            if traits:
                own[traits[:-1]] = own[traits[:-1]].less(durations.counts)
        lines, room = [], MOST_TEXT
        for traits in sorted(own, key=lambda traits: -own[traits].finishes):
            line = json.dumps([traits, own[traits].clipped().to_plain()], separators=(",", ":"))
            if own[traits].finishes >= LEAST_KEPT and len(line) < room:
                lines.append(line)
                room -= len(line) + 1
        return f'{{"version":{VERSION},"kinds":[{",".join(lines)}]}}'

    def load(self, text: str) -> None:
        """Add what an earlier run learned. A text that is damaged, or of another version, changes nothing."""
        try:
            document = json.loads(text)
            kinds = document["kinds"][:MOST_KINDS] if document["version"] == VERSION else []
            read = [
                (tuple(map(str, traits[:DEEPEST])), Counts.from_plain(plain, most=LOADED)) for traits, plain in kinds
            ]
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        if self.fixed is None:
            for traits, counts in read:
                self._known(traits).add(counts)
            for course in self._courses.values():
                if isinstance(course, Learned):
                    course.renew()
