"""Many ids followed by one schedule: what a look costs, what disturbs whom, and when following ends."""

import asyncio
import contextlib
import copy
import itertools
import logging
import math
import random
import weakref
from collections import Counter
from datetime import UTC, datetime

import anyio
import anyio.lowlevel
import attrs
import pytest

from omni_async import (
    AuthenticationError,
    DecodeError,
    Jimmy,
    Limits,
    NotFoundError,
    NotSentError,
    OmniClient,
    OmniError,
    PollPolicy,
    RateLimitError,
    TaskStatus,
    VideoTask,
    WaitTimeoutError,
)
from omni_async.emulator import Emulator
from omni_async.emulator.scenario import InjectedFault
from omni_async.events import Polled, Retried
from omni_async.exchange import Exchange
from omni_async.limiter import Limiter
from omni_async.policies import RetryPolicy
from omni_async.poller import Poller
from omni_async.poller.iterators import Completed, FinishedInbox, Watch
from omni_async.poller.waiting import wait_for
from omni_async.reporter import Reporter
from omni_async.schedule import Schedule
from tests.pairs import pair
from tests.warp import WarpLoop

LOOP = WarpLoop


class Clockwork(Exchange):
    """An exchange without a network: a script says what each look at an id finds."""

    place = ("jimmy", "nowhere")

    def __init__(self, script, limits=None):
        super().__init__(
            dialect=Jimmy(),
            transport=None,
            limiter=Limiter(limits or Limits()),
            retry=RetryPolicy(),
            report=Reporter(None),
            rng=random.Random(1),
        )
        object.__setattr__(self, "script", script)
        object.__setattr__(self, "looks", [])

    async def look(self, ticket, task_id):
        """Note the time, and do as the script says."""
        self.looks.append((anyio.current_time(), task_id))
        try:
            await anyio.lowlevel.checkpoint()
            found = self.script(task_id)
        finally:
            self.limiter.passed(ticket)
        if isinstance(found, BaseException):
            raise found
        return found

    glance = look


def task(task_id, status=TaskStatus.SUCCEEDED, **fields):
    """A task as a look finds it."""
    return VideoTask(task_id=task_id, status=status, raw_status=status.value, gateway="jimmy", **fields)


@contextlib.asynccontextmanager
async def poller(script, schedule=None, limits=None):
    """A poller over such an exchange."""
    exchange = Clockwork(script, limits)
    poller = Poller(exchange, schedule or Schedule())
    try:
        yield exchange, poller
    finally:
        await poller.aclose()


# --- what looks cost ---------------------------------------------------------------------------------------------


async def looks_with(waiters):
    """GETs that so many waiters on one task cost."""
    async with pair() as (emulator, client):
        task = await client.submit("a cat")
        done = await asyncio.gather(*(client.wait(task if i % 2 else task.task_id) for i in range(waiters)))
        assert {one.task_id for one in done} == {task.task_id}
        return emulator.ledger.requests["query"]


async def test_fifty_waiters_cost_the_looks_of_one():
    """50 coroutines on one id cost the GETs of one, plus at most one."""
    assert await looks_with(50) <= await looks_with(1) + 1


async def test_an_id_from_another_process_is_waitable():
    """A handle written by one client is followed by another, and its own data comes back with the task."""
    async with pair() as (emulator, client):
        handle = (await client.submit("a cat", custom_id="row-1", metadata={"scene": 3})).to_json()
        async with OmniClient(api_key="key", base_url=emulator.url) as other:
            done = await other.wait(VideoTask.from_json(handle))
            assert (done.custom_id, done.metadata, done.status) == ("row-1", {"scene": 3}, TaskStatus.SUCCEEDED)


async def test_nobody_waits_no_polls():
    """A task nobody waits for costs no GET."""
    async with pair() as (emulator, client):
        await client.submit("a cat")
        await anyio.sleep(600)
        assert emulator.ledger.requests["query"] == 0
        assert client.stats().following == 0


async def test_waits_too_short_for_a_look_leave_the_schedule_alone():
    """A loop of waits shorter than a round trip looks no more often than one long wait would, and does finish."""
    async with pair(latency=0.3) as (emulator, client):
        task = await client.submit("a cat")
        began = anyio.current_time()
        for _ in range(1000):
            with contextlib.suppress(WaitTimeoutError):
                await client.wait(task, timeout=0.2)
                break
        assert 30 <= anyio.current_time() - began <= 40
        assert emulator.ledger.requests["query"] <= 9


