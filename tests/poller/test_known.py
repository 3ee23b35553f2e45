"""Waits of seconds, again and again: what was let go is remembered, and costs the looks of one long wait."""

import asyncio
import contextlib
import itertools
import random

import anyio
import pytest
from test_poller import poller, task

from omni_async import Limits, NotFoundError, PollPolicy, RejectedError, TaskStatus, VideoTask, WaitTimeoutError
from omni_async.poller import Watch, known
from omni_async.poller.waiting import wait_for
from omni_async.schedule import Schedule
from tests.pairs import pair
from tests.warp import WarpLoop

LOOP = WarpLoop


def running(task_id):
    """A look that finds it running."""
    return task(task_id, TaskStatus.RUNNING)


async def waits_of(follower, seconds, *, during, task_id="task_1"):
    """Wait for so many seconds again and again, as the handler of a web app does that is asked again and again."""
    until = anyio.current_time() + during
    while anyio.current_time() < until:
        with contextlib.suppress(WaitTimeoutError):
            await wait_for(follower, task_id, seconds)
            return


async def looks_in_ten_minutes(seconds, schedule=None, *, own=False):
    """When a task that does not end is looked at by waits of so many seconds."""
    async with poller(running, schedule) as (exchange, follower):
        if own:
            ticket = await exchange.limiter.acquire("create")
            exchange.limiter.accepted(ticket, "task_1")
            follower.submitted(task("task_1", TaskStatus.QUEUED), ("jimmy",))
        await waits_of(follower, seconds, during=600)
        assert follower.following == 0
        return [at for at, _ in exchange.looks]


@pytest.mark.parametrize("own", [False, True], ids=["foreign", "own"])
@pytest.mark.parametrize("seconds", [0.5, 2, 5, 10, 60])
async def test_waits_of_seconds_cost_the_looks_of_one_long_wait(seconds, own):
    """Whoever submitted the task, with at most one look in eight more for the sake of a deadline."""
    assert len(await looks_in_ten_minutes(seconds, own=own)) <= 1.15 * len(await looks_in_ten_minutes(600, own=own))


async def test_an_answer_that_comes_between_two_waits_counts():
    """Each look takes longer than a wait, and nobody waits when its answer is there."""
    async with poller(running) as (exchange, follower):
        glance = exchange.glance

        async def slow(ticket, task_id):
            await anyio.sleep(0.5)
            return await glance(ticket, task_id)

        object.__setattr__(exchange, "glance", slow)
        for _ in range(300):
            await waits_of(follower, 0.2, during=0.2)
            await anyio.sleep(1.8)
        assert len(exchange.looks) <= 80


async def test_a_deadline_that_nobody_waits_for_any_more_brings_no_look():
    """It was brought forward for somebody who left before: the next wait goes by the schedule."""
    async with poller(running, Schedule(fixed=300.0)) as (exchange, follower):
        for pause in (10, 60):
            with anyio.move_on_after(30):
                await wait_for(follower, "task_1", 60)
            await anyio.sleep(pause)
        waiting = asyncio.ensure_future(wait_for(follower, "task_1", None))
        await anyio.sleep(100)
        assert len(exchange.looks) == 1
        await anyio.sleep(100)
        assert len(exchange.looks) == 2
        waiting.cancel()


@pytest.mark.parametrize("own", [False, True], ids=["foreign", "own"])
@pytest.mark.parametrize("seconds", [0.5, 5, 29, 31])
async def test_min_interval_is_kept_over_waits(seconds, own):
    """However short they are."""
    schedule = Schedule(first=30.0, shortest=30.0, longest=60.0, strict=True, bounded=True)
    looks = await looks_in_ten_minutes(seconds, schedule, own=own)
    assert 10 <= len(looks) <= 21
    assert min(later - sooner for sooner, later in itertools.pairwise(looks)) >= 30


@pytest.mark.parametrize(("own", "most"), [(False, 3), (True, 2)], ids=["foreign", "own"])
async def test_a_fixed_interval_is_kept_over_waits(own, most):
    """But for the first of them, which has a look before its deadline as any wait by itself."""
    assert len(await looks_in_ten_minutes(5, Schedule(fixed=300.0), own=own)) <= most


async def test_a_wait_by_itself_sees_what_ended_just_before_its_deadline():
    """The task ends long before the schedule's next look, and a second before the wait does."""
    async with poller(lambda one: task(one) if anyio.current_time() >= ends else running(one), Schedule(fixed=300)) as (
        exchange,
        follower,
    ):
        ends = anyio.current_time() + 59
        assert (await wait_for(follower, "task_1", 60)).status is TaskStatus.SUCCEEDED
        assert len(exchange.looks) == 2


async def test_a_task_that_ends_between_two_waits_is_found_by_the_next_in_time():
    """As soon as by a wait that went on."""
    async with poller(lambda one: task(one) if anyio.current_time() >= ends else running(one)) as (_, follower):
        ends = anyio.current_time() + 61
        await waits_of(follower, 2, during=600)
        assert anyio.current_time() - ends < 10


async def test_an_id_that_nobody_knows_is_looked_at_at_once():
    """Whatever is remembered of others; and one that rests for longer than its interval, too."""
    async with poller(running) as (exchange, follower):
        await waits_of(follower, 1, during=30)
        for task_id in ("task_2", "task_1"):
            began = anyio.current_time()
            await waits_of(follower, 1, during=1, task_id=task_id)
            assert (began, task_id) in [(pytest.approx(at, abs=0.02), one) for at, one in exchange.looks]
            await anyio.sleep(100)


