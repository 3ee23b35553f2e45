"""Room for rows, and the places of those that wait for leave."""

import asyncio

import anyio

from omni_async.room import Leave, Room
from tests.warp import WarpLoop

LOOP = WarpLoop


async def taken(room):
    """How many rows it has room for."""
    count = 0
    with anyio.move_on_after(1):
        while True:
            await room.take()
            count += 1
    return count


async def test_what_is_owed_is_kept():
    """A row that gave its room back, and needs it again, has not to wait: others do."""
    room = Room(3)
    assert await taken(room) == 3
    room.give_back()
    room.give_back()
    assert await taken(room) == 2
    room.owe()
    room.owe()
    for _ in range(4):
        room.give_back()
    assert await taken(room) == 2


async def test_a_place_is_given_back_once():
    """However often its row says so."""
    places = asyncio.Semaphore(0)
    leave = Leave(places)
    leave()
    leave()
    await places.acquire()
    assert places.locked()
