"""One id waited for, its changes watched, many ids in order of finishing; and what is left when one walks away."""

import asyncio
import contextlib
import gc
import itertools
import math
import warnings

import anyio
import attrs
import pytest

from omni_async import (
    InvalidRequestError,
    Jimmy,
    NotFoundError,
    NotSentError,
    OmniError,
    TaskFailedError,
    TaskStatus,
    VideoTask,
    WaitTimeoutError,
)
from omni_async.emulator.scenario import InjectedFault
from omni_async.poller import iterators
from omni_async.poller.waiting import failure_of, timed_out
from tests.pairs import collect, pair
from tests.warp import WarpLoop, run

LOOP = WarpLoop


FAILED = VideoTask(
    task_id="task_1", status=TaskStatus.FAILED, error_message="content policy", gateway="jimmy", custom_id="row-1"
)
DONE = VideoTask(task_id="task_2", status=TaskStatus.SUCCEEDED, video_url="https://cdn.example/v.mp4", gateway="jimmy")


def test_errors_say_what_is_known():
    """Failures carry the task, its ids, whether its content was refused; a timeout says how to go on."""
    error = failure_of(FAILED, moderated=Jimmy().moderated)
    assert isinstance(error, TaskFailedError)
    assert "content policy" in str(error)
    assert (error.moderated, error.retryable, error.task, error.custom_id) == (True, False, FAILED, "row-1")
    own = failure_of(attrs.evolve(FAILED, metadata={"order": 7}), moderated=Jimmy().moderated)
    assert (own.metadata, error.metadata) == ({"order": 7}, {})
    late = timed_out("task_1", None, 3.0)
    assert isinstance(late, TimeoutError)
    assert "not seen for 3 s" in str(late)
    assert "wait('task_1')" in str(late)
    seen = timed_out("task_1", FAILED, 3.0)
    assert "last seen failed" in str(seen)
    assert (seen.gateway, seen.custom_id, late.gateway) == ("jimmy", "row-1", None)
    assert timed_out("task_1", None, 3.0, gateway="jimmy").gateway == "jimmy"


# --- wait --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gateway", ["jimmy", "gemini_omni", "toapis"])
async def test_wait_gives_the_finished_task(gateway):
    """submit and wait, with the caller's own data carried back."""
    async with pair(gateway) as (_, client):
        task = await client.submit("a cat", custom_id="row-1", metadata={"scene": 3})
        done = await client.wait(task)
        assert (done.status, done.task_id, done.custom_id) == (TaskStatus.SUCCEEDED, task.task_id, "row-1")
        assert done.metadata == {"scene": 3}
        assert done.video_url


async def test_a_finished_task_costs_no_get():
    """Waiting for, watching or collecting what is finished asks nobody."""
    async with pair() as (emulator, client):
        done = await client.wait(await client.submit("a cat"))
        before = emulator.ledger.requests["query"]
        assert await client.wait(done) is done
        assert [one async for one in client.watch(done)] == [done]
        assert [one async for one in client.as_completed([done])] == [done]
        with pytest.raises(TaskFailedError):
            await client.wait(FAILED)
        assert [one async for one in client.watch(FAILED)] == [FAILED]
        assert emulator.ledger.requests["query"] == before


async def test_a_failed_task_is_an_error_of_wait():
    """TaskFailedError carries the task."""
    async with pair(faults=(InjectedFault("fail"),)) as (_, client):
        with pytest.raises(TaskFailedError) as caught:
            await client.wait(await client.submit("a cat", custom_id="row-1"))
        assert caught.value.task.status is TaskStatus.FAILED
        assert caught.value.custom_id == "row-1"


@pytest.mark.parametrize("timeout", [None, math.inf])
async def test_waiting_for_ever(timeout):
    """No timeout is none."""
    async with pair(task_seconds=5000) as (_, client):
        assert (await client.wait(await client.submit("a cat"), timeout=timeout)).status.finished


