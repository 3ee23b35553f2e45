"""The one thread that writes: many callers in one commit, nobody spoils another's, nothing is half written."""

import asyncio
import gc
import threading
import time
import warnings

import pytest
from books import Book, accepted, intent, rows

from omni_async.errors import JournalError, OmniError
from omni_async.journal import NotNow, open_journal, writer
from omni_async.journal.writer import TOGETHER, Writer, writers
from tests.failing_disk import Disk
from tests.warp import WarpLoop


def threads():
    """Threads that write journals."""
    return [thread for thread in threading.enumerate() if thread.name == "omni_async journal"]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = threads()
    yield
    assert [thread for thread in threads() if thread not in before] == []


@pytest.fixture
def disk():
    """Under the journal."""
    return Disk()


@pytest.fixture
def closed():
    """What was done at the end."""
    return []


@pytest.fixture
async def writing(tmp_path, disk, closed):
    """A writer on a journal."""
    Book(tmp_path / "j").close()
    one = Writer(lambda: (disk.ledger(open_journal(tmp_path / "j")), lambda: closed.append(True)))
    await one.open()
    yield one
    disk.gate.set()
    await one.aclose()


def insert(key):
    """A job that enters a row."""
    return lambda ledger: ledger.intend(intent(key), owner="me")


async def held(writing, disk):
    """Hold the first commit back; gives the job that waits for it."""
    disk.gate.clear()
    first = asyncio.ensure_future(writing.run(lambda _: None))
    while not disk.waiting.is_set():  # noqa: ASYNC110 - a thread tells
        await asyncio.sleep(0)
    return first


# --- group commit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("jobs", "commits"), [(1, 2), (200, 2), (TOGETHER, 2), (TOGETHER + 1, 3), (2 * TOGETHER, 3)])
async def test_what_comes_while_a_commit_is_under_way_is_one_commit(writing, disk, tmp_path, jobs, commits):
    """However many there are, up to a limit; each gets what its own work gave, in order."""
    first = await held(writing, disk)
    order = []
    results = [
        asyncio.ensure_future(writing.run(lambda ledger, n=n: (insert(f"k{n}")(ledger), order.append(n), n)[-1]))
        for n in range(jobs)
    ]
    await asyncio.sleep(0)
    assert not first.done()
    assert rows(tmp_path / "j") == {}
    disk.gate.set()
    assert await asyncio.gather(first, *results) == [None, *range(jobs)]
    assert disk.commits == commits
    assert order == list(range(jobs))
    assert len(rows(tmp_path / "j")) == jobs


async def test_a_result_is_told_when_it_is_durable_and_not_before(writing, disk, tmp_path):
    """A caller goes on only after the commit."""
    disk.gate.clear()
    waiting = asyncio.ensure_future(writing.run(insert("k")))
    while not disk.waiting.is_set():  # noqa: ASYNC110 - a thread tells
        await asyncio.sleep(0)
    assert not waiting.done()
    assert rows(tmp_path / "j") == {}
    disk.gate.set()
    await waiting
    assert set(rows(tmp_path / "j")) == {"k"}


# --- what goes wrong ---------------------------------------------------------------------------------------------


def changed_and(error):
    """A job that writes, and then fails."""

    def work(ledger):
        insert("half")(ledger)
        raise error

    return work


FAILS = {
    "a refusal": (lambda ledger: ledger.settle("none", "PLANNED"), JournalError, 2),
    "not now": (lambda ledger: ledger.intend(intent("new"), owner="me", room=0), NotNow, 2),
    "half done": (changed_and(OmniError("no")), OmniError, 4),
    "half done and not now": (changed_and(NotNow("no", 1.0)), NotNow, 4),
    "a mistake": (changed_and(ValueError("odd")), JournalError, 4),
    "a mistake at once": (lambda _: 1 / 0, JournalError, 4),
    "bad sql": (lambda ledger: ledger.connection.execute("SELECT nonsense"), JournalError, 4),
}


@pytest.mark.parametrize("case", FAILS)
async def test_a_job_that_fails_spoils_no_other(writing, disk, tmp_path, case):
    """The others are written, before it and after it; of its own nothing is."""
    bad, error, commits = FAILS[case]
    first = await held(writing, disk)
    before, failing, after = (asyncio.ensure_future(writing.run(job)) for job in (insert("a"), bad, insert("b")))
    await asyncio.sleep(0)
    disk.gate.set()
    with pytest.raises(error):
        await failing
    assert await asyncio.gather(first, before, after) == [None] * 3
    assert set(rows(tmp_path / "j")) == {"a", "b"}
    assert disk.commits == commits - (commits == 4)