async def test_a_late_waiter_is_told_the_state_at_once():
    """Who joins an id that is being followed learns what is known without a further GET."""
    async with pair(progress="stuck") as (emulator, client):
        task = await client.submit("a cat")
        waiting = asyncio.ensure_future(client.wait(task))
        await anyio.sleep(22)
        before, now = emulator.ledger.requests["query"], anyio.current_time()
        seen = await anext(client.watch(task))
        assert seen.status is TaskStatus.RUNNING
        assert (emulator.ledger.requests["query"], anyio.current_time()) == (before, now)
        await waiting


async def test_intervals_keep_to_the_schedule():
    """With `fixed`, looks are just so far apart; without, within the dialect's advice."""
    for poll, low, high in ((PollPolicy(fixed=2.0), 1.99, 2.05), (PollPolicy(), 4.7, 15.8)):
        times = []
        options = {"poll": poll, "on_event": lambda _, times=times: times.append(anyio.current_time())}
        async with pair(options=options, task_seconds=200) as (_, client):
            await client.wait(await client.submit("a cat"))
        gaps = [b - a for a, b in itertools.pairwise(times[1:-1])]
        assert gaps
        assert min(gaps) >= low
        assert max(gaps) <= high


async def looked_at_thirty(schedule):
    """The seconds between two looks at each of thirty ids that run for two minutes, and the moments of all looks."""
    async with poller(lambda task_id: task(task_id, TaskStatus.RUNNING), schedule) as (exchange, one):
        ids = [f"task_{n}" for n in range(30)]
        for n, task_id in enumerate(ids):
            one.submitted(task(task_id, TaskStatus.QUEUED), ("jimmy", str(n % 3)))
        waits = [asyncio.create_task(wait_for(one, task_id, 120)) for task_id in ids]
        await asyncio.gather(*waits, return_exceptions=True)
    times = [[at for at, looked in exchange.looks if looked == task_id] for task_id in ids]
    return [later - sooner for each in times for sooner, later in itertools.pairwise(each[:-1])], exchange.looks


async def test_an_interval_that_was_asked_for_is_kept_exactly():
    """Neither `fixed` nor `max_interval` is stretched so that looks go together."""
    between, _ = await looked_at_thirty(Schedule(fixed=3.0))
    assert max(between) < 3.0 + 0.03
    between, _ = await looked_at_thirty(Schedule(shortest=2.0, longest=3.0, strict=True, bounded=True))
    assert max(between) < 3.0 + 0.03


async def test_looks_planned_by_itself_go_together():
    """Of thirty ids several are looked at in one turn: that costs less than each by itself, and comes hardly later."""
    _, loose = await looked_at_thirty(Schedule())
    _, exact = await looked_at_thirty(Schedule(bounded=True))
    alone, together = (len({round(at, 2) for at, _ in looks}) / len(looks) for looks in (exact, loose))
    assert together < 0.8 * alone


async def test_ten_thousand_due_at_once_are_paced():
    """After a sleep of the machine everything is due: what goes keeps to the pace, without a burst."""
    limits = Limits(requests_per_second=500)
    async with poller(lambda task_id: task(task_id), limits=limits) as (exchange, follower):
        done = await asyncio.gather(*(wait_for(follower, f"task_{i}", None) for i in range(10_000)))
    assert len(done) == len(exchange.looks) == 10_000
    per_second = Counter(int(at) for at, _ in exchange.looks)
    assert max(per_second.values()) <= 500 + 6


# --- bad answers -------------------------------------------------------------------------------------------------

TROUBLE = ("html_502", "drop", "rate_limited", "html_200", "internal_error", "truncated_json", "drop_mid_answer")


@pytest.mark.parametrize("kind", TROUBLE)
@pytest.mark.parametrize("gateway", ["jimmy", "gemini_omni", "toapis"])
async def test_trouble_during_polls_is_transparent(gateway, kind):
    """Every second look fails: each task is followed to its end all the same."""
    async with pair(gateway, faults=(InjectedFault(kind, on="query", every=2),)) as (_, client):
        tasks = [await client.submit(f"cat {i}") for i in range(5)]
        done = await asyncio.gather(*map(client.wait, tasks))
        assert {one.status for one in done} == {TaskStatus.SUCCEEDED}


