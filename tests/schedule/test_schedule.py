"""When to look at a running task again."""

import functools
import heapq
import json
import math
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_async import PollPolicy
from omni_async.schedule.schedule import BRIEF_EAGER, JITTER, LONGEST_EVER, MOST_KINDS, SHORTEST_EAGER, Schedule

RNG = random.Random(1)
KIND = ("gateway", "model", "mode", "6", "720p")
AGES = st.one_of(st.floats(0, 1e7), st.floats(allow_nan=False))
MARKS = st.one_of(st.none(), st.integers(1, 99), st.integers(129, 227))


def simulated(course, durations, *, progress=None, at_once=100, seed=1):
    """Looks and lag of tasks that come one by one, `at_once` of them running, followed by one course."""
    rng, pause = random.Random(seed), fmean(durations) / at_once
    open_ = [(number * pause, number, 0.0, None, 0) for number in range(len(durations))]
    followed = [None] * len(durations)
    while open_:
        now, number, last, mark, looks = heapq.heappop(open_)
        age, duration = now - number * pause, durations[number]
        if age >= duration:
            course.finished(last, age, mark)
            followed[number] = looks, age - duration
            continue
        if looks:
            mark = course.running(last, age, progress and progress(age, duration), mark)
        heapq.heappush(open_, (now + course.interval(age, mark, rng), number, age, mark, looks + 1))
    return followed


def lognormal(median, sigma, count=400, seed=2):
    rng = random.Random(seed)
    return [median * math.exp(sigma * rng.gauss(0, 1)) for _ in range(count)]


def cost(followed, price=0.25):
    return fmean(price * looks + lag for looks, lag in followed)


def taught(course, duration, count=50):
    """What `count` tasks of one duration teach that are looked at every 2 s."""
    for _ in range(count):
        for since in range(0, int(duration) - 1, 2):
            course.running(since, since + 2, None, None)
        course.finished(int(duration) - 1, duration, None)
    return course


@functools.cache
def after_a_minute():
    """A course that knows tasks of 60 s; not to be told anything."""
    return taught(Schedule().course(KIND), 60, 20)


# --- bounds ----------------------------------------------------------------------------------------------------


@given(AGES, st.floats(0.1, 60), st.floats(0, 600), MARKS, st.sampled_from([0, 3, 80]))
def test_the_callers_own_bounds_hold(age, shortest, more, mark, duration):
    """Whatever was learned or is reported, never below his shortest, nor above his longest where there is room."""
    schedule = Schedule(first=shortest, shortest=shortest, longest=shortest + more, strict=True, bounded=True)
    course = taught(schedule.course(KIND), duration, 5 if duration else 0)
    most = max(shortest + more, shortest * (1 + JITTER))
    assert shortest <= course.interval(age, mark, RNG) <= most * (1 + 1e-9)
    assert shortest <= course.interval(age, mark, RNG, awaited=30.0) <= most * (1 + 1e-9)


@given(AGES, MARKS, st.sampled_from([None, 3.0, 900.0]))
def test_advice_may_be_left_but_not_far(age, mark, awaited):
    """Advice is gone below by half at most for tasks of a minute, and no id is ever left alone for over 11 minutes."""
    course = after_a_minute()
    least = 2.5 if awaited is None else SHORTEST_EAGER
    assert least <= course.interval(age, mark, RNG, awaited=awaited) <= LONGEST_EVER * (1 + JITTER)


@given(st.floats(0, 300))
def test_with_nothing_learned_the_advice_holds(age):
    """First as advised, then ever more slowly, within the advised range."""
    course = Schedule().course(KIND)
    wait = course.interval(age, None, random.Random(3))
    assert 4.7 <= wait <= 15
    assert course.interval(age + 10, None, random.Random(3)) >= wait


@given(st.floats(0, 1e7), st.floats(0.01, 1e4), st.floats(0.1, 60), st.booleans(), st.booleans())
def test_a_waiting_create_only_looks_sooner(age, awaited, shortest, strict, learned):
    """With a create that waits, looks come no later than without, and never below the caller's own minimum."""
    schedule = Schedule(first=shortest, shortest=shortest, longest=60 + shortest, strict=strict)
    course = taught(schedule.course(KIND), 30, 15 if learned else 0)
    eager = course.interval(age, None, random.Random(3), awaited=awaited)
    assert eager <= course.interval(age, None, random.Random(3))
    assert eager >= (shortest if strict else min(BRIEF_EAGER, shortest / 2))


