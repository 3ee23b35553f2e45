"""Journalled tasks: followed to their end by somebody, told at least once, resumed, settled, and shared by clients."""

import asyncio
import contextlib
import gc
import logging
import sys
import threading
import warnings
from pathlib import Path

import anyio
import pytest

from omni_async import (
    InvalidRequestError,
    JournalError,
    Limiter,
    Limits,
    OmniClient,
    OmniError,
    RateLimitError,
    SubmissionUncertainError,
    TaskFailedError,
    TaskStatus,
    VideoRequest,
    VideoTask,
    WaitTimeoutError,
)
from omni_async.emulator import Emulator, InjectedFault
from omni_async.journal import Entry, Ledger, SqliteJournal
from tests.fault_server import ACCEPT, DROP, HANG, KEY, Act, FaultServer, finished, http, running
from tests.foreign import Foreign
from tests.journal.children import child, kill
from tests.journalled import (
    PROMPT,
    abandoned,
    booked,
    client_of,
    journal_threads,
    on_warp,
    records,
    rows,
    sending,
    states,
)
from tests.pairs import collect
from tests.warp import WarpLoop, now

LOOP = WarpLoop


class Told:
    """An `on_finished` that remembers, and raises or dawdles when told to."""

    def __init__(self, *, fails=0, takes=0.0):
        self.tasks, self.fails, self.takes, self.times = [], fails, takes, []

    async def __call__(self, task):
        self.times.append(asyncio.get_running_loop().time())
        if self.fails:
            self.fails -= 1
            raise RuntimeError("not now")
        await asyncio.sleep(self.takes)
        self.tasks.append(task)

    @property
    def ids(self):
        """The caller's ids of what was told."""
        return [task.custom_id for task in self.tasks]


def failed(task_id="task-0000001", message="no"):
    """The answer about a task that failed."""
    return http(body={"code": 20000, "data": {"task_id": task_id, "status": "failed", "error_message": message}})


# --- to the end, without a waiter --------------------------------------------------------------------------------


async def test_a_journalled_task_is_followed_without_a_waiter(tmp_path):
    """To its end, into the file, and told with all that is the caller's, and the URL."""
    told = Told()
    async with booked(tmp_path, on_finished=told, polls=[running("task-0000001")] * 3) as here:
        task = await here.submit()
        await asyncio.sleep(300)
        (end,) = told.tasks
        assert (end.task_id, end.status, end.custom_id) == (task.task_id, TaskStatus.SUCCEEDED, "mine")
        assert (end.metadata, end.gateway) == ({"order": 7}, "jimmy")
        assert end.video_url == "https://video.example/v.mp4"
        assert here.client.limiter.load().running == 0
        row = rows(tmp_path)["mine"]
        assert (row.state, row.notify) == ("SUCCEEDED", False)
        assert row.video_task.video_url == end.video_url
        gets = len(here.server.gets)
        await asyncio.sleep(3600)
        assert len(here.server.gets) == gets == 4


async def test_without_on_finished_it_is_followed_all_the_same(tmp_path):
    """Its end is in the file, for whoever asks later."""
    async with booked(tmp_path) as here:
        await here.submit()
        await asyncio.sleep(300)
        assert states(tmp_path) == {"mine": "SUCCEEDED"}
        again = await here.submit()
        assert (again.status, again.video_url) == (TaskStatus.SUCCEEDED, "https://video.example/v.mp4")
        gets = len(here.server.gets)
        assert (await here.client.wait(again)).video_url == again.video_url
        assert len(here.server.gets) == gets


async def test_an_answer_about_a_task_of_an_earlier_run_is_not_this_ones_end(tmp_path):
    """A mix-up: the journal knows the other task, though this client has never seen it, and its video is not stored."""
    async with booked(tmp_path) as here:
        earlier = await here.client.wait(await here.submit(custom_id="earlier"))
        here.server.script["GET"].extend([finished(earlier.task_id), failed(earlier.task_id)] * 3)
        async with client_of(tmp_path, here.server) as client:
            task = await client.submit("a dog", custom_id="later")
            assert (await client.wait(task)).raw["data"]["task_id"] == task.task_id
    assert states(tmp_path) == {"earlier": "SUCCEEDED", "later": "SUCCEEDED"}


async def test_an_answer_that_names_nobodys_task_asks_the_journal_and_is_believed(tmp_path):
    """Gateways that give tasks ids of another form: nothing is held up."""
    async with booked(tmp_path, polls=[finished("upstream-17")]) as here:
        assert (await here.client.wait(await here.submit())).video_url
        assert len(here.server.gets) == 1


async def test_a_failed_task_is_told_too(tmp_path):
    """It is over; what failed it is in the task."""
    told = Told()
    async with booked(tmp_path, polls=[failed(message="no such style")], on_finished=told) as here:
        await here.submit()
        await asyncio.sleep(300)
    assert [(task.status, task.error_message) for task in told.tasks] == [(TaskStatus.FAILED, "no such style")]
    assert states(tmp_path) == {"mine": "FAILED"}


async def test_a_waiter_beside_it_costs_no_look(tmp_path):
    """One GET serves the journal and whoever waits."""
    told = Told()
    async with booked(tmp_path, on_finished=told) as here:
        task = await here.submit()
        waits = [here.client.wait(task) for _ in range(10)]
        assert all(end.video_url for end in await asyncio.gather(*waits))
        await asyncio.sleep(10)
        assert len(here.server.gets) == 1
        assert told.ids == ["mine"]


