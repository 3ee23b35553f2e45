"""Whose turn it is to be fetched, by a clock that jumps."""

import asyncio
import itertools
import math

import anyio
import pytest

from omni_async.errors import DownloadError
from omni_async.turns import DOUBTFUL, IN_VAIN, LONGEST_PAUSE, SPACING, Turn, Turns, server_of
from tests.warp import WarpLoop, now

LOOP = WarpLoop
DOWN = DownloadError("the server is down", temporary=True)


def turns(patience=300.0):
    """Turns that are tried for some time since their servers failed."""
    return Turns(lambda turn: turn.since + patience)


async def test_the_least_rank_comes_first_and_equals_in_their_order():
    """Whoever waits for a turn gets it as soon as there is one."""
    made = turns()
    waiting = asyncio.ensure_future(made.next())
    await anyio.sleep(100)
    for name, rank in (("b", 2.0), ("a", 1.0), ("c", 2.0)):
        made.add(Turn(name, rank))
    assert (made.waiting, made.first) == (3, 1.0)
    assert [(await waiting).of, (await made.next()).of, (await made.next()).of] == ["a", "b", "c"]
    assert (made.waiting, made.first) == (0, math.inf)
    assert now() == pytest.approx(1100)


async def test_what_rested_comes_behind_all_others():
    """And is not counted among those that wait."""
    made = turns()
    late = Turn("late", 0.0)
    assert made.put_off(late, DOWN)
    assert (made.waiting, list(made.late)) == (0, [late])
    await anyio.sleep(10)
    made.add(Turn("other", 5.0))
    assert (made.waiting, made.first) == (1, 5.0)
    assert [(await made.next()).of for _ in range(2)] == ["other", "late"]
    assert made.waiting == 0


async def test_pauses_grow_and_the_last_try_falls_on_the_end():
    """Never more than a minute, but for what the server asks for."""
    made, turn, at = turns(), Turn("a"), []
    while made.put_off(turn, DOWN):
        assert await made.next() is turn
        at.append(now() - 1000)
    assert at[:4] == pytest.approx([4, 12, 28, 60], abs=0.1)
    assert max(after - before for before, after in itertools.pairwise(at)) <= LONGEST_PAUSE + 0.1
    assert at[-1] == pytest.approx(300, abs=0.1)
    assert not made.late
    turn, asked = Turn("b"), DownloadError("busy", temporary=True, retry_after=120.0)
    began, at = now(), []
    while made.put_off(turn, asked):
        assert await made.next() is turn
        at.append(now() - began)
    assert at == pytest.approx([120, 240], abs=0.1)


async def test_all_who_wait_are_told_of_a_rest():
    """The one who put it off may be busy by the time it is over."""
    made = turns()
    waiting = asyncio.ensure_future(made.next())
    await anyio.sleep(100)
    made.put_off(Turn("a"), DOWN)
    assert (await waiting).of == "a"
    assert now() == pytest.approx(1104, abs=0.1)


async def test_rests_can_be_ended():
    """All at once."""
    made = turns()
    for name in "ab":
        made.put_off(Turn(name), DOWN)
    assert made.ends == now() + 300
    made.wake_all()
    assert [(await made.next()).of for _ in range(2)] == ["a", "b"]
    assert now() == pytest.approx(1000)


def test_where_a_video_is():
    """Its host and port; who signed it is no part of that."""
    assert server_of("https://key:secret@CDN.example:8443/v.mp4?sig=x") == "cdn.example:8443"
    assert [server_of(url) for url in (None, "", "/v.mp4", "https://[bad/v.mp4")] == [""] * 4


def failed(made, server, times=IN_VAIN):
    """A server whose last tries were in vain; what rests."""
    late = [Turn(f"{server} late {number}", 0.0, server) for number in range(times)]
    assert all(made.put_off(turn, DOWN) for turn in late)
    return late


async def test_a_server_that_fails_is_behind_all_others():
    """With its videos that nobody asked for yet, too, whatever their ranks, until one comes."""
    made = turns()
    failed(made, "dead")
    for number in range(3):
        made.add(Turn(f"dead {number}", float(number), "dead"))
        made.add(Turn(f"good {number}", 10.0 + number, "good"))
    assert made.first == 0.0
    assert [(await made.next()).of for _ in range(3)] == ["good 0", "good 1", "good 2"]
    came = await made.next()
    assert came.of == "dead 0"
    made.over(came, came=True)
    made.add(Turn("good 3", 10.0, "good"))
    assert [(await made.next()).of for _ in range(3)] == ["dead 1", "dead 2", "good 3"]


async def test_one_video_that_fails_says_nothing_of_its_server():
    """It comes behind the others of that server, and they are as good as any."""
    made = turns()
    bad = Turn("bad", 0.0, "a")
    for _ in range(IN_VAIN + 2):
        assert made.put_off(bad, DOWN)
        assert await made.next() is bad
        good = Turn("good", 5.0, "a")
        made.over(good, came=True)
    assert made.put_off(bad, DOWN)
    await anyio.sleep(100)
    made.add(Turn("other", 2.0, "b"))
    made.add(Turn("next", 1.0, "a"))
    assert [(await made.next()).of for _ in range(3)] == ["next", "other", "bad"]


async def test_servers_that_fail_have_a_part_of_the_tries_at_once():
    """Each can take long: whoever comes meanwhile finds a place; a try that ends leaves its own to the next."""
    made = turns()
    failed(made, "dead")
    for number in range(10):
        made.add(Turn(number, float(number), "dead"))
    tried = [await made.next() for _ in range(DOUBTFUL)]
    waiting = asyncio.ensure_future(made.next())
    await anyio.sleep(1)
    assert not waiting.done()
    made.add(Turn("good", 99.0, "good"))
    assert (await waiting).of == "good"
    for end in (lambda: made.put_off(tried[0], DOWN), lambda: made.over(tried[1])):
        waiting = asyncio.ensure_future(made.next())
        await anyio.sleep(1)
        assert not waiting.done()
        end()
        assert (await waiting).server == "dead"


async def test_servers_that_fail_take_turns():
    """Of one that is back its videos are not kept waiting by all those of another, whose URLs die first."""
    made = turns()
    for server, rank in (("a", 1.0), ("b", 2.0)):
        failed(made, server)
        for _ in range(5):
            made.add(Turn(server, rank, server))
    order = []
    for _ in range(6):
        turn = await made.next()
        order.append(turn.of)
        made.over(turn)
    assert order == ["a", "b"] * 3


async def test_of_those_that_failed_the_least_tried_comes_first():
    """Some that fail for ever, and die first, do not keep others from their second try."""
    made = turns(math.inf)
    often, once = Turn("often", 0.0), Turn("once", 1.0)
    for _ in range(5):
        assert made.put_off(often, DOWN)
        assert await made.next() is often
    assert made.put_off(often, DOWN)
    assert made.put_off(once, DOWN)
    await anyio.sleep(100)
    assert [(await made.next()).of for _ in range(2)] == ["once", "often"]


async def test_thousands_that_rest_are_not_asked_for_many_times_a_second():
    """The more there are, the longer each rests."""
    made, tries = turns(math.inf), 0
    for number in range(4000):
        made.put_off(Turn(number, 0.0, "dead"), DOWN)
    began = now()
    with anyio.move_on_after(600):
        while True:
            turn = await made.next()
            tries += 1
            made.put_off(turn, DOWN)
    assert now() - began == pytest.approx(600, abs=1)
    assert 4000 < tries < 1.5 * 600 / SPACING