async def test_an_id_that_no_gateway_knows_is_told_to_waits_of_seconds():
    """Its looks are counted over them: none of them is a minute long."""
    async with poller(lambda _: NotFoundError("gone", status_code=404)) as (exchange, follower):
        with pytest.raises(NotFoundError):
            await waits_of(follower, 5, during=600)
        assert len(exchange.looks) <= 12


async def test_looks_that_fail_come_as_rarely_as_for_one_wait():
    """An id's backoff goes on with the next wait."""
    async with poller(lambda _: RejectedError("no", status_code=418)) as (exchange, follower):
        looks = []
        for seconds in (5, 600):
            with pytest.raises(RejectedError):
                await waits_of(follower, seconds, during=600, task_id=f"task_{seconds}")
            looks.append(len(exchange.looks))
        assert looks == [3, 6]


@pytest.mark.parametrize("failing", [False, True])
async def test_news_between_two_waits_are_for_the_next(failing):
    """A webhook comes while nobody waits: the next wait looks at once, unless its looks fail."""
    found = [running]
    async with poller(lambda one: found[0](one), Schedule(fixed=300)) as (exchange, follower):
        if failing:
            found[0] = lambda _: RejectedError("no", status_code=400)
        await waits_of(follower, 5, during=10)
        found[0], before = task, len(exchange.looks)
        follower.notice("task_1")
        await anyio.sleep(5)
        assert len(exchange.looks) == before
        await waits_of(follower, 1, during=1)
        assert len(exchange.looks) == before + (not failing)


async def test_a_query_that_sees_the_end_is_news_too():
    """Whoever then waits for the id learns it at once, however far apart the looks are."""
    async with pair(options={"poll": PollPolicy(fixed=1000)}, task_seconds=30) as (emulator, client):
        task_id = (await client.submit("a cat")).task_id
        async with type(client)(api_key="key", base_url=emulator.url, poll=PollPolicy(fixed=1000)) as other:
            for one in (client, other):
                with pytest.raises(WaitTimeoutError):
                    await one.wait(task_id, timeout=5)
            await anyio.sleep(60)
            for one in (client, other):
                assert (await one.query(task_id)).status is TaskStatus.SUCCEEDED
                assert (await one.wait(task_id, timeout=5)).status is TaskStatus.SUCCEEDED


async def test_what_is_a_callers_own_is_not_the_next_ones():
    """The error of a wait has the task's own data; what is remembered of it has none."""
    async with poller(running) as (_, follower):
        mine = VideoTask(task_id="task_1", gateway="jimmy", custom_id="row-1", metadata={"scene": 3})
        for given, whose in ((mine, "row-1"), ("task_1", None), (mine, "row-1")):
            with pytest.raises(WaitTimeoutError, match="last seen running") as caught:
                await wait_for(follower, given, 2)
            assert (caught.value.custom_id, caught.value.task.custom_id) == (whose, whose)


@pytest.mark.parametrize("pause", [1, 1000])
async def test_a_watch_begins_with_what_is_known_unless_that_is_old(pause):
    """What was seen within the interval is told without a look; else the look tells, changed or not."""
    async with poller(running) as (exchange, follower):
        await waits_of(follower, 1, during=1)
        await anyio.sleep(pause)
        before, watch = len(exchange.looks), Watch(follower, "task_1", min_interval=0, timeout=60)
        assert (await anext(watch)).status is TaskStatus.RUNNING
        assert len(exchange.looks) == before + (pause == 1000)
        await watch.aclose()


async def test_ever_new_ids_leave_nothing_but_the_last_of_them(monkeypatch):
    """Waits of any length, for more ids than are remembered, some of them twice."""
    monkeypatch.setattr(known, "MOST_LEFT", 100)
    rng = random.Random(5)
    async with poller(running, limits=Limits(requests_per_second=10_000)) as (_, follower):
        ids = [f"task_{rng.randrange(2000)}" for _ in range(4000)]
        for first in range(0, len(ids), 400):
            waits = (wait_for(follower, task_id, rng.expovariate(1 / 3)) for task_id in ids[first : first + 400])
            await asyncio.gather(*waits, return_exceptions=True)
        assert follower.following == len(follower._followed) == 0
        assert len(follower._followed._left) == 100
        await anyio.sleep(700)
        assert not follower._agenda._heap
        assert (follower.following, len(follower._followed), len(follower._followed._left)) == (0, 0, 100)


async def test_short_waits_leave_nothing_on_the_heap():
    """The next look stands there once, however many waits come and go before it."""
    async with poller(running, Schedule(fixed=3600.0)) as (exchange, follower):
        await waits_of(follower, 0.5, during=600)
        assert len(exchange.looks) <= 2
        assert len(follower._agenda._heap) <= 3


async def test_one_that_was_forgotten_does_not_come_back(monkeypatch):
    """Its look is still planned when others have taken its place and somebody waits for it anew."""
    monkeypatch.setattr(known, "MOST_LEFT", 1)
    async with poller(running, Schedule(fixed=100.0)) as (_, follower):
        for task_id in ("task_1", "task_2"):
            await waits_of(follower, 1, during=1, task_id=task_id)
        again = asyncio.ensure_future(wait_for(follower, "task_1", 1000))
        await anyio.sleep(1)
        followed = follower._followed["task_1"]
        await anyio.sleep(300)
        assert follower._followed["task_1"] is followed
        assert list(follower._followed._left) == ["task_2"]
        again.cancel()


async def test_the_end_of_the_poller_forgets_them():
    """A closed client keeps nothing."""
    async with poller(running) as (_, follower):
        await waits_of(follower, 1, during=1)
        assert len(follower._followed._left) == 1
    assert not follower._followed._left
