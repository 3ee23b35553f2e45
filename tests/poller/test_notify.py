"""`client.notify`: a webhook makes the poller look at once, and nothing but the look is believed."""

import asyncio

import pytest
from test_poller import poller, task

from omni_async import (
    AnswerLostError,
    InvalidRequestError,
    Limits,
    OmniError,
    PollPolicy,
    RejectedError,
    TaskStatus,
    VideoTask,
    WebhookEvent,
)
from omni_async.poller.waiting import wait_for
from omni_async.schedule import Schedule
from tests.pairs import pair
from tests.warp import WarpLoop

LOOP = WarpLoop


SELDOM = Schedule(fixed=100)


def running(task_id):
    """A look that finds it running."""
    return task(task_id, TaskStatus.RUNNING)


class Gateway:
    """What looks find: running until it is told otherwise; each look takes its time."""

    def __init__(self):
        self.found = running

    def __call__(self, task_id):
        return self.found(task_id)


async def now():
    """The loop's time."""
    return asyncio.get_running_loop().time()


async def test_a_look_comes_at_once_and_the_task_ends():
    """Not when the schedule would have looked."""
    gateway = Gateway()
    async with poller(gateway, SELDOM) as (exchange, poll):
        waiting = asyncio.ensure_future(wait_for(poll, "t1", 1000))
        await asyncio.sleep(30)
        gateway.found, noticed = task, await now()
        poll.notice("t1")
        assert (await waiting).status is TaskStatus.SUCCEEDED
        assert await now() - noticed < 0.1
        assert len(exchange.looks) == 2


async def test_an_event_that_is_early_or_forged_costs_one_look():
    """The task runs on, and is looked at again when the schedule says."""
    async with poller(Gateway(), SELDOM) as (exchange, poll):
        waiting = asyncio.ensure_future(wait_for(poll, "t1", 1000))
        await asyncio.sleep(30)
        poll.notice("t1")
        await asyncio.sleep(60)
        assert len(exchange.looks) == 2
        assert not waiting.done()
        await asyncio.sleep(60)
        assert len(exchange.looks) == 3
        waiting.cancel()


async def test_without_news_nothing_is_lost_but_time():
    """The look comes by the schedule."""
    gateway = Gateway()
    async with poller(gateway, SELDOM) as (_, poll):
        waiting = asyncio.ensure_future(wait_for(poll, "t1", 1000))
        await asyncio.sleep(30)
        gateway.found = task
        assert (await waiting).status is TaskStatus.SUCCEEDED


async def test_a_storm_costs_one_look_at_a_time():
    """A thousand events before a look are one; a thousand during a look are one more look after it."""
    at_once = most = 0
    under_way = asyncio.Event()

    class Slow(Gateway):
        async def look(self, ticket, task_id):
            nonlocal at_once, most
            at_once, most = at_once + 1, max(most, at_once + 1)
            under_way.set()
            await asyncio.sleep(1)
            at_once -= 1
            exchange.looks.append(task_id)
            exchange.limiter.passed(ticket)
            return running(task_id)

    async with poller(Gateway(), SELDOM) as (exchange, poll):
        waiting = asyncio.ensure_future(wait_for(poll, "t1", 1000))
        await asyncio.sleep(30)
        exchange.looks.clear()
        object.__setattr__(exchange, "glance", Slow().look)
        under_way.clear()
        for _ in range(1000):
            poll.notice("t1")
        await under_way.wait()
        for _ in range(1000):
            poll.notice("t1")
        await asyncio.sleep(60)
        assert len(exchange.looks) == 2
        assert most == 1
        waiting.cancel()


async def test_news_while_a_look_waits_for_its_turn_cost_nothing_more():
    """That look will see what the news are about."""
    async with poller(Gateway(), SELDOM, Limits(requests_per_second=0.1)) as (exchange, poll):
        waiting = [asyncio.ensure_future(wait_for(poll, task_id, 1000)) for task_id in ("t1", "t2", "t3")]
        await asyncio.sleep(0.1)
        poll.notice("t3")
        await asyncio.sleep(60)
        assert [task_id for _, task_id in exchange.looks].count("t3") == 1
        for one in waiting:
            one.cancel()


