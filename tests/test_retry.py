"""When something may be sent again: nothing a gateway says can break it or make it wait too long."""

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_async.retry import RESERVE, RetryBudget, backoff, pause_told, pause_within, retry_after

NOW = datetime(2026, 8, 1, 12, 0, 0, tzinfo=UTC)
SOON = NOW + timedelta(seconds=30)


def asked(value, max_wait=120.0):
    """What a Retry-After of this value comes to."""
    return retry_after({"retry-after": value}, now=NOW, max_wait=max_wait)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("1000000000", 120.0),
        (format_datetime(SOON, usegmt=True), 30.0),  # RFC 9110: IMF-fixdate
        (SOON.strftime("%A, %d-%b-%y %H:%M:%S GMT"), 30.0),  # RFC 850
        (SOON.strftime("%a %b %e %H:%M:%S %Y"), 30.0),  # asctime
        (format_datetime(SOON.astimezone(), usegmt=False), 30.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=3650), usegmt=True), 120.0),
    ],
)
def test_what_is_obeyed(value, seconds):
    """Seconds and all three forms of HTTP-date, within [0, max_wait]."""
    assert asked(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nan",
        "inf",
        "-5",
        "1e9",
        "+3",
        "١٢",
        "１２",
        "soon",
        "0x10",
        "1,5",
        "9" * 400,
        "Mon, 99 Foo 2026 99:99:99 GMT",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    ],
)
def test_what_is_nonsense(value):
    """No number and no date: as if nothing had been said."""
    assert asked(value) is None


def test_no_header_says_nothing():
    """Without the header there is nothing to obey."""
    assert retry_after({}, now=NOW, max_wait=120.0) is None


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"error": {"details": [{"@type": "…/google.rpc.Help"}, {"retryDelay": "53s"}]}}, 53.0),
        ({"error": {"message": "slow down", "retry_after": 5}}, 5.0),
        ({"data": {"retryAfterMs": 1500}}, 1.5),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry_after_seconds": 0}, 0.0),
        ({"retry_after": 10**400}, 120.0),
        ({"error": {"message": "Quota exceeded. Please retry in 53.18s."}}, 53.18),
        ({"error": {"message": "Rate limit reached: try again in 20ms"}}, 0.02),
        ({"msg": "Try again after 2 minutes"}, 120.0),
        ({"msg": "try again in 1h"}, 120.0),
        ({"code": 429, "msg": "请求过于频繁，请在30秒后重试"}, 30.0),
        ({"msg": "请 1 分钟后再试"}, 60.0),
        ({"message": "try again in 9 s", "retry_after": 3}, 3.0),
    ],
)
def test_a_pause_that_only_the_body_names_is_obeyed(body, seconds):
    """In a field of its own, else in the words of a message; never beyond `max_wait`."""
    assert pause_told(body, max_wait=120.0) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "later",
        {"retry_after": True},
        {"retry_after": -1},
        {"retry_after": float("nan")},
        {"retry_after": "soon"},
        {"retry_after": {"at": "noon"}},
        {"retries": 5, "after": 3},
        {"msg": "try again in 5 moons"},
        {"msg": "10 requests in 60 seconds are allowed; try again later"},
        {"a": {"b": {"c": {"d": {"e": {"retry_after": 5}}}}}},
    ],
)
def test_a_body_that_names_no_pause(body):
    """Other numbers are not pauses, and nobody searches a document to its bottom."""
    assert pause_told(body, max_wait=120.0) is None


NAMED = st.sampled_from(["retry_after", "retryDelay", "message", "error", "details"])
SAID = st.text() | st.from_regex(r"(retry|try again) (in|after) [0-9.]{1,12} ?[a-z秒分]{0,7}后?")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | SAID,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(NAMED, inside, max_size=4),
)


@given(ANYTHING, st.floats(0, 1e6))
def test_no_body_breaks_it(body, max_wait):
    """Whatever stands there: None, or seconds within [0, max_wait]."""
    seconds = pause_told(body, max_wait=max_wait)
    assert seconds is None or 0 <= seconds <= max_wait


@pytest.mark.parametrize(("date", "seconds"), [(-600.0, 30.0), (600.0, 30.0), (None, 60.0)])
def test_a_date_is_read_by_the_gateways_own_clock(date, seconds):
    """It asks for 30 s, ten minutes behind or ahead; only without a Date, or with nonsense there, ours must do."""
    now = NOW + timedelta(seconds=date or 30.0)
    told = "yesterday" if date is None else format_datetime(now, usegmt=True)
    headers = {"retry-after": format_datetime(now + timedelta(seconds=30), usegmt=True), "date": told}
    assert retry_after(headers, now=NOW, max_wait=120.0) == pytest.approx(seconds)


@given(st.text() | st.from_regex(r"[A-Za-z, ]{0,12}[0-9 :/+-]{0,30}( GMT)?"), st.floats(0, 1e6))
def test_no_value_breaks_it(value, max_wait):
    """Whatever stands there: None, or seconds within [0, max_wait]."""
    seconds = asked(value, max_wait)
    assert seconds is None or 0 <= seconds <= max_wait


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(-1439, 1439))
def test_no_date_breaks_it(when, minutes):
    """Dates of any year and zone, too."""
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
    seconds = asked(when.strftime(f"%a, %d %b {when.year:04} %H:%M:%S {zone}"))
    assert seconds is None or 0 <= seconds <= 120


def test_backoff_is_one_two_four():
    """1, 2, 4 seconds (seed), with up to a quarter on top, and a cap."""
    rng = random.Random(1)
    for attempt, seconds in enumerate((1, 2, 4, 8, 16, 30, 30)):
        waits = [backoff(attempt, rng) for _ in range(100)]
        assert seconds <= min(waits)
        assert max(waits) <= seconds * 1.25
        assert max(waits) - min(waits) > 0.1 * seconds
    assert backoff(10**9, rng) <= 37.5
    assert backoff(0, rng, first=0.1, cap=15) <= 0.125


def test_the_budget_bounds_repeats():
    """A reserve of 10, then one repeat per ten first attempts, however many fail."""
    budget = RetryBudget()
    assert [budget.spend() for _ in range(12)] == [True] * 10 + [False] * 2
    assert repr(budget) == "<RetryBudget 0.0 repeats left>"
    repeats = 0
    for _ in range(1000):
        budget.first()
        repeats += budget.spend()
    assert 95 <= repeats <= 100


@given(st.lists(st.booleans(), max_size=300))
def test_the_budget_is_never_overdrawn(steps):
    """Whatever the order, it stays within its reserve, and repeats within reserve plus a tenth."""
    budget, firsts, repeats = RetryBudget(), 0, 0
    for first in steps:
        if first:
            budget.first()
            firsts += 1
        else:
            repeats += budget.spend()
        assert 0 <= budget.tokens <= RESERVE
    assert repeats <= RESERVE + 0.1 * firsts + 1e-6


@pytest.mark.parametrize(
    ("left", "pause", "asked", "seconds"),
    [
        (300.0, 4.0, 0.0, 4.0),
        (300.0, 4.0, 60.0, 60.0),
        (10.0, 30.0, 0.0, 10.0),  # the last one
        (10.0, 30.0, 7.0, 10.0),
        (10.0, 4.0, 11.0, None),  # never cut short
        (0.5, 4.0, 0.0, None),
        (-5.0, 4.0, 0.0, None),
    ],
)
def test_the_last_try_falls_on_the_end(left, pause, asked, seconds):
    """Unless the server asks for more than is left."""
    assert pause_within(left, pause, asked) == seconds
