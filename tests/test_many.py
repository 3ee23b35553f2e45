"""Many requests at once: pulled only as fast as they run, and no row's error ends the others."""

import asyncio
import contextlib
import gc
import itertools
import math
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from omni_async import (
    AuthenticationError,
    DownloadError,
    InvalidRequestError,
    OmniError,
    QuotaError,
    RejectedError,
    TaskFailedError,
    TaskStatus,
    VideoRequest,
    VideoTask,
    WaitTimeoutError,
)
from omni_async import many as many_module
from omni_async.breaker import FORBIDDEN
from omni_async.lifetime import Waits
from omni_async.many import AHEAD, DOWNLOADERS, SUBMITTERS, Callbacks, Many
from tests.pairs import collect, outcomes
from tests.warp import WarpLoop

LOOP = WarpLoop


REFUSALS = {"key": AuthenticationError, "quota": QuotaError}


class Works:
    """The steps of a run without a client: a submit takes a second, a task ten; prompts say what goes wrong."""

    def __init__(self, *, submit_seconds=1.0, task_seconds=10.0):
        self.submit_seconds, self.task_seconds = submit_seconds, task_seconds
        self.requested = self.submitted = 0
        self.following, self.stored, self.left = {}, [], []
        self.most_storing = self.storing = 0
        self.waits = Waits()
        self.timers, self.missed = [], {}
        self.asked, self.up, self.pause = [], math.inf, None

    def steps(self, *, download=False):
        """For `Many`."""
        return Callbacks(
            request=self.request,
            submit=self.submit,
            follow=self.follow,
            let_go=self.let_go,
            missed=self.missed.get,
            finished=self.finished,
            waits=self.waits,
            left=self.left.extend,
            download=self.download if download else None,
        )

    def request(self, item):
        """As the client does, with an id for each."""
        if item == "odd":
            raise InvalidRequestError("no request can be made of it")
        self.requested += 1
        return VideoRequest(prompt=str(item), custom_id=f"row-{self.requested}")

    async def submit(self, request, on_leave):
        """Accept, or do as the prompt says."""
        self.submitted += 1
        on_leave()
        number, item = self.submitted, request.prompt
        await anyio.sleep(self.submit_seconds)
        if item == "reject":
            raise RejectedError("no", may_have_charged=False)
        if item in REFUSALS:
            raise REFUSALS[item]("no", may_have_charged=False)
        if item == "page":
            raise AuthenticationError("no", status_code=403, by_page=True, may_have_charged=False)
        if item == "crash":
            raise RuntimeError("a defect")
        task_id = "task_same" if item == "same" else f"task_{number}"
        return VideoTask(task_id=task_id, custom_id=request.custom_id, metadata={"prompt": request.prompt})

    def follow(self, task, waiter):
        """Finish it later, unless the prompt says otherwise."""
        self.following.setdefault(task.task_id, []).append(waiter)
        prompt = task.metadata["prompt"]
        if prompt != "endless":
            timer = asyncio.get_running_loop().call_later(self.task_seconds, self.finish, task, waiter, prompt)
            self.timers.append(timer)
        return task

    def finish(self, task, waiter, prompt):
        """As the poller does."""
        self.following[task.task_id].remove(waiter)
        waiter.changed(VideoTask(task_id=task.task_id, status=TaskStatus.RUNNING))
        if prompt == "lost":
            waiter.failed(task.task_id, OmniError("it cannot be followed", task_id=task.task_id))
            return
        status = TaskStatus.FAILED if prompt == "fail" else TaskStatus.SUCCEEDED
        waiter.changed(VideoTask(task_id=task.task_id, status=status, raw_status=prompt))

    def let_go(self, task_id, waiter):
        """As the poller does."""
        with contextlib.suppress(ValueError):
            self.following[task_id].remove(waiter)

    def finished(self, task):
        """As the client does; a foreign dialect may trip."""
        if task.status is TaskStatus.FAILED:
            raise TaskFailedError("no video", task=task)
        if task.raw_status == "trip":
            raise RuntimeError("the dialect tripped")
        return task

    async def download(self, task, request):
        """Take two seconds."""
        self.storing += 1
        self.most_storing = max(self.most_storing, self.storing)
        await anyio.sleep(2)
        self.storing -= 1
        if self.waits.ended:
            raise DownloadError("the client was closed")
        if request.prompt == "down" and anyio.current_time() < self.up:
            self.asked.append(anyio.current_time())
            raise DownloadError("the video's server is down", temporary=True, retry_after=self.pause)
        if request.prompt == "full":
            raise OmniError("the disk is full")
        if request.prompt == "break":
            raise RuntimeError("a defect")
        self.stored.append(task.task_id)
        return Path(f"{task.task_id}.mp4")