async def test_a_hanging_look_is_given_up_and_repeated():
    """A query without an answer costs its own timeout, and no task."""
    async with pair(faults=(InjectedFault("hang", on="query", first=1),)) as (_, client):
        began = anyio.current_time()
        assert (await client.wait(await client.submit("a cat"))).status is TaskStatus.SUCCEEDED
        assert anyio.current_time() - began <= 60


async def test_one_bad_id_delays_only_itself():
    """Looks at one id that always fail leave the others' times as they are, and come ever more rarely."""
    faults = (InjectedFault("html_502", on="query", prompt="bad"),)
    async with pair(faults=faults, task_seconds=60) as (emulator, client):
        bad = await client.submit("bad")
        good = [await client.submit(f"good {i}") for i in range(20)]
        began = anyio.current_time()

        async def finished(one):
            await client.wait(one)
            return anyio.current_time() - began

        failing = asyncio.ensure_future(client.wait(bad, timeout=600))
        times = await asyncio.gather(*map(finished, good))
        assert max(times) <= 60 + 10
        with pytest.raises(WaitTimeoutError):
            await failing
        assert 5 <= emulator.ledger.per_task[bad.task_id] <= 25


async def test_unknown_status_means_still_running(caplog):
    """A word nobody knows is taken as running, and told once."""
    async with pair(faults=(InjectedFault("unknown_status"),)) as (_, client):
        tasks = [await client.submit(f"cat {i}") for i in range(3)]
        with caplog.at_level(logging.WARNING, "omni_async"):
            done = await asyncio.gather(*map(client.wait, tasks))
        assert {one.status for one in done} == {TaskStatus.SUCCEEDED}
    told = [record for record in caplog.records if "warming_up" in record.getMessage()]
    assert len(told) == 1


async def test_a_new_task_may_be_unknown_for_a_minute():
    """404 right after the submit is a matter of consistency: it is waited for."""
    async with pair(faults=(InjectedFault("not_found_at_first", seconds=45),)) as (_, client):
        assert (await client.wait(await client.submit("a cat"))).status is TaskStatus.SUCCEEDED


@pytest.mark.parametrize("gateway", ["jimmy", "gemini_omni", "toapis"])
async def test_an_unknown_id_is_not_found_after_a_minute(gateway):
    """After a minute of 404 the id is given up with NotFoundError, which names it and refunds nothing."""
    async with pair(gateway) as (_, client):
        began = anyio.current_time()
        with pytest.raises(NotFoundError) as caught:
            await client.wait("task_nobody_knows")
        assert 60 <= anyio.current_time() - began <= 125
        assert caught.value.task_id == "task_nobody_knows"
        assert caught.value.may_have_charged


async def test_success_without_a_url_is_believed_after_three_looks():
    """DecodeError comes after three confirmations, with the id kept."""
    async with pair(faults=(InjectedFault("missing_url"),), task_seconds=1) as (emulator, client):
        task = await client.submit("a cat", custom_id="row-1")
        with pytest.raises(DecodeError) as caught:
            await client.wait(task)
        assert emulator.ledger.per_task[task.task_id] == 3
        assert (caught.value.task_id, caught.value.custom_id) == (task.task_id, "row-1")
        assert caught.value.may_have_charged
        assert client.stats().running == 0


async def test_a_missing_url_that_comes_late_is_waited_for():
    """Two answers without the URL fail nothing."""
    async with pair(faults=(InjectedFault("missing_url", first=2),), task_seconds=1) as (_, client):
        assert (await client.wait(await client.submit("a cat"))).video_url


async def test_a_refused_key_is_believed_after_three_looks():
    """401 ends the following after three confirmations, and holds no secret."""
    async with poller(lambda _: AuthenticationError("bad key", status_code=401)) as (exchange, follower):
        with pytest.raises(AuthenticationError):
            await wait_for(follower, "task_1", 600)
        assert len(exchange.looks) == 3


async def test_a_finished_status_is_final():
    """A status that goes backwards changes nothing once the task was seen finished."""
    async with pair(faults=(InjectedFault("flapping", every=2),)) as (_, client):
        task = await client.submit("a cat")
        states = [one.status async for one in client.watch(task)]
        assert states[-1] is TaskStatus.SUCCEEDED
        assert states.count(TaskStatus.SUCCEEDED) == 1
        assert (await client.wait(task)).status is TaskStatus.SUCCEEDED


async def test_refused_looks_come_back_when_the_limiter_goes_on():
    """A RateLimitError delays the id by at least what it asks for."""
    answers = iter([RateLimitError("slow", retry_after=40.0), task("task_1")])
    async with poller(lambda _: next(answers)) as (exchange, follower):
        await wait_for(follower, "task_1", None)
        assert exchange.looks[1][0] - exchange.looks[0][0] >= 40


