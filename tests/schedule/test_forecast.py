"""What reported progress says, as far as it proves true."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_async.schedule.forecast import MOVED_OTHERWISE, Forecast, foretold, marked


def followed(forecast, report, *, tasks=40, seed=1):
    """Tasks of some 90 s looked at every 5 s, where their age says all that an age can say."""
    rng = random.Random(seed)
    for _ in range(tasks):
        duration, age = rng.lognormvariate(math.log(90.0), 0.3), 5.0
        mark = marked(0.0, age, report(age, duration, rng), None)
        while age < duration:
            since, age = age, age + 5.0
            if mark is not None:
                expected = by_age(age) - by_age(since)
                (forecast.ended if age >= duration else forecast.survived)(since, age, mark, expected=expected)
            mark = marked(since, age, report(age, duration, rng), mark)
    return forecast


def by_age(age):
    """The cumulative hazard of what lasts about 90 s."""
    return -math.log(0.5 * math.erfc(math.log(age / 90.0) / 0.3 / math.sqrt(2.0)))


def honest(age, duration, rng):
    return int(100 * age / duration)


def bent(age, duration, rng):
    return int(100 * (age / duration) ** 0.8 + rng.gauss(0, 1))


LIARS = {
    "at 99 at once": lambda *_: 99,
    "at random": lambda *asked: asked[-1].randrange(1, 100),
    "downward": lambda age, *_: max(1, 90 - int(age)),
    "stuck": lambda age, *_: min(30, int(age)),
}


@given(
    st.floats(0, 1e9), st.floats(0, 1e9), st.one_of(st.none(), st.integers()), st.one_of(st.none(), st.integers(1, 99))
)
def test_a_mark_is_a_small_number(since, more, progress, before):
    """Whatever a gateway reports, a task's mark is a whole number that costs no memory; none without progress."""
    mark = marked(since, since + more, progress, before)
    assert (mark is None) == (progress is None or progress <= 0)
    assert mark is None or 1 <= mark % MOVED_OTHERWISE <= 99
    assert mark is None or 0.5 <= foretold(since + more, mark) < 1e6


def test_what_half_done_means():
    """Half done after 30 s, a task takes 30 s more; 100 % and still running is taken as nearly done."""
    assert foretold(30.0, 50) == pytest.approx(30, rel=0.03)
    assert marked(0.0, 30.0, 100, None) == 99
    assert foretold(30.0, 99) == 0.5


@pytest.mark.parametrize(("progress", "steady"), [(40, True), (43, True), (20, False), (5, False), (90, False)])
def test_progress_that_moves_as_it_did(progress, steady):
    """From 20 % at 20 s one comes to about 40 % at 40 s; a bar that stands still, turns round or jumps is marked."""
    assert (marked(20.0, 40.0, progress, 20) < MOVED_OTHERWISE) is steady


def test_nothing_is_trusted_at_first():
    """Progress has to prove itself."""
    assert Forecast().ahead(30.0, 50, 0.25) is None


@pytest.mark.parametrize("report", [honest, bent], ids=["honest", "bent"])
def test_honest_progress_is_followed(report):
    """After forty tasks whose progress foretold their end, the next look comes on the way there, not each 5 s."""
    ahead = followed(Forecast(), report).ahead(45.0, 50, 0.25)
    assert ahead is not None
    assert 10 < ahead < 70


@pytest.mark.parametrize("name", LIARS)
def test_a_bar_that_lies_is_not_followed(name):
    """Jumping, random, falling and stuck bars foretell worse than the age does."""
    forecast = followed(Forecast(), LIARS[name])
    assert all(forecast.ahead(60.0, mark, 0.25) is None for mark in (10, 30, 60, 99))


def test_trust_is_lost():
    """A gateway whose progress was honest and then stands at 99 is no longer followed there."""
    forecast = followed(Forecast(), honest)
    assert forecast.ahead(60.0, 90, 0.25) is not None
    followed(forecast, LIARS["at 99 at once"], tasks=10)
    assert forecast.ahead(60.0, 90, 0.25) is None
    assert forecast.ahead(60.0, 60, 0.25) is not None


def test_a_dearer_look_comes_later():
    """The price counts against the time that is left."""
    forecast = followed(Forecast(), bent)
    assert forecast.ahead(45.0, 50, 0.1) <= forecast.ahead(45.0, 50, 10.0)