def many(works, source, *, outstanding=None, timeout=None, download=False):
    """The iterator."""
    return Many(source, works.steps(download=download), outstanding=outstanding, timeout=timeout)


async def asynchronous(items, pause=0.0):
    """The same as an async iterable."""
    for item in items:
        await anyio.sleep(pause)
        yield item


@pytest.mark.parametrize("kind", ["list", "generator", "async"])
async def test_any_iterable(kind):
    """Lists, generators and async iterables are taken; outcomes come in order of finishing."""
    items = [f"cat {i}" for i in range(100)]
    source = {"list": items, "generator": iter(items), "async": asynchronous(items, 0.5)}[kind]
    works = Works()
    done = await outcomes(many(works, source))
    assert sorted(one.request.prompt for one in done) == sorted(items)
    assert all(one.ok for one in done)


@pytest.mark.parametrize("asynchronously", [False, True])
async def test_an_endless_source_is_pulled_only_as_fast_as_it_runs(asynchronously):
    """No more is pulled than may be outstanding, however long nobody takes the outcomes."""
    works, pulled = Works(), itertools.count()
    source = (f"cat {next(pulled)}" for _ in itertools.repeat(None))
    iterator = many(works, asynchronous(source) if asynchronously else source, outstanding=50)
    await anext(iterator)
    await anyio.sleep(1000)
    assert works.submitted <= 51
    assert next(pulled) <= 52
    for _ in range(100):
        await anext(iterator)
    assert works.submitted <= 152
    await iterator.aclose()


@pytest.mark.parametrize("ended", ["let go", "refused", "known"])
async def test_few_are_pulled_that_wait_for_leave(ended):
    """The next is pulled when one of them may be sent, or needs none since it is refused or was paid before."""
    works, pulled, gate = Works(), [], asyncio.Semaphore(0)
    submit = works.submit

    def rows():
        for number in range(50):
            pulled.append(number)
            yield f"cat {number}"

    async def waiting(request, on_leave):
        await gate.acquire()
        if ended == "refused":
            raise RejectedError("no", may_have_charged=False)
        return await submit(request, on_leave if ended == "let go" else lambda: None)

    iterator = Many(rows(), works.steps()._replace(submit=waiting), outstanding=None, timeout=None)
    first = asyncio.ensure_future(anext(iterator))
    for going in range(5):
        await anyio.sleep(3)
        assert len(pulled) == AHEAD + going
        gate.release()
    await first
    for _ in range(50):
        gate.release()
    assert len(await outcomes(iterator)) == 49


async def test_rows_of_two_runs_go_to_whoever_can_run_them():
    """Of one iterator, each run has what it runs and few more: the fast one makes most."""
    source = iter([f"cat {i}" for i in range(40)])
    slow, fast = Works(), Works()

    def steps(works, seconds):
        submit, line = works.submit, asyncio.Lock()

        async def one_by_one(request, on_leave):
            async with line:
                await anyio.sleep(seconds)
            return await submit(request, on_leave)

        return works.steps()._replace(submit=one_by_one)

    runs = [Many(source, steps(works, s), outstanding=None, timeout=None) for works, s in ((slow, 30), (fast, 10))]
    made = await asyncio.gather(*(outcomes(run) for run in runs))
    assert 8 <= len(made[0]) <= 14
    assert len(made[0]) + len(made[1]) == 40


