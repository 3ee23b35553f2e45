"""A refused key: tasks that are followed cost a handful of looks until it is good again."""

import asyncio

from omni_async.lockout import FIRST, LATEST, Lockout
from omni_async.models import VideoTask
from tests.fault_server import http
from tests.journalled import booked, states
from tests.warp import WarpLoop

LOOP = WarpLoop
REFUSED = http(401, body={"code": "20001", "msg": "bad key"})


async def test_a_key_that_is_refused_for_a_day_costs_a_handful_of_looks_an_hour(tmp_path):
    """However many tasks there are: one is looked at, and all are once that is answered."""
    async with booked(tmp_path) as here:
        here.server.always["GET"] = REFUSED
        for n in range(20):
            await here.submit(custom_id=f"row-{n}")
        await asyncio.sleep(3600)
        gets = len(here.server.gets)
        await asyncio.sleep(23 * 3600)
        assert len(here.server.gets) - gets <= 23 * 18
        here.server.always["GET"] = None
        await asyncio.sleep(LATEST + 120)
        assert set(states(tmp_path).values()) == {"SUCCEEDED"}


async def test_a_task_that_is_never_answered_holds_up_no_other(tmp_path):
    """Another is the next to be tried; a task that the gateway does not know shows as well that the key is good."""
    tried = []
    lockout = Lockout(tried.append)
    tasks = [VideoTask(task_id=task_id) for task_id in "abc"]
    for task in tasks:
        lockout.refused(task)
    await asyncio.sleep(FIRST + 1)
    assert tried == tasks[:1]
    lockout.answered("c")  # somebody else saw it
    lockout.refused(tasks[0])
    await asyncio.sleep(2 * FIRST - 2)
    assert tried == tasks[:1]
    await asyncio.sleep(2)
    assert tried == tasks[:2]
    lockout.answered("b")
    assert tried == [*tasks[:2], tasks[2], tasks[0]]
    lockout.refused(tasks[0])
    await asyncio.sleep(FIRST + 1)
    assert tried[4:] == tasks[:1]


async def test_closed_it_tries_nothing():
    """Its tasks are the next client's."""
    tried = []
    lockout = Lockout(tried.append)
    lockout.close()
    lockout.refused(VideoTask(task_id="a"))
    lockout.close()
    await asyncio.sleep(LATEST)
    assert tried == []
