"""How long tasks take, learned from looks."""

import math
import random
from bisect import bisect
from itertools import pairwise, zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_async.schedule.durations import BINS, EDGES, Counts, Durations, guess, reach

AGES = st.one_of(st.floats(0, 1e6), st.floats(allow_nan=False), st.just(0.0))
GUESS = guess(100.0)


def seen(durations, tasks):
    """Tell of tasks, each (duration, seconds between looks, age at which it was last seen or None)."""
    for duration, pause, last in tasks:
        age = 0.0
        while age + pause < min(duration, last or math.inf):
            durations.survived(age, age + pause)
            age += pause
        if last is None and durations.ended(age, age + pause):
            durations.settle()
    durations.settle()
    return durations


def reaches(durations, price):
    """The distance from every edge on."""
    return [reach(durations, price, number) for number in range(BINS + 1)]


def lasting(median, sigma, count, seed=1):
    rng = random.Random(seed)
    return [(median * math.exp(sigma * rng.gauss(0, 1)), 2.0, None) for _ in range(count)]


@given(st.lists(st.tuples(AGES, AGES, st.one_of(st.none(), AGES), st.booleans()), max_size=40))
def test_whatever_is_told_chances_stay_chances(looks):
    """Ages of zero, huge, negative or turned round leave a hazard that is finite, positive and of whole use."""
    durations = Durations(GUESS)
    for since, age, told, ended in looks:
        due = durations.ended(since, age, told=told) if ended else durations.survived(since, age)
        if due:
            durations.settle()
    durations.settle()
    assert all(0.0 < chance < math.inf for chance in durations.hazard)
    assert all(low <= high for low, high in pairwise(durations.cumulative))
    assert all(distance >= -1e-9 for distance in reaches(durations, 0.25))


def test_nothing_learned_is_the_guess():
    """The guess has its half after 0.41 of its scale."""
    durations = Durations(GUESS)
    assert durations.hazard == pytest.approx(GUESS)
    assert durations.median == pytest.approx(41, rel=0.1)
    assert durations.known == 0


def test_what_takes_ninety_seconds():
    """Two hundred finished tasks tell the median to within a bin."""
    durations = seen(Durations(GUESS), lasting(90.0, 0.2, 200))
    assert durations.median == pytest.approx(90, rel=0.08)


def test_running_tasks_count_as_far_as_they_were_seen():
    """Memoryless tasks of which most are cut off early are not taken for short ones."""
    rng = random.Random(2)
    tasks = [(rng.expovariate(1 / 100), 2.0, rng.choice([None, 10.0, 20.0, 40.0])) for _ in range(2000)]
    cut = [(duration, pause, last if last and last < duration else None) for duration, pause, last in tasks]
    durations = seen(Durations(GUESS), cut)
    assert durations.expected(60.0) == pytest.approx(0.6, rel=0.25)


def test_running_tasks_say_nothing_of_later_ages():
    """A hundred tasks of 50 s that still run leave the chances from there on as they were."""
    durations = Durations(GUESS)
    for _ in range(100):
        durations.survived(0.0, 50.0)
    durations.settle()
    assert durations.expected(40.0) < 0.05
    assert durations.hazard[100:] == pytest.approx(GUESS[100:])


def between(told, *, since=1.0):
    durations = Durations(GUESS)
    for _ in range(100):
        durations.ended(since, 200.0, told=told)
    durations.settle()
    return durations


@pytest.mark.parametrize("told", [60.0, 119.0, 199.0, 201.0])
def test_a_gateways_own_times_are_believed(told):
    """What was looked at after 1 and 200 s and took 60 s by the gateway took 60 s."""
    assert between(told).median == pytest.approx(min(told, 200), rel=0.08)


@pytest.mark.parametrize("told", [500.0, -3.0, 90.0, math.nan, math.inf])
def test_what_cannot_be_is_not_believed(told):
    """500 s it cannot have taken, nor less than was seen: then it is as if nothing was told."""
    assert between(told, since=100.0).hazard == between(None, since=100.0).hazard


def test_a_gateway_that_slows_down_is_followed():
    """When tasks take three times as long, so does the median, before a hundred of them have finished."""
    durations = seen(Durations(GUESS), lasting(90.0, 0.2, 400))
    seen(durations, lasting(270.0, 0.2, 100, seed=2))
    assert durations.median > 200