async def test_looks_that_fail_for_hours_go_on():
    """However long an id fails, with a fixed interval too, it is looked at again and harms nobody."""
    failures = iter(range(1100))

    def script(task_id):
        return DecodeError("odd") if task_id == "bad" and next(failures, None) is not None else task(task_id)

    async with poller(script, Schedule(fixed=1.0)) as (_, follower):
        waiting = asyncio.ensure_future(wait_for(follower, "bad", None))
        assert (await wait_for(follower, "good", 10)).task_id == "good"
        assert (await waiting).task_id == "bad"


async def test_a_wait_that_saw_nothing_says_why():
    """It never claims that a task runs which no look has seen; the reason is its cause, without frames."""
    async with poller(lambda _: NotSentError("never sent: the connection was refused")) as (_, follower):
        with pytest.raises(WaitTimeoutError, match="not seen for 75 s: never sent: the connection was refused") as late:
            await wait_for(follower, "task_1", 75)
    why = late.value.__cause__
    assert isinstance(why, NotSentError)
    assert (why.task_id, why.may_have_charged, why.__traceback__) == ("task_1", True, None)
    assert "running" not in str(late.value)
    assert "nobody could look at it" in late.value.explain()
    assert "任务没有丢失" in late.value.explain("zh")


async def test_a_wait_whose_last_looks_failed_says_both():
    """How it was seen last, and why it was not seen since; a good look ends that."""
    runs, odd = task("t", TaskStatus.RUNNING), DecodeError("odd")
    for first, then, says in ((runs, odd, "last seen running, no end seen in 60 s: odd"), (odd, runs, "still running")):
        looks = iter([first])
        async with poller(lambda _, looks=looks, then=then: next(looks, then), Schedule(fixed=10.0)) as (_, follower):
            with pytest.raises(WaitTimeoutError, match=says) as late:
                await wait_for(follower, "t", 60)
        assert (late.value.__cause__ is None) is (then is runs)


@pytest.mark.parametrize("ids", [1, 3000])
async def test_an_outage_is_one_line_however_many_ids_it_concerns(ids, caplog):
    """The third look in a row that fails is told, of one id for all."""
    async with poller(lambda _: DecodeError("odd")) as (_, follower):
        waits = [wait_for(follower, f"task_{number}", 600) for number in range(ids)]
        ended = await asyncio.gather(*waits, return_exceptions=True)
    assert {type(error) for error in ended} == {WaitTimeoutError}
    assert caplog.text.count("could not be seen in 3 looks: odd") == 1


@pytest.mark.parametrize(
    "found", [[DecodeError("odd")] * 2, [RateLimitError("slower")] * 9, [NotFoundError("no such task")] * 4]
)
async def test_what_is_soon_over_or_told_is_no_warning(found, caplog):
    """Two bad looks, refusals for now, a task that is not known yet."""
    looks = iter(found)
    async with poller(lambda task_id: next(looks, task(task_id))) as (_, follower):
        await wait_for(follower, "task_1", 600)
    assert not caplog.text


async def test_a_task_that_is_not_known_is_an_event_at_once():
    """Whoever mistyped an id need not wait for the end of the grace to hear it."""
    events, looks = [], iter([NotFoundError("no such task")])
    async with poller(lambda task_id: next(looks, task(task_id))) as (exchange, follower):
        object.__setattr__(exchange, "report", Reporter(events.append))
        await wait_for(follower, "task_1", 600)
    assert [(event.reason, event.task_id, event.attempt) for event in events if isinstance(event, Retried)] == [
        ("NotFoundError", "task_1", 1)
    ]


async def test_repeats_are_reported_and_budgeted():
    """What is repeated out of the budget is an event, and the budget bounds it."""
    events = []
    async with pair(options={"on_event": events.append}, faults=(InjectedFault("html_502", on="query", first=30),)) as (
        _,
        c,
    ):
        tasks = [await c.submit(f"cat {i}") for i in range(10)]
        await asyncio.gather(*map(c.wait, tasks))
    repeats = [event for event in events if isinstance(event, Retried)]
    assert 5 <= len(repeats) <= 15
    assert {event.kind for event in repeats} == {"poll"}
    assert all(event.task_id for event in repeats)