async def test_who_waits_for_anothers_task_writes_its_end(tmp_path):
    """The first who sees it; the owner tells it, once."""
    told = Told()
    async with booked(tmp_path, on_finished=told) as here, client_of(tmp_path, here.server) as other:
        here.server.always["GET"] = running("task-0000001")
        task = await here.submit()
        here.server.always["GET"] = None
        assert (await other.wait(task.task_id)).video_url
        assert states(tmp_path) == {"mine": "SUCCEEDED"}
        await asyncio.sleep(300)
        assert told.ids == ["mine"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_task_that_cannot_be_followed_says_why_until_it_is_seen(tmp_path, restarted):
    """Its row has the gateway's last word; a good look, also of a later run, takes that away, and nobody settles it."""
    async with booked(tmp_path) as here:
        here.server.always["GET"] = http(404, body={"code": "20002", "msg": "task not found"})
        await here.submit()
        await asyncio.sleep(100)
        assert rows(tmp_path)["mine"].detail.startswith("cannot be followed: not found")
        if restarted:
            await here.client.aclose()
        async with client_of(tmp_path, here.server) if restarted else contextlib.nullcontext(here.client) as client:
            await asyncio.sleep(100)
            assert rows(tmp_path)["mine"].unfollowed
            here.server.always["GET"] = running("task-0000001", progress=50)
            await asyncio.sleep(300)
            assert rows(tmp_path)["mine"].detail is None
            with pytest.raises(JournalError, match="there is nothing to settle"):
                await client.settle("mine", not_charged=True)


@pytest.mark.parametrize("word", [{"not_charged": True}, {"pay_again": True}, {"task_id": "task-0000002"}])
async def test_a_task_that_the_gateway_has_forgotten_is_settled(tmp_path, word):
    """As an uncertain create; paid again, it is followed as any."""
    async with booked(tmp_path) as here:
        here.server.always["GET"] = http(404, body={"code": "20002", "msg": "task not found"})
        await here.submit()
        await asyncio.sleep(100)
        settled = await here.client.settle("mine", **word)
        here.server.always["GET"] = finished("task-0000002")
        if settled is None:
            assert (await here.submit()).task_id == "task-0000002"
        await asyncio.sleep(300)
        row = rows(tmp_path)["mine"]
        assert (row.state, row.task_id) == ("SUCCEEDED", "task-0000002")
        assert len(here.server.charges) == (2 if settled is None else 1)


async def test_a_refused_key_says_nothing_of_a_task(tmp_path):
    """Its row may not be settled for that."""
    async with booked(tmp_path) as here:
        here.server.always["GET"] = http(401, body={"code": "20001", "msg": "bad key"})
        await here.submit()
        await asyncio.sleep(100)
        assert rows(tmp_path)["mine"].detail is None


async def test_a_journal_that_cannot_note_why_holds_nothing_up(tmp_path, caplog, monkeypatch):
    """The task is looked at again all the same."""
    async with booked(tmp_path) as here:
        here.server.always["GET"] = http(404)
        await here.submit()
        monkeypatch.setattr(Ledger, "unfollowed", _no_place)
        await asyncio.sleep(1000)
        assert "could not be noted" in caplog.text
        assert "the next look is in 120 s" in caplog.text


def _no_place(*_):
    raise JournalError("no space left", kind="full")


async def test_a_task_that_cannot_be_followed_is_looked_at_again_much_later(tmp_path, caplog):
    """It was paid for: it is not given up, and told when it is there."""
    told = Told()
    async with booked(tmp_path, on_finished=told) as here:
        here.server.always["GET"] = http(404)
        await here.submit()
        await asyncio.sleep(1000)
        assert states(tmp_path) == {"mine": "SUBMITTED"}
        pauses = [record.args[2] for record in caplog.records if "cannot be followed" in record.getMessage()]
        assert pauses[:3] == [60.0, 120.0, 240.0]
        await asyncio.sleep(40_000)
        gets = len(here.server.gets)
        await asyncio.sleep(3600)
        assert len(here.server.gets) - gets < 100
        here.server.always["GET"] = running("task-0000001", progress=50)
        await asyncio.sleep(7500)
        assert (here.events[-1].custom_id, dict(here.events[-1].metadata)) == ("mine", {"order": 7})
        here.server.always["GET"] = None
        await asyncio.sleep(7500)
        assert told.ids == ["mine"]
        assert told.tasks[0].metadata == {"order": 7}


# --- on_finished -------------------------------------------------------------------------------------------------


async def test_on_finished_is_called_until_it_returns(tmp_path, caplog):
    """With longer and longer pauses, up to a minute; each failure is logged with the task's id, and others go on."""
    told = Told(fails=9)
    async with booked(tmp_path, on_finished=told) as here:
        await here.submit()
        await asyncio.sleep(500)
        assert told.ids == ["mine"]
        pauses = [round(later - earlier) for earlier, later in zip(told.times, told.times[1:], strict=False)]
        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert not rows(tmp_path)["mine"].notify
    said = [record for record in caplog.records if "on_finished raised" in record.getMessage()]
    assert len(said) == 9
    assert here.server.charges[0] in said[0].getMessage()


async def test_a_plain_function_is_told_once(tmp_path, caplog):
    """It is done when it returns: there is nothing to await."""
    told = []
    async with booked(tmp_path, on_finished=told.append) as here:
        await here.submit()
        await asyncio.sleep(500)
        assert [task.custom_id for task in told] == ["mine"]
    assert not rows(tmp_path)["mine"].notify
    assert not caplog.records


async def test_one_that_fails_keeps_no_other_from_being_told(tmp_path):
    """Nor one that dawdles; there are never more than so many at once."""
    at_once, most, done = 0, 0, []

    async def on_finished(task):
        nonlocal at_once, most
        if task.custom_id == "0":
            raise RuntimeError("never")
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(10)
        at_once -= 1
        done.append(task.custom_id)

    async with booked(tmp_path, on_finished=on_finished) as here:
        for n in range(50):
            await here.submit(custom_id=str(n))
        await asyncio.sleep(1000)
        assert sorted(done, key=int) == [str(n) for n in range(1, 50)]
        assert most == 32


async def test_closed_while_it_is_told_it_is_waited_for(tmp_path):
    """Ten seconds; then it is told at the next start."""
    quick, late = Told(takes=5.0), Told(takes=50.0)
    async with booked(tmp_path, on_finished=quick) as here:
        await here.submit(custom_id="a")
        while not quick.times:  # noqa: ASYNC110 - nobody tells when it begins
            await asyncio.sleep(0.5)
        began = now()
        await here.client.aclose()
        assert now() - began <= 5.1
        assert quick.ids == ["a"]
        async with client_of(tmp_path, here.server, on_finished=late) as client:
            await client.submit(PROMPT, custom_id="b")
            while not late.times:  # noqa: ASYNC110 - nobody tells when it begins
                await asyncio.sleep(0.5)
            began = now()
            await client.aclose()
            assert 9.9 < now() - began < 12
        assert late.ids == []
        assert {key: row.notify for key, row in rows(tmp_path).items()} == {"a": False, "b": True}
        again = Told()
        async with client_of(tmp_path, here.server, on_finished=again):
            await asyncio.sleep(10)
        assert again.ids == ["b"]
        assert len(here.server.posts) == 2


@pytest.mark.parametrize("how", ["closes the client", "takes no cancellation"])
async def test_an_on_finished_that_does_not_end_does_not_keep_the_client_from_closing(tmp_path, how):
    """Not even one that closes the client itself; it is told again at the next start."""
    stubborn = asyncio.Event()

    async def on_finished(task):
        if how == "closes the client":
            await here.client.aclose()
        while not stubborn.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await stubborn.wait()

    async with booked(tmp_path, on_finished=on_finished) as here:
        await here.submit()
        await asyncio.sleep(60)
        began = now()
        await here.client.aclose()
        assert now() - began < 15
        assert journal_threads() == []
        stubborn.set()
        await asyncio.sleep(100)
        again = Told()
        async with client_of(tmp_path, here.server, on_finished=again):
            await asyncio.sleep(10)
        assert again.ids == ["mine"]


async def test_closed_while_it_waits_to_tell_again_it_is_told_at_the_next_start(tmp_path):
    """A pause is not waited for."""
    told = Told(fails=4)
    async with booked(tmp_path, on_finished=told) as here:
        await here.submit()
        while len(told.times) < 4:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.5)
        began = now()
        await here.client.aclose()
        assert now() - began < 1
        async with client_of(tmp_path, here.server, on_finished=told):
            await asyncio.sleep(1)
        assert told.ids == ["mine"]