async def test_it_says_where_it_stands():
    """Before it is asked, while it runs, and at its end."""
    iterator = many(Works(), ["cat", "dog", "endless"], timeout=60)
    assert repr(iterator) == "<Many idle>"
    await anext(iterator)
    assert repr(iterator) == "<Many open, 1 under way, 1 ready>"
    await collect(iterator, [])
    assert repr(iterator) == "<Many over>"


async def test_submitting_is_bounded():
    """So many submits at once, and no more."""
    works = Works(submit_seconds=1000)
    iterator = many(works, itertools.repeat("cat"))
    with anyio.move_on_after(100):
        await anext(iterator)
    assert works.submitted == SUBMITTERS
    await iterator.aclose()


async def test_no_rows_error_ends_it():
    """A refused row, a failed task, one that cannot be followed: outcomes beside the others."""
    done = await outcomes(many(Works(), ["good", "reject", "odd", "fail", "lost", "good"]))
    by_prompt = {(one.request.prompt if one.request else "odd"): one for one in done}
    assert len(done) == 6
    assert isinstance(by_prompt["odd"].error, InvalidRequestError)
    assert isinstance(by_prompt["reject"].error, RejectedError)
    assert by_prompt["reject"].task is None
    assert isinstance(by_prompt["fail"].error, TaskFailedError)
    assert by_prompt["fail"].task.status is TaskStatus.FAILED
    assert by_prompt["lost"].error.task_id == by_prompt["lost"].task.task_id
    assert by_prompt["good"].ok


async def test_rows_that_come_to_one_task_are_each_told():
    """Two rows that the gateway answers with one task both end."""
    done = await outcomes(many(Works(), ["same", "same", "same"]))
    assert [one.task.task_id for one in done] == ["task_same"] * 3
    assert len({one.request.custom_id for one in done}) == 3


@pytest.mark.parametrize("asynchronously", [False, True])
async def test_an_exception_of_the_source_comes_last(asynchronously):
    """What the caller's own iterable raises is raised after what was submitted before; then it is over."""

    def source():
        yield from ("a", "b", "c")
        raise LookupError("row 4 is broken")

    works, seen = Works(), []
    iterator = many(works, asynchronous(source()) if asynchronously else source())
    with pytest.raises(LookupError, match="row 4"):
        await collect(iterator, seen)
    assert sorted(one.request.prompt for one in seen) == ["a", "b", "c"]
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)


@pytest.mark.parametrize("prompt", ["crash", "trip", "break"])
async def test_a_defect_comes_last(prompt):
    """An exception that is none of ours ends the pulling, hangs nothing, and is raised after the others."""
    seen = []
    with pytest.raises(RuntimeError):
        await collect(many(Works(), ["a", prompt, "b"], download=True), seen)
    assert {one.request.prompt for one in seen} <= {"a", "b"}


async def test_a_closed_client_is_told_at_the_end():
    """Once the client is closed nothing more is submitted, and that is said."""
    works, seen = Works(), []
    iterator = many(works, itertools.repeat("cat"))
    seen.append(await anext(iterator))
    works.waits.end()
    with pytest.raises(OmniError, match="rest was not submitted"):
        await collect(iterator, seen)
    assert len(seen) == works.submitted


