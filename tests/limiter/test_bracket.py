"""Where each refusal costs a pause: a limit is shut in by tests, held, and gone back to."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_async.limiter.bracket import (
    AGAIN,
    COARSE,
    DOUBLES,
    FARTHEST,
    FIRST,
    JITTER,
    REFUSED_LOW,
    USUAL,
    WHOLE,
    Bracket,
    Observation,
)
from omni_async.limiter.pace import SOON, Pace


def refusal(level, pace, **known):
    """A refusal that costs a second, after ten seconds at about this pace."""
    usual = {"climbing": False, "mean": pace, "passed": pace, "counted": pace, "through": 10.0 * pace}
    used = known.get("used", 10.0)
    times = {"used": used, "whole": used + 1.0, "dear": True, "held": used}
    return Observation(**{"pace": pace, "level": level, **usual, **times, **known})


def begun(counted=30.0, pace=80.0):
    """After the first refusal, with the level that is tested first."""
    bracket = Bracket()
    return bracket, bracket.refused(refusal(None, pace, counted=counted, through=counted))


def shut_in(limit, counted):
    """What came of the tests against a window: the level that is held, and how many were refused."""
    bracket, level = begun(counted, 4.0 * limit)
    refused = 0
    for _ in range(30):
        if not bracket.testing:
            return level, refused
        if level > limit:
            level, refused = bracket.refused(refusal(level, level, used=1.0, held=1.0)), refused + 1
        else:
            level = bracket.passed(level)
    return math.nan, refused


def settled(limit, counted):
    """A bracket around a window, at rest."""
    bracket, level = begun(counted, 4.0 * limit)
    while bracket.testing:
        too_much = level > limit
        level = bracket.refused(refusal(level, level, used=1.0, held=1.0)) if too_much else bracket.passed(level)
    return bracket, level


def test_first_a_little_less_than_what_got_through_is_tested():
    """The first refusal begins the tests, just below what got through in the second before it."""
    bracket, level = begun(counted=30.0)
    assert level == pytest.approx(FIRST * 30.0)
    assert bracket.testing


@pytest.mark.parametrize("limit", [5, 12, 48, 91, 387])
@pytest.mark.parametrize("counted", [1.0, 1.5, 1.9])
def test_a_window_is_shut_in_within_a_dozen_tests(limit, counted):
    """Whether it counts sliding or fixed: what got through before the first refusal is up to twice the limit."""
    level, refused = shut_in(limit, counted * limit)
    assert 0.97 * limit < level < limit
    assert refused <= 7


def test_a_level_just_below_a_whole_number_is_held():
    """Limits of windows are whole numbers: 48.2 would be refused once in five seconds."""
    _, level = settled(48, 60.0)
    assert level == pytest.approx(WHOLE * 48)


def test_a_test_takes_until_a_fixed_window_has_refused():
    """What is a third of a request too much is refused in every third second."""
    bracket = Bracket()
    assert bracket.seconds(48.34) > 3.0
    assert 2.0 < bracket.seconds(47.9) < 2.5


def test_a_climb_that_is_refused_goes_back_to_what_was_held():
    """A refusal just above the level says nothing new: no test is begun for it."""
    bracket, level = settled(48, 60.0)
    again = bracket.refused(refusal(level, 48.9, climbing=True, passed=48.3, used=63.0, held=63.0))
    assert again == level
    assert not bracket.testing


def test_a_climb_far_above_the_level_opens_a_new_bracket():
    """The limit has risen: it is above what was held, and just below the last second's mean is tried."""
    bracket, level = settled(48, 60.0)
    assert bracket.refused(refusal(level, 110.0, climbing=True, passed=85.0, mean=98.0)) == FIRST * 98.0
    assert (bracket.low, bracket.high, bracket.testing) == (level, 110.0, True)


def test_a_greater_limit_is_shut_in_coarsely_until_the_next_climb():
    """Fine tests would cost as many pauses as they give; the next climb tells it as well."""
    bracket, level = settled(48, 60.0)
    level = bracket.refused(refusal(level, 110.0, climbing=True, passed=92.0, mean=98.0))
    tests = 1
    while bracket.testing:
        level, tests = bracket.passed(level), tests + 1
    assert tests <= 4
    assert 92.0 <= level < 110.0 <= COARSE * level
    again = bracket.refused(refusal(level, 100.0, climbing=True, passed=97.2, mean=98.0))
    assert again == max(WHOLE * 97, level, FIRST * 98.0)
    assert not bracket.testing