async def looks_of(outage):
    """GETs that 30 tasks cost, with an outage of so many seconds."""
    async with pair(task_seconds=900) as (emulator, client):
        tasks = [await client.submit(f"cat {i}") for i in range(30)]
        waiting = asyncio.gather(*(client.wait(task, timeout=7200) for task in tasks))
        await anyio.sleep(120)
        sent = []
        plain = client.studio.exchange.transport.send

        async def counted(call, **options):
            sent.append(call)
            return await plain(call, **options)

        client.studio.exchange.transport.send = counted
        before = emulator.ledger.requests["query"]
        if outage:
            await emulator.stop()
            await anyio.sleep(outage)
            await emulator.start()
        done = await waiting
        assert {one.status for one in done} == {TaskStatus.SUCCEEDED}
        return before + len(sent)


async def test_an_outage_costs_few_looks():
    """Ten minutes without a gateway: every task finishes, with at most a tenth more requests."""
    assert await looks_of(600) <= 1.10 * await looks_of(0)


# --- deadlines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [3.0, 37.0, 61.5])
async def test_a_wait_ends_on_time_with_a_last_look_just_before(timeout):
    """The timeout is never overshot, and the last look starts about one round trip before it."""
    looks = []
    options = {"on_event": lambda event: isinstance(event, Polled) and looks.append(anyio.current_time())}
    async with pair(options=options, latency=0.2, faults=(InjectedFault("never_ends"),)) as (_, client):
        task = await client.submit("a cat")
        began = anyio.current_time()
        with pytest.raises(WaitTimeoutError) as caught:
            await client.wait(task, timeout=timeout)
        assert anyio.current_time() - began == pytest.approx(timeout, abs=0.01)
        assert timeout - 0.6 <= looks[-1] - began <= timeout
        assert caught.value.task.task_id == caught.value.task_id == task.task_id
        assert caught.value.waited == pytest.approx(timeout, abs=0.01)


async def test_a_later_waiter_brings_the_next_look_forward():
    """An id that is due late is looked at before the deadline of a waiter who joins."""
    schedule = Schedule(first=1.0, fixed=100.0)
    async with poller(lambda task_id: task(task_id, TaskStatus.RUNNING), schedule) as (exchange, follower):
        long = asyncio.ensure_future(wait_for(follower, "task_1", 1000))
        await anyio.sleep(5)
        with pytest.raises(WaitTimeoutError):
            await wait_for(follower, "task_1", 10)
        assert len(exchange.looks) == 2
        long.cancel()


async def test_after_a_sleep_in_the_middle_of_a_look_there_are_last_looks_again():
    """A laptop that slept for a night: what that look took says nothing of when the last one must start."""
    loop, schedule = asyncio.get_running_loop(), Schedule(fixed=100.0)

    def script(task_id):
        if len(exchange.looks) == 1:
            loop._warp.now += 8 * 3600.0
        return task(task_id, TaskStatus.RUNNING)

    async with poller(script, schedule) as (exchange, follower):
        for timeout in (9 * 3600.0, 950.0):
            with pytest.raises(WaitTimeoutError):
                await wait_for(follower, "task_1", timeout)
        assert loop.time() - exchange.looks[-1][0] <= 6


async def _waited(follower, timeout):
    return (await wait_for(follower, "task_1", timeout)).status


async def _watched(follower, timeout):
    return [seen.status async for seen in Watch(follower, "task_1", min_interval=0.0, timeout=timeout)][-1]


async def _completed(follower, timeout):
    return [seen.status async for seen in Completed(follower, ["task_1"], timeout=timeout)][-1]


@pytest.mark.parametrize("way", [_waited, _watched, _completed])
async def test_a_wait_that_was_over_while_the_loop_stood_still_looks_before_it_gives_up(way):
    """A machine that slept for an hour, a call that blocked: the task has ended meanwhile."""
    loop, schedule = asyncio.get_running_loop(), Schedule(first=1.0, fixed=20.0)
    loop.call_later(50, lambda: setattr(loop._warp, "now", loop.time() + 3600.0))
    began = loop.time()

    def script(task_id):
        return task(task_id, TaskStatus.SUCCEEDED if loop.time() - began > 60 else TaskStatus.RUNNING)

    async with poller(script, schedule) as (_, follower):
        assert await way(follower, 100.0) is TaskStatus.SUCCEEDED
    assert loop.time() - began < 3655