async def test_each_rows_wait_ends_on_time():
    """The timeout counts from each row's submit and is never overshot; other rows go on."""
    works = Works()
    iterator = many(works, ["endless", "good", "endless"], timeout=60)
    first, *late = [(anyio.current_time() - 1000.0, one) async for one in iterator]
    assert first[1].request.prompt == "good"
    for at, one in late:
        assert at == pytest.approx(61, abs=0.1)
        assert isinstance(one.error, WaitTimeoutError)
        assert one.error.waited == pytest.approx(60, abs=0.01)
        assert one.task.custom_id == one.error.custom_id == one.request.custom_id
    assert works.following
    assert not any(works.following.values())


async def test_rows_whose_wait_was_over_while_the_loop_stood_still_are_read_before_they_are_given_up():
    """A machine that slept for an hour: what has ended meanwhile is not told as still running."""
    loop, works = asyncio.get_running_loop(), Works(task_seconds=3632.0)
    loop.call_later(30, lambda: setattr(loop._warp, "now", loop.time() + 3600.0))
    done = {one.request.prompt: one async for one in many(works, ["endless", "cat", "dog"], timeout=60)}
    assert done["cat"].task.status is done["dog"].task.status is TaskStatus.SUCCEEDED
    assert isinstance(done["endless"].error, WaitTimeoutError)
    assert loop.time() == pytest.approx(1000 + 30 + 3600 + 5, abs=0.1)


async def test_rows_whose_wait_is_over_after_the_loop_stood_still_end_on_time():
    """They do not stand behind one that looks a while longer, as its own was over meanwhile."""
    loop, works = asyncio.get_running_loop(), Works()
    loop.call_later(60, lambda: setattr(loop._warp, "now", loop.time() + 3.0))
    rows = many(works, asynchronous(["endless"] * 3, pause=2.5), timeout=58)
    assert [loop.time() - 1000.0 async for _ in rows] == pytest.approx([64, 66.5, 68], abs=0.1)


async def test_a_row_that_nobody_could_look_at_says_why():
    """Its wait's error has the reason."""
    works = Works()
    works.missed = {f"task_{number}": OmniError("the connection was refused") for number in range(9)}
    (row,) = [one async for one in many(works, ["endless"], timeout=60)]
    assert "not seen for 60 s: the connection was refused" in str(row.error)
    assert str(row.error.__cause__) == "the connection was refused"


async def test_rows_that_wait_have_a_deadline_for_the_poller():
    """The poller learns each row's deadline, so that it can look just before it."""
    works = Works()
    iterator = many(works, ["endless"], timeout=60)
    with anyio.move_on_after(5):
        await anext(iterator)
    ((waiter,),) = works.following.values()
    assert waiter.deadline == pytest.approx(1000 + 1 + 60, abs=0.1)
    await iterator.aclose()


async def test_downloads():
    """What finished is stored, so many at once; a failed download is that row's error."""
    works = Works()
    done = await outcomes(many(works, ["cat"] * 40 + ["full", "fail"], download=True))
    stored = [one for one in done if one.path]
    assert len(stored) == len(works.stored) == 40
    assert works.most_storing == DOWNLOADERS
    (full,) = (one for one in done if one.request.prompt == "full")
    assert "disk" in str(full.error)
    assert full.task.status is TaskStatus.SUCCEEDED


async def test_videos_of_a_server_that_is_down_keep_no_others_waiting():
    """However many: they rest apart, are tried less and less often behind the others, and end after five minutes."""
    works = Works()
    rows = many(works, [*["down"] * 80, *["cat"] * 40], download=True)
    given = [(anyio.current_time() - 1000, one) async for one in rows]
    healthy = [at for at, one in given if one.path]
    assert len(healthy) == 40
    assert max(healthy) < 60
    lost = [(at, one.error) for at, one in given if one.error]
    assert all(isinstance(error, DownloadError) and error.temporary for _, error in lost)
    assert len(lost) == 80
    assert min(at for at, _ in lost) > 310
    assert max(at for at, _ in lost) < 380
    assert len(works.asked) < 80 * 12
    assert not works.left


