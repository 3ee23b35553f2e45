"""Counting by the minute, told from how nothing gets through for long."""

import pytest

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