# --- taking over -------------------------------------------------------------------------------------------------

HOLDER = """
    import asyncio, sys
    sys.path.insert(0, sys.argv[2])
    from books import accepted, intent
    from omni_async.journal import SqliteJournal
    from omni_async.identity import fingerprint_of
    from omni_async.dialects import Jimmy
    from omni_async import VideoRequest

    async def main():
        journal = SqliteJournal(sys.argv[1], gateway="jimmy", notify=True)
        digest = fingerprint_of(Jimmy(), VideoRequest(prompt="a heron at dawn"), {})
        for key in ("sent", "sending"):
            one = intent(key, fingerprint=digest, inputs='{"prompt": "a heron at dawn"}', metadata={"key": key})
            await journal.intend(one)
            if key == "sent":
                await journal.answered(one, accepted("task-0000001"))
        print("ready", flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
"""


async def test_a_killed_processs_rows_are_taken_over_by_the_living(tmp_path):
    """In seconds: its task is followed and told, what it was sending is uncertain; who waited for that is told so."""
    told = Told()
    async with FaultServer() as server, client_of(tmp_path, server, on_finished=told) as client:
        server.charges.append("task-0000001")
        with child(HOLDER, tmp_path / "j", Path(__file__).parent / "journal") as process:
            assert process.first == "ready"
            assert (await client.submit(PROMPT, custom_id="sent")).task_id == "task-0000001"
            waiting = asyncio.ensure_future(client.submit(PROMPT, custom_id="sending"))
            await asyncio.sleep(20)
            assert not waiting.done()
            assert told.ids == []
            with pytest.raises(RateLimitError, match="on its way") as caught:
                await client.submit(PROMPT, custom_id="sending", max_wait=0.1)
            assert caught.value.may_have_charged
            kill(process)
        began = now()
        with pytest.raises(SubmissionUncertainError, match="the process ended before the answer"):
            await waiting
        assert now() - began <= 6
        await asyncio.sleep(30)
        assert [(task.custom_id, task.metadata) for task in told.tasks] == [("sent", {"key": "sent"})]
        assert states(tmp_path) == {"sent": "SUCCEEDED", "sending": "UNCERTAIN"}
        assert server.posts == []
        assert len(list(tmp_path.glob("j.owner-*"))) == 1


@pytest.mark.usefixtures("let_go")
def test_what_was_finished_and_not_told_is_told_after_a_restart(tmp_path):
    """At least once, across restarts."""
    server, told = FaultServer(), Told()

    async def never(task):
        raise RuntimeError("not ready")

    async def first(server):
        client = client_of(tmp_path, server, on_finished=never)
        await client.submit(PROMPT, custom_id="mine", metadata={"n": 1})
        await asyncio.sleep(60)
        return (client,)

    abandoned(server, first)
    assert states(tmp_path) == {"mine": "SUCCEEDED"}

    async def second():
        async with server, client_of(tmp_path, server, on_finished=told) as client:
            await asyncio.sleep(1)
            assert client.stats().following == 0

    gets = len(server.gets)
    on_warp(second)
    (task,) = told.tasks
    assert (task.custom_id, task.metadata, task.video_url) == ("mine", {"n": 1}, "https://video.example/v.mp4")
    assert len(server.gets) == gets


async def test_a_client_that_tells_nobody_keeps_nothing_from_being_told(tmp_path):
    """It follows what a dead one left; the next that has an `on_finished` tells it."""
    told = Told()
    async with booked(tmp_path, on_finished=Told()) as here:
        here.server.always["GET"] = running("x")
        await here.submit()
        await here.client.aclose()
        here.server.always["GET"] = None
        async with client_of(tmp_path, here.server):
            await asyncio.sleep(60)
            assert states(tmp_path) == {"mine": "SUCCEEDED"}
            async with client_of(tmp_path, here.server, on_finished=told):
                await asyncio.sleep(10)
    assert told.ids == ["mine"]


async def test_a_journal_that_cannot_be_searched_is_complained_of_once(tmp_path, disk, caplog):
    """And searched again, when it can be; the next time it is told again."""
    async with booked(tmp_path) as here:
        await here.client.studio.journal.claim()
        disk.fail("full")
        await asyncio.sleep(100)
        disk.mend()
        await asyncio.sleep(10)
        assert [record.getMessage()[:40] for record in caplog.records] == ["the journal cannot be searched for unfin"]
        disk.fail("full")
        await asyncio.sleep(100)
        disk.mend()
    assert len(caplog.records) == 2