@pytest.mark.parametrize("way", [_waited, _watched, _completed])
async def test_a_loop_that_stands_still_again_and_again_puts_a_waits_end_off_once(way):
    """An app that blocks its loop all the time: the wait of a task that runs on has an end all the same."""
    loop, schedule = asyncio.get_running_loop(), Schedule(fixed=20.0)
    began = loop.time()

    def block():
        loop._warp.now += 8.0
        loop.call_later(1.0, block)

    loop.call_later(1.0, block)
    async with poller(lambda task_id: task(task_id, TaskStatus.RUNNING), schedule) as (_, follower):
        with pytest.raises(WaitTimeoutError):
            await way(follower, 31.0)
    assert loop.time() - began < 31 + 8 + 5 + 9


@pytest.mark.parametrize("way", [_waited, _watched, _completed])
async def test_what_ends_a_wait_while_the_loop_stands_still_is_told_and_not_waited_for_again(way):
    """The client is closed in the very turn in which the wait's time is over: nothing more will ever be told."""
    loop = asyncio.get_running_loop()
    loop.call_later(50, lambda: setattr(loop._warp, "now", loop.time() + 3600.0))
    began = loop.time()

    async with poller(lambda task_id: task(task_id, TaskStatus.RUNNING), Schedule(fixed=20.0)) as (_, follower):

        async def close():
            await asyncio.sleep(99.0)
            await follower.aclose()

        closing = asyncio.ensure_future(close())
        with pytest.raises((OmniError, ExceptionGroup)) as told:
            await way(follower, 100.0)
        await closing
    assert "closed" in str(getattr(told.value, "exceptions", [told.value])[0])
    assert loop.time() - began < 3651


async def test_short_waits_look_no_more_often_than_the_caller_allows():
    """A handler that waits for a second again and again: no last look comes before `min_interval` is over.

    Nor does each of them leave something on the heap until then.
    """
    schedule = Schedule(first=10.0, shortest=10.0, strict=True)
    async with poller(lambda task_id: task(task_id, TaskStatus.RUNNING), schedule) as (exchange, follower):
        long = asyncio.ensure_future(wait_for(follower, "task_1", None))
        for seconds in [1.0] * 100 + [0.05] * 1000:
            with pytest.raises(WaitTimeoutError):
                await wait_for(follower, "task_1", seconds)
        times = [at for at, _ in exchange.looks]
        assert min(later - sooner for sooner, later in itertools.pairwise(times)) >= 10
        assert len(follower._agenda._heap) <= 20
        long.cancel()


async def test_cancelling_one_waiter_leaves_the_others():
    """A cancelled wait takes only its own interest away."""
    async with pair() as (_, client):
        task = await client.submit("a cat")
        first, second = (asyncio.ensure_future(client.wait(task)) for _ in range(2))
        await anyio.sleep(12)
        first.cancel()
        assert (await second).status is TaskStatus.SUCCEEDED
        assert first.cancelled()
        assert client.stats().following == 0


async def test_who_waited_is_forgotten_when_the_task_has_ended():
    """A worker that is idle keeps the id it looked at last; what waited for it may be a run with all its rows."""
    async with poller(lambda task_id: task(task_id)) as (_, follower):
        ended = FinishedInbox(math.inf)
        follower.follow("task_1", ended)
        await ended.next()
        gone = weakref.ref(ended)
        del ended
        assert gone() is None


# --- creates that wait -------------------------------------------------------------------------------------------


async def test_a_create_that_waits_for_a_slot_counts_as_interest():
    """Nobody waits and all slots are taken: the running ids are looked at, so that the next submit gets its slot."""
    async with pair(options={"limits": Limits(max_running_tasks=2)}) as (emulator, client):
        for i in range(6):
            await client.submit(f"cat {i}")
        assert max(running for _, running in emulator.ledger.running) == 2
        assert emulator.ledger.requests["query"] > 0
        await anyio.sleep(60)
        before = emulator.ledger.requests["query"]
        await anyio.sleep(600)
        assert emulator.ledger.requests["query"] == before  # the interest has ended with the last create


async def test_an_unknown_task_gives_its_slot_back():
    """A task that the gateway has forgotten holds up no create for ever."""
    limits = Limits(max_running_tasks=1)
    async with pair(options={"limits": limits}, faults=(InjectedFault("not_found_at_first", first=1000),)) as (
        _,
        client,
    ):
        await client.submit("cat 1")
        with anyio.fail_after(200):
            await client.submit("cat 2")


