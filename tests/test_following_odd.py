"""What a web app does to a journal that nobody thinks of first: cancelled requests, odd headers, second clicks."""

import asyncio
import contextlib
import sqlite3

import pytest

from omni_async import JournalError, Limits, TargetExistsError
from omni_async.journal import Entry
from omni_async.journal.fallback import fallback_of
from tests.fault_server import ACCEPT, CREATED, DROP, HTML, Act, FaultServer, http, running
from tests.journalled import client_of, rows, states
from tests.warp import WarpLoop

PROMPT = "a heron at dawn"

LOOP = WarpLoop


class Told:
    """An on_finished, and whom it told."""

    def __init__(self, *failures):
        self.ids, self.failures = [], list(failures)

    async def __call__(self, task):
        """Noted; the first times it ends otherwise."""
        self.ids.append(task.custom_id)
        if self.failures:
            raise self.failures.pop(0)


@pytest.mark.parametrize("how", ["settle", "resume"])
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 16])
async def test_a_cancelled_call_loses_no_row_that_it_took_over(how, steps, tmp_path):
    """The browser goes away while the rows of a dead worker are being claimed: they are followed and told."""
    told = Told()

    async def handler(live):
        if how == "settle":
            await live.settle("another", not_charged=True)
        else:
            async for _ in live.resume():
                pass

    async with FaultServer() as server, client_of(tmp_path, server, on_finished=told) as live:
        server.always["GET"] = running("task-0000001")
        dead = client_of(tmp_path, server, on_finished=told)
        await dead.submit(PROMPT, custom_id="order")
        await dead.aclose()
        request = asyncio.ensure_future(handler(live))
        for _ in range(steps):
            await asyncio.sleep(0)
        request.cancel()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await request
        server.always["GET"] = None
        await asyncio.sleep(600)
        assert told.ids == ["order"]
    assert states(tmp_path) == {"order": "SUCCEEDED"}


async def test_on_finished_that_is_cancelled_by_what_it_waits_for_is_called_again(tmp_path):
    """A cancelled future of the app's own is a failure like any other."""
    told = Told(asyncio.CancelledError())
    async with FaultServer() as server, client_of(tmp_path, server, on_finished=told) as client:
        await client.submit(PROMPT, custom_id="order")
        await asyncio.sleep(600)
    assert told.ids == ["order", "order"]
    assert not rows(tmp_path)["order"].notify


def odd(act):
    """The same answer with a request id of bytes that are not text."""
    return Act(raw=act.raw.replace(b"Content-Length", b"X-Request-Id: \xff\xfe\r\nContent-Length"), charge=act.charge)


@pytest.mark.parametrize("of", ["create", "poll"])
async def test_a_request_id_that_is_no_text_is_written_down_all_the_same(of, tmp_path):
    """Header bytes that are not UTF-8 must not keep what was paid out of the journal."""
    create = odd(http(body=CREATED))
    told = Told()
    async with FaultServer([create] if of == "create" else [ACCEPT]) as server:
        if of == "poll":
            body = {"code": "20000", "data": {"task_id": "task-0000001", "status": "failed"}}
            server.always["GET"] = odd(http(body=body))
        async with client_of(tmp_path, server, on_finished=told) as client:
            await client.submit(PROMPT, custom_id="order")
            await asyncio.sleep(60)
    assert told.ids == ["order"]
    assert states(tmp_path)["order"] in ("SUCCEEDED", "FAILED")


async def test_a_second_click_waits_for_the_answer_and_not_for_a_slot(tmp_path):
    """One task may run: the second caller of the same id gets it as soon as it has an id."""
    async with FaultServer([Act(raw=ACCEPT.raw, delay=2.0)]) as server:
        server.always["GET"] = running("task-0000001")
        async with client_of(tmp_path, server, limits=Limits(max_running_tasks=1)) as client:
            first = asyncio.ensure_future(client.submit(PROMPT, custom_id="order"))
            await asyncio.sleep(1)
            async with asyncio.timeout(30):
                second = await client.submit(PROMPT, custom_id="order")
            assert second.task_id == (await first).task_id
        assert len(server.posts) == 1