def test_what_a_climb_passed_is_doubted_once_the_first_test_is_refused():
    """A bucket let it pass with what it had saved up: the next test is between the level that was held and that."""
    bracket, level = settled(48, 60.0)
    first = bracket.refused(refusal(level, 300.0, climbing=True, passed=240.0, mean=270.0))
    assert bracket.refused(refusal(first, first, used=1.0, held=1.0)) < 150.0
    assert bracket.low == level


def test_a_climb_with_much_in_flight_opens_from_what_was_held():
    """It is refused long after it has passed the limit: how far it went tells little."""
    bracket, level = settled(48, 60.0)
    assert bracket.refused(refusal(level, 110.0, climbing=True, passed=85.0, blind=True)) == 85.0
    assert (bracket.low, bracket.testing) == (level, True)
    bracket, level = emptied()
    assert bracket.refused(refusal(level, 2.0 * level, climbing=True, passed=80.0, blind=True)) == 80.0


def test_a_level_that_is_refused_at_once_after_each_pause_is_left():
    """It was held for long with little to send: cut by a hundredth each time, it would cost a hundred pauses."""
    bracket, level = settled(10, 12.0)
    bracket.refused(refusal(level, 28.0, climbing=True, passed=10.0, used=63.0, held=63.0, mean=10.0))
    levels = [level := bracket.refused(refusal(28.0, 28.0, used=0.4, held=1.4, through=1.0)) for _ in range(AGAIN)]
    assert all(level >= 0.9 * 28.0 for level in levels[:-1])
    assert levels[-1] == pytest.approx(REFUSED_LOW * 28.0)
    assert bracket.testing


def emptied(level=50.0):
    """Two late refusals of a bucket, after which a level is held."""
    bracket = Bracket()
    for _ in range(2):
        level = bracket.refused(refusal(level, level, used=5.0, whole=6.0, held=5.0))
    return bracket, level


def test_a_climb_that_empties_a_bucket_as_far_above_as_the_last_goes_back_to_the_level():
    """What it has saved up tells how far a climb goes: the same each time says nothing new."""
    bracket, level = emptied()
    for peak in (1.3, 1.35, 1.28):
        assert bracket.refused(refusal(level, peak * level, climbing=True)) == level
        assert not bracket.testing


def test_a_climb_that_goes_further_than_a_bucket_allows_has_found_a_greater_rate():
    """It refuses at as many times its rate as before, so that is told by how far it went."""
    bracket, level = emptied()
    assert bracket.refused(refusal(level, 1.3 * level, climbing=True)) == level
    assert bracket.refused(refusal(level, 2.6 * level, climbing=True)) == pytest.approx(WHOLE * 2.0 * level)


@pytest.mark.parametrize(("peak", "found"), [(1.0 + FARTHEST, True), (FARTHEST - 0.1, False)])
def test_the_first_climb_above_a_bucket_is_believed_only_if_it_goes_far(peak, found):
    """How much it saves up is not known yet."""
    bracket, level = emptied()
    after = bracket.refused(refusal(level, peak * level, climbing=True))
    assert after == (pytest.approx(WHOLE * peak * level / USUAL) if found else level)


def test_a_window_that_refuses_late_is_met_by_a_small_cut():
    """Just above it was refused within a second, as no bucket does: it was a matter of milliseconds."""
    bracket, level = settled(48, 60.0)
    assert bracket.refused(refusal(level, level, used=5.0, held=5.0)) == pytest.approx(JITTER * level)


def test_a_small_window_that_refuses_for_some_milliseconds_stays_used_almost_whole():
    """With a second's pause every half minute, a hundredth more below ten a second would be too much."""
    bracket, level = settled(10, 12.0)
    assert bracket.refused(refusal(level, level, used=8.0, held=8.0)) > 0.985 * 10.0


def test_a_climb_that_begins_late_in_a_fixed_window_has_found_no_greater_one():
    """That window lets it pass and the next refuses at its end: by then it goes a fifth faster."""
    bracket, level = settled(30, 30.0)
    assert bracket.refused(refusal(level, 36.24, climbing=True, passed=30.0, mean=34.4)) == level
    assert not bracket.testing


def test_a_bucket_is_cut_by_more_each_time_it_refuses_late():
    """What a pause has filled is spent the sooner, the further the level is above the limit."""
    bracket, levels = Bracket(), [500.0]
    for _ in range(3):
        levels.append(bracket.refused(refusal(levels[-1], levels[-1], used=5.0, whole=6.0, held=5.0)))
    parts = [after / before for before, after in itertools.pairwise(levels)]
    assert parts == sorted(parts, reverse=True)
    assert parts[-1] < 0.9


def test_a_pause_far_longer_than_it_saves_up_for_cuts_by_one_step():
    """A bucket is full long before such a pause is over: how long it was tells nothing of the limit."""
    assert Bracket().refused(refusal(100.0, 100.0, used=5.0, whole=65.0, held=5.0)) >= 0.79 * 100.0