def test_the_first_look():
    """A new task is looked at after about `first`; after a third of the usual time if its slot is waited for."""
    course = Schedule(first=8, shortest=5, longest=15).course()
    assert course.interval(0, None, RNG) == pytest.approx(8, rel=JITTER)
    assert course.interval(0, None, RNG, awaited=6) == pytest.approx(2, rel=JITTER)


def test_jitter_spreads():
    """Thousands of ids submitted together do not fall due together, the first time and later."""
    course = taught(Schedule().course(KIND), 60)
    for age in (0, 60):
        waits = [course.interval(age, None, RNG) for _ in range(100)]
        assert len(set(waits)) == 100
        assert max(waits) - min(waits) > 0.8 * JITTER * min(waits)


def test_fixed_is_exact():
    """With `fixed` there is that interval and nothing else, whatever is told."""
    course = taught(Schedule(fixed=2.5).course(KIND), 90)
    ages, marks = (0, 1, 900), (None, 50)
    assert {
        course.interval(age, mark, RNG, awaited=awaited) for age in ages for mark in marks for awaited in (None, 3)
    } == {2.5}
    assert course.running(0, 10, 50, None) is None


@given(st.integers(0, 10**6))
def test_errors_double_up_to_a_bound(failures):
    """A failing id comes back ever later, up to four times the longest interval, for ever."""
    assert 5 <= Schedule().after_error(failures, RNG) <= 4 * 15 * (1 + JITTER)
    assert 2 <= Schedule(fixed=2.0).after_error(failures, RNG) <= 16


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_errors_double(failures):
    """5, 10, 20, 40 seconds with the usual advice."""
    assert 1 <= Schedule().after_error(failures, RNG) / (5 * 2**failures) <= 1 + JITTER


def test_policies_are_checked():
    """Bounds that leave no room are refused where they are set."""
    with pytest.raises(ValueError, match="min_interval"):
        PollPolicy(min_interval=10, max_interval=5)


@pytest.mark.parametrize("price", [0.001, 3600.0])
@pytest.mark.parametrize("progress", [None, lambda age, lasts: int(100 * age / lasts)])
def test_any_price_makes_a_schedule(price, progress):
    """At the bounds of what a look may be worth, every task is still found, and none is left alone for ever."""
    course = Schedule(price=price).course(KIND)
    followed = simulated(course, lognormal(90, 0.35, 100), progress=progress)
    assert all(looks >= 1 and lag <= LONGEST_EVER * (1 + JITTER) for looks, lag in followed)


def test_dearer_looks_are_fewer_and_later():
    """At four times the price the intervals are about twice as long, and so is the lag."""
    durations = lognormal(90, 0.35, 600)
    usual, dear = (simulated(Schedule(price=price).course(KIND), durations)[150:] for price in (0.25, 1.0))
    (looks, lag), (fewer, later) = ([fmean(part) for part in zip(*one, strict=True)] for one in (usual, dear))
    assert 1.6 < looks / fewer < 2.4
    assert 1.6 < later / lag < 2.4


# --- what is learned -------------------------------------------------------------------------------------------


def test_tasks_of_a_minute_are_left_alone_for_most_of_it():
    """After many tasks of 60 s a new one is not looked at in its first 30 s, and then often enough."""
    course = taught(Schedule().course(KIND), 60, 200)
    assert 30 < course.interval(0.0, None, RNG) < 60
    assert course.interval(58.0, None, RNG) < 5


def test_half_the_looks_for_the_same_lag():
    """Once learned, tasks of about 90 s take at most 0.6 of the looks of a fixed 5 s, and are found about as soon."""
    looks, lags = zip(*simulated(Schedule().course(KIND), lognormal(90, 0.35))[150:], strict=True)
    fixed = fmean(math.ceil(duration / 5) for duration in lognormal(90, 0.35)[150:])
    assert fmean(looks) < 0.6 * fixed
    assert fmean(lags) < 2.8