@pytest.mark.parametrize("case", FAILS)
async def test_of_two_jobs_the_one_that_fails_spoils_not_the_other(writing, disk, tmp_path, case):
    """Whichever comes first."""
    bad, error, _ = FAILS[case]
    for number, order in enumerate(([0, 1], [1, 0])):
        first = await held(writing, disk)
        jobs = [bad, insert(f"k{number}")]
        ended = [asyncio.ensure_future(writing.run(jobs[which])) for which in order]
        await asyncio.sleep(0)
        disk.gate.set()
        results = dict(zip(order, await asyncio.gather(*ended, return_exceptions=True), strict=True))
        await first
        assert isinstance(results[0], error)
        assert results[1] is None
    assert set(rows(tmp_path / "j")) == {"k0", "k1"}


async def test_a_database_that_has_gone_fails_each_call_and_the_thread_goes_on(tmp_path, disk, closed):
    """Nobody waits for ever."""
    one = Writer(lambda: (disk.ledger(open_journal(tmp_path / "j")), lambda: closed.append(True)))
    await one.open()
    with pytest.raises(JournalError, match="cannot be used"):
        await one.run(lambda ledger: ledger.connection.close())
    with pytest.raises(JournalError, match="cannot be used"):
        await one.run(insert("k"))
    await one.aclose()
    assert closed == [True]


async def test_what_fails_for_no_reason_of_ours_is_a_journal_error(writing):
    """With the word of what it was, and nothing else."""
    with pytest.raises(JournalError, match=r"/j cannot be used \(odd\)"):
        await writing.run(changed_and(ValueError("odd")))
    with pytest.raises(JournalError, match="nonsense"):
        await writing.run(FAILS["bad sql"][0])