@pytest.mark.parametrize("seconds", ["30", math.nan, True])
async def test_seconds_that_are_no_number_are_refused(seconds):
    """A NaN among the loop's timers would put the others out of order; the task may have been paid."""
    async with pair() as (emulator, client):
        calls = (
            lambda: client.watch("task_1", min_interval=seconds),
            lambda: client.watch("task_1", timeout=seconds),
            lambda: client.as_completed(["task_1"], timeout=seconds),
        )
        for call in calls:
            with pytest.raises(InvalidRequestError, match="is not a number of seconds") as caught:
                call()
            assert caught.value.may_have_charged
        with pytest.raises(InvalidRequestError, match="is not a number of seconds"):
            await client.wait("task_1", timeout=seconds)
        assert emulator.ledger.requests.total() == 0


@pytest.mark.parametrize("single", ["task_1", VideoTask(task_id="task_1"), 7])
async def test_a_single_task_is_not_taken_for_many(single):
    """As many ids as it has letters would be followed."""
    async with pair() as (emulator, client):
        with pytest.raises(InvalidRequestError, match=f"a single {type(single).__name__}: put it into a list"):
            client.as_completed(single)
        assert emulator.ledger.requests.total() == 0


@pytest.mark.parametrize("timeout", [0.0, -5.0])
async def test_no_time_to_wait(timeout):
    """A wait of no time ends at once, with the error of any wait."""
    async with pair() as (_, client):
        task = await client.submit("a cat")
        began = anyio.current_time()
        with pytest.raises(WaitTimeoutError) as caught:
            await client.wait(task, timeout=timeout)
        assert caught.value.task == task
        assert anyio.current_time() - began < 1


async def test_each_way_to_wait_says_why_nothing_was_seen():
    """An outage: the reason is the error's cause, and neither holds the prompt."""
    async with pair() as (emulator, client):
        task = await client.submit("a cat in secret")
        await emulator.stop()
        for waiting in (client.watch(task, timeout=60), client.as_completed([task], timeout=60)):
            with pytest.raises(WaitTimeoutError, match=r"seen (for|in) 60 s: never sent to 127\.0\.0\.1") as caught:
                _ = [one async for one in waiting]
            why = caught.value.__cause__
            assert isinstance(why, NotSentError)
            assert why.task_id == task.task_id
            told = f"{caught.value} {why} {vars(why)}"
            assert "secret" not in told


async def test_other_gateways_tasks_are_refused_by_each_call(tmp_path):
    """No call follows a task of another gateway."""
    other = VideoTask(task_id="task_1", gateway="toapis")
    async with pair() as (emulator, client):
        for call in (client.wait, client.query):
            with pytest.raises(InvalidRequestError):
                await call(other)
        for call in (client.watch, lambda task: client.as_completed([task])):
            with pytest.raises(InvalidRequestError):
                call(other)
        with pytest.raises(InvalidRequestError, match="runs at gateway toapis, and this client speaks to jimmy"):
            await client.download(other, tmp_path / "v.mp4")
        assert emulator.ledger.requests["query"] == 0


# --- watch -------------------------------------------------------------------------------------------------------


async def test_watch_yields_changes_and_the_end():
    """An item per change of status or progress, no two alike, the finished task last."""
    async with pair() as (_, client):
        task = await client.submit("a cat", custom_id="row-1")
        seen = [one async for one in client.watch(task)]
        told = [(one.status, one.progress) for one in seen]
        assert len(told) == len(set(told)) >= 3
        assert [one.status.finished for one in seen] == [False] * (len(seen) - 1) + [True]
        assert {one.custom_id for one in seen} == {"row-1"}


async def test_watch_yields_no_item_without_a_change():
    """A task that stands still is told once."""
    async with pair(progress="stuck", queue_seconds=0) as (_, client):
        seen = [one async for one in client.watch(await client.submit("a cat"))]
        assert [one.status for one in seen][-1] is TaskStatus.SUCCEEDED
        assert len(seen) <= 4