@pytest.mark.parametrize(("median", "sigma"), [(90, 0.35), (90, 0.8), (20, 0.3), (600, 0.2)])
def test_a_cold_start_costs_no_more_than_a_fixed_interval(median, sigma):
    """The first fifty tasks cost, in looks and lag, at most what 5 s fixed would."""
    fixed, ours = [], []
    for seed in range(4):
        durations = lognormal(median, sigma, 50, seed)
        ours.append(cost(simulated(Schedule().course(KIND), durations, at_once=40, seed=seed)))
        fixed.append(cost([(math.ceil(one / 5), math.ceil(one / 5) * 5 - one) for one in durations]))
    assert fmean(ours) < 1.05 * fmean(fixed)


def test_two_humps():
    """Between 60 s and 180 s, when nothing finishes, there is hardly a look."""
    rng = random.Random(4)
    durations = [rng.choice([60, 180]) * math.exp(0.08 * rng.gauss(0, 1)) for _ in range(400)]
    course = Schedule().course(KIND)
    simulated(course, durations)
    assert course.interval(85.0, None, RNG) > 30
    assert course.interval(60.0, None, RNG) < 6


@pytest.mark.parametrize(("before", "after"), [(60, 180), (180, 60)])
def test_a_gateway_that_changes_is_followed(before, after):
    """Three times slower or faster, after two hundred tasks looks and lag cost little more than if it was always so."""
    always = cost(simulated(Schedule().course(KIND), lognormal(after, 0.2, 300))[200:])
    changed = lognormal(before, 0.2, 200) + lognormal(after, 0.2, 300)
    assert cost(simulated(Schedule().course(KIND), changed)[400:]) < 1.35 * always


def test_a_kind_that_never_finishes():
    """What runs for ever is asked ever more rarely: in a day about a thousand times, in the end every two minutes."""
    course, age, looks = Schedule().course(KIND), 0.0, 0
    while age < 86_000 and looks < 2000:
        since, age = age, age + course.interval(age, None, RNG)
        course.running(since, age, None, None)
        looks += 1
    assert looks < 1300
    assert course.interval(age, None, RNG) > 100


def test_hardly_any_lag_while_a_create_waits():
    """Slots that creates wait for are found free within 2.5 % of the task time."""
    course, durations = taught(Schedule().course(KIND), 90, 2), lognormal(90, 0.3)
    simulated(course, durations)
    lags = []
    for duration in durations:
        age = course.interval(0.0, None, RNG, awaited=90.0)
        while age < duration:
            age += course.interval(age, None, RNG, awaited=90.0)
        lags.append(age - duration)
    assert fmean(lags) < 0.025 * fmean(durations)


# --- progress --------------------------------------------------------------------------------------------------


def test_honest_progress_saves_looks_and_lag():
    """With progress that tells the truth a task takes half the looks again."""
    durations = lognormal(90, 0.35)
    without = simulated(Schedule().course(KIND), durations)[150:]
    told = simulated(Schedule().course(KIND), durations, progress=lambda age, lasts: int(100 * age / lasts))[150:]
    assert cost(told) < 0.7 * cost(without)


@pytest.mark.parametrize(
    "progress",
    [lambda *_: 99, lambda *_: 0, lambda *_: RNG.randrange(100), lambda age, _: max(1, 90 - int(age)), lambda *_: -5],
    ids=["at 99", "at 0", "at random", "downward", "senseless"],
)
def test_progress_that_lies_costs_nothing(progress):
    """Bars that jump, stand, fall or mean nothing leave the schedule as it is without them, to within a tenth."""
    durations = lognormal(90, 0.35)
    without = simulated(Schedule().course(KIND), durations)[150:]
    assert cost(simulated(Schedule().course(KIND), durations, progress=progress)[150:]) < 1.1 * cost(without)


# --- kinds, and what is kept -----------------------------------------------------------------------------------


def test_one_course_a_kind():
    """All tasks of a kind share one object; what one kind learned serves a new one that knows nothing."""
    schedule = Schedule()
    course = taught(schedule.course(KIND), 60)
    assert schedule.course(KIND) is course
    for other in ((*KIND[:4], "1080p"), ("another",)):
        assert schedule.course(other) is not course
        assert schedule.course(other).interval(0.0, None, RNG) > 12