@pytest.mark.parametrize("at_begin", [False, True])
@pytest.mark.parametrize("kind", ["full", "failed", "locked"])
async def test_a_commit_that_fails_fails_all_its_jobs(writing, disk, tmp_path, kind, at_begin):
    """Nothing of any of them is there, each is told, it is not tried for each alone, and then it goes on."""
    first = await held(writing, disk)
    jobs = [asyncio.ensure_future(writing.run(insert(f"k{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    disk.fail(kind, times=1, at_begin=at_begin, after=0 if at_begin else 1)
    disk.gate.set()
    ended = await asyncio.gather(*jobs, return_exceptions=True)
    await first
    assert {(type(error), error.kind) for error in ended} == {(JournalError, kind)}
    assert len({id(error) for error in ended}) == 20
    assert rows(tmp_path / "j") == {}
    assert (disk.failures, disk.begins, disk.commits) == (1, 2, 1)
    await writing.run(insert("later"))
    assert set(rows(tmp_path / "j")) == {"later"}


async def test_a_caller_who_goes_changes_nothing(writing, disk, tmp_path):
    """What he gave is done all the same, and the others are told."""
    first = await held(writing, disk)
    gone, stays = (asyncio.ensure_future(writing.run(insert(key))) for key in "ab")
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    disk.gate.set()
    await asyncio.gather(first, stays)
    assert set(rows(tmp_path / "j")) == {"a", "b"}
    assert not writing.busy


# --- opening and closing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (JournalError("locked", kind="locked"), "locked"),
        (OSError(13, "Permission denied"), "Permission denied"),
        (SystemExit("private"), r"the journal cannot be used \(SystemExit\)"),
    ],
    ids=repr,
)
async def test_a_journal_that_cannot_be_opened(error, told):
    """It is told as a journal's error, and the thread is over."""

    def opening():
        raise error

    one = Writer(opening)
    with pytest.raises(JournalError, match=told):
        await one.open()
    await one.aclose()
    assert not one.busy


async def test_closed_it_is_closed(writing, closed, tmp_path):
    """What was given before is done; afterwards nothing is taken. The file is let go first, then the lock."""
    last = asyncio.ensure_future(writing.run(insert("last")))
    await asyncio.sleep(0)
    writing.end()
    with pytest.raises(JournalError, match=r"^the journal is closed$") as caught:
        await writing.run(insert("late"))
    assert not caught.value.may_have_charged
    await writing.aclose()
    await writing.aclose()
    await last
    assert closed == [True]
    assert set(rows(tmp_path / "j")) == {"last"}
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


async def test_opened_while_another_thread_opens_one(writing, tmp_path):
    """Each loop may have journals in a thread of its own: who looks for left ones is not stopped by one that comes."""
    come = []

    class Meanwhile(Writer):
        @property
        def left(self):
            come.append(Writer(self._opening))  # by another thread
            return False

    there = [Meanwhile(writing._opening) for _ in range(2)]
    one = Writer(lambda: (Disk().ledger(open_journal(tmp_path / "j")), lambda: None))
    await one.open()
    await one.aclose()
    assert len(come) == len(there)
    assert set(come) < set(writers())


async def test_a_database_that_does_not_close_is_let_go_all_the_same(tmp_path, closed, disk):
    """The lock is given back whatever happens."""
    ledger = disk.ledger(open_journal(tmp_path / "j"))
    one = Writer(lambda: (ledger, lambda: closed.append(True)))
    await one.open()
    ledger.connection.close()
    await one.aclose()
    assert closed == [True]


@pytest.mark.parametrize("busy", [False, True])
def test_a_loop_that_ends_without_aclose_lets_the_journal_go(tmp_path, closed, disk, busy, monkeypatch):
    """Idle, or with a commit under way: what was given is durable, the thread ends, the lock is free."""
    monkeypatch.setattr(writer, "IDLE", 0.01)

    async def main():
        one = Writer(lambda: (disk.ledger(open_journal(tmp_path / "j")), lambda: closed.append(True)))
        await one.open()
        await one.run(insert("a"))
        if busy:
            disk.gate.clear()
            one.run(insert("b"))
            await asyncio.sleep(0)
        return one

    loop = asyncio.new_event_loop()
    one = loop.run_until_complete(main())
    loop.close()
    disk.gate.set()
    one._thread.join(10)
    assert not one._thread.is_alive()
    assert closed == [True]
    assert set(rows(tmp_path / "j")) == {"a", "b"} if busy else {"a"}
    assert not one.busy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the task that the loop left
        del one, loop
        gc.collect()


# --- time --------------------------------------------------------------------------------------------------------


async def test_whether_it_is_busy(writing, disk):
    """From what it is given to what it has told."""
    assert writing in writers()
    assert not writing.busy
    first = await held(writing, disk)
    more = [asyncio.ensure_future(writing.run(insert(key))) for key in "ab"]
    await asyncio.sleep(0)
    assert writing.busy
    first.add_done_callback(lambda _: busy.append(writing.busy))
    busy: list[bool] = []
    disk.gate.set()
    await asyncio.gather(first, *more)
    assert busy == [True]
    assert not writing.busy
    writing.end()
    assert writing.busy or not writing._thread.is_alive()


def test_time_does_not_jump_while_a_commit_is_under_way(tmp_path, disk):
    """An hour's timer does not fire; when the commit is through, it does, and opening and closing take no time."""

    async def main():
        loop = asyncio.get_running_loop()
        began = loop.time()
        one = Writer(lambda: (disk.ledger(open_journal(tmp_path / "j")), lambda: None))
        await one.open()
        assert loop.time() == began
        disk.gate.clear()
        job = asyncio.ensure_future(one.run(insert("k")))
        hour = asyncio.ensure_future(asyncio.sleep(3600))
        threading.Timer(0.05, disk.gate.set).start()
        real = time.monotonic()
        await job
        assert time.monotonic() - real > 0.03
        assert not hour.done()
        assert loop.time() - began < 1
        await hour
        assert loop.time() - began >= 3600
        before = loop.time()
        await one.aclose()
        assert loop.time() - before < 1

    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        runner.run(main())


async def test_creates_at_once_share_their_commits(writing, disk):
    """Sixteen in flight: their intents are one commit; their answers come as they come."""

    async def create(n):
        await writing.run(insert(f"k{n}"))
        await writing.run(lambda ledger: ledger.answered(f"k{n}", accepted(f"t{n}")))

    first = await held(writing, disk)
    creates = [asyncio.ensure_future(create(n)) for n in range(16)]
    await asyncio.sleep(0)
    disk.gate.set()
    await asyncio.gather(first, *creates)
    assert disk.commits <= 2 + 16