async def test_watch_yields_a_failed_task_last():
    """A failure is an item, not an exception."""
    async with pair(faults=(InjectedFault("fail"),)) as (_, client):
        seen = [one async for one in client.watch(await client.submit("a cat"))]
        assert seen[-1].status is TaskStatus.FAILED


async def test_min_interval_merges_changes():
    """Changes in between are told as one, and items are at least so far apart; the end keeps nobody waiting."""
    async with pair(task_seconds=200) as (_, client):
        task = await client.submit("a cat")
        watch = client.watch(task, min_interval=60)
        ends = asyncio.ensure_future(ended_at(client.wait(task)))
        times = [anyio.current_time() async for _ in watch]
        assert 3 <= len(times) <= 6
        assert all(b - a >= 60 for a, b in itertools.pairwise(times[:-1]))
        assert times[-1] == await ends


async def ended_at(waiting):
    """When a wait is over."""
    await waiting
    return anyio.current_time()


async def test_a_watch_learns_at_once_that_its_client_was_closed():
    """However far apart its items are."""
    async with pair(faults=(InjectedFault("never_ends"),)) as (_, client):
        watch = client.watch(await client.submit("a cat"), min_interval=1000)
        await anext(watch)
        step, began = asyncio.ensure_future(anext(watch)), anyio.current_time()
        await anyio.sleep(1)
        await client.aclose()
        with pytest.raises(OmniError, match="was closed"):
            await step
        assert anyio.current_time() - began < 2


@pytest.mark.parametrize("min_interval", [0, 1000])
async def test_watch_ends_on_time(min_interval):
    """The timeout of a watch is never overshot, however far apart its items are."""
    async with pair(faults=(InjectedFault("never_ends"),)) as (_, client):
        task = await client.submit("a cat")
        began = anyio.current_time()
        with pytest.raises(WaitTimeoutError) as caught:
            await collect(client.watch(task, min_interval=min_interval, timeout=40), [])
        assert anyio.current_time() - began == pytest.approx(40, abs=0.01)
        assert caught.value.task.status is TaskStatus.RUNNING


async def test_watch_of_an_unknown_id_raises():
    """An id that cannot be followed is an error, and the end."""
    async with pair() as (_, client):
        watch = client.watch("task_nobody_knows")
        with pytest.raises(NotFoundError):
            await anext(watch)
        with pytest.raises(StopAsyncIteration):
            await anext(watch)


async def test_a_cancelled_step_loses_no_item():
    """A cancelled `anext` can be asked again."""
    async with pair() as (_, client):
        watch = client.watch(await client.submit("a cat"))
        with anyio.move_on_after(1):
            await anext(watch)
        assert (await anext(watch)).task_id
        await watch.aclose()
        assert client.stats().following == 0


async def test_a_watch_says_where_it_stands():
    """Before its first item, between two, at its end, and let go."""
    async with pair() as (_, client):
        task = await client.submit("a cat")
        watch = client.watch(task)
        assert repr(watch) == f"<Watch {task.task_id} idle, nothing told>"
        first = await anext(watch)
        assert repr(watch) == f"<Watch {task.task_id} open, last told {first.status}>"
        [*_, done] = [one async for one in watch]
        assert repr(watch) == f"<Watch {task.task_id} over, last told succeeded>"
        again = client.watch(done)
        await anext(again)
        assert repr(again) == repr(watch)
        left = client.watch("task_nope")
        await left.aclose()
        assert repr(left) == "<Watch task_nope over, nothing told>"


# --- as_completed ------------------------------------------------------------------------------------------------


async def test_as_completed_in_order_of_finishing():
    """Finished tasks come as they finish, failures as items, duplicates once."""
    async with pair(task_sigma=0.8, seed=5, faults=(InjectedFault("fail", prompt="bad"),)) as (_, client):
        tasks = [await client.submit(f"cat {i}") for i in range(8)] + [await client.submit("bad")]
        times, seen = [], []
        async for one in client.as_completed([*tasks, tasks[0], tasks[1].task_id]):
            seen.append(one)
            times.append(anyio.current_time())
        assert sorted(one.task_id for one in seen) == sorted(task.task_id for task in tasks)
        assert sum(one.status is TaskStatus.FAILED for one in seen) == 1
        assert [one.task_id for one in seen] != [task.task_id for task in tasks]
        assert times == sorted(times)


