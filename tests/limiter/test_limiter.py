"""The limiter's door: whoever leaves it, at whatever moment, takes nothing along."""

import asyncio
import contextlib
import gc
import re
import weakref
from collections import Counter

import anyio
import pytest

from omni_async import InvalidRequestError, Limiter, Limits, OmniClient, OmniError, RateLimitError
from omni_async.emulator import Emulator
from omni_async.emulator.scenario import InjectedFault
from omni_async.limiter import Kind, Ticket
from omni_async.limiter.limiter import GRAIN
from omni_async.limiter.pace import SLACK
from tests.warp import WarpLoop, run

LOOP = WarpLoop


def idle(limiter):
    """Whether nothing is held and nobody waits."""
    load, state = limiter.load(), limiter._state
    return load.in_flight == load.waiting_creates == load.waiting_polls == state._transfers == 0


async def full(limiter):
    """Take all places, and give back how to free them."""
    return [await limiter.acquire(Kind.POLL) for _ in range(limiter.load().window)]


@pytest.mark.parametrize("wrong", [{"limits": "x"}, {"limits": 0}, {"limits": {}}, {"rng": 7}])
def test_what_a_limiter_is_not_made_of(wrong):
    """Limits of another kind are refused by name, also where they count as nothing."""
    (name,) = wrong
    with pytest.raises(InvalidRequestError, match=rf"{name}: must be \w+\(…\), not \w+"):
        Limiter(**wrong)


# --- coming and going --------------------------------------------------------------------------------------------


async def test_leave_is_given_at_once_where_there_is_room():
    """A free place costs no wait, and comes back."""
    limiter = Limiter()
    ticket = await limiter.acquire(Kind.POLL)
    assert limiter.load().in_flight == 1
    limiter.passed(ticket)
    assert idle(limiter)


async def test_leave_without_waiting():
    """Asked without waiting, there is leave where there is room and nobody waits, and None else."""
    limiter = Limiter(Limits(max_connections=1, max_running_tasks=1))
    for kind in (Kind.POLL, Kind.CREATE, Kind.TRANSFER):
        ticket = limiter.try_acquire(kind)
        assert ticket.granted
        again = limiter.try_acquire(kind)
        assert again is None
        limiter.unused(ticket)
        await anyio.sleep(1)
    ticket = limiter.try_acquire(Kind.POLL)
    waiting = asyncio.ensure_future(limiter.acquire(Kind.POLL))
    await anyio.sleep(1)
    limiter.passed(ticket)
    assert limiter.try_acquire(Kind.POLL) is None
    limiter.unused(await waiting)
    assert idle(limiter)


async def test_a_stream_of_polls_without_waiting_lets_creates_go():
    """A create that waits for its turn is not overtaken for ever by polls that never wait."""
    limiter = Limiter(Limits(requests_per_second=10.0))
    limiter.passed(limiter.try_acquire(Kind.POLL))
    create = asyncio.ensure_future(limiter.acquire(Kind.CREATE))
    for _ in range(20):
        await anyio.sleep(0.1)
        ticket = limiter.try_acquire(Kind.POLL)
        if ticket is not None:
            limiter.passed(ticket)
    assert create.done()
    limiter.unused(await create)


async def test_cancelled_while_it_waits():
    """Who is cancelled in the queue leaves it."""
    limiter = Limiter(Limits(max_connections=1))
    ticket = await limiter.acquire(Kind.POLL)
    waiting = asyncio.ensure_future(limiter.acquire(Kind.POLL))
    await anyio.sleep(1)
    waiting.cancel()
    await asyncio.wait([waiting])
    limiter.passed(ticket)
    assert idle(limiter)


async def test_cancelled_in_the_moment_leave_is_given():
    """Leave given to somebody who is just leaving goes to the next."""
    limiter = Limiter(Limits(max_connections=1))
    ticket = await limiter.acquire(Kind.CREATE)
    first, second = (asyncio.ensure_future(limiter.acquire(Kind.CREATE)) for _ in range(2))
    await anyio.sleep(1)
    limiter.declined(ticket)  # the first has leave now, and does not know it yet
    first.cancel()
    limiter.declined(await second)
    assert first.cancelled()
    assert idle(limiter)
    assert limiter.load().running == 0