async def test_toapis_looks_a_lost_create_up_again_at_the_next_start(tmp_path):
    """The gateway was down when it was lost: the next client, or the next resume, finds it."""
    async with FaultServer([DROP]) as server:
        server.always["GET"] = http(502, HTML)
        async with client_of(tmp_path, server, "toapis") as one:
            with contextlib.suppress(Exception):
                await one.submit(PROMPT, custom_id="order")
        assert states(tmp_path) == {"order": "UNCERTAIN"}
        server.always["GET"] = None
        async with client_of(tmp_path, server, "toapis") as two:
            outcomes = [outcome async for outcome in two.resume()]
            assert [outcome.task.task_id for outcome in outcomes] == server.charges
        assert len(server.posts) == 1
    assert states(tmp_path) == {"order": "SUCCEEDED"}


async def test_a_target_that_exists_does_not_make_a_paid_video_refundable(tmp_path):
    """The id was paid before: the error of a file that is in the way says so; of a fresh id it proves the contrary."""
    (tmp_path / "there.mp4").write_bytes(b"x")
    async with FaultServer() as server, client_of(tmp_path, server) as client:
        await client.submit(PROMPT, custom_id="order")
        for custom_id, paid in (("order", True), ("fresh", False)):
            with pytest.raises(TargetExistsError) as caught:
                await client.generate(PROMPT, custom_id=custom_id, output=tmp_path / "there.mp4")
            assert caught.value.may_have_charged is paid
        assert len(server.posts) == 1


def edited(folder, **values):
    """A row of the journal, changed by hand."""
    with contextlib.closing(sqlite3.connect(folder / "j", isolation_level=None)) as database:
        for column, value in values.items():
            database.execute(f"UPDATE item SET {column} = ? WHERE key = 'damaged'", (value,))  # noqa: S608


async def test_a_row_that_somebody_damaged_hides_no_other(tmp_path):
    """It is told of as a JournalError; the others are followed, given back and told to on_finished."""
    told = Told()
    async with FaultServer() as server:
        server.always["GET"] = running("task-0000001")
        dead = client_of(tmp_path, server, on_finished=told)
        for name in ("damaged", "sound"):
            await dead.submit(PROMPT, custom_id=name)
        await dead.aclose()
        edited(tmp_path, metadata="{")
        server.always["GET"] = None
        async with client_of(tmp_path, server, on_finished=told) as live:
            outcomes = [outcome async for outcome in live.resume()]
            assert [outcome.task.custom_id for outcome in outcomes if outcome.task] == ["sound"]
            assert [outcome.error.kind for outcome in outcomes if outcome.error] == ["damaged"]
            await asyncio.sleep(60)
        assert told.ids == ["sound"]


@pytest.mark.parametrize(
    "values", [{"task_id": None}, {"state": "FOO"}, {"metadata": "[1]"}, {"state": "SUCCEEDED", "task": "[]"}]
)
async def test_a_row_that_somebody_damaged_is_not_paid_again(values, tmp_path):
    """Whatever is missing or spoilt, it was paid once: the id is refused, and that says that it may be charged."""
    async with FaultServer() as server:
        async with client_of(tmp_path, server) as client:
            await client.submit(PROMPT, custom_id="damaged")
        edited(tmp_path, **values)
        async with client_of(tmp_path, server) as client:
            with pytest.raises(JournalError, match="row 'damaged' of the journal is damaged") as caught:
                await client.submit(PROMPT, custom_id="damaged")
            assert caught.value.kind == "damaged"
            assert caught.value.may_have_charged
            await client.submit(PROMPT, custom_id="another")
        assert len(server.posts) == 2


