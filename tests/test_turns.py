"""Whose turn it is to be fetched, by a clock that jumps."""

import asyncio
import itertools
import math

import anyio
import pytest

from omni_async.errors import DownloadError
from omni_async.turns import LONGEST_PAUSE, Turn, Turns
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
    made.wake()
    assert [(await made.next()).of for _ in range(2)] == ["a", "b"]
    assert now() == pytest.approx(1000)
