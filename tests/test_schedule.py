"""When to look at a running task again."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_async import PollPolicy
from omni_async.schedule import GROWTH, JITTER, SHORTEST_EAGER, Schedule

RNG = random.Random(1)


@given(st.floats(0, 1e7), st.floats(0.1, 60), st.floats(0, 600))
def test_intervals_stay_within_the_range(waited, shortest, more):
    """However long a task was waited for, never below the shortest, nor above the longest where there is room."""
    schedule = Schedule(first=shortest, shortest=shortest, longest=shortest + more)
    most = max(shortest + more, shortest * (1 + JITTER))
    assert shortest <= schedule.interval(waited, RNG) <= most * (1 + 1e-9)


@given(st.floats(0, 1e7), st.floats(0.01, 1e4), st.floats(0.1, 60), st.booleans())
def test_a_waiting_create_only_looks_sooner(waited, awaited, shortest, strict):
    """With a create that waits, looks come no later than without, and never below the caller's own minimum."""
    schedule = Schedule(first=shortest, shortest=shortest, longest=60 + shortest, strict=strict)
    eager = schedule.interval(waited, random.Random(3), awaited=awaited)
    assert eager <= schedule.interval(waited, random.Random(3))
    assert eager >= (shortest if strict else min(SHORTEST_EAGER, shortest))


def test_intervals_grow_in_proportion():
    """Between the bounds the interval is a fixed share of the time waited, jitter aside."""
    schedule = Schedule(first=1, shortest=1, longest=1000)
    for waited in (20, 100, 1000):
        assert 1 <= schedule.interval(waited, RNG) / (waited * GROWTH) <= 1 + JITTER


def test_the_first_look():
    """A new task is looked at after `first`; after half the usual time if its slot is waited for."""
    schedule = Schedule(first=8, shortest=5, longest=15)
    assert 8 <= schedule.interval(0, RNG) <= 8 * (1 + JITTER)
    assert 3 <= schedule.interval(0, RNG, awaited=6) <= 3 * (1 + JITTER)


def test_jitter_spreads():
    """Thousands of ids submitted together do not fall due together."""
    schedule = Schedule()
    assert len({schedule.interval(60, RNG) for _ in range(100)}) == 100


def test_fixed_is_exact():
    """With `fixed` there is that interval and nothing else."""
    schedule = Schedule(fixed=2.5)
    assert {schedule.interval(waited, RNG, awaited=awaited) for waited in (0, 1, 900) for awaited in (None, 3)} == {2.5}


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
