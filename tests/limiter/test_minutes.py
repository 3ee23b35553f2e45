"""Counting by the minute, told from how nothing gets through for long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_async.limiter.minutes import BARREN, Minutes


def tried_in_vain(minutes, seconds):
    """Single tries, one a second, that are all refused."""
    for _ in range(seconds):
        minutes.waits(1.0)


def test_what_is_let_in_from_one_opening_to_the_next_is_the_limit():
    """Sixty at once and then nothing for the rest of the minute: one a second."""
    minutes = Minutes()
    minutes.goes_on(0.0, 0)
    minutes.refused(2.0, 60)
    tried_in_vain(minutes, 58)
    assert minutes.opens(60.0, 60) == pytest.approx(1.0, rel=0.02)
    assert minutes.drought == 58


def test_a_short_pause_says_nothing_of_minutes():
    """A window of a second, or a bucket, is over sooner."""
    minutes = Minutes()
    minutes.goes_on(0.0, 0)
    minutes.refused(2.0, 60)
    tried_in_vain(minutes, int(BARREN))
    assert minutes.opens(5.0, 60) is None
    assert (minutes.drought, minutes.slower(0.6)) == (0.0, 0.6)


def test_only_the_second_time_it_is_the_account_that_counts_by_the_hour():
    """A storm of refusals is as long, and going on at what got through on average would take hours to be made good."""
    minutes = Minutes()
    minutes.goes_on(0.0, 0)
    minutes.refused(60.0, 600)
    tried_in_vain(minutes, 600)
    assert minutes.opens(660.0, 601) is None
    assert (minutes.drought, minutes.slower(0.6)) == (0.0, 0.6)
    minutes.refused(720.0, 1201)
    tried_in_vain(minutes, 600)
    assert minutes.opens(1320.0, 1201) == pytest.approx(600 / 660, rel=0.02)


def test_somebody_elses_fault_says_nothing_of_minutes():
    """During an outage nothing gets through either."""
    minutes = Minutes()
    minutes.goes_on(0.0, 0)
    tried_in_vain(minutes, 30)
    minutes.forget()
    assert minutes.opens(40.0, 60) is None


def test_it_is_forgotten_with_refusals_that_are_over_soon():
    """An account may come to count otherwise; till then a climb takes its time."""
    minutes = Minutes()
    minutes.goes_on(0.0, 0)
    tried_in_vain(minutes, 30)
    minutes.opens(60.0, 60)
    assert minutes.slower() == pytest.approx(BARREN / 30)
    for refusal in range(40):
        minutes.refused(100.0 + refusal, 200)
    assert minutes.drought == 0.0


def test_where_more_is_allowed_by_now_the_last_minute_tells_it():
    """The mean since the last opening would be of long ago."""
    minutes = Minutes()
    minutes.goes_on(0.0, 0)
    tried_in_vain(minutes, 10)
    minutes.opens(60.0, 60)
    through = 60
    for second in range(60, 360):
        through += 1 if second < 300 else 5
        minutes.goes_on(float(second), through)
    minutes.refused(360.0, through)
    assert minutes.allows(6.0, 90.0) > minutes.allows(6.0, 1.0) > 4.0
    tried_in_vain(minutes, 10)
    assert minutes.opens(370.0, through) > 4.0


def test_a_climb_that_is_refused_goes_back_to_what_may_be_either():
    """A bucket refuses the pace itself, a window what went in the minute: between both, and the next one tells."""
    minutes = Minutes()
    for second in range(0, 65, 5):
        minutes.goes_on(float(second), second // 5)
    minutes.refused(60.0, 12)
    assert minutes.allows(0.25, 60.0) == pytest.approx(0.97 * 0.2)
    assert 0.2 < minutes.allows(0.25, 60.0, passed=0.24) < 0.24


def test_pauses_do_not_drive_a_pace_down():
    """In a minute that was mostly waited through, few got through whatever is allowed."""
    minutes = Minutes()
    for second in range(0, 65, 5):
        minutes.goes_on(float(second), 1)
    minutes.refused(60.0, 2)
    assert minutes.allows(0.25, 60.0) == pytest.approx(0.97 * 0.125)


def goes_for(minutes, seconds, *, per_second, since=0.0, through=0):
    """So many get through; gives when, and how many by then."""
    for second in range(seconds):
        minutes.goes_on(since + second, through + second * per_second)
    return since + seconds, through + seconds * per_second


def test_what_somebody_else_takes_is_not_the_account_s_count():
    """Twenty a second before, a trickle now: about half of what it was is gone on at, and nothing is spread."""
    minutes = Minutes()
    now, through = goes_for(minutes, 180, per_second=20)
    minutes.refused(now, through)
    tried_in_vain(minutes, 20)
    minutes.opens(now + 20.0, through)
    minutes.refused(now + 21.0, through + 1)
    tried_in_vain(minutes, 30)
    assert 20 / 4 < minutes.opens(now + 51.0, through + 1) < 20 / 2
    assert minutes.drought == 0.0


@given(st.integers(3, 500), st.integers(1, 59), st.integers(0, 59))
def test_whatever_counts_by_the_minute_is_never_taken_for_somebody_else(allowed, sent_in, phase):
    """All of one fixed minute in its last seconds and all of the next in its first: still it is believed."""
    minutes, through = Minutes(), 0
    for second in range(0, 61 + phase, 1):
        minutes.goes_on(float(second), min(allowed, allowed * second // sent_in) + (allowed if second > 60 else 0))
    through, now = 2 * allowed, 61.0 + phase
    minutes.refused(now, through)
    minutes.waits(119.0 - now if now < 115.0 else 4.0)
    level = minutes.opens(max(120.0, now + 5.0), through)
    assert level is None or level >= 0.45 * allowed / 60


def test_the_first_such_time_after_long_without_any_is_a_storm():
    """Counted by the minute, it would have come sooner; the second time it is believed."""
    minutes = Minutes()
    now, through = goes_for(minutes, 180, per_second=1)
    minutes.refused(now, through)
    tried_in_vain(minutes, 60)
    assert minutes.opens(now + 60.0, through) is None
    assert minutes.drought == 0.0
    now, through = goes_for(minutes, 180, per_second=1, since=now + 60.0, through=through)
    minutes.refused(now, through)
    tried_in_vain(minutes, 60)
    assert minutes.opens(now + 60.0, through) is not None
    assert minutes.drought == 60.0


def test_it_is_doubted_once():
    """A second time that nothing gets through proves it; more than the level, let in for a minute, disproves it."""
    minutes = Minutes()
    minutes.goes_on(0.0, 0)
    minutes.refused(2.0, 60)
    tried_in_vain(minutes, 58)
    minutes.opens(60.0, 60)
    assert minutes.suspected
    minutes.refused(110.0, 110)
    tried_in_vain(minutes, 10)
    minutes.opens(120.0, 110)
    assert not minutes.suspected
    assert minutes.drought > 0.0
    minutes.refuted()
    assert minutes.drought == 0.0