async def test_as_completed_counts_a_task_once_however_it_is_given():
    """The same task finished, unfinished and as a bare id is one; what is known of it is kept."""
    async with pair() as (_, client):
        task = await client.submit("a cat", custom_id="row-1")
        assert [one.custom_id async for one in client.as_completed([task.task_id, task])] == ["row-1"]
        done = await client.wait(task)
        for order in ([done, task, task.task_id, done], [task.task_id, task, done]):
            assert [one async for one in client.as_completed(order)] == [done]


async def test_as_completed_says_where_it_stands():
    """How many tasks it waits for, how many it has at hand, and that it is over."""
    async with pair(task_sigma=0.8) as (_, client):
        done, *others = [await client.submit(f"cat {i}") for i in range(4)]
        completed = client.as_completed([await client.wait(done), *others])
        assert repr(completed) == "<Completed idle, 3 waiting, 1 ready>"
        await anext(completed)
        await anext(completed)
        assert repr(completed) == "<Completed open, 2 waiting, 0 ready>"
        await collect(completed, [])
        assert repr(completed) == "<Completed over>"
        left = client.as_completed(others)
        await left.aclose()
        assert repr(left) == "<Completed over>"


async def test_as_completed_of_nothing():
    """No tasks, no items."""
    async with pair() as (_, client):
        assert [one async for one in client.as_completed([])] == []


async def test_one_unfollowable_id_is_raised_after_the_others():
    """One id that cannot be followed comes last, as itself."""
    async with pair(task_seconds=200) as (_, client):
        task = await client.submit("a cat")
        seen = []
        with pytest.raises(NotFoundError) as caught:
            await collect(client.as_completed(["task_nope", task]), seen)
        assert [one.task_id for one in seen] == [task.task_id]
        assert caught.value.task_id == "task_nope"


async def test_several_unfollowable_ids_are_a_group():
    """Several come as an ExceptionGroup, after the others, once."""
    async with pair() as (_, client):
        task = await client.submit("a cat")
        completed, seen = client.as_completed(["task_a", task, "task_b"]), []
        with pytest.raises(ExceptionGroup) as caught:
            await collect(completed, seen)
        assert [one.task_id for one in seen] == [task.task_id]
        assert sorted(error.task_id for error in caught.value.exceptions) == ["task_a", "task_b"]
        assert {type(error) for error in caught.value.exceptions} == {NotFoundError}
        with pytest.raises(StopAsyncIteration):
            await anext(completed)


async def test_as_completed_ends_on_time():
    """What still runs at the end of the timeout is raised as such."""
    async with pair(faults=(InjectedFault("never_ends", prompt="slow"),)) as (_, client):
        quick, slow = await client.submit("quick"), await client.submit("slow")
        began, seen = anyio.current_time(), []
        with pytest.raises(WaitTimeoutError) as caught:
            await collect(client.as_completed([quick, slow], timeout=100), seen)
        assert [one.task_id for one in seen] == [quick.task_id]
        assert caught.value.task_id == slow.task_id
        assert anyio.current_time() - began == pytest.approx(100, abs=0.01)
        assert client.stats().following == 0


# --- walking away ------------------------------------------------------------------------------------------------


async def leave_watch(client, task):
    """Break out of a watch."""
    async for _ in client.watch(task):
        break


async def leave_completed(client, task):
    """Break out of as_completed."""
    done = VideoTask(task_id="task_1", status=TaskStatus.SUCCEEDED, gateway="jimmy")
    async for _ in client.as_completed([task, done]):
        break
    completed = client.as_completed([task])
    with anyio.move_on_after(1):
        await anext(completed)


