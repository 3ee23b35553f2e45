"""Which refusals are told from those that a pace is to blame for."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_async.limiter.chance import MOST_CREATES, REFUTED, Best, Chance, Excess


class Seen:
    """Chance, where few go by what was let in per second before."""

    def __init__(self):
        self.chance, self.best = Chance(), Best()

    def explains(self, now, through, going):
        """As the limiter asks."""
        return self.chance.explains(now, through, few=self.best.few(now, through, going, pace=0.0))

    @property
    def share(self):
        """What is believed."""
        return self.chance.share


def fast_before(seconds=100, per_second=40):
    """So much was let in per second, from one refusal to the next; gives when, and how many."""
    chance = Seen()
    for at in range(0, seconds + 1, 10):
        assert not chance.explains(float(at), at * per_second, per_second)
    return chance, float(seconds), seconds * per_second


def refused_by_chance(chance, now, through, *, share, going, requests=600, seed=1):
    """Requests at a steady rate of which a share is refused; gives which refusals were explained."""
    rng, told = random.Random(seed), []
    for _ in range(requests):
        now += 1.0 / going
        if rng.random() < share:
            told.append(chance.explains(now, through, going))
        else:
            through += 1
    return told, now, through


def test_where_nothing_is_known_one_refusal_is_the_pace_s_fault():
    """Also the first of all, and any while as much goes as ever was let in."""
    chance, now, through = fast_before()
    assert chance.share == 0.0
    assert not chance.explains(now + 10.0, through + 400, 40.0)
    assert not chance.explains(now + 20.0, through + 600, 20.0)


def test_where_few_go_a_refusal_tells_nothing_of_the_pace():
    """At a tenth of what was let in no limit refuses; many in a row there are one, which fell."""
    chance, now, through = fast_before()
    assert chance.explains(now + 10.0, through + 40, 4.0)
    told = [chance.explains(now + 10.0 + tries, through + 40, 4.0) for tries in range(1, 9)]
    assert told[0]
    assert False in told


def test_a_share_is_believed_when_it_is_sure():
    """One in six at a tenth of the pace: then as many are explained at any pace, and far more are not."""
    chance, now, through = fast_before()
    _, now, through = refused_by_chance(chance, now, through, share=0.16, going=4.0)
    assert chance.share == pytest.approx(0.12, abs=0.04)
    assert chance.chance.in_a_row == 2
    told, now, through = refused_by_chance(chance, now, through, share=0.16, going=40.0)
    assert sum(told) > 0.8 * len(told)
    told, *_ = refused_by_chance(chance, now, through, share=0.4, going=60.0)
    assert told.count(False) > 10


def test_a_rare_refusal_is_no_share():
    """One in a hundred is what limits themselves refuse."""
    chance, now, through = fast_before()
    refused_by_chance(chance, now, through, share=0.01, going=4.0, requests=3000)
    assert chance.share == 0.0


def test_what_most_are_refused_for_is_not_chance():
    """Half of the requests: whoever is refused so much is too fast, however few go."""
    chance, now, through = fast_before()
    refused_by_chance(chance, now, through, share=0.5, going=4.0)
    assert chance.share == 0.0


def test_of_creates_half_may_be_refused_by_chance():
    """For want of room to make videos; the same of all requests is no chance."""
    rng, through = random.Random(1), 0
    creates, all_ = Chance(MOST_CREATES), Chance()
    for at in range(400):
        if rng.random() < 0.5:
            creates.explains(float(at), through, few=True)
            all_.explains(float(at), through, few=True)
        else:
            through += 1
    assert creates.share == pytest.approx(0.42, abs=0.08)
    assert creates.in_a_row >= 4
    assert all_.share == 0.0


def test_what_is_long_past_is_forgotten():
    """An hour later the gateway may refuse none, and what it allowed may be less."""
    chance, now, through = fast_before()
    _, now, through = refused_by_chance(chance, now, through, share=0.16, going=4.0)
    assert chance.share > 0.0
    assert not chance.explains(now + 7200.0, through + 10, 4.0)
    assert chance.share == 0.0


def test_what_is_not_refused_of_all_requests_is_no_chance():
    """A limit that was down for a minute refuses many of few; thousands afterwards, nearly all let in, refute it."""
    chance, now, through = fast_before()
    _, now, through = refused_by_chance(chance, now, through, share=0.16, going=4.0)
    assert chance.share > 0.0
    told, *_ = refused_by_chance(chance, now, through, share=0.015, going=40.0, requests=3000)
    assert chance.share == 0.0
    assert not any(told[-10:])


def test_what_refuses_ever_more_as_more_go_is_a_limit():
    """Half of all refused is a pace too high; for long after that, nothing is taken for chance."""
    chance, now, through = fast_before()
    _, now, through = refused_by_chance(chance, now, through, share=0.16, going=4.0)
    assert chance.share > 0.0
    _, now, through = refused_by_chance(chance, now, through, share=0.6, going=8.0, requests=200)
    assert chance.share == 0.0
    told, now, through = refused_by_chance(chance, now, through, share=0.16, going=0.5, requests=200)
    assert not any(told)
    assert chance.explains(now + REFUTED, through + 1, 0.01)


@pytest.mark.parametrize("share", [0.12, 0.15, 0.2])
def test_what_is_refused_whatever_goes_is_believed_whatever_goes(share):
    """Once believed, fast requests of which as many are refused leave it at that, but for a few unlucky ones."""
    believed, kept = 0, 0
    for seed in range(100):
        chance, now, through = fast_before()
        _, now, through = refused_by_chance(chance, now, through, share=share, going=4.0, seed=seed)
        if chance.share > 0.0:
            refused_by_chance(chance, now, through, share=share, going=40.0, requests=3000, seed=seed + 1)
            believed, kept = believed + 1, kept + (chance.share > 0.0)
    assert believed >= 90
    assert kept >= 0.97 * believed


def test_where_the_limit_counts_by_the_minute_few_going_prove_nothing():
    """What was let in at once in one minute may be all of it."""
    chance, now, through = fast_before()
    assert not chance.explains(now + 10.0, through + 40, math.inf)


def test_where_the_pace_is_as_high_as_ever_a_second_without_any_is_not_few():
    """At a request in two seconds most seconds see none; a limit may refuse them all the same."""
    for pace, few in ((0.5, False), (0.3, True)):
        best = Best()
        assert not best.few(0.0, 0, math.inf, pace=pace)
        assert not best.few(100.0, 40, math.inf, pace=pace)
        assert best.few(101.0, 40, 0.0, pace=pace) is few


def test_more_than_usual_is_found():
    """One refusal where none is usual; where one in ten is, several close together, and each in ten never."""
    assert Excess().found(1000, 0.0)
    usual, storm = Excess(), Excess()
    assert not any(usual.found(10 * count, 0.1) for count in range(1, 200))
    assert [storm.found(count, 0.1) for count in range(1, 9)].count(True) == 1


@given(
    st.lists(
        st.tuples(st.floats(0.01, 30.0), st.integers(0, 200), st.floats(0.0, 50.0) | st.just(math.inf)), max_size=60
    ),
    st.floats(0.0, 50.0),
)
def test_a_storm_is_never_chance(history, going):
    """Whatever was seen before: of ten refusals in a row with nothing let in, one at least is the pace's fault."""
    chance, now, through = Seen(), 0.0, 0
    for wait, passed, rate in history:
        now, through = now + wait, through + passed
        chance.explains(now, through, rate)
    assert not all(chance.explains(now + tries, through, going) for tries in range(1, 11))