async def test_a_video_server_that_comes_back_gives_all_videos():
    """Within the five minutes; a pause that it asked for is kept."""
    works = Works()
    works.up, works.pause = 1100.0, 45.0
    done = await outcomes(many(works, ["down"] * 3, download=True))
    assert all(one.path for one in done)
    assert [round(at - works.asked[0]) for at in works.asked] == [0, 0, 0, 47, 47, 47]
    assert anyio.current_time() < 1120


async def test_what_rests_leaves_its_room_to_others():
    """Its task runs no more: a low number of running tasks does not stop the rest for minutes."""
    works = Works()
    rows = many(works, [*["down"] * 5, *["cat"] * 20], outstanding=5, download=True)
    given = [(anyio.current_time() - 1000, one) async for one in rows]
    assert [one.path is not None for _, one in given] == [True] * 20 + [False] * 5
    assert max(at for at, one in given if one.path) < 80


async def test_what_rested_holds_others_back_until_it_is_taken():
    """Nothing is paid without end for a caller who does not look; with one who does it goes on as before."""
    works = Works()
    rows = many(works, itertools.chain(["down"] * 5, itertools.repeat("cat")), outstanding=5, download=True)
    for _ in range(3):
        assert (await anext(rows)).path
    await anyio.sleep(1000)
    submitted = works.submitted
    assert submitted <= 5 + 3 + 5
    await anyio.sleep(1000)
    assert works.submitted == submitted
    given = [await anext(rows) for _ in range(100)]
    assert sum(one.error is not None for one in given) == 5
    assert works.submitted - submitted <= 100
    await rows.aclose()


async def test_what_rests_is_told_to_whoever_leaves():
    """It is paid for, and was not stored."""
    works = Works()
    iterator = many(works, ["down", "down", "cat"], download=True)
    assert (await anext(iterator)).path
    await anyio.sleep(50)
    asked = len(works.asked)
    await iterator.aclose()
    assert sorted(one.task.task_id for one in works.left) == ["task_1", "task_2"]
    await anyio.sleep(500)
    assert len(works.asked) == asked


async def test_what_rests_ends_with_the_client():
    """At once, with an outcome each, as what is being stored does."""
    works, seen = Works(), []
    rows = asyncio.ensure_future(collect(many(works, ["down"] * 20, download=True), seen))
    await anyio.sleep(200)
    works.waits.end()
    began = anyio.current_time()
    with contextlib.suppress(OmniError):
        await rows
    assert anyio.current_time() - began < 10
    assert [str(one.error) for one in seen] == ["the client was closed"] * 20
    assert all(one.task for one in seen)


async def test_leaving_ends_the_work():
    """Closed or dropped, it stops pulling and lets go of every task."""
    for drop in (False, True):
        works = Works()
        iterator = many(works, itertools.repeat("endless"), timeout=100, download=True)
        with anyio.move_on_after(5):
            await anext(iterator)
        if drop:
            del iterator
        else:
            await iterator.aclose()
        await anyio.sleep(0.1)
        count = works.submitted
        assert not any(works.following.values())
        await anyio.sleep(500)
        assert works.submitted == count


@pytest.mark.parametrize("download", [False, True])
async def test_what_was_paid_for_whoever_leaves_is_told(download):
    """Running, finished and not taken, waiting for its download: each row once, with its request and task."""
    works = Works(task_seconds=3)
    iterator = many(works, [*map(str, range(20)), "reject", *["endless"] * 10], download=download)
    taken = [await anext(iterator) for _ in range(3)]
    await anyio.sleep(2)
    await iterator.aclose()
    paid = [f"task_{number}" for number in range(1, 32) if number != 21]
    assert sorted(one.task.task_id for one in (*taken, *works.left) if one.task) == sorted(paid)
    assert all(one.request.custom_id for one in works.left)
    await iterator.aclose()
    assert len(works.left) == 28