async def leave_many(client, task):
    """Break out of generate_many, with rows to come."""
    async for _ in client.generate_many({"prompt": f"cat {i}"} for i in range(1000)):
        break


LEAVING = [leave_watch, leave_completed, leave_many]
TOLD = {leave_many: ["whoever waited for"]}


@pytest.mark.parametrize("leave", LEAVING)
async def test_breaking_out_leaves_nothing_running(leave, caplog):
    """After a break: no task, no interest, no further request, no warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with pair(task_sigma=0.5) as (emulator, client):
            await client.wait(task := await client.submit("a cat"))  # the client's own background task runs from here
            task = await client.submit("another")
            before = asyncio.all_tasks()
            await leave(client, task)
            gc.collect()
            await anyio.sleep(300)  # creates in flight come to their end
            requests = emulator.ledger.requests.total()
            await anyio.sleep(300)
            assert emulator.ledger.requests.total() == requests
            assert client.stats().following == client.stats().waiting_creates == 0
            left = [one for one in asyncio.all_tasks() - before if "RequestHandler" not in repr(one)]
            assert left == []
        gc.collect()
    assert [str(one.message) for one in caught] == []
    assert [record.getMessage()[:18] for record in caplog.records] == TOLD.get(leave, [])


@pytest.mark.parametrize("leave", LEAVING)
def test_breaking_out_at_the_end_of_the_loop(leave, caplog):
    """The same when the loop ends right after the break."""

    async def main():
        async with pair(task_sigma=0.5) as (_, client):
            await leave(client, await client.submit("a cat"))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(main())
        gc.collect()
    assert [str(one.message) for one in caught] == []
    assert [record.getMessage()[:18] for record in caplog.records] == TOLD.get(leave, [])


def test_iterators_that_outlive_their_loop():
    """An iterator dropped after its loop has ended does no harm."""
    kept = []

    async def main():
        async with pair() as (_, client):
            task = await client.submit("a cat")
            kept.extend([client.watch(task), client.as_completed([task]), client.generate_many(["a", "b"])])
            for iterator in kept:
                with anyio.move_on_after(1):
                    await anext(iterator)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(main())
        kept.clear()
        gc.collect()
    assert [str(one.message) for one in caught] == []


ITERATORS = {
    "watch": lambda client, tasks, **more: client.watch(tasks[0], **more),
    "as_completed": lambda client, tasks, **more: client.as_completed(tasks, **more),
}


@pytest.mark.parametrize("make", ITERATORS.values(), ids=ITERATORS)
async def test_closed_by_another_it_ends_for_whoever_waits(make):
    """As by a bot's /stop: at once, without an error, and nothing that was seen before is given afterwards."""
    async with pair(faults=(InjectedFault("never_ends"),)) as (_, client):
        tasks = ["task_nobody_knows", await client.submit("a cat")][::-1]
        iterator, seen = make(client, tasks), []
        consumers = [asyncio.ensure_future(collect(iterator, seen)) for _ in range(2)]
        await anyio.sleep(200)
        began = anyio.current_time()
        await iterator.aclose()
        await asyncio.gather(*consumers)
        assert anyio.current_time() == began
        assert client.stats().following == 0


@pytest.mark.parametrize("make", ITERATORS.values(), ids=ITERATORS)
async def test_several_consumers_share_what_comes(make):
    """Each item goes to one of them, and all end with the last."""
    async with pair() as (_, client):
        tasks = [await client.submit("a cat") for _ in range(5)]
        iterator, alone = make(client, tasks), []
        reference = asyncio.ensure_future(collect(make(client, tasks), alone))
        seen = [[], [], []]
        sharing = [asyncio.ensure_future(collect(iterator, part)) for part in seen]
        await reference
        began = anyio.current_time()
        await asyncio.gather(*sharing)
        assert anyio.current_time() - began < 1
        shared = sorted((one.task_id, one.status, one.progress or 0) for part in seen for one in part)
        assert shared == sorted((one.task_id, one.status, one.progress or 0) for one in alone)