@pytest.mark.parametrize(
    "error",
    [RejectedError("no", status_code=400), AnswerLostError("gone"), OmniError("odd")],
    ids=lambda e: type(e).__name__,
)
async def test_an_id_whose_looks_fail_keeps_its_pause(error):
    """Else a storm of events would make three bad answers in a moment, and those end the following."""
    gateway = Gateway()
    async with poller(gateway, SELDOM) as (exchange, poll):
        waiting = asyncio.ensure_future(wait_for(poll, "t1", 1000))
        await asyncio.sleep(30)
        gateway.found = lambda _: error
        poll.notice("t1")
        for _ in range(10):
            await asyncio.sleep(0.01)
            poll.notice("t1")
        assert len(exchange.looks) == 2
        gateway.found = task
        assert (await waiting).status is TaskStatus.SUCCEEDED


async def test_ids_that_nobody_waits_for_are_passed_over():
    """Unknown ones, parked ones, finished ones; and a poller that was never started stays so."""
    async with poller(Gateway(), SELDOM) as (exchange, poll):
        poll.submitted(running("parked"))
        poll.notice("parked")
        poll.notice("unknown")
        await asyncio.sleep(1000)
        assert not exchange.looks
        assert poll.following == 0
    poll.notice("parked")  # closed: harmless too


# --- the client's ------------------------------------------------------------------------------------------------


def event(task_id, status=TaskStatus.FAILED):
    """A webhook's event, which claims anything."""
    return WebhookEvent(id="evt_1", type="generation.failed", task_id=task_id, status=status)


async def test_an_event_a_task_or_an_id():
    """Each makes the client look; what the event claims of the status is not believed."""
    async with pair("toapis", {"poll": PollPolicy(fixed=1000)}, task_seconds=30) as (emulator, client):
        for told in (lambda one: event(one.task_id), lambda one: one, lambda one: one.task_id):
            submitted = await client.submit("a cat")
            waiting = asyncio.ensure_future(client.wait(submitted, timeout=500))
            await asyncio.sleep(10)
            client.notify(told(submitted))
            await asyncio.sleep(10)
            assert not waiting.done()
            await asyncio.sleep(15)
            client.notify(told(submitted))
            await asyncio.sleep(1)
            assert waiting.done()
            assert (await waiting).status is TaskStatus.SUCCEEDED
            assert emulator.ledger.per_task[submitted.task_id] == 2


async def test_a_journalled_task_is_followed_without_a_waiter(tmp_path):
    """So the news of its end reach `on_finished` at once."""
    told = asyncio.Event()

    async def on_finished(_):
        told.set()

    options = {"journal": tmp_path / "j", "on_finished": on_finished, "poll": PollPolicy(fixed=1000)}
    async with pair("toapis", options, task_seconds=30) as (_, client):
        submitted = await client.submit("a cat", custom_id="order-1")
        await asyncio.sleep(40)
        assert not told.is_set()
        client.notify(event(submitted.task_id))
        await asyncio.wait_for(told.wait(), 5)


async def test_an_event_of_a_task_of_somebody_else():
    """Nothing is sent."""
    async with pair("toapis") as (emulator, client):
        client.notify(event("task_of_somebody"))
        client.notify(VideoTask(task_id="task_of_nobody"))
        await asyncio.sleep(100)
        assert not emulator.ledger.requests


async def test_what_is_no_task():
    """Refused, with its field."""
    async with pair() as (_, client):
        for wrong in (None, 5, "", " ", b"task_1", {}):
            with pytest.raises(InvalidRequestError):
                client.notify(wrong)


async def test_a_closed_client_and_another_loop_say_so():
    """As any other call does."""
    async with pair() as (_, client):

        def elsewhere():
            async def call():
                client.notify("task_1")

            asyncio.run(call())

        with pytest.raises(OmniError, match="another event loop"):
            await asyncio.to_thread(elsewhere)
    with pytest.raises(OmniError, match="closed"):
        client.notify("task_1")


async def test_news_are_cheap():
    """A thousand for ids that are followed leave one entry each on the agenda, not a thousand."""
    async with poller(Gateway(), SELDOM) as (_, poll):
        waiting = [asyncio.ensure_future(wait_for(poll, f"t{n}", 1000)) for n in range(10)]
        await asyncio.sleep(30)
        before = len(poll._agenda._heap)
        for n in range(1000):
            poll.notice(f"t{n % 10}")
        assert len(poll._agenda._heap) == before + 10
        for one in waiting:
            one.cancel()