@pytest.mark.parametrize("word", ["key", "quota"])
async def test_a_refused_key_or_an_empty_account_ends_it(word):
    """An endless source would be asked for one refusal after the other; what runs is given out first."""
    works, given = Works(), []
    iterator = many(works, itertools.chain(["good"], itertools.repeat(word)))
    with pytest.raises(REFUSALS[word]):
        await collect(iterator, given)
    assert works.submitted <= SUBMITTERS + 1
    assert [one.request.prompt for one in given if one.ok] == ["good"]
    unsent = [one for one in given if one.error and one.error.custom_id]  # those of the works have none
    assert unsent
    assert all(one.error.custom_id == one.request.custom_id for one in unsent)
    assert all(type(one.error) is REFUSALS[word] and not one.error.may_have_charged for one in unsent)
    assert len(given) == works.submitted + len(unsent)


async def test_a_prompt_that_a_firewall_forbids_ends_nothing():
    """Row 14: a 403 without the gateway's own words is that row's, unless none gets through."""
    prompts = ["good", *["page", "good"] * 40]
    done = await outcomes(many(Works(), prompts, outstanding=1))
    assert [sum(one.ok is ok for one in done) for ok in (True, False)] == [41, 40]
    given = []
    with pytest.raises(AuthenticationError):
        await collect(many(Works(), ["good", *["page"] * 40], outstanding=1), given)
    assert len(given) == 1 + FORBIDDEN + 1


async def test_a_refusal_of_the_last_row_is_that_rows_alone():
    """Everything was sent: nothing is left to be raised."""
    done = await outcomes(many(Works(), ["good", "quota"]))
    assert [type(one.error) for one in done if one.error] == [QuotaError]


async def test_what_was_given_out_is_not_told_again():
    """A run to its end leaves nothing; nor does one that raises at the end leave more than what it lost."""
    works = Works()
    await outcomes(many(works, ["a", "b", "lost"]))
    assert works.left == []
    with pytest.raises(RuntimeError, match="tripped"):
        await outcomes(many(works, ["good", "trip"]))
    assert [one.request.prompt for one in works.left] == ["trip"]


async def test_dropped_in_a_cycle_its_workers_end_as_well():
    """As in the frames of an exception that is kept: nothing is destroyed while it waits."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    works = Works()
    iterator = many(works, ["good"] * 5, outstanding=2)
    await anext(iterator)
    await anyio.sleep(100)
    cycle = [iterator]
    cycle.append(cycle)
    works.timers.clear()
    del iterator, cycle
    gc.collect()
    await anyio.sleep(1)
    assert complaints == []
    assert not [task for task in many_module._working if task.get_loop() is asyncio.get_running_loop()]


async def test_a_source_that_is_cancelled_by_itself_is_told():
    """It is not the caller who is cancelled, so it must not end as if all had been asked for."""

    async def source():
        yield "cat"
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    rows = many(Works(), source())
    assert (await anext(rows)).ok
    with pytest.raises(OmniError, match="iterable was cancelled"):
        await anext(rows)


@pytest.mark.parametrize("source", [["endless"] * 3, asynchronous(["a", "b"], 1000.0)], ids=["rows", "source"])
async def test_closed_by_another_it_ends_for_whoever_waits(source):
    """For rows, or for the caller's own iterable: at once, and without an error."""
    rows = many(Works(), source)
    consumers = [asyncio.ensure_future(outcomes(rows)) for _ in range(2)]
    await anyio.sleep(30)
    began = anyio.current_time()
    await rows.aclose()
    assert await asyncio.gather(*consumers) == [[], []]
    assert anyio.current_time() == began


async def test_a_closed_client_is_told_while_the_source_has_nothing():
    """What is pulled from may never give anything again; its own timeouts are its own."""
    works, seen = Works(), []

    async def source():
        yield "a"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await anyio.sleep(1000)
        yield "b"
        await anyio.sleep(math.inf)

    rows = asyncio.ensure_future(collect(many(works, source()), seen))
    await anyio.sleep(100)
    assert len(seen) == 2
    began = anyio.current_time()
    works.waits.end()
    with pytest.raises(OmniError, match="client was closed; the rest was not submitted"):
        await rows
    assert anyio.current_time() == began


