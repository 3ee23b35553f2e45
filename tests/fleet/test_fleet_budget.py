"""The account's limits, kept by one row: how far apart places lie, and who hears of a refusal."""

import asyncio

import needed  # noqa: F401 - skips
import pytest
from fleet_crash import most

from omni_async.fleet import budget as budgets
from omni_async.fleet.admin import set_up
from omni_async.fleet.budget import Budget
from omni_async.fleet.queue import connect
from omni_async.lifetime import loop_time
from omni_async.limiter import Kind


class Door:
    """A worker's connection, as its budget is given it; `away` is a database that does not answer."""

    def __init__(self, connection):
        self.connection, self.away, self.asked = connection, False, 0
        self._lock = asyncio.Lock()

    async def __call__(self, statement, *values):
        """Run a statement."""
        self.asked += 1
        if self.away:
            raise OSError("away")
        async with self._lock:
            return await (await self.connection.execute(statement, values)).fetchall()


@pytest.fixture
async def two(postgres):
    """Two workers' budgets, each on a connection of its own, of a fleet that may send twenty creates a second."""
    dsn = postgres.database()
    await set_up(dsn, "jimmy", running=40, submits_per_second=20)
    async with await connect(dsn) as one, await connect(dsn) as other:
        both = [Budget("jimmy", Door(connection)) for connection in (one, other)]
        for budget in both:
            await budget.refresh()
        yield both
        for budget in both:
            await budget.aclose()


async def test_two_workers_together_send_no_more_in_any_second_than_is_allowed(two):
    """A hundred places, dealt to two: one second has twenty of them, and no two workers have the same."""
    one, other = two
    places = []
    for _ in range(10):
        places += await asyncio.gather(*(who.place(Kind.CREATE) for who in (one, other) for _ in range(5)))
    places.sort()
    assert most(places, 1.0) <= 22
    assert 95 * 1.05 / 20 < places[-1] - places[0] < 100 * 1.05 / 20


async def test_whoever_waits_together_is_dealt_with_in_one_statement(two):
    """Fifty waiters cost one round trip."""
    budget, door = two[0], two[0].fetch
    door.asked = 0
    await asyncio.gather(*(budget.place(Kind.CREATE) for _ in range(50)))
    assert door.asked == 1


async def test_a_pause_holds_for_all_from_the_next_place_on(two):
    """One worker is refused for a minute: the other's next place lies behind that."""
    one, other = two
    one.pause(Kind.CREATE, 60.0)
    await asyncio.gather(*one._work)
    assert await other.place(Kind.CREATE) > loop_time() + 59.0
    await other.refresh()
    assert other.paused(Kind.CREATE)
    assert not other.paused(Kind.POLL)


async def test_a_refused_look_pauses_creates_as_well(two):
    """Everything, as on one machine."""
    one, other = two
    one.pause(Kind.POLL, 60.0)
    await asyncio.gather(*one._work)
    await other.refresh()
    assert other.paused(Kind.CREATE)
    assert other.paused(Kind.POLL)
    assert other.governs(Kind.POLL)


async def test_while_the_database_is_away_nothing_is_sent_and_then_it_goes_on(two, monkeypatch):
    """No place is made up; whoever waited gets his as soon as it is back."""
    monkeypatch.setattr(budgets, "DATABASE_PAUSE", 0.001)
    budget, door = two[0], two[0].fetch
    door.away, door.asked = True, 0
    waiting = asyncio.ensure_future(budget.place(Kind.CREATE))
    while door.asked < 3:  # noqa: ASYNC110 - the door tells nobody
        await asyncio.sleep(0.001)
    assert not waiting.done()
    door.away = False
    assert await waiting <= loop_time() + 1.05 / 20
