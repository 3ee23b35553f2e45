"""Whether few creates go, by how fast as many went before."""

from hypothesis import given
from hypothesis import strategies as st

from omni_async.limiter.stretches import YOUNG, Stretches


def sent(*stretches, running=10, refuses=lambda _: False):
    """So many creates, one after each pause, for each (count, pause): what is remembered, and when the next goes."""
    found, now, number, pause = Stretches(), 0.0, 0, 0.0
    for count, pause in stretches:
        for _ in range(count):
            now, number = now + pause, number + 1
            found.sent(now)
            if not refuses(number):
                found.let_in(now, running)
    return found, now + pause


def few(found, now, running=2):
    """Whether few go when one is sent now."""
    found.sent(now)
    return found.few(now, running)


def test_of_a_handful_nothing_can_be_told():
    """However long ago they went."""
    found, now = sent((7, 0.1))
    assert not few(found, now + 1000.0)


def test_far_fewer_than_before_are_few():
    """Over every number of them; a third of the pace will do."""
    assert few(*sent((40, 1.0), (60, 3.0)))
    assert not few(*sent((40, 1.0), (60, 2.0)))


def test_a_burst_and_what_follows_it_are_not_few():
    """A minute's creates at once, and then as many a minute: that is a limit, whether it saves up or not."""
    assert not few(*sent((30, 0.1), (100, 2.0)))
    assert not few(*sent((60, 0.1), (200, 1.0)))
    assert not few(*sent((1000, 0.05), (1500, 0.06)))


def test_what_is_sent_counts_and_not_what_is_let_in():
    """Whoever tries as often as ever, and is let in rarely, is too fast."""
    found, now = sent((40, 1.0), (80, 1.0), refuses=lambda number: number > 40 and number % 4)
    assert not few(found, now)


def test_a_limit_that_halves_is_none():
    """Half as many go then, for good."""
    assert not few(*sent((200, 1.0), (200, 2.0)))


def test_where_as_many_run_as_ever_it_may_be_their_number():
    """A fifth fewer at least: finishes are seen late."""
    slow = ((40, 1.0), (60, 3.0))
    assert [few(*sent(*slow, running=10), running=now) for now in (10, 9, 8)] == [False, False, True]


def test_what_was_usual_is_the_best_of_a_long_stretch():
    """A burst of a few is not what goes on."""
    found, _ = sent((4, 0.01), (60, 1.0), (60, 5.0))
    assert 0.9 < found.usual < 1.2
    assert Stretches().usual == 0.0


@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=8),
    st.floats(0.02, 20.0),
    st.sampled_from([1, 10, 100, 1000]),
)
def test_an_even_pace_is_never_few(counts, pause, running):
    """Law: whoever goes as evenly as ever, with or without pauses in between, has not few going."""
    found, now = sent(*((count, pause) for count in counts), running=running)
    assert not few(found, now, running=0) or sum(counts) * pause < YOUNG