async def test_cancelled_before_and_after_leave():
    """A cancelled scope around any phase leaves nothing behind."""
    limiter = Limiter(Limits(max_connections=2))
    for moment in (0.0, 0.5, 1.0, 1.5):
        held = await full(limiter)
        with anyio.move_on_after(moment):
            async with asyncio.TaskGroup() as group:
                for kind in Kind:
                    group.create_task(hold(limiter, kind, 1.0))
                await anyio.sleep(0.7)
                for ticket in held:
                    limiter.passed(ticket)
                held = []
        for ticket in held:
            limiter.passed(ticket)
        assert idle(limiter)
        assert limiter.load().running == 0


async def hold(limiter, kind, seconds):
    """Take leave, keep it so long, give it back unused."""
    ticket = await limiter.acquire(kind)
    try:
        await anyio.sleep(seconds)
    finally:
        limiter.unused(ticket)


@pytest.mark.parametrize("phase", ["queued", "in flight", "answered"])
async def test_a_cancelled_look_or_create_leaks_nothing(phase):
    """Through a client: cancelled in the queue, on the wire or just answered, all places come back."""
    async with Emulator(latency=1.0, task_seconds=5) as emulator:
        limits = Limits(max_connections=1, requests_per_second=2.0)
        async with OmniClient(api_key="key", base_url=emulator.url, limits=limits) as client:
            task = await client.submit("a cat")
            for call in (lambda: client.query(task), lambda: client.submit("another"), client.balance):
                first, second = (asyncio.ensure_future(call()) for _ in range(2))
                await anyio.sleep({"queued": 0.1, "in flight": 0.6, "answered": 1.6}[phase])
                for one in (second, first):
                    one.cancel()
                await asyncio.wait([first, second])
                await anyio.sleep(10)  # a POST goes on without its caller
                assert idle(client.limiter)


# --- waking up ---------------------------------------------------------------------------------------------------


class Counting(Limiter):
    """A limiter that counts how often it looks whom to let go."""

    looks = 0

    def _pump(self):
        self.looks += 1
        super()._pump()


async def test_a_crowd_costs_no_more_per_request_than_a_few():
    """With a thousand waiting, each that goes costs two looks at most: one for its time, one for its end."""
    limiter = Counting(Limits(requests_per_second=100.0))

    async def one():
        limiter.passed(await limiter.acquire(Kind.POLL))

    crowd = [asyncio.ensure_future(one()) for _ in range(1000)]
    await anyio.sleep(5)
    before, gone = limiter.looks, sum(task.done() for task in crowd)
    await asyncio.wait(crowd)
    assert limiter.looks - before <= 2 * (1000 - gone) + 10
    assert idle(limiter)


async def test_a_timer_that_is_due_earlier_is_left_alone():
    """An ending while others wait for their time looks, and arms nothing anew."""
    limiter = Limiter(Limits(requests_per_second=1.0))
    ticket = await limiter.acquire(Kind.POLL)
    waiting = asyncio.ensure_future(limiter.acquire(Kind.POLL))
    await anyio.sleep(0.1)
    timer = limiter._timer
    limiter.passed(ticket)
    assert limiter._timer is timer
    limiter.passed(await waiting)


async def moments_of(limiter, kind, count):
    """When each of so many that wait at once has leave; all get through at once."""
    moments = []

    async def one():
        ticket = await limiter.acquire(kind)
        moments.append(anyio.current_time())
        limiter.passed(ticket)

    await asyncio.gather(*(one() for _ in range(count)))
    return moments


@pytest.mark.parametrize("rate", [50.0, 300.0, 1000.0, 5000.0])
async def test_what_falls_due_soon_goes_together_and_the_pace_stays_exact(rate):
    """The loop wakes every 5 ms at most; as many go as time allows, and never more than 10 ms' worth at once."""
    limiter, count = Limiter(Limits(requests_per_second=rate)), int(rate)
    moments = await moments_of(limiter, Kind.POLL, count)
    took = moments[-1] - moments[0]
    assert took == pytest.approx((count - 1) / rate, abs=SLACK + GRAIN + 1 / rate)
    assert len(set(moments)) <= took / GRAIN + 2
    assert max(Counter(moments).values()) <= SLACK * rate + 1
    assert idle(limiter)