@pytest.mark.parametrize("what", ["j", "j-wal", "everything", "replaced"])
async def test_a_journal_that_is_removed_in_use_sends_nothing_more(what, tmp_path):
    """What is written to a removed file is read by nobody: the next client would pay for it again."""
    async with FaultServer() as server, client_of(tmp_path, server) as client:
        await client.submit(PROMPT, custom_id="before")
        names = [what] if what.startswith("j") else ["j", "j-wal", "j-shm"]
        aside = {name: (tmp_path / name).rename(tmp_path / f"aside-{name}") for name in names}
        if what == "replaced":
            (tmp_path / "j").write_bytes(b"another")
        for pause in (0, 10):  # in which the limiter lets no create go, and then one
            with pytest.raises(JournalError, match="removed or replaced") as caught:
                await client.submit(PROMPT, custom_id="after")
            assert not caught.value.may_have_charged
            await asyncio.sleep(pause)
        assert len(server.posts) == 1
        for name, path in aside.items():
            path.replace(tmp_path / name)
        await client.submit(PROMPT, custom_id="after")
    assert states(tmp_path) == {"before": "SUBMITTED", "after": "SUBMITTED"}


async def test_a_journal_that_is_removed_while_another_sends_the_same_may_have_cost(tmp_path):
    """Who waits for what comes of another's create is not told that nothing was charged."""
    async with (
        FaultServer(creates=[Act(raw=ACCEPT.raw, delay=5.0)]) as server,
        client_of(tmp_path, server) as one,
        client_of(tmp_path, server) as other,
    ):
        first, second = (asyncio.ensure_future(who.submit(PROMPT, custom_id="mine")) for who in (one, other))
        await asyncio.sleep(2)
        for name in ("j", "j-wal", "j-shm"):
            (tmp_path / name).unlink()
        for create in (second, first):
            with pytest.raises(JournalError, match="removed or replaced") as caught:
                await create
            assert caught.value.may_have_charged


async def test_an_answer_finds_its_journal_removed(tmp_path):
    """It is tried again for half a minute; then its task id is noted beside it, and stands in the error."""
    async with FaultServer(creates=[Act(raw=ACCEPT.raw, delay=5.0)]) as server, client_of(tmp_path, server) as client:
        create = asyncio.ensure_future(client.submit(PROMPT, custom_id="mine"))
        await asyncio.sleep(2)
        for name in ("j", "j-wal", "j-shm"):
            (tmp_path / name).unlink()
        with pytest.raises(JournalError, match="removed or replaced") as caught:
            await create
        assert caught.value.may_have_charged
        assert caught.value.task_id == server.charges[0]
        assert server.charges[0] in fallback_of(tmp_path / "j").read_text()


async def test_ten_thousand_rows_of_a_dead_client_do_not_hold_up_the_loop(tmp_path, monkeypatch):
    """They are taken over some at a time, and none is compared with all the others."""
    async with FaultServer() as server:
        dead = client_of(tmp_path, server)
        await dead.submit(PROMPT, custom_id="first")
        await dead.aclose()
        with contextlib.closing(sqlite3.connect(tmp_path / "j")) as database, database:
            database.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
                " INSERT INTO item (key, task_id, gateway, fingerprint, state, owner, sent_at)"
                " SELECT i, 't' || i, gateway, fingerprint, state, owner, sent_at FROM n, item"
            )
        server.always["GET"] = running("task-0000001")
        compared, turns = [], 0
        monkeypatch.setattr(Entry, "__eq__", lambda one, other: compared.append(one) or one is other)
        async with client_of(tmp_path, server) as live:
            taking = asyncio.ensure_future(live.studio.followed().take_over())
            while not taking.done():
                await asyncio.sleep(0)
                turns += live.studio.poller.following > 0
            assert live.studio.poller.following == 10_001
        assert turns >= 50
        assert compared == []