@pytest.mark.parametrize("make", ITERATORS.values(), ids=ITERATORS)
async def test_of_several_consumers_one_is_told_of_the_deadline(make):
    """Once, and on time; the others end."""
    async with pair(faults=(InjectedFault("never_ends"),)) as (_, client):
        iterator = make(client, [await client.submit("a cat")], timeout=60)
        began = anyio.current_time()
        ends = await asyncio.gather(*(collect(iterator, []) for _ in range(3)), return_exceptions=True)
        assert anyio.current_time() - began == pytest.approx(60, abs=0.1)
        assert sorted(type(end).__name__ for end in ends) == ["NoneType", "NoneType", "WaitTimeoutError"]


async def test_closed_while_it_begins_it_follows_no_more(monkeypatch):
    """A hundred thousand ids are not followed in one turn, and by then nobody may want them."""
    monkeypatch.setattr(iterators, "AT_ONCE", 1)
    async with pair() as (_, client):
        iterator, seen = client.as_completed(["task_1", "task_2", "task_3"]), []
        consumer = asyncio.ensure_future(collect(iterator, seen))
        await asyncio.sleep(0)
        assert client.stats().following == 1
        await iterator.aclose()
        await consumer
        assert seen == []
        assert client.stats().following == 0


async def test_aclose_twice_is_once():
    """Closing an iterator again, begun or not, is nothing; afterwards it is over."""
    async with pair() as (_, client):
        task = await client.submit("a cat")
        for iterator in (client.watch(task), client.as_completed([task]), client.generate_many(["a cat"])):
            await iterator.aclose()
            await iterator.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(iterator)
            assert aiter(iterator) is iterator
        begun = client.as_completed([task])
        with anyio.move_on_after(1):
            await anext(begun)
        assert client.stats().following == 1
        await begun.aclose()
        assert client.stats().following == 0


async def test_calls_of_a_closed_client_are_clear_errors():
    """Every waiting call of a closed client says so."""
    async with pair() as (_, client):
        task = await client.submit("a cat")
        await client.aclose()
        for call in (client.wait, client.query):
            with pytest.raises(OmniError, match="closed"):
                await call(task)
        for call in (client.watch, lambda one: client.as_completed([one])):
            with pytest.raises(OmniError, match="closed"):
                call(task)


async def test_a_great_many_ids_do_not_hold_up_the_loop():
    """Others have their turn after each thousand, and every id is followed; a break in between leaves none behind."""
    async with pair() as (_, client):
        client.limiter._state.pause_until = asyncio.get_running_loop().time() + 1000
        many = client.as_completed([f"task_{number}" for number in range(5500)], timeout=900)
        seen = []
        asking = asyncio.ensure_future(anext(many))
        while client.stats().following < 5500:
            await asyncio.sleep(0)
            seen.append(client.stats().following)
        assert {1000, 2000, 3000, 4000, 5000} <= set(seen)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        await many.aclose()
        await asyncio.sleep(1001)
        assert client.stats().following == 0


async def test_a_finish_in_the_same_turn_as_the_deadline_is_a_finish():
    """Whichever timer comes first: what is there is given."""
    async with pair() as (_, client):
        task = await client.submit("a cat")
        done = VideoTask(task_id=task.task_id, status=TaskStatus.SUCCEEDED, raw_status="completed", gateway="jimmy")
        now, loop = asyncio.get_running_loop().time(), asyncio.get_running_loop()
        waiting = asyncio.ensure_future(client.wait(task, timeout=3))
        watch = aiter(client.watch(task, timeout=3))
        assert not (await anext(watch)).status.finished
        watching = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        followed = client.studio.poller._followed[task.task_id]
        loop.call_at(now + 3, lambda: [waiter.changed(done) for waiter in tuple(followed.waiters)])
        assert await waiting == done
        assert (await watching).status.finished