async def test_polls_and_creates_that_go_together_keep_their_turn():
    """Of a thousand a second, of which five go at a time, four are polls while both wait."""
    limiter = Limiter(Limits(requests_per_second=1000.0))
    polls, creates = await asyncio.gather(moments_of(limiter, Kind.POLL, 400), moments_of(limiter, Kind.CREATE, 100))
    half = (polls[0] + polls[-1]) / 2
    assert sum(moment <= half for moment in polls) == pytest.approx(200, abs=10)
    assert sum(moment <= half for moment in creates) == pytest.approx(50, abs=10)


async def test_a_place_that_comes_free_is_taken_at_once():
    """Where the window is what all wait for, an ending lets the next one go in the same turn."""
    limiter = Limiter(Limits(max_connections=2, requests_per_second=1000.0))
    tickets = [await limiter.acquire(Kind.POLL) for _ in range(2)]
    waiting = [asyncio.ensure_future(limiter.acquire(Kind.POLL)) for _ in range(3)]
    await anyio.sleep(1)
    began = anyio.current_time()
    for ticket in tickets:
        limiter.passed(ticket)
    await asyncio.wait(waiting[:2])
    assert anyio.current_time() - began < 0.002
    for one in waiting:
        limiter.passed(await one)
    assert idle(limiter)


# --- max_wait ----------------------------------------------------------------------------------------------------


async def test_max_wait_for_a_slot():
    """Past max_wait: RateLimitError, nothing sent, when to try again, and no charge."""
    async with Emulator(task_seconds=300, task_sigma=0) as emulator:
        limits = Limits(max_running_tasks=1)
        async with OmniClient(api_key="key", base_url=emulator.url, limits=limits) as client:
            await client.submit("a cat")
            began, posts = anyio.current_time(), emulator.ledger.requests["create"]
            with pytest.raises(RateLimitError, match="slots") as caught:
                await client.submit("another", max_wait=3.0, custom_id="row-2")
            assert anyio.current_time() - began <= 3.001
            assert caught.value.retry_after > 3
            assert caught.value.custom_id == "row-2"
            assert not caught.value.may_have_charged
            assert emulator.ledger.requests["create"] == posts
            assert idle(client.limiter)


async def test_no_max_wait_is_told_that_nobody_set():
    """A submit that was refused before has less than that left: the error names no figure but when to come again."""
    faults = (InjectedFault("rate_limited", on="create", seconds=0.5, first=9),)
    async with Emulator(faults=faults) as emulator, OmniClient(api_key="key", base_url=emulator.url) as client:
        with pytest.raises(RateLimitError, match=r"ask for a pause, and max_wait is too short for that; ") as caught:
            await client.submit("a cat", max_wait=0.7)
    assert re.findall(r"[\d.]+ s\b", str(caught.value)) == ["1 s"]


async def test_max_wait_for_the_end_of_a_pause():
    """A Retry-After longer than max_wait is told at once, without waiting for it."""
    faults = (InjectedFault("rate_limited", on="create", seconds=60, first=1),)
    async with (
        Emulator(faults=faults) as emulator,
        OmniClient(api_key="key", base_url=emulator.url) as client,
    ):
        began = anyio.current_time()
        with pytest.raises(RateLimitError, match="pause") as caught:
            await client.submit("a cat", max_wait=10.0)
        assert anyio.current_time() - began < 1
        assert 55 <= caught.value.retry_after <= 60
        assert client.stats().paused_until is not None
        assert (await client.submit("a cat", max_wait=70.0)).task_id


async def test_max_wait_during_an_outage():
    """What is told is that nobody answers, and not that the account's limits are at fault."""
    limiter = Limiter()
    for _ in range(20):
        limiter.failed(await limiter.acquire(Kind.POLL))
    with pytest.raises(RateLimitError, match=r"no usable answers, and .*; try again in about [1-9]"):
        await limiter.acquire(Kind.CREATE, max_wait=0.1)


@pytest.mark.parametrize("max_wait", [0.0, 0.5])
async def test_max_wait_for_a_place(max_wait):
    """All connections taken: the wait ends on time, with the same error."""
    limiter = Limiter(Limits(max_connections=1))
    ticket = await limiter.acquire(Kind.POLL)
    began = anyio.current_time()
    with pytest.raises(RateLimitError) as caught:
        await limiter.acquire(Kind.CREATE, max_wait=max_wait)
    assert anyio.current_time() - began == pytest.approx(max_wait, abs=0.01)
    assert caught.value.retry_after >= 0
    limiter.passed(ticket)
    assert idle(limiter)
    limiter.declined(await limiter.acquire(Kind.CREATE, max_wait=max_wait + 1))