async def test_a_candidate_is_looked_up_again_by_the_next_client(tmp_path):
    """What the gateway did not show while the create was weighed, it may show later; not every gateway knows keys."""
    named = http(body={"code": "-1", "msg": "server error", "data": {"id": "@ID"}})
    async with booked(tmp_path, named) as here:
        here.server.always["GET"] = http(503)
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert states(tmp_path) == {"mine": "UNCERTAIN"}
        await here.client.aclose()
        here.server.always["GET"] = None
        async with client_of(tmp_path, here.server) as client:
            assert [outcome.task.task_id async for outcome in client.resume()] == here.server.charges
        assert states(tmp_path) == {"mine": "SUCCEEDED"}


@pytest.mark.usefixtures("let_go")
def test_a_dialect_that_trips_when_it_looks_something_up_ends_nothing(tmp_path, caplog):
    """What others left is looked for again."""

    class Odd(Foreign):
        def query(self, task_id):
            raise LookupError("unforeseen")

    odd = Odd()
    odd.abilities = type(odd.abilities)(idempotency_field="name")
    server = FaultServer([HANG])

    async def second():
        async with server, client_of(tmp_path, server, odd) as client:
            await asyncio.sleep(20)
            assert not client.studio.follower._watch.done()

    abandoned(server, sending(tmp_path, odd))
    on_warp(second)
    assert "an unexpected error while a lost create was looked up" in caplog.text
    assert states(tmp_path) == {"mine": "UNCERTAIN"}


# --- resume() -----------------------------------------------------------------------------------------------------


class Failing(FaultServer):
    """A server at which the third task fails, however often it is asked."""

    def _usual(self, seen):
        return (
            failed("task-0000003")
            if seen.path.endswith("task-0000003") and seen.method == "GET"
            else super()._usual(seen)
        )


def left(folder, *, keep=True, gateway="jimmy"):
    """A journal that an earlier run left: uncertain, submitted (one will have failed), and finished rows."""
    server = Failing([ACCEPT, DROP, ACCEPT, ACCEPT])

    async def first(server):
        server.always["GET"] = running("x")
        client = client_of(folder, server, gateway, keep_requests=keep)
        for number, key in enumerate(("ok", "lost", "fails", "over")):
            with contextlib.suppress(SubmissionUncertainError):
                await client.submit(PROMPT, custom_id=key, metadata={"n": number}, duration=6)
        over = VideoTask(task_id=server.charges[-1], status=TaskStatus.SUCCEEDED)
        await client.studio.journal.finished(over)
        return (client,)

    abandoned(server, first)
    assert states(folder) == {"ok": "SUBMITTED", "lost": "UNCERTAIN", "fails": "SUBMITTED", "over": "SUCCEEDED"}
    server.always["GET"] = None
    return server


@pytest.mark.usefixtures("let_go")
@pytest.mark.parametrize("keep", [True, False])
def test_resuming(tmp_path, keep):
    """Uncertain first, as an error; then tasks as they finish, a failed one as TaskFailedError; nothing is paid."""
    server = left(tmp_path, keep=keep)

    async def second():
        async with server, client_of(tmp_path, server) as client:
            outcomes = [outcome async for outcome in client.resume()]
            await asyncio.sleep(10)
            assert [outcome async for outcome in client.resume()][1:] == []  # each once, but the open question
        return outcomes

    outcomes = on_warp(second)
    first, *others = outcomes
    assert isinstance(first.error, SubmissionUncertainError)
    assert first.task is None
    assert first.error.custom_id == "lost"
    assert first.error.metadata == {"n": 1}
    assert {outcome.task.custom_id: outcome.ok for outcome in others} == {"ok": True, "fails": False}
    bad = next(outcome for outcome in others if not outcome.ok)
    assert isinstance(bad.error, TaskFailedError)
    assert bad.error.task.status is TaskStatus.FAILED
    assert bad.task.status is TaskStatus.FAILED
    for outcome in others:
        request = VideoRequest(
            prompt=PROMPT, duration=6, custom_id=outcome.task.custom_id, metadata=outcome.task.metadata
        )
        assert outcome.request == (request if keep else None)
    assert len(server.posts) == 4
    ends = {outcome.task.custom_id: "SUCCEEDED" if outcome.ok else "FAILED" for outcome in others}
    assert states(tmp_path) == {"lost": "UNCERTAIN", "over": "SUCCEEDED", **ends}


@pytest.mark.usefixtures("let_go")
@pytest.mark.parametrize("rounds", range(8))
def test_resuming_at_once_misses_nothing(tmp_path, rounds):
    """The client looks by itself for what others left, too: whoever comes second gets what the first has taken."""
    server = left(tmp_path)

    async def second():
        async with server:
            client = client_of(tmp_path, server)
            if rounds % 2:
                await client.__aenter__()
            resumed = client.resume()
            for _ in range(rounds):
                await asyncio.sleep(0)
            outcomes = [outcome async for outcome in resumed]
            await client.aclose()
        return outcomes

    assert len(on_warp(second)) == 3


@pytest.mark.usefixtures("let_go")
def test_a_resume_may_have_an_end(tmp_path):
    """One stuck task does not keep it open: it is given with the error of any wait, and followed on."""
    server = left(tmp_path)

    async def second():
        server.always["GET"] = running("x")
        async with server, client_of(tmp_path, server) as client:
            began = now()
            outcomes = [outcome async for outcome in client.resume(timeout=60)]
            assert now() - began == pytest.approx(60, abs=1)
            assert [type(outcome.error) for outcome in outcomes[1:]] == [WaitTimeoutError] * 2
            assert {outcome.error.task_id for outcome in outcomes[1:]} == {one.task.task_id for one in outcomes[1:]}
            assert all(outcome.request is not None for outcome in outcomes)
            server.always["GET"] = None
            await asyncio.sleep(300)
            with pytest.raises(InvalidRequestError, match="timeout: 'soon' is not a number of seconds"):
                client.resume(timeout="soon")

    on_warp(second)
    assert set(states(tmp_path).values()) == {"UNCERTAIN", "SUCCEEDED", "FAILED"}


