"""What went lately: a refusal is read by when its request was sent, however late that is known."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_async.emulator.limits import METERS
from omni_async.limiter.pace import Pace
from omni_async.limiter.trail import MOST_LOST, Trail


def gone(times, *, lost=()):
    """A trail of requests that went at these times, with a step at each tenth of a second."""
    trail, stepped = Trail(), -1.0
    for now in times:
        if now >= stepped + 0.1:
            trail.step(now, trail.gone, 10.0)
            stepped = now
        trail.gone, trail.gone_at = trail.gone + 1, now
    for sent in lost:
        trail.lost(sent)
    return trail


@given(
    st.lists(st.floats(0.0, 2.0), min_size=1, max_size=200),
    st.lists(st.floats(0.0, 3.0), min_size=3, max_size=3).map(sorted),
)
def test_what_went_in_two_stretches_went_in_both_together(times, moments):
    """None is counted twice or left out, wherever a stretch ends; and all have gone by the end."""
    trail, (begin, middle, end) = gone(sorted(times)), moments
    parts = trail.let_in(begin, middle), trail.let_in(middle, end)
    assert min(parts) >= 0.0
    assert sum(parts) == pytest.approx(trail.let_in(begin, end), abs=1e-6)
    assert trail.gone_by(max(times)) == len(times)


def test_of_a_steady_pace_as_many_went_as_it_says():
    """Between any two moments, and not only where a step ends."""
    trail = gone([number / 100 for number in range(400)])
    assert trail.let_in(1.234, 2.234) == pytest.approx(100, abs=1)
    assert trail.let_in(2.0, 2.05) == pytest.approx(5, abs=1)


def test_what_was_refused_was_not_let_in():
    """Those alone that went in that time."""
    trail = gone([number / 10 for number in range(30)], lost=[0.5, 1.5, 2.5])
    assert trail.let_in(1.0, 2.0) == pytest.approx(9, abs=0.1)
    assert trail.let_in(0.0, 2.9, gone=0.0) == pytest.approx(27, abs=0.1)
    for number in range(2 * MOST_LOST):
        trail.lost(number / 10)
    assert len(trail._lost) == MOST_LOST


def test_what_went_before_a_rest_is_not_counted_for_what_follows_it():
    """An outage ends, and the first refusal comes within a second: it is not taken for all that ever went."""
    pace, now = Pace(start=20.0), 0.0
    for number in range(506):
        if number == 500:
            pace.rest(now + 30.0)
        now = max(pace.next_at, now)
        pace.take(now)
    assert pace.trail.let_in(now - 1.0, now) == pytest.approx(6, abs=0.1)


def test_the_pace_of_a_moment_is_the_one_that_was_set_last_before_it():
    """And none is known of the time before the first."""
    trail = Trail()
    trail.step(1.0, 0, 10.0)
    trail.step(2.0, 0, 20.0)
    assert [trail.rate(when) for when in (0.5, 1.5, 2.0, 9.0)] == [None, (10.0, 1.0), (20.0, 2.0), (20.0, 2.0)]


@pytest.mark.parametrize("style", ["token_bucket", "fixed_window", "sliding_window"])
@pytest.mark.parametrize("late", [0.1, 0.3, 0.6])
def test_a_refusal_that_is_known_late_tells_as_much_as_one_known_at_once(style, late):
    """The first level after it is off by as little, though more was sent meanwhile, at a greater pace."""
    levels = [first_level(style, 30.0, after) for after in (0.0, late)]
    assert levels[1] == pytest.approx(levels[0], rel=0.05)


def first_level(style, rate, late):
    """Where the first refusal of a pace sets it, if that is known so much later than it was sent."""
    pace, meter, news, now = Pace(start=20.0), METERS[style](), [], 0.0
    rng = random.Random(3)
    for _ in range(2000):
        now = max(pace.next_at, now) + rng.uniform(0.0, 1e-3)
        while news and news[0][0] <= now:
            known, sent, let_in = news.pop(0)
            if not let_in:
                pace.trail.lost(sent)
                pace.cut(known, known + 0.1, sent=sent)
                return pace.rate
            pace.got_through += 1
        pace.take(now)
        news.append((now + late, now, meter.take(now, rate, rate)))
    raise AssertionError("nothing was refused")