async def test_leave_given_just_at_the_deadline_is_leave():
    """Who gets leave in the moment max_wait ends has it."""
    limiter = Limiter(Limits(max_connections=1))
    ticket = await limiter.acquire(Kind.POLL)
    waiting = asyncio.ensure_future(limiter.acquire(Kind.POLL, max_wait=5.0))
    asyncio.get_running_loop().call_later(5.0, limiter.passed, ticket)
    await anyio.sleep(6)
    with contextlib.suppress(RateLimitError):
        limiter.passed(await waiting)
    assert idle(limiter)


# --- sharing -----------------------------------------------------------------------------------------------------


async def test_two_clients_share_one_limiter():
    """Clients that are given one limiter keep to one account's limits together."""
    async with Emulator(task_seconds=20, task_sigma=0) as emulator:
        options = {"api_key": "key", "base_url": emulator.url}
        async with (
            OmniClient(limits=Limits(max_running_tasks=3), **options) as one,
            OmniClient("toapis", limiter=one.limiter, **options) as two,
        ):
            async with asyncio.timeout(600):
                await asyncio.gather(*((one, two)[i % 2].submit(f"cat {i}") for i in range(12)))
            assert one.limiter is two.limiter
            assert max(count for _, count in emulator.ledger.running) == 3
            assert two.stats().running == one.stats().running


async def test_a_closed_client_leaves_a_shared_limiter_alone():
    """The other goes on, and the closed one's ids are no longer looked at."""
    async with Emulator(task_seconds=5, task_sigma=0) as emulator:
        options = {"api_key": "key", "base_url": emulator.url}
        async with OmniClient(limits=Limits(max_running_tasks=2), **options) as one:
            async with OmniClient(limiter=one.limiter, **options) as two:
                await two.submit("a cat")
            for i in range(3):
                await one.submit(f"cat {i}")
            assert idle(one.limiter)


async def test_a_client_that_was_never_used_leaves_nothing_at_a_shared_limiter():
    """Made for each request, say, and closed or just dropped: none of them stays in memory."""
    limiter, made = Limiter(), []
    for close in (True, False):
        client = OmniClient(api_key="key", limiter=limiter)
        made.append(weakref.ref(client.studio.poller))
        if close:
            await client.aclose()
    del client
    gc.collect()
    assert [poller() for poller in made] == [None, None]


def test_another_loop_is_a_clear_error():
    """A limiter belongs to the loop that first used it, while that lives."""
    limiter = Limiter()

    async def use():
        limiter.unused(await limiter.acquire(Kind.POLL))

    first = WarpLoop()
    first.run_until_complete(use())
    with pytest.raises(OmniError, match="another event loop") as caught:
        run(use())
    assert not caught.value.may_have_charged
    first.close()
    run(use())  # its loop is gone: whoever comes next has it


def test_a_loop_that_was_closed_over_requests_in_flight_takes_no_place_with_it():
    """As where each job has a loop of its own that is just closed: whoever comes next has all places, and no more."""
    limiter, tickets, left = Limiter(Limits(max_connections=2)), [], []

    async def use():
        async with asyncio.timeout(60):
            tickets.extend([await limiter.acquire(Kind.POLL), await limiter.acquire(Kind.POLL)])
        left.append(asyncio.ensure_future(limiter.acquire(Kind.POLL)))
        await asyncio.sleep(0)

    first, second = WarpLoop(), WarpLoop()
    second._warp.now += 1000  # they have one clock
    first.run_until_complete(use())
    first.close()
    second.run_until_complete(use())
    assert (limiter.load().in_flight, limiter.load().waiting_polls) == (2, 1)
    limiter.unused(tickets[0])  # what is collected of the first loop's comes late
    limiter.failed(tickets[1])
    left[0].get_coro().close()
    assert (limiter.load().in_flight, limiter.load().waiting_polls) == (2, 1)
    limiter.unused(tickets[2])
    limiter.unused(tickets[3])
    second.run_until_complete(left[1])
    second.close()


# --- looking in --------------------------------------------------------------------------------------------------