@pytest.mark.usefixtures("let_go")
def test_a_resume_that_is_dropped_lets_go(tmp_path):
    """Nothing is collected for nobody; the tasks are followed on all the same."""
    server = left(tmp_path)

    async def second():
        server.always["GET"] = running("x")
        async with server, client_of(tmp_path, server) as client:
            resumed = client.resume()
            with anyio.move_on_after(10):
                await anext(resumed)
            del resumed
            gc.collect()
            followed = client.studio.poller._followed.values()
            waiters = {type(one).__name__ for known in followed for one in known.waiters}
            assert waiters == {"Follower"}

    on_warp(second)


@pytest.mark.usefixtures("let_go")
@pytest.mark.parametrize("after", [0, 0.0001, 10])
def test_a_resume_that_another_closes_ends_for_whoever_waits(tmp_path, after):
    """Also while the journal is still read."""
    server = left(tmp_path)

    async def second():
        server.always["GET"] = running("x")
        async with server, client_of(tmp_path, server) as client:
            resumed, seen = client.resume(), []
            consumers = [asyncio.ensure_future(collect(resumed, seen)) for _ in range(2)]
            await asyncio.sleep(after)
            await resumed.aclose()
            async with asyncio.timeout(5):
                await asyncio.gather(*consumers)
            assert len(seen) <= 1  # the uncertain row

    on_warp(second)


@pytest.mark.usefixtures("let_go")
def test_several_may_resume_by_one_iterator(tmp_path):
    """Each outcome goes to one of them, and all end with the last."""
    server = left(tmp_path)

    async def second():
        async with server, client_of(tmp_path, server) as client:
            resumed, seen = client.resume(), []
            async with asyncio.timeout(1000):
                await asyncio.gather(*(collect(resumed, seen) for _ in range(3)))
            assert len(seen) == len({one.request.custom_id for one in seen}) == 3

    on_warp(second)


def test_what_a_loop_left_that_ended_without_aclose_is_found_at_once(tmp_path, caplog):
    """As in a script of two `asyncio.run`: it is resumed, and the first leaves no task that is destroyed."""
    server, complaints = FaultServer(), []

    async def first():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
        server.always["GET"] = running("x")
        await server.start()
        client = client_of(tmp_path, server)
        await client.submit(PROMPT, custom_id="mine")
        await server.stop()
        return client

    async def second():
        server.always["GET"] = None
        async with server, client_of(tmp_path, server) as client:
            return [outcome.request.custom_id async for outcome in client.resume()]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what was not closed
        client = on_warp(first)
        assert len(journal_threads()) == 1
        del client
        gc.collect()
        assert not [record for record in caplog.records if "destroyed" in record.getMessage()]
        assert on_warp(second) == ["mine"]
    assert not [message for message in complaints if "destroyed" in message]


@pytest.mark.usefixtures("let_go")
def test_rows_that_were_taken_over_and_have_ended_are_not_kept_in_memory(tmp_path):
    """Of those that nobody resumes only the ids are: a server may take over rows for months."""
    server = left(tmp_path)

    async def second():
        async with server, client_of(tmp_path, server) as client:
            await asyncio.sleep(300)
            gc.collect()
            mine = client.studio.journal.owner
            kept = {row.key for row in gc.get_objects() if isinstance(row, Entry) and row.owner == mine}
            assert kept == set()
            assert len([outcome async for outcome in client.resume()]) == 3

    on_warp(second)


@pytest.mark.usefixtures("let_go")
def test_a_resuming_that_is_let_go_follows_on(tmp_path):
    """The tasks are followed to their end all the same."""
    server = left(tmp_path)

    async def second():
        server.always["GET"] = running("x")
        async with server, client_of(tmp_path, server) as client:
            resumed = client.resume()
            assert repr(resumed) == "<Resumed idle>"  # what there is is not looked up yet
            assert isinstance((await anext(resumed)).error, SubmissionUncertainError)
            assert repr(resumed) == "<Resumed open, 2 waiting, 0 ready>"
            await resumed.aclose()
            assert repr(resumed) == "<Resumed over>"
            with pytest.raises(StopAsyncIteration):
                await anext(resumed)
            server.always["GET"] = None
            await asyncio.sleep(300)

    on_warp(second)
    assert states(tmp_path) == {"ok": "SUCCEEDED", "lost": "UNCERTAIN", "fails": "FAILED", "over": "SUCCEEDED"}


async def test_nothing_to_resume(tmp_path):
    """An empty journal, and one whose rows others follow."""
    async with booked(tmp_path) as here, client_of(tmp_path, here.server) as other:
        here.server.always["GET"] = running("x")
        assert [outcome async for outcome in here.client.resume()] == []
        await here.submit()
        assert [outcome async for outcome in other.resume()] == []
        assert [outcome async for outcome in here.client.resume()] == []


# --- pending() ----------------------------------------------------------------------------------------------------


async def test_pending_are_all_that_run(tmp_path):
    """One's own and other clients', with what is the caller's; over when they are seen finished."""
    async with booked(tmp_path) as here, client_of(tmp_path, here.server) as other:
        assert await other.pending() == []
        here.server.always["GET"] = running("x")
        task = await here.submit()
        for client in (here.client, other):
            (found,) = await client.pending()
            assert (found.task_id, found.custom_id, found.metadata) == (task.task_id, "mine", {"order": 7})
            assert not found.status.finished
        here.server.always["GET"] = None
        await asyncio.sleep(300)
        assert await here.client.pending() == await other.pending() == []


def test_pending_after_a_crash(tmp_path):
    """What was accepted runs; a create whose answer was lost is uncertain and no task. They stay there for resume()."""
    server = left(tmp_path)

    async def second():
        server.always["GET"] = running("x")
        async with server, client_of(tmp_path, server) as client:
            pending = {task.custom_id for task in await client.pending()}
            server.always["GET"] = None
            resumed = {outcome.request.custom_id async for outcome in client.resume()}
            return pending, resumed

    assert on_warp(second) == ({"ok", "fails"}, {"ok", "fails", "lost"})