def test_a_gateway_that_slows_down_is_noticed_at_once():
    """Tasks of 90 s that are seen running at 130 s: a few dozens of such looks are believed, not hundreds."""
    durations = seen(Durations(GUESS), lasting(90.0, 0.2, 400))
    before = reach(durations, 0.25, bisect(EDGES, 120.0))
    looks = next(
        number for number in range(1, 1000) if durations.survived(100.0 + number % 6 * 5, 105.0 + number % 6 * 5)
    )
    durations.settle()
    assert looks < 60
    assert durations.finishes < 40
    assert reach(durations, 0.25, bisect(EDGES, 120.0)) > 2 * before


def test_chance_is_not_taken_for_a_change():
    """Three thousand tasks that take as long as ever: what is known of the earlier ones fades by age alone."""
    durations, least = seen(Durations(GUESS), lasting(90.0, 0.3, 300)), math.inf
    for duration, pause, _ in lasting(90.0, 0.3, 3000, seed=2):
        ages = [number * pause for number in range(math.ceil(duration / pause))]
        told = [durations.survived(age, age + pause) for age in ages[:-1]]
        if any((*told, durations.ended(ages[-1], ages[-1] + pause))):
            durations.settle()
        least = min(least, durations.finishes)
    assert least > 100


def test_a_new_kind_leans_on_the_more_general_one():
    """A kind of which nothing is known is taken for its siblings, until it proves different."""
    above = Durations(GUESS)
    seen(Durations(above), lasting(90.0, 0.2, 100))
    kind = Durations(above)
    assert kind.median == pytest.approx(90, rel=0.1)
    assert kind.known >= 50 > kind.finishes
    seen(kind, lasting(20.0, 0.2, 40))
    assert kind.median == pytest.approx(20, rel=0.15)


def test_nothing_counts_twice():
    """However many general kinds stand above, what a kind told them does not come back to it."""
    deep = GUESS
    for _ in range(5):
        deep = Durations(deep)
    alone, last = seen(Durations(GUESS), lasting(90.0, 0.3, 60)), seen(Durations(deep), lasting(90.0, 0.3, 60))
    assert last.hazard == pytest.approx(alone.hazard)


def test_counts_are_kept_as_plain_lists():
    """What is written down and read again is the same to two digits; it can be read as less."""
    counts = seen(Durations(GUESS), lasting(90.0, 0.3, 60)).counts
    again = Counts.from_plain(counts.to_plain(), most=1e9)
    for old, new, exact in ((counts.ended, again.ended, 0.01), (counts.passed, again.passed, 0.06)):
        assert all(abs(a - b) <= exact for a, b in zip_longest(old, new, fillvalue=0.0))
    assert Counts.from_plain(counts.to_plain(), most=10).finishes == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize(
    "plain",
    [
        *(None, [], [0, [1.0]], [0, [1.0], []], [BINS, [1.0], [1.0]], [-1, [1.0], [1.0]], [0, [-1.0], [1.0]]),
        *([0, ["a"], [1.0]], [0, [math.nan], [1.0]], [0, [math.inf], [1.0]], ["a", [1.0], [1.0]]),
    ],
)
def test_other_lists_are_refused(plain):
    """Lengths, places and counts that cannot be."""
    with pytest.raises((ValueError, TypeError)):
        Counts.from_plain(plain, most=50)


@given(st.floats(0.001, 10), st.floats(0.01, 10))
def test_a_memoryless_task_is_looked_at_evenly(rate, price):
    """For a steady hazard h and price c the distance is the known best, exp(g) - 1 - g = c h, to within 4 %."""
    steady = Durations([rate * (high - low) for low, high in pairwise(EDGES)])
    low, high = 0.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if math.exp(middle) - 1 - middle < price * rate else (low, middle)
    if price * rate < 10:
        assert reach(steady, price, 60) == pytest.approx(low / rate, rel=0.04 + 0.15 * low)


@given(st.lists(st.floats(1e-6, 2), min_size=BINS, max_size=BINS), st.floats(0.01, 5))
def test_later_ages_are_never_looked_at_earlier(hazard, price):
    """Of two tasks the one last looked at later has its next look no earlier; a dearer look comes no sooner."""
    durations = Durations(hazard)
    nexts = [age + distance for age, distance in zip(EDGES, reaches(durations, price), strict=True)]
    assert all(before <= after * (1 + 1e-9) for before, after in pairwise(nexts))
    dearer = [age + distance for age, distance in zip(EDGES, reaches(durations, 2 * price), strict=True)]
    assert all(cheap <= dear * (1 + 1e-9) for cheap, dear in zip(nexts, dearer, strict=True))