async def test_load_tells_where_it_stands():
    """What is in flight, running, known and waited for."""
    limiter = Limiter(Limits(max_connections=4, max_running_tasks=1, requests_per_second=5.0))
    assert limiter.load().paused_for == 0
    ticket = await limiter.acquire(Kind.CREATE)
    assert limiter.load().in_flight == 1
    limiter.accepted(ticket, "task_1")
    waiting = asyncio.ensure_future(limiter.acquire(Kind.CREATE))
    await anyio.sleep(1)
    load = limiter.load()
    assert (load.window, load.running, load.slots, load.pace, load.waiting_creates) == (4, 1, 1, 5.0, 1)
    assert limiter.starving
    assert limiter.holds("task_1")
    assert "1 of 1 running" in repr(limiter)
    limiter.finished("task_1")
    limiter.unused(await waiting)
    assert not limiter.starving
    assert limiter.load().running == 0


async def test_unknown_limits_are_none():
    """What was never met is not made up."""
    load = Limiter().load()
    assert (load.slots, load.pace, load.create_pace) == (None, None, None)


async def test_starvation_is_told_and_can_be_left():
    """Listeners are called while a create waits for a finish, until they leave."""

    class Ear:
        calls = 0

        def hear(self):
            self.calls += 1

    limiter, ear = Limiter(Limits(max_running_tasks=1)), Ear()
    stop = limiter.on_starved(ear.hear)
    limiter.accepted(await limiter.acquire(Kind.CREATE), "task_1")
    assert ear.calls == 0
    waiting = asyncio.ensure_future(limiter.acquire(Kind.CREATE))
    await anyio.sleep(1)
    assert ear.calls
    stop()
    count = ear.calls
    limiter.unused(await limiter.acquire(Kind.POLL))
    assert ear.calls == count
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_endings_of_creates():
    """Sent and lost keeps the slot for a while, never sent frees it, adopted goes to the task."""
    limiter = Limiter()
    lost = await limiter.acquire(Kind.CREATE)
    limiter.failed(lost, timeout=True)
    assert limiter.load().running == 1
    limiter.adopt(lost, "task_1")
    assert limiter.holds("task_1")
    limiter.failed(await limiter.acquire(Kind.CREATE), sent=False)
    assert limiter.load().running == 1
    limiter.finished("task_1", seen=False)
    assert idle(limiter)
    assert limiter.load().running == 0


async def test_a_task_of_an_earlier_run_leaves_the_timer_alone():
    """Whoever waits for the pace is woken by one timer, however many tasks are entered meanwhile."""
    limiter = Limiter(Limits(requests_per_second=1.0))
    limiter.passed(limiter.try_acquire(Kind.POLL))
    waiting = asyncio.ensure_future(limiter.acquire(Kind.POLL))
    await anyio.sleep(0.1)
    timer = limiter._timer
    assert timer is not None
    limiter.occupy("of an earlier run")
    assert limiter._timer is timer
    limiter.unused(await waiting)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1]])
async def test_whoever_gives_up_leaves_the_queue_in_whatever_order(order):
    """The newest first, the oldest first or any: nobody else loses a place, and none is left."""
    limiter = Limiter(Limits(max_running_tasks=1))
    limiter.accepted(limiter.try_acquire(Kind.CREATE), "task")
    waiting = [asyncio.ensure_future(limiter.acquire(Kind.CREATE)) for _ in order]
    await anyio.sleep(0.01)
    for left, which in zip(range(len(order) - 1, -1, -1), order, strict=True):
        waiting[which].cancel()
        await asyncio.gather(waiting[which], return_exceptions=True)
        assert limiter.load().waiting_creates == left
    assert not limiter.starving


async def test_whoever_gives_up_in_the_midst_of_a_long_queue_is_not_searched_for():
    """Of a thousand who wait any goes as fast as the last; the others keep their turn."""
    limiter = Limiter(Limits(max_connections=1))
    held = await limiter.acquire(Kind.QUERY)
    waiting = [asyncio.ensure_future(limiter.acquire(Kind.QUERY)) for _ in range(1000)]
    await asyncio.sleep(0)
    compared = []
    for gone in waiting[1::2]:
        gone.cancel()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ticket, "__eq__", lambda one, other: compared.append(1) or one is other)
        patch.setattr(Ticket, "__hash__", object.__hash__)
        await asyncio.wait(waiting[1::2])
    assert len(compared) < 1000
    for first in waiting[:20:2]:
        limiter.unused(held)
        held = await first
    for rest in waiting:
        rest.cancel()
    await asyncio.wait(waiting)
    limiter.unused(held)