@pytest.mark.parametrize("inner", [{("a", 1): 2}, "circle"], ids=["a key that is not text", "a circle"])
async def test_metadata_that_cannot_be_kept_are_a_fault_of_the_request(tmp_path, inner):
    """Nothing is wrong with the journal, and nothing was sent; other rows are not held up."""
    metadata = {"order": inner}
    if inner == "circle":
        metadata["order"] = metadata
    async with booked(tmp_path, ACCEPT) as here:
        with pytest.raises(InvalidRequestError) as caught:
            await here.client.submit(PROMPT, custom_id="odd", metadata=metadata)
        error = caught.value
        assert [fault.field for fault in error.faults] == ["metadata"]
        assert (error.custom_id, error.may_have_charged, here.server.posts) == ("odd", False, [])
        assert (await here.client.submit(PROMPT, custom_id="even")).task_id


async def test_without_a_journal_nothing_is_known_to_be_pending():
    """It says so."""
    async with OmniClient("jimmy", api_key=KEY) as client:
        with pytest.raises(JournalError, match="keeps no journal"):
            await client.pending()


# --- settle() -----------------------------------------------------------------------------------------------------


async def test_settled_by_a_task_id_it_is_followed(tmp_path):
    """As found in the gateway's console; it is on record, and told."""
    told = Told()
    async with booked(tmp_path, DROP, on_finished=told) as here:
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        task = await here.client.settle("mine", task_id=here.server.charges[0])
        assert (task.task_id, task.custom_id, task.metadata) == (here.server.charges[0], "mine", {"order": 7})
        assert (await here.submit()).task_id == task.task_id
        await asyncio.sleep(100)
        assert told.ids == ["mine"]
        assert [record.detail for record in records(tmp_path, "mine")][-1] == "settled by a person: it is this task"
        assert len(here.server.posts) == 1
        assert here.client.limiter.load().running == 1  # the lost create's own slot, until its lease ends


@pytest.mark.parametrize("word", ["task_id", "not_charged", "pay_again"])
async def test_settled_by_a_mistyped_task_id_it_can_be_settled_again(tmp_path, word):
    """The gateway has never shown that task; once it has shown the right one, that stands."""
    async with booked(tmp_path, DROP) as here:
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        (right,) = here.server.charges
        await here.client.settle("mine", task_id="task-mistyped")
        await asyncio.sleep(100)
        here.server.always["GET"] = running(right)
        task = await here.client.settle("mine", **{word: right if word == "task_id" else True})
        if word != "task_id":
            assert task is None
            assert states(tmp_path) == {"mine": "PLANNED"}
            return
        assert task.task_id == right
        await asyncio.sleep(1)
        with pytest.raises(JournalError, match="there is nothing to settle"):
            await here.client.settle("mine", not_charged=True)
        assert rows(tmp_path)["mine"].task_id == right


@pytest.mark.parametrize("word", ["not_charged", "pay_again"])
async def test_settled_so_that_it_may_be_sent(tmp_path, word):
    """Only when it is submitted again, also with other inputs; the word is on record."""
    async with booked(tmp_path, DROP) as here:
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert await here.client.settle("mine", **{word: True}) is None
        await asyncio.sleep(100)
        assert len(here.server.posts) == 1
        assert (await here.submit("another cat")).task_id
        assert len(here.server.posts) == 2
        told = [record.detail for record in records(tmp_path, "mine")]
        assert told[1] == f"settled by a person: {'it was not charged' if word == 'not_charged' else 'pay again'}"


async def test_what_is_not_open_is_not_settled(tmp_path):
    """No such row, no uncertain row, no answer, two answers, another row's task, no task id."""
    async with booked(tmp_path, ACCEPT, DROP) as here:
        await here.submit()
        with pytest.raises(SubmissionUncertainError):
            await here.submit(custom_id="lost")
        settle = here.client.settle
        for wrong, error, words in [
            (settle("none", not_charged=True), JournalError, "there is no row 'none'"),
            (settle("mine", not_charged=True), JournalError, "there is nothing to settle"),
            (settle("lost"), InvalidRequestError, "say one of"),
            (settle("lost", not_charged=True, pay_again=True), InvalidRequestError, "say one of"),
            (settle("lost", task_id="t", pay_again=True), InvalidRequestError, "say one of"),
            (settle("lost", task_id=""), InvalidRequestError, "is not a task id"),
            (settle("lost", task_id=here.server.charges[0]), JournalError, "belongs to another row"),
        ]:
            with pytest.raises(error, match=words) as caught:
                await wrong
            assert "nothing was sent" not in str(caught.value)
        assert states(tmp_path)["lost"] == "UNCERTAIN"
        assert len(records(tmp_path, "lost")) == 1


@pytest.mark.usefixtures("let_go")
def test_what_a_dead_process_was_sending_can_be_settled_at_once(tmp_path):
    """Also before the client has looked for it by itself."""
    server = FaultServer([HANG])

    async def second():
        async with server:
            client = client_of(tmp_path, server)
            assert await client.settle("mine", not_charged=True) is None
            await client.aclose()

    abandoned(server, sending(tmp_path))
    on_warp(second)
    assert states(tmp_path) == {"mine": "PLANNED"}


# --- a known id --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["full", "paused"])
async def test_a_known_id_gives_its_task_whatever_the_limiter_says(tmp_path, how):
    """No slot free, or creates paused: nothing is sent, so there is nothing to wait for."""
    limits = Limits(max_running_tasks=1) if how == "full" else Limits()
    acts = [ACCEPT] if how == "full" else [ACCEPT, http(429, headers={"Retry-After": "100"})]
    async with booked(tmp_path, *acts, limits=limits) as here:
        here.server.always["GET"] = running("task-0000001")
        task = await here.submit()
        other = asyncio.ensure_future(here.submit(custom_id="other"))
        await asyncio.sleep(2)
        assert not other.done()
        began, posts = now(), len(here.server.posts)
        assert (await here.submit()).task_id == task.task_id
        assert (await here.client.submit("a cat", custom_id="mine", max_wait=0)).task_id == task.task_id
        with pytest.raises(JournalError, match="with other inputs"):
            await here.submit("a dog")
        assert now() - began < 0.1
        assert len(here.server.posts) == posts
        other.cancel()