@contextlib.asynccontextmanager
async def shared(emulator, limiter, **options):
    """One more client, with the limiter of others."""
    async with OmniClient("jimmy", api_key="key", base_url=emulator.url, limiter=limiter, **options) as client:
        yield client


async def test_a_client_that_closes_takes_no_slots_along():
    """As in a web app that opens one for each request: the next one looks at what the earlier ones left running."""
    async with Emulator(task_seconds=30, task_sigma=0.0, running_tasks=3) as emulator:
        limiter, began = Limiter(Limits(max_running_tasks=3)), anyio.current_time()
        for i in range(9):
            async with shared(emulator, limiter) as client:
                await client.submit(f"cat {i}")
        assert anyio.current_time() - began < 3 * 45
        assert max(running for _, running in emulator.ledger.running) == 3
        assert len(emulator.ledger.charges) == emulator.ledger.requests["create"] == 9
        assert limiter.load().running <= 3


async def test_a_create_that_waits_already_gets_the_slots_of_a_client_that_closes():
    """The rest is as if it had been its own; with nobody waiting nothing is looked at."""
    async with Emulator(task_seconds=30, task_sigma=0.0) as emulator:
        limiter = Limiter(Limits(max_running_tasks=1))
        async with shared(emulator, limiter) as other:
            async with shared(emulator, limiter) as client:
                await client.submit("cat 1")
                waiting = asyncio.ensure_future(other.submit("cat 2"))
                await anyio.sleep(5)
            with anyio.fail_after(60):
                await waiting
            looks = emulator.ledger.requests["query"]
            await anyio.sleep(600)
            assert emulator.ledger.requests["query"] == looks


async def test_what_a_closed_client_left_is_looked_at_once_in_use_and_at_its_own_place():
    """A client that nobody has used is ended by nobody, and another gateway does not know these tasks."""
    async with Emulator(task_seconds=30, task_sigma=0.0) as emulator, Emulator() as elsewhere:
        limiter = Limiter(Limits(max_running_tasks=1))
        unused = OmniClient("jimmy", api_key="key", base_url=emulator.url, limiter=limiter)
        async with shared(emulator, limiter) as client:
            await client.submit("cat 1")
        async with shared(elsewhere, limiter) as stranger:
            with pytest.raises(RateLimitError):
                await stranger.submit("cat 2", max_wait=300)
            assert not elsewhere.ledger.requests["query"]
        assert not emulator.ledger.requests["query"]
        assert "idle" in repr(unused)
        async with shared(emulator, limiter) as client:
            await client.submit("cat 3", max_wait=60)


async def test_what_is_seen_finished_by_another_client_is_not_left_to_anybody():
    """Its slot is free: it is forgotten."""
    async with Emulator(task_seconds=30, task_sigma=0.0) as emulator:
        limiter = Limiter(Limits(max_running_tasks=1))
        async with shared(emulator, limiter) as client:
            task = await client.submit("cat 1")
        assert list(limiter._left) == [task.task_id]
        async with shared(emulator, limiter) as client:
            await client.wait(task.task_id)
        assert not limiter._left


# --- from the inside ---------------------------------------------------------------------------------------------


async def test_an_exception_in_the_inside_delays_that_id(caplog):
    """Whatever a look raises, that id backs off, and the others are followed."""
    raised = iter([RuntimeError("inside")] * 2)

    def script(task_id):
        return next(raised, task(task_id)) if task_id == "bad" else task(task_id)

    async with poller(script) as (exchange, follower):
        both = await asyncio.gather(wait_for(follower, "bad", 600), wait_for(follower, "good", 4))
        assert [one.task_id for one in both] == ["bad", "good"]
        times = [at for at, task_id in exchange.looks if task_id == "bad"]
        assert times[1] - times[0] >= 5
        assert times[2] - times[1] >= 10
    assert sum("unexpected error" in record.getMessage() for record in caplog.records) == 2


class Tripping(Jimmy):
    """A caller's own dialect that trips over a word after the look itself went well."""

    def status(self, word):
        """Fail for tasks that wait in the queue."""
        if word == "queued" and not self.__dict__.setdefault("armed", False):
            self.armed = True
            raise RuntimeError("tripped")
        return super().status(word)


async def test_a_dialect_that_trips_kills_nothing(caplog):
    """An exception after the answer was read delays that id, too."""
    async with poller(lambda task_id: task(task_id, next(states))) as (exchange, follower):
        states = iter([TaskStatus.QUEUED, TaskStatus.SUCCEEDED])
        object.__setattr__(exchange, "dialect", Tripping())
        assert (await wait_for(follower, "task_1", 600)).status is TaskStatus.SUCCEEDED
    assert any("unexpected error" in record.getMessage() for record in caplog.records)