FATAL = {"a test's failure": pytest.fail.Exception, "a group": lambda text: BaseExceptionGroup(text, [GeneratorExit()])}


class Rows:
    """Three good rows and a `bad` one, the second; unlike a generator it goes on when asked again after it raised."""

    def __init__(self, error):
        self.error, self.asked = error, 0

    def __iter__(self):
        return self

    def __next__(self):
        self.asked += 1
        if self.asked > 4:
            raise StopIteration
        if self.asked == 2 and self.error is not None:
            raise self.error
        return "bad" if self.asked == 2 else "good"


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["source", "async source", "submit", "download"])
def test_a_program_that_goes_on_after_an_interrupt_does_not_wait_for_ever(where, end):
    """asyncio raises it out of the loop; whoever catches it there and goes on gets what was submitted, and an error."""
    works, seen = Works(), []

    async def step(*given):
        if any(isinstance(one, VideoRequest) and one.prompt == "bad" for one in given):
            raise end
        return await getattr(works, where)(*given)

    async def run():
        steps = works.steps(download=True)
        if "source" not in where:
            steps = steps._replace(**{where: step})
        source = Rows(end() if "source" in where else None)
        rows = Many(asynchronous(source) if where == "async source" else source, steps, outstanding=1, timeout=None)
        with pytest.raises(OmniError, match="interrupted; the rest was not submitted"):
            await asyncio.wait_for(collect(rows, seen), 1000)

    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        running = runner.get_loop().create_task(run())
        with pytest.raises(end):
            runner.get_loop().run_until_complete(running)
        runner.get_loop().run_until_complete(running)
    assert [one.request.prompt for one in seen] == ["good"]


@pytest.mark.parametrize("fatal", FATAL.values(), ids=FATAL)
@pytest.mark.parametrize("where", ["source", "async source", "submit", "download"])
async def test_what_is_no_exception_comes_last_as_well(where, fatal):
    """Whoever raises it: nothing hangs, nothing more is pulled, and what was submitted is given out first."""
    works, seen, error = Works(), [], fatal("mine")

    async def step(*given):
        if any(isinstance(one, VideoRequest) and one.prompt == "bad" for one in given):
            raise error
        return await getattr(works, where)(*given)

    steps = works.steps(download=True)
    if "source" not in where:
        steps = steps._replace(**{where: step})
    source = Rows(error if "source" in where else None)
    rows = Many(asynchronous(source) if where == "async source" else source, steps, outstanding=1, timeout=None)
    with pytest.raises(type(error), match="mine"):
        await collect(rows, seen)
    assert [one.request.prompt for one in seen] == ["good"]
    assert source.asked == 2
    with pytest.raises(StopAsyncIteration):
        await anext(rows)


async def test_what_is_no_iterable():
    """A source that cannot be iterated is a TypeError at the first step."""
    with pytest.raises(TypeError):
        await anext(many(Works(), 7))


async def test_an_empty_source():
    """Nothing asked, nothing given."""
    assert await outcomes(many(Works(), [])) == []


async def test_what_another_thread_collects_stops_on_its_own_loop():
    """A cycle that holds the iterator is collected by whatever thread is at it."""
    loop, stopped = asyncio.get_running_loop(), []
    many = Many([], None, outstanding=1, timeout=None)
    stop = lambda _: stopped.append(asyncio.get_running_loop())  # noqa: E731 - a method
    many._run = type("Run", (), {"loop": loop, "stop": stop})()
    await asyncio.to_thread(many.__del__)
    await asyncio.sleep(0.01)
    assert stopped == [loop]
    many._run = None