TOLD_MORE = {"task_id": "@ID", "status": "pending", "model": "Gemini-Omini", "created_at": 1_767_000_000}


@pytest.mark.parametrize("busy", [False, True])
async def test_a_known_id_gives_what_was_told_of_it_first(tmp_path, busy):
    """Its model and its time stand in the answer that is kept; also where the id is looked up before a slot is free."""
    answer = http(body={"code": 20000, "data": TOLD_MORE}, headers={"x-request-id": "req-1"})
    async with booked(tmp_path, answer, limits=Limits(max_running_tasks=1 if busy else None)) as here:
        here.server.always["GET"] = running("task-0000001")
        first = await here.submit()
        again = await here.submit()
        assert (again.task_id, again.custom_id, again.status) == (first.task_id, "mine", TaskStatus.QUEUED)
        assert (again.model, again.created_at, again.request_id) == (first.model, first.created_at, "req-1")
        assert again.model == "Gemini-Omini"
        here.server.always["GET"] = failed(message="no such style")
        await asyncio.sleep(100)
        over = await here.submit()
        assert (over.status, over.error_message, over.model) == (TaskStatus.FAILED, "no such style", "Gemini-Omini")


@pytest.mark.parametrize("body", [{"code": 20000, "data": {**TOLD_MORE, "status": 5}}, b'{"task_id": "@ID", "st'])
async def test_a_known_id_whose_answer_cannot_be_read_gives_its_task_all_the_same(tmp_path, body):
    """It was written down before anybody knew whether it can be."""
    async with booked(tmp_path, http(body=body)) as here:
        here.server.always["GET"] = running("task-0000001")
        first = await here.submit()
        again = await here.submit()
        assert (again.task_id, again.model, len(here.server.posts)) == (first.task_id, None, 1)


async def test_a_known_id_whose_task_was_adopted_tells_nothing_of_another(tmp_path):
    """The kept answer is of another task, or there is none."""
    async with booked(tmp_path, DROP) as here:
        here.server.always["GET"] = running("task-7")
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        await here.client.settle("mine", task_id="task-7")
        assert (await here.submit()).model is None


async def test_one_id_at_once_is_one_create(tmp_path):
    """Ten at the same moment: one POST, and all have its task."""
    async with booked(tmp_path, Act(raw=ACCEPT.raw, delay=5.0)) as here:
        tasks = await asyncio.gather(*(here.submit() for _ in range(10)))
        assert {task.task_id for task in tasks} == set(here.server.charges)
        assert len(here.server.posts) == 1


async def test_one_id_at_once_whose_answer_is_lost_is_one_create(tmp_path):
    """All are told that it is uncertain."""
    async with booked(tmp_path, Act(then="close", delay=5.0)) as here:
        ended = await asyncio.gather(*(here.submit() for _ in range(5)), return_exceptions=True)
        assert {type(error) for error in ended} == {SubmissionUncertainError}
        assert len(here.server.posts) == 1


@pytest.mark.parametrize("seen_after", [2.0, 8.0])
async def test_one_id_again_while_its_lost_answer_is_looked_up(tmp_path, seen_after):
    """Row 38: who asks meanwhile looks, too, and so does who asks later; only what nobody can tell is uncertain."""
    faults = [InjectedFault("drop_after_accept", first=1), InjectedFault("not_found_at_first", seconds=seen_after)]
    async with Emulator(task_seconds=60, faults=faults) as emulator:
        settings = {"api_key": "k", "base_url": emulator.url, "journal": tmp_path / "j.sqlite3"}
        async with OmniClient("toapis", **settings) as one, OmniClient("toapis", **settings) as two:

            async def click(client, at):
                await anyio.sleep(at)
                return await client.submit("a cat", custom_id="mine")

            clicks = click(one, 0), click(one, 0.5), click(two, 0.8)
            ended = await asyncio.gather(*clicks, return_exceptions=True)
            if seen_after > 3:
                assert {type(end) for end in ended} == {SubmissionUncertainError}
                ended = [await click(two, seen_after)]
        (charge,) = emulator.ledger.charges
        assert {task.task_id for task in ended} == {charge.task_id}


async def test_one_id_at_once_that_is_refused_is_sent_by_each(tmp_path):
    """Nothing was paid: one after the other may try; the third is accepted, and the rest have its task."""
    refused = http(400, "no", delay=1.0)
    async with booked(tmp_path, refused, refused, Act(raw=ACCEPT.raw, delay=1.0)) as here:
        ended = await asyncio.gather(*(here.submit() for _ in range(5)), return_exceptions=True)
        assert sorted(type(end).__name__ for end in ended) == ["RejectedError"] * 2 + ["VideoTask"] * 3
        assert len(here.server.charges) == 1


@pytest.mark.parametrize("gateway", ["jimmy", "toapis"])
async def test_two_clients_with_one_id_are_one_create(tmp_path, gateway):
    """Two journals on one file: whoever comes second waits, and has the first's task."""
    slow = http(body={"id": "@ID", "status": "queued", "model": "m"}, delay=5.0)
    act = Act(raw=ACCEPT.raw, delay=5.0) if gateway == "jimmy" else slow
    async with booked(tmp_path, act, gateway=gateway) as here, client_of(tmp_path, here.server, gateway) as other:
        same = {"custom_id": "mine", "metadata": {"order": 7}}
        tasks = await asyncio.gather(*(client.submit("a cat", **same) for client in (here.client, other) * 3))
        assert {task.task_id for task in tasks} == set(here.server.charges)
        assert len(here.server.posts) == 1
        assert {task.metadata["order"] for task in tasks} == {7}


async def test_who_waits_for_anothers_create_can_stop_waiting(tmp_path):
    """By `max_wait`, or because his client is closed; the other's goes on, and may be paid already."""
    async with (
        booked(tmp_path, Act(raw=ACCEPT.raw, delay=30.0)) as here,
        client_of(tmp_path, here.server) as other,
    ):
        first = asyncio.ensure_future(here.submit())
        await asyncio.sleep(1)
        with pytest.raises(RateLimitError, match="a create of this id is on its way") as caught:
            await other.submit("a cat", custom_id="mine", max_wait=3)
        assert caught.value.may_have_charged
        waiting = asyncio.ensure_future(other.submit("a cat", custom_id="mine"))
        await asyncio.sleep(1)
        await other.aclose()
        with pytest.raises(OmniError, match="client was closed") as closed:
            await waiting
        assert closed.value.may_have_charged
        assert (await first).task_id == here.server.charges[0]


