"""What is due when: in order, at the latest when its slack is over, and together where that costs nothing."""

import asyncio
import random

import attrs
import pytest

from omni_async.poller.agenda import GRAIN, TOGETHER, Agenda
from tests.warp import WarpLoop

LOOP = WarpLoop


@attrs.define(eq=False)
class Item:
    """Something to do."""

    name: str
    due: float = 0.0
    busy: bool = False


async def taken(agenda, number):
    """So many items as they are handed out, with seconds since now."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    return [((await agenda.take()).name, round(loop.time() - began, 3)) for _ in range(number)]


def filled(*given):
    """An agenda with items, given as name, seconds from now, and slack."""
    agenda, now = Agenda(lambda _: True), asyncio.get_running_loop().time()
    for name, due, slack in given:
        agenda.put(Item(name), now + due, slack=slack)
    return agenda


@pytest.mark.anyio
async def test_without_slack_each_goes_when_it_is_due():
    """In the order of time, whatever the order in which they were put."""
    assert await taken(filled(("b", 2.0, 0.0), ("a", 1.0, 0.0), ("c", 3.0, 0.0)), 3) == [
        ("a", 1.0),
        ("b", 2.0),
        ("c", 3.0),
    ]


@pytest.mark.anyio
async def test_what_falls_due_within_the_slack_of_the_first_goes_with_it():
    """One wake for three; the fourth is not due yet, and keeps its own time."""
    agenda = filled(("a", 1.0, 0.3), ("b", 1.1, 0.3), ("c", 1.25, 0.3), ("d", 1.35, 0.3))
    assert await taken(agenda, 4) == [("a", 1.3), ("b", 1.3), ("c", 1.3), ("d", 1.65)]


@pytest.mark.anyio
async def test_one_without_slack_is_never_late():
    """It is not held back by the slack of those before it, which go along."""
    agenda = filled(("a", 1.0, 5.0), ("exact", 1.5, 0.0), ("b", 1.2, 5.0))
    assert await taken(agenda, 1) == [("exact", 1.5)]
    agenda = filled(("exact", 1.0, 0.0), ("a", 0.9, 0.5))
    assert await taken(agenda, 2) == [("exact", 1.0), ("a", 1.0)]


@pytest.mark.anyio
async def test_nobody_is_later_than_his_slack():
    """Whatever the mix, each goes between its time and the end of its slack, give or take a tick."""
    given = [(str(n), 1.0 + (n * 37 % 101) / 50, (n * 13 % 7) / 20) for n in range(300)]
    slack = {name: (due, due + slack) for name, due, slack in given}
    for name, at in await taken(filled(*given), 300):
        soonest, latest = slack[name]
        assert soonest - 0.001 <= at <= latest + GRAIN + 0.001


@pytest.mark.anyio
async def test_where_many_fall_due_at_once_the_slack_is_not_used_up():
    """A burst of hundreds is no gain: soon they go about as they fall due, few at a time."""
    agenda, loop = Agenda(lambda _: True), asyncio.get_running_loop()
    items, bursts, rng = [Item(str(n)) for n in range(1000)], [], random.Random(1)
    for n, item in enumerate(items):
        agenda.put(item, loop.time() + n / 1000, slack=0.2)
    for _ in range(20_000):
        item = await agenda.take()
        now, last = loop.time(), bursts[-1] if bursts else (-1.0, 0)
        bursts[-1:] = [(now, last[1] + 1)] if last[0] == now else [last, (now, 1)]
        item.busy = False
        agenda.put(item, now + rng.uniform(0.95, 1.05), slack=0.2)
    late = [count for at, count in bursts if at > bursts[-1][0] - 5.0]
    assert sum(late) / len(late) < 3 * TOGETHER


@pytest.mark.anyio
async def test_after_a_rush_the_slack_is_used_again():
    """However long hundreds fell due at each tick, a few are waited for as before soon after."""
    agenda, loop = Agenda(lambda _: True), asyncio.get_running_loop()
    items = [Item(str(n)) for n in range(40)]
    for item in items:
        agenda.put(item, loop.time())
    for _ in range(5_000 * len(items)):
        item = await agenda.take()
        item.busy = False
        agenda.put(item, loop.time() + 0.01, slack=0.2)
    agenda.clear()
    for n in range(60):
        agenda.put(Item("few"), loop.time() + 1.0 + n, slack=0.5)
    await taken(agenda, 60)
    agenda.put(Item("a"), loop.time() + 1.0, slack=0.5)
    agenda.put(Item("b"), loop.time() + 1.3, slack=0.5)
    assert await taken(agenda, 2) == [("a", 1.5), ("b", 1.5)]
