"""What refusals tell of an account's requests per second: what a window and a bucket look like, and what is dear."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from omni_async.limiter.bracket import Observation
from omni_async.limiter.estimate import HASTY, Estimate
from omni_async.limiter.pace import BRISK, NEAR, Pace


def refusal(level, pace, **known):
    """A refusal after ten seconds at about this pace."""
    usual = {"climbing": False, "mean": pace, "passed": pace, "counted": pace, "through": 10.0 * pace}
    times = {"used": 10.0, "whole": 10.1, "dear": False, "held": 10.0}
    return Observation(**{"pace": pace, "level": level, **usual, **times, **known})


def test_the_first_refusal_is_met_just_below_what_got_through():
    """A window of a second has let in exactly that before it refused."""
    assert 27.0 < Estimate().level(refusal(None, 80.0, counted=28.0, through=28.0)) <= 28.0


def test_after_a_climb_a_window_is_taken_for_what_it_refused():
    """A climb leads just past the limit: what was sent at lately is it, not the level from which it began."""
    assert 99.0 < Estimate().level(refusal(95.0, 102.0, climbing=True, mean=101.0)) < 101.0


def test_a_late_refusal_of_a_held_pace_is_a_bucket():
    """A window would have forgotten what was sent ten seconds ago: what got through is what is allowed."""
    estimate = Estimate()
    assert estimate.level(refusal(50.0, 50.0, through=450.0)) < 50.0


def test_cuts_that_are_no_help_grow():
    """Each refusal that comes soon after a cut counts as one more, and is met by a deeper cut than the one before."""
    estimate, levels = Estimate(), [100.0]
    for _ in range(4):
        level = levels[-1]
        levels.append(estimate.level(refusal(level, level, used=1.5, whole=2.0, through=2.0 * level)))
    parts = [after / before for before, after in itertools.pairwise(levels)]
    assert estimate.again == 4
    assert parts == sorted(parts, reverse=True)


def test_a_window_that_is_still_full_is_no_reason_to_halve():
    """Two requests after a short pause the same second's window refuses again."""
    level = Estimate().level(refusal(30.0, 30.0, used=0.05, whole=0.2, through=2.0))
    assert level > 30.0 * HASTY * 0.95


def test_where_refusals_are_cheap_again_no_test_goes_on():
    """Tests shut a limit in where a refusal costs a pause; the first that costs none ends them."""
    estimate = Estimate()
    estimate.level(refusal(None, 80.0, counted=28.0, dear=True))
    assert estimate.bracket.testing
    estimate.level(refusal(26.0, 26.0))
    assert not estimate.bracket.testing


rates = st.floats(0.05, 2000.0)


@given(
    st.lists(
        st.tuples(rates, st.booleans(), st.booleans(), st.floats(0.001, 600.0), st.floats(0.0, 30.0), st.floats(0, 2)),
        min_size=1,
        max_size=20,
    )
)
def test_an_estimate_is_never_above_what_was_refused(history):
    """Whatever happens: no more than was sent at, and never far below what was held, or the part of time it was."""
    estimate, level = Estimate(), None
    for pace, climbing, dear, used, paused, part in history:
        pace = max(pace, level or 0.0) if climbing else (level or pace)
        seen = refusal(level, pace, climbing=climbing and level is not None, dear=dear, used=used)
        seen = seen._replace(whole=used + paused, through=max(1.0, part * pace * used), passed=level or 0.0)
        before, level = level, estimate.level(seen)
        assert math.isfinite(level)
        least = 0.4 * min(1.0 / 8.0, used / (used + paused))
        assert least * min(pace, before or pace) < level <= pace * (1 + 1e-9)


def held(limit, seconds, *, pause):
    """A pace behind a sliding window for so long: what got through, and the longest time nothing did."""
    pace, now, times, last, longest = Pace(start=40.0), 0.0, [], 0.0, 0.0
    while now < seconds:
        now = max(pace.next_at, now + 1e-4)
        pace.take(now)
        times = [at for at in times if at > now - 1.0]
        if len(times) < limit:
            times.append(now)
            pace.got_through += 1
            longest, last = max(longest, now - last) if now > 30 else 0.0, now
        else:
            settled = pace.settled
            pace.cut(now, now + (0.03 if settled and not pause else pause or 0.1), sent=now)
    return pace, longest


def test_a_settled_pace_is_close_to_its_limit_and_hardly_pauses():
    """In the end within five per cent; after the first half minute never a fifth of a second without a request."""
    pace, longest = held(100, 120.0, pause=0.0)
    assert 95.0 < pace.rate < 100.0 * NEAR
    assert longest < 0.2


def test_a_slow_pace_is_settled_once_many_got_through():
    """Where few requests go, one more that is refused is a good part of them: after twenty it is none any more."""
    pace, _ = held(BRISK / 2, 60.0, pause=0.0)
    pace.cut(100.0, 100.1)
    pace._used = pace._hold + 1.0
    assert not pace.settled
    pace.got_through += BRISK
    assert pace.settled


def test_behind_a_window_that_asks_for_a_second_hardly_a_pause_is_needed():
    """From the first half minute on the pace stays within three per cent of the limit, tested about once a minute."""
    pace, longest = held(60, 150.0, pause=1.0)
    assert 58.0 < pace.rate < 62.0
    assert 1.0 <= longest < 1.3