async def test_room_is_shared_by_all_who_share_the_journal(tmp_path):
    """`max_running_tasks` counts every unfinished row; when one ends, the next goes, whoever's it is."""
    limits = Limits(max_running_tasks=2)
    async with (
        booked(tmp_path, limits=limits) as here,
        client_of(tmp_path, here.server, limits=limits) as other,
        client_of(tmp_path, here.server, limiter=Limiter(limits)) as free,
    ):
        here.server.always["GET"] = running("x")
        await here.submit(custom_id="a")
        await other.submit(PROMPT, custom_id="b")
        with pytest.raises(RateLimitError, match="2 tasks of this journal are running") as caught:
            await other.submit(PROMPT, custom_id="c", max_wait=0.5)
        assert not caught.value.may_have_charged
        waiting = asyncio.ensure_future(other.submit(PROMPT, custom_id="c"))
        await asyncio.sleep(120)
        assert len(here.server.posts) == 2
        assert (await free.submit(PROMPT, custom_id="not limited by its own journal's room")).task_id
        here.server.always["GET"] = None
        assert (await waiting).task_id
        assert len(here.server.posts) == 4


# --- making and ending -------------------------------------------------------------------------------------------


def test_made_outside_a_loop_it_works_in_one(tmp_path):
    """As apps make their client at import time; each loop has its own, on the same file."""
    server, told = FaultServer(), Told()
    clients = []

    async def use():
        async with server, clients[-1] as client:
            await client.submit(PROMPT, custom_id=f"k{len(clients)}")
            await asyncio.sleep(60)

    async def prepared():
        await server.start()
        await server.stop()

    for _ in range(2):
        on_warp(prepared)  # it has an address from now on
        journal = str(tmp_path / "j")
        clients.append(OmniClient(api_key=KEY, base_url=server.url, proxy=None, journal=journal, on_finished=told))
        on_warp(use)
    assert told.ids == ["k1", "k2"]


async def test_nothing_is_left_of_a_closed_client(tmp_path):
    """No thread, no open file, no task, no file but the journal and the batch's lock."""
    fds = Path("/proc/self/fd")

    def open_files():
        return len(list(fds.iterdir())) if fds.exists() else 0

    async with FaultServer() as server:
        before, tasks, threads = open_files(), asyncio.all_tasks(), threading.active_count()
        for number in range(3):
            async with client_of(tmp_path, server, on_finished=Told()) as client:
                await client.submit(PROMPT, custom_id=str(number))
                await client.wait(server.charges[-1])
                assert len(journal_threads()) == 1
            assert journal_threads() == []
        await asyncio.sleep(0.1)
        gc.collect()
        assert {task for task in asyncio.all_tasks() - tasks if "FaultServer" not in repr(task)} == set()
        assert threading.active_count() == threads
        await server.stop()
        await asyncio.sleep(0.1)
        assert open_files() <= before
        await server.start()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j", "j.lock"]


async def test_a_journal_of_ones_own_making_is_followed_too(tmp_path):
    """A `SqliteJournal` given as an object."""
    told = Told()
    journal = SqliteJournal(tmp_path / "j", gateway="jimmy", notify=True)
    async with FaultServer() as server, client_of(tmp_path, server, journal=journal, on_finished=told) as client:
        await client.submit(PROMPT, custom_id="mine")
        await asyncio.sleep(60)
    assert told.ids == ["mine"]


@pytest.mark.skipif(sys.platform == "win32", reason="forks are POSIX")
def test_after_a_fork_the_childs_client_is_another_owner(tmp_path):
    """Made before, opened after: parent and child share the file, not the lock."""
    program = """
        import asyncio, os, sys
        sys.path.insert(0, sys.argv[2])
        from pathlib import Path
        from books import accepted, intent
        from omni_async.journal import SqliteJournal

        journal = SqliteJournal(sys.argv[1], gateway="jimmy")
        pid = os.fork()

        async def main():
            await journal.intend(intent("parent" if pid else "child"))
            await journal.answered(intent("parent" if pid else "child"), accepted("t-p" if pid else "t-c"))
            if pid:
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
                assert [entry.key for entry in await journal.claim()] == ["child"]
            else:
                os._exit(0)
            await journal.aclose()

        asyncio.run(main())
        print("good", flush=True)
    """
    with child(program, tmp_path / "j", Path(__file__).parent / "journal") as process:
        assert process.first == "good"
    assert states(tmp_path) == {"parent": "SUBMITTED", "child": "SUBMITTED"}


async def test_what_is_logged_of_it_is_nothing_private(tmp_path, caplog):
    """At DEBUG, with a failing on_finished."""
    caplog.set_level(logging.DEBUG)
    told = Told(fails=1)
    async with booked(tmp_path, on_finished=told) as here:
        await here.submit("CANARY-PROMPT")
        await asyncio.sleep(60)
    assert told.ids == ["mine"]
    assert "CANARY" not in caplog.text
    assert "video.example" not in caplog.text


async def test_what_a_client_learned_the_next_one_knows(tmp_path):
    """The journal keeps how long tasks take: a new client's first task costs fewer looks than without."""

    async def looks(emulator, videos, journal):
        before = emulator.ledger.requests["query"]
        limits = Limits(max_running_tasks=20)
        async with OmniClient(api_key="key", base_url=emulator.url, journal=journal, limits=limits) as client:
            await client.balance()
            await asyncio.sleep(1)
            async for one in client.generate_many(f"{journal} cat {number}" for number in range(videos)):
                assert one.ok
        return (emulator.ledger.requests["query"] - before) / videos

    async with Emulator(task_seconds=90, task_sigma=0.1, progress=False) as emulator:
        await looks(emulator, 60, tmp_path / "kept.sqlite3")
        knowing = await looks(emulator, 1, tmp_path / "kept.sqlite3")
        assert 0 < knowing <= 0.7 * await looks(emulator, 1, tmp_path / "new.sqlite3")