def test_a_task_of_unknown_age_is_looked_at_as_advised():
    """What was learned of ages does not hold for an id that came from elsewhere: it may be near its end."""
    schedule = Schedule()
    taught(schedule.course(KIND), 60)
    assert schedule.ageless().interval(0.0, None, RNG) == pytest.approx(5, rel=JITTER)
    assert schedule.ageless() is schedule.ageless()
    assert Schedule(fixed=2.0).ageless().interval(50.0, None, RNG) == 2.0
    assert json.loads(schedule.to_json())["kinds"][0][0] == list(KIND)


def test_kinds_are_bounded():
    """However many kinds there are, past a bound new ones share the more general course."""
    schedule = Schedule()
    courses = {id(schedule.course(("gateway", "model", str(number)))) for number in range(3 * MOST_KINDS)}
    assert len(courses) <= MOST_KINDS + 2
    fixed = Schedule(fixed=1.0)
    assert len({id(fixed.course((str(number),))) for number in range(1000)}) == 1


def test_what_was_learned_is_kept():
    """A new process goes on with what the last one learned, and forgets it as fast as fifty tasks teach otherwise."""
    before, after = Schedule(), Schedule()
    taught(before.course(KIND), 60, 200)
    course = after.course(KIND)
    after.load(before.to_json())
    assert course.interval(0.0, None, RNG) > 20
    assert after.course((*KIND[:2], "other")).interval(0.0, None, RNG) > 12
    taught(course, 20, 60)
    assert course.interval(0.0, None, RNG) < 25


def test_it_is_small():
    """With all kinds full, what is kept stays under 32 KiB, and holds the best known ones."""
    schedule = Schedule()
    for number in range(MOST_KINDS):
        simulated(schedule.course((*KIND[:4], str(number))), lognormal(90, 0.8, 20, number))
    text = schedule.to_json()
    assert len(text) <= 32 * 1024
    assert len(json.loads(text)["kinds"]) > 20
    assert Schedule().to_json() == '{"version":1,"kinds":[]}'


KINDS_LIKE = (
    *("7", "[[1,2,3]]", '[[["g"],[0,[1],[1,2]]]]', '[[["g"],[0,[NaN],[1]]]]', "[[7,[0,[1],[1]]]]", '{"a":1}'),
    '[["' + "g" * 9999 + '",[0,[0],[0]]]]',
)
DAMAGED = (
    *("", "{}", "[]", "null", "1", '{"version":1}', '{"version":2,"kinds":[[["g"],[0,[9],[9]]]]}', "[" * 100_000),
    *(f'{{"version":1,"kinds":{kinds}}}' for kinds in KINDS_LIKE),
)


@given(st.one_of(st.sampled_from(DAMAGED), st.text()))
def test_damaged_or_newer_texts_change_nothing(text):
    """What cannot be read is as if nothing had been kept."""
    schedule = Schedule()
    schedule.load(text)
    assert schedule.to_json() == Schedule().to_json()


# --- whatever comes --------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(AGES, AGES, st.one_of(st.none(), st.integers()), MARKS, st.booleans()), max_size=30))
def test_whatever_is_told_intervals_stay_intervals(looks):
    """Clocks that jump, ages of zero or years and any progress leave a positive, finite interval."""
    course = Schedule().course(KIND)
    for since, age, progress, mark, ended in looks:
        if ended:
            course.finished(since, age, mark, told=since)
        else:
            mark = course.running(since, age, progress, mark)
        assert 0.25 <= course.interval(age, mark, RNG) <= LONGEST_EVER * (1 + JITTER)


def test_very_many_looks():
    """After two hundred thousand looks it still follows."""
    course = Schedule().course(KIND)
    for _ in range(4000):
        for since in range(0, 100, 2):
            course.running(since, since + 2, None, None)
        course.finished(100, 102, None)
    assert 60 < course.interval(0.0, None, RNG) < 105


@pytest.mark.parametrize("first", [0.0, 1e-170, 1e9])
def test_any_first_look_can_be_planned(first):
    """A dialect's or caller's odd word must not come up after the paid POST."""
    schedule = Schedule(first=first, shortest=first, longest=max(first, 15.0))
    assert schedule.course(("mine", "model")).interval(0.0, None, RNG) >= 0.0


def test_equal_bounds_are_an_exact_interval():
    """What the caller forbids at both ends leaves no room for jitter."""
    course = Schedule(first=7, shortest=7, longest=7, strict=True, bounded=True).course(("jimmy",))
    assert {course.interval(age, None, RNG) for age in (0.0, 1.0, 60.0, 900.0)} == {7}