async def test_a_killed_background_task_is_told_to_every_waiter():
    """If the background task ends, each waiter gets an error with its cause, and the poller works again."""
    async with pair() as (_, client):
        tasks = [await client.submit(f"cat {i}") for i in range(3)]
        waiting = [asyncio.ensure_future(client.wait(task)) for task in tasks]
        await anyio.sleep(8)
        client.studio.poller._pump.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in results] == [OmniError] * 3
        assert all(isinstance(error.__cause__, asyncio.CancelledError) for error in results)
        assert [error.task_id for error in results] == [task.task_id for task in tasks]
        assert len({id(error) for error in results}) == 3
        assert all(error.may_have_charged for error in results)
        done = await asyncio.gather(*map(client.wait, tasks))
        assert {one.status for one in done} == {TaskStatus.SUCCEEDED}


async def test_a_crashed_background_task_is_told_with_its_exception(monkeypatch):
    """An exception that gets through to the background task is the cause of what waiters get."""
    async with pair(options={"limits": Limits(max_running_tasks=1)}) as (_, client):
        task = await client.submit("a cat")
        waiting = asyncio.ensure_future(client.wait(task))
        await anyio.sleep(1)

        def broken(kind):
            raise RuntimeError("the limiter broke")

        with monkeypatch.context() as patch:
            patch.setattr(client.limiter, "try_acquire", broken)
            with pytest.raises(OmniError, match="poller ended") as caught:
                await waiting
        assert isinstance(caught.value.__cause__, ExceptionGroup)
        await client.submit("the next one")  # the slot of the first is still found free


async def test_closing_ends_waits_with_an_error():
    """Who still waits when the client is closed is told so; who starts to wait afterwards, too."""
    async with pair() as (_, client):
        task = await client.submit("a cat")
        late = client.watch(task)
        waiting = asyncio.ensure_future(client.wait(task))
        await anyio.sleep(1)
        await client.aclose()
        with pytest.raises(OmniError, match="closed"):
            await waiting
        with pytest.raises(OmniError, match="closed"):
            await anext(late)


async def test_let_go_of_what_is_not_followed():
    """Letting go twice, or of an unknown id, is nothing."""
    async with poller(lambda task_id: task(task_id)) as (_, follower):
        follower.let_go("task_1", object())
        follower.submitted(task("task_1", TaskStatus.QUEUED))
        follower.submitted(task("task_1", TaskStatus.QUEUED))
        follower.let_go("task_1", object())
        assert follower.following == 0


async def test_a_waiter_that_leaves_while_its_look_waits_for_leave_saves_the_look():
    """A look that nobody wants any more by the time it may go is not sent."""
    async with poller(lambda task_id: task(task_id)) as (exchange, follower):
        exchange.limiter._state.pause_until = anyio.current_time() + 60
        with pytest.raises(WaitTimeoutError):
            await wait_for(follower, "task_1", 10)
        await anyio.sleep(100)
        assert exchange.looks == []
        assert exchange.limiter.load().in_flight == 0


def test_errors_are_each_waiters_own():
    """The error of an id is copied with all it says."""
    error = NotFoundError("gone", status_code=404, code="no_task", task_id="task_1")
    own = copy.copy(error)
    assert (own.status_code, own.code, own.args) == (404, "no_task", error.args)
    assert attrs.asdict(Schedule())["first"] == 5.0


class Early(Jimmy):
    """A gateway that leaves its status word when the video is there."""

    def read_query(self, reply):
        data = reply.document["data"]
        return VideoTask(
            task_id=data["task_id"],
            status=TaskStatus.SUCCEEDED,
            raw_status=data["status"],
            video_url="https://cdn.example/v.mp4",
            created_at=datetime(2026, 1, 1),
            completed_at=datetime(2026, 1, 1, tzinfo=UTC),
        )


async def test_a_dialects_own_reading_is_asked_and_odd_times_in_it_cost_nobody_the_task():
    """A subclass that reads queries its own way is not overruled by an inherited glance."""
    async with pair(Early(), task_seconds=3000) as (emulator, client):
        task = await client.submit("a cat")
        assert (await client.wait(task, timeout=60)).status is TaskStatus.SUCCEEDED
        assert emulator.ledger.requests["query"] == 1