def test_behind_a_long_pause_a_coarser_limit_is_enough():
    """A test more costs the pause, and is worth no more."""
    bracket, level = begun(counted=100.0)
    bracket.passed(level)
    level = bracket.refused(refusal(100.0, 1.12 * level, used=1.0, whole=21.0, held=1.0))
    assert not bracket.testing


def test_tests_that_are_refused_late_in_a_row_are_a_buckets_and_end():
    """The further the level comes down, the longer what was saved up lasts: a window refuses in two seconds."""
    bracket, level = begun(counted=100.0, pace=200.0)
    for _ in range(2):
        level = bracket.refused(refusal(level, level, used=3.0, whole=4.0, held=3.0))
    assert not bracket.testing
    assert level < bracket.high


def test_a_level_that_had_just_passed_and_is_refused_at_once_again_is_left():
    """The limit fell: below it another is shut in, however soon each refusal comes."""
    bracket, level = settled(48, 60.0)
    for _ in range(8):
        level = bracket.refused(refusal(level, level, used=0.2, held=0.0, through=1.0))
    assert level < 24.0


paces = st.floats(0.05, 2000.0)


@given(paces, st.lists(st.tuples(st.booleans(), st.floats(0.01, 90.0), st.floats(1.0, 3.0)), max_size=40))
def test_whatever_happens_the_level_is_below_what_was_refused(start, history):
    """And tests come to an end."""
    bracket, level = begun(start / 2.0, start)
    for passes, used, climbed in history:
        if passes and bracket.testing:
            level = bracket.passed(level)
            continue
        climbing = not bracket.testing and climbed > 2.0
        pace = level * climbed if climbing else level
        level = bracket.refused(refusal(level, pace, climbing=climbing, passed=level, used=used, held=used))
        assert 0.0 < level <= pace
    for _ in range(60):
        if bracket.testing:
            level = bracket.passed(level)
    assert not bracket.testing


def kept(limit, seconds, pause, *, doubles=math.inf, **options):
    """A pace behind a fixed window that may double: the level, and when it was refused."""
    pace, now, window, count, refused = Pace(start=40.0, **options), 0.0, -1, 0, []
    while now < seconds:
        now = max(pace.next_at, now + 1e-4)
        pace.take(now)
        window, count = (window, count) if window == int(now) else (int(now), 0)
        if count < (2 * limit if now >= doubles else limit):
            count += 1
            pace.got_through += 1
        else:
            pace.cut(now, now + pause, sent=now)
            refused.append(now)
    return pace._level, refused


@pytest.mark.parametrize("limit", [8, 15, 48, 91])
def test_behind_a_fixed_window_a_pause_each_half_minute_is_all_it_costs(limit):
    """From the first half minute on: the level within two per cent, tried twice a minute."""
    level, refused = kept(limit, 80.0, 1.0)
    assert 0.98 * limit < level < 1.03 * limit
    assert sum(at > 30.0 for at in refused) <= 2


@pytest.mark.parametrize("limit", [8, 15, 48, 91])
def test_a_pace_that_is_worth_no_refusals_is_tried_once_a_minute(limit):
    """Creates: a refused one delays a video, and their number is seldom what is short."""
    level, refused = kept(limit, 120.0, 1.0, doubts=False)
    assert 0.9 * limit < level < 1.1 * limit
    assert sum(at > 30.0 for at in refused) <= 2


def test_a_steep_climb_ends_at_the_demand():
    """What is hardly used proves nothing: it would run to twice of what is asked for, and let a burst be refused."""
    pace, now, window, count = Pace(start=40.0), 0.0, -1, 0
    while now < 200.0:
        now = max(pace.next_at, now + (1.0 / 16.0 if now > 60.0 else 1e-4))  # sixteen a second are asked for by then
        pace.take(now)
        window, count = (window, count) if window == int(now) else (int(now), 0)
        if count < 12 or now > 60.0:
            count += 1
            pace.got_through += 1
        else:
            pace.cut(now, now + 1.0, sent=now)
    assert 16.0 < pace.rate < 16.0 / 0.85


@pytest.mark.parametrize("limit", [8, 15, 48, 91])
def test_a_window_that_doubles_is_found_by_one_climb(limit):
    """It doubles in seconds, and what it met is hardly tested further."""
    level, refused = kept(limit, 40.0 + SOON + DOUBLES + 5.0, 1.0, doubles=40.0)
    assert 2 * 0.9 * limit < level < 2 * 1.03 * limit
    assert sum(at > 40.0 for at in refused) <= 3
