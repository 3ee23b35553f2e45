"""Rows 26 to 38 of the fault table with a real journal file, and what stands on disk in each cell of faults and phases.

Time jumps in these tests. Row 33, and 30 to 32 by `kill -9`, are in `tests/crash`; here the loop is abandoned.
"""

import asyncio
import contextlib
import hashlib
import json
import logging

import anyio
import pytest

from omni_async import (
    AuthenticationError,
    DecodeError,
    JournalError,
    Limits,
    OmniClient,
    OmniError,
    RejectedError,
    SubmissionUncertainError,
    Submitted,
    VideoRequest,
)
from omni_async.journal import State
from omni_async.journal.fallback import fallback_of
from omni_async.journal.owners import Ownership
from tests.fault_server import (
    ACCEPT,
    DROP,
    FLAT_ACCEPT,
    HANG,
    HTML,
    KEY,
    Act,
    FaultServer,
    cut,
    envelope,
    http,
    running,
)
from tests.journalled import (
    PROMPT,
    abandoned,
    all_bytes,
    booked,
    client_of,
    journal_threads,
    on_warp,
    records,
    rows,
    sending,
    states,
    written,
)
from tests.test_faults_create import ENDS, FRESH, INSERTED, PHASES, RATE, REUSED, _cut_after_the_id
from tests.warp import WarpLoop, now

LOOP = WarpLoop


def slow(seconds, act=ACCEPT):
    """The act after a silence."""
    return Act(raw=act.raw, charge=act.charge, then=act.then, delay=seconds)


# --- what a create comes to, in the file -------------------------------------------------------------------------

REFUSED = http(400, HTML)
OUTCOMES = {
    "accepted": ([ACCEPT], "jimmy", None, "SUBMITTED"),
    "rejected": ([REFUSED], "jimmy", RejectedError, "REJECTED"),
    "bad key": ([http(401, HTML)], "jimmy", AuthenticationError, "REJECTED"),
    "lost": ([DROP], "jimmy", SubmissionUncertainError, "UNCERTAIN"),
    "refused for now": ([RATE[0], ACCEPT], "jimmy", None, "SUBMITTED"),
    "found": ([DROP], "toapis", None, "SUBMITTED"),
    "pieces": ([_cut_after_the_id()], "jimmy", None, "SUBMITTED"),
}


@pytest.mark.parametrize("case", OUTCOMES)
async def test_each_outcome_is_in_the_file_before_the_caller_has_it(tmp_path, case):
    """With the answer as evidence, the inputs, and the caller's own data."""
    acts, gateway, error, state = OUTCOMES[case]
    async with booked(tmp_path, *acts, gateway=gateway) as here:
        here.server.always["GET"] = None if case in ("found", "pieces") else HANG
        if error is None:
            assert [(await here.submit()).task_id] == here.server.charges
        else:
            with pytest.raises(error):
                await here.submit()
        row = rows(tmp_path)["mine"]
        assert row.state == state
        assert row.task_id == (here.server.charges[0] if state == "SUBMITTED" else None)
        assert (row.custom_id, row.gateway, row.data) == ("mine", gateway, {"order": 7})
        assert json.loads(row.inputs) == {"prompt": "a cat"}
        assert row.attempts == 1
        told = [record.state for record in records(tmp_path, "mine")]
        assert told == {"refused for now": ["PLANNED", state], "found": ["UNCERTAIN", state]}.get(
            case, ["UNCERTAIN", state] if case == "pieces" else [state]
        )
        if case == "rejected":
            (record,) = records(tmp_path, "mine")
            assert (record.status, record.body) == (400, HTML.encode())


# --- rows 26 to 29 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [1, 2])
async def test_row_26_one_task_id_for_two_creates(tmp_path, clients):
    """Row 26: the second is uncertain with the id as evidence, also when another client was given it first."""
    same = http(body={"code": "20000", "data": {"task_id": "same"}})
    async with booked(tmp_path, same, same) as here, client_of(tmp_path, here.server) as other:
        here.server.always["GET"] = HANG
        await here.submit(custom_id="first")
        with pytest.raises(DecodeError, match="another create") as caught:
            await (here.client if clients == 1 else other).submit("a dog", custom_id="second")
        assert caught.value.may_have_charged
        assert caught.value.task_id == "same"
        first, second = rows(tmp_path)["first"], rows(tmp_path)["second"]
        assert (first.state, first.task_id) == ("SUBMITTED", "same")
        assert (second.state, second.task_id, second.candidate) == ("UNCERTAIN", None, "same")
        with pytest.raises(SubmissionUncertainError):
            await other.submit("a dog", custom_id="second")
        assert len(here.server.posts) == 2


@pytest.mark.parametrize("clients", [1, 2])
async def test_row_26_a_task_stays_anothers_when_that_one_is_paid_anew(tmp_path, clients):
    """Row 26: what is known to be another's is never looked up for this row, whatever the other one has since."""
    same = http(body={"code": "20000", "data": {"task_id": "same"}})
    async with booked(tmp_path, same, same) as here, client_of(tmp_path, here.server) as other:
        here.server.always["GET"] = running("same")
        await here.submit(custom_id="first")
        second = here.client if clients == 1 else other
        with pytest.raises(DecodeError, match="another create"):
            await second.submit("a dog", custom_id="second")
        await here.client.studio.journal.run(lambda ledger: ledger.anew("first", "retried"))
        with pytest.raises(SubmissionUncertainError):
            await second.submit("a dog", custom_id="second")
        row = rows(tmp_path)["second"]
        assert (row.state, row.task_id, row.candidate) == ("UNCERTAIN", None, "same")
        assert len(here.server.posts) == 2


async def test_row_26_with_a_name_its_own_task_is_found(tmp_path):
    """Row 26 where a create goes by a name: it leads to its own task, not to that of the answer."""
    others = http(body={"id": "task-0000001", "status": "queued"}, charge=True)
    async with booked(tmp_path, FLAT_ACCEPT, others, gateway="toapis") as here:
        assert (await here.submit(custom_id="first")).task_id == "task-0000001"
        with pytest.raises(DecodeError, match="another create"):
            await here.client.submit("a dog", custom_id="second")
        assert (await here.client.submit("a dog", custom_id="second")).task_id == "task-0000002"
        assert here.server.charges == ["task-0000001", "task-0000002"]
        assert len(here.server.posts) == 2


async def test_row_27_cancelled_before_the_intent_is_written_nothing_is_sent(tmp_path, disk):
    """Row 27: the write goes to its end, the row waits to be sent, the slot is free, and nobody has paid."""
    async with booked(tmp_path) as here:
        await here.client.studio.journal.claim()
        disk.gate.clear()
        caller = asyncio.ensure_future(here.submit())
        while not disk.waiting.is_set():  # noqa: ASYNC110 - a thread tells
            await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        disk.gate.set()
        await asyncio.sleep(5)
        assert here.server.started == []
        assert states(tmp_path) == {"mine": "PLANNED"}
        assert here.client.unclaimed() == ()
        assert here.client.limiter.load().running == 0
        assert (await here.submit()).task_id == here.server.charges[0]
    assert len(here.server.posts) == 1


async def test_row_27_cancelled_while_it_waits_for_leave_there_is_no_row(tmp_path):
    """Row 27: the account is paused."""
    async with booked(tmp_path, RATE[0]) as here:
        first = asyncio.ensure_future(here.submit(custom_id="first"))
        await asyncio.sleep(0.5)
        waiting = asyncio.ensure_future(here.submit())
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.wait({waiting})
        await first
        assert set(rows(tmp_path)) == {"first"}


@pytest.mark.parametrize(
    ("act", "state"), [(slow(30.0), "SUBMITTED"), (HANG, "UNCERTAIN"), (slow(9, REFUSED), "REJECTED")]
)
async def test_row_28_cancelled_during_the_post_its_end_is_in_the_file(tmp_path, act, state):
    """Row 28: the caller is gone at once, the row is settled when the answer is there."""
    async with booked(tmp_path, act) as here:
        here.server.always["GET"] = HANG
        with anyio.move_on_after(1):
            await here.submit()
        assert states(tmp_path) == {"mine": "SUBMITTING"}
        await asyncio.sleep(200)
        assert states(tmp_path) == {"mine": state}
        assert len(here.client.unclaimed()) == (state != "REJECTED")
        assert len(here.server.posts) == 1


@pytest.mark.usefixtures("let_go")
def test_row_28b_a_loop_that_ends_without_aclose_leaves_it_uncertain(tmp_path):
    """Row 28b: at once, where it cancels what is left; after that it is settled by a person, or never."""
    server = FaultServer([HANG])

    abandoned(server, sending(tmp_path))
    assert states(tmp_path) == {"mine": "UNCERTAIN"}

    async def second():
        async with server, client_of(tmp_path, server) as client:
            (outcome,) = [outcome async for outcome in client.resume()]
            assert isinstance(outcome.error, SubmissionUncertainError)
            assert outcome.request.prompt == PROMPT
            with pytest.raises(SubmissionUncertainError, match="the answer was lost"):
                await client.submit(PROMPT, custom_id="mine")

    on_warp(second)
    assert states(tmp_path) == {"mine": "UNCERTAIN"}
    assert len(server.posts) == len(server.charges) == 1


MISSING = http(404, {"error": {"code": "task_not_found", "message": "no"}})


async def test_row_28_cancelled_during_a_look_up_a_caller_is_cancelled(tmp_path):
    """Row 28: an uncertain row is looked up once more for him; his time limit holds, and the look-up goes on."""
    async with booked(tmp_path, DROP, gateway="toapis") as here:
        here.server.always["GET"] = MISSING
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        here.server.always["GET"] = slow(20, MISSING)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(here.submit(), 5)
        here.server.always["GET"] = None
        await asyncio.sleep(30)
        assert rows(tmp_path)["mine"].task_id == here.server.charges[0]
        assert len(here.server.posts) == 1


async def test_row_28_a_shutdown_during_a_look_up_ends_generate_many(tmp_path):
    """Row 28: who cancels every task that he finds waits for none of them for ever."""
    async with booked(tmp_path, DROP, gateway="toapis", limits=Limits(max_running_tasks=1)) as here:
        here.server.always["GET"] = MISSING
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        here.server.always["GET"] = HANG
        before = asyncio.all_tasks()
        many = here.client.generate_many([VideoRequest(prompt="a cat", custom_id="mine")])
        asking = asyncio.ensure_future(anext(many))
        await asyncio.sleep(5)
        found = asyncio.all_tasks() - before
        assert asking in found
        for task in found:
            task.cancel()
        done, pending = await asyncio.wait(found, timeout=100)
        assert not pending
        assert asking in done


async def test_row_29_aclose_drains_and_all_is_settled_in_the_file(tmp_path):
    """Row 29: three on their way, none is uncertain, and the file is let go."""
    async with booked(tmp_path, *[slow(60.0)] * 3) as here:
        creates = [asyncio.ensure_future(here.submit(custom_id=str(n))) for n in range(3)]
        await asyncio.sleep(2)
        await here.client.aclose()
        assert states(tmp_path) == dict.fromkeys("012", "SUBMITTED")
        assert {(await create).task_id for create in creates} == set(here.server.charges)
    assert journal_threads() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j", "j.lock"]


# --- rows 30 to 32: the loop is abandoned ------------------------------------------------------------------------


@pytest.mark.usefixtures("let_go")
def test_row_30_gone_before_the_intent_is_written_it_is_sent_at_the_next_run(tmp_path, disk):
    """Row 30: nothing was sent, no row is there; it is paid once."""
    server = FaultServer()

    async def first(server):
        client = client_of(tmp_path, server)
        await client.__aenter__()
        await client.studio.journal.claim()
        disk.gate.clear()
        create = asyncio.ensure_future(client.submit(PROMPT, custom_id="mine"))
        while not disk.waiting.is_set():  # noqa: ASYNC110 - a thread tells
            await asyncio.sleep(0)
        disk.fail("failed")  # the process is gone before it is durable
        asyncio.get_running_loop().call_soon(disk.gate.set)
        return client, create

    abandoned(server, first)
    disk.mend()
    assert states(tmp_path) == {}
    assert server.started == []

    async def second():
        async with server, client_of(tmp_path, server) as client:
            assert [outcome async for outcome in client.resume()] == []
            assert (await client.submit(PROMPT, custom_id="mine")).task_id == server.charges[0]

    on_warp(second)
    assert len(server.charges) == 1


@pytest.mark.usefixtures("let_go")
@pytest.mark.parametrize(("gateway", "found"), [("jimmy", False), ("toapis", True)])
def test_row_31_gone_before_the_answer_it_is_uncertain_or_found(tmp_path, gateway, found):
    """Row 31: never sent again; where the gateway knows the create by a name, it is looked up at the next start."""
    server, told = FaultServer([HANG]), []

    async def on_finished(task):
        told.append(task)

    async def second():
        async with server, client_of(tmp_path, server, gateway, on_finished=on_finished) as client:
            outcomes = [outcome async for outcome in client.resume()]
            assert [outcome.ok for outcome in outcomes] == [found]
            if found:
                assert (await client.submit(PROMPT, custom_id="mine")).task_id == server.charges[0]
            else:
                with pytest.raises(SubmissionUncertainError):
                    await client.submit(PROMPT, custom_id="mine")
            await asyncio.sleep(10)

    abandoned(server, sending(tmp_path, gateway, metadata={"n": 1}))
    on_warp(second)
    assert states(tmp_path) == {"mine": "SUCCEEDED" if found else "UNCERTAIN"}
    assert len(server.posts) == len(server.charges) == 1
    assert [(task.task_id, task.metadata) for task in told] == ([(server.charges[0], {"n": 1})] if found else [])


@pytest.mark.usefixtures("let_go")
def test_row_31_a_name_of_the_callers_own_finds_the_create_too(tmp_path):
    """Row 31: what the gateway knows it by is what was sent, not what would have been made of the row."""
    server, name = FaultServer([HANG]), {"client_business_id": "order-17"}

    async def second():
        async with server, client_of(tmp_path, server, "toapis") as client:
            assert (await client.submit(PROMPT, custom_id="mine", extra=name)).task_id == server.charges[0]

    abandoned(server, sending(tmp_path, "toapis", extra=name))
    on_warp(second)
    assert server.posts[0].json["client_business_id"] == "order-17"
    assert len(server.posts) == len(server.charges) == 1


@pytest.mark.usefixtures("let_go")
def test_row_32_gone_after_the_answer_it_is_followed_on(tmp_path):
    """Row 32: by the next client, without anybody asking, and told."""
    server, told = FaultServer(), []

    async def on_finished(task):
        told.append((task.task_id, task.custom_id, task.metadata, task.video_url))

    async def first(server):
        server.always["GET"] = HANG
        client = client_of(tmp_path, server, on_finished=on_finished)
        task = await client.submit(PROMPT, custom_id="mine", metadata={"n": 1})
        return client, task.task_id

    (task_id,) = abandoned(server, first)
    assert states(tmp_path) == {"mine": "SUBMITTED"}

    async def second():
        server.always["GET"] = None
        async with server, client_of(tmp_path, server, on_finished=on_finished):
            await asyncio.sleep(60)

    on_warp(second)
    assert states(tmp_path) == {"mine": "SUCCEEDED"}
    assert told == [(task_id, "mine", {"n": 1}, "https://video.example/v.mp4")]
    assert len(server.posts) == 1


# --- rows 34 and 35: the disk ------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_begin", [False, True])
@pytest.mark.parametrize("kind", ["full", "failed", "locked"])
async def test_row_34_what_cannot_be_written_before_is_not_sent(tmp_path, disk, kind, at_begin):
    """Row 34: the error says what it is, that nothing was charged, and nothing of the request; later it goes."""
    async with booked(tmp_path) as here:
        await here.client.studio.journal.claim()
        disk.fail(kind, at_begin=at_begin)
        with pytest.raises(JournalError) as caught:
            await here.submit(PROMPT)
        error = caught.value
        assert error.kind == kind
        assert not error.may_have_charged
        assert (error.custom_id, error.gateway, error.metadata) == ("mine", "jimmy", {"order": 7})
        assert PROMPT not in str(error)
        assert here.server.started == []
        load = here.client.limiter.load()
        assert (load.running, load.in_flight) == (0, 0)
        disk.mend()
        assert (await here.submit(PROMPT)).task_id
    assert len(here.server.charges) == 1


@pytest.mark.parametrize("kind", ["full", "failed", "locked"])
async def test_row_35_what_cannot_be_written_afterwards_is_tried_until_it_can_be(tmp_path, disk, kind):
    """Row 35: the caller gets his task late, and nothing is logged as lost."""
    async with booked(tmp_path, slow(1.0)) as here:
        here.server.always["GET"] = HANG
        loop = asyncio.get_running_loop()
        loop.call_later(0.5, disk.fail, kind)
        loop.call_later(20.0, disk.mend)
        began = now()
        task = await here.submit()
        assert 19 < now() - began < 22
        assert states(tmp_path) == {"mine": "SUBMITTED"}
        assert rows(tmp_path)["mine"].task_id == task.task_id == here.server.charges[0]
    assert not fallback_of(tmp_path / "j").exists()
    assert len(here.server.posts) == 1


@pytest.mark.parametrize("act", [slow(1.0), slow(1.0, DROP)], ids=["accepted", "lost"])
async def test_row_35_the_last_resort(tmp_path, disk, caplog, act):
    """Row 35: JournalError with the task id, a loud line, a file beside the journal; the next opening enters it."""
    lost = act.raw == b""
    async with booked(tmp_path, act) as here:
        here.server.always["GET"] = HANG
        asyncio.get_running_loop().call_later(0.5, disk.fail, "full")
        with pytest.raises(JournalError, match="no space left") as caught:
            await here.submit(PROMPT)
        error = caught.value
        assert error.may_have_charged
        assert error.custom_id == "mine"
        assert error.task_id == (None if lost else here.server.charges[0])
        assert str(fallback_of(tmp_path / "j")) in str(error)
        assert PROMPT not in str(error)
        assert len(here.server.posts) == 1
        (loud,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
        assert ("not known" if lost else here.server.charges[0]) in loud.getMessage()
        assert not here.told(Submitted)
    disk.mend()
    assert states(tmp_path) == {"mine": "SUBMITTING"}
    async with FaultServer() as server:
        server.charges = here.server.charges
        async with client_of(tmp_path, server) as client:
            outcomes = [outcome async for outcome in client.resume()]
            assert [outcome.ok for outcome in outcomes] == [not lost]
        assert server.posts == []
    assert states(tmp_path) == {"mine": "UNCERTAIN" if lost else "SUCCEEDED"}


async def test_row_35_a_disk_that_works_again_enters_it_while_the_client_runs(tmp_path, disk):
    """Row 35: within seconds, and it is followed; its id is known again."""
    async with booked(tmp_path, slow(1.0)) as here:
        asyncio.get_running_loop().call_later(0.5, disk.fail, "full")
        with pytest.raises(JournalError):
            await here.submit()
        disk.mend()
        await asyncio.sleep(60)
        assert states(tmp_path) == {"mine": "SUCCEEDED"}
        assert (await here.submit()).task_id == here.server.charges[0]
    assert len(here.server.posts) == 1


async def test_row_35_a_refusal_that_cannot_be_written_is_no_charge(tmp_path, disk):
    """Row 35: and when the disk works again, it may be sent again."""
    async with booked(tmp_path, slow(1.0, REFUSED)) as here:
        asyncio.get_running_loop().call_later(0.5, disk.fail, "full")
        with pytest.raises(JournalError) as caught:
            await here.submit()
        assert not caught.value.may_have_charged
        disk.mend()
        await asyncio.sleep(10)
        assert states(tmp_path) == {"mine": "REJECTED"}
        assert (await here.submit()).task_id


async def test_a_disk_that_is_full_when_a_task_ends_costs_nothing(tmp_path, disk, caplog):
    """The waiter has his task; its end is written when it can be, and told then."""
    told = []

    async def on_finished(task):
        told.append(task.task_id)

    async with booked(tmp_path, on_finished=on_finished) as here:
        task = await here.submit()
        disk.fail("full")
        assert (await here.client.wait(task)).video_url
        await asyncio.sleep(100)
        assert states(tmp_path) == {"mine": "SUBMITTED"}
        assert told == []
        disk.mend()
        await asyncio.sleep(100)
        assert states(tmp_path) == {"mine": "SUCCEEDED"}
        assert told == [task.task_id]
    assert "could not be written down" in caplog.text


# --- rows 36 to 38 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opened", ["with", "first call"])
async def test_row_36_a_batchs_journal_is_refused_to_clients(tmp_path, opened):
    """Row 36: at the opening, with nothing sent and nothing left running; readers work meanwhile."""
    async with booked(tmp_path) as before:
        await before.submit()
    batch = Ownership(tmp_path / "j", exclusive=True)
    tasks = asyncio.all_tasks()
    async with FaultServer() as server:
        client = client_of(tmp_path, server)
        with pytest.raises(JournalError, match="in use by another process") as caught:
            await (client.__aenter__() if opened == "with" else client.submit(PROMPT, custom_id="new"))
        assert caught.value.kind == "locked"
        assert not caught.value.may_have_charged
        assert server.started == []
        assert set(rows(tmp_path)) == {"mine"}
        if opened == "with":
            assert "closed" in repr(client)
        await client.aclose()
        await asyncio.sleep(0.1)
        assert {task for task in asyncio.all_tasks() - tasks if "FaultServer" not in repr(task)} == set()
    batch.release()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j", "j.lock"]


@pytest.mark.usefixtures("let_go")
def test_row_36b_one_of_four_dies_and_another_takes_its_rows_over(tmp_path):
    """Row 36b: each row has one owner that lives, nothing is sent again, each end is told."""
    server, told = FaultServer(), []

    async def on_finished(task):
        told.append(task.custom_id)

    async def first(server):
        server.always["GET"] = HANG
        client = client_of(tmp_path, server, on_finished=on_finished)
        for n in range(5):
            await client.submit(PROMPT, custom_id=f"dead {n}")
        return (client,)

    abandoned(server, first)

    async def others():
        server.always["GET"] = None
        async with (
            server,
            client_of(tmp_path, server, on_finished=on_finished) as a,
            client_of(tmp_path, server, on_finished=on_finished) as b,
            client_of(tmp_path, server, on_finished=on_finished) as c,
        ):
            for n, client in enumerate((a, b, c)):
                await client.submit(PROMPT, custom_id=f"alive {n}")
            await asyncio.sleep(1)
            owners = {client.studio.journal.owner for client in (a, b, c)}
            assert {row.owner for row in rows(tmp_path).values()} <= owners
            await asyncio.sleep(120)

    on_warp(others)
    keys = [f"dead {n}" for n in range(5)] + [f"alive {n}" for n in range(3)]
    assert states(tmp_path) == dict.fromkeys(keys, "SUCCEEDED")
    assert sorted(told) == sorted(keys)
    assert len(server.posts) == 8


@pytest.mark.parametrize("how", ["damaged", "newer", "foreign"])
async def test_row_37_a_journal_that_cannot_be_kept_is_left_alone(tmp_path, how):
    """Row 37: nothing is sent, not one byte of it changes."""
    if how == "damaged":
        (tmp_path / "j").write_bytes(b"somebody's notes\n" * 400)
    else:
        with written(tmp_path / "j") as connection:
            connection.execute("CREATE TABLE notes (text)")
            connection.execute(f"PRAGMA application_id = {0x4F6D4E69 if how == 'newer' else 7}")
            connection.execute("PRAGMA user_version = 99")
            connection.commit()
    before = hashlib.sha256((tmp_path / "j").read_bytes()).digest()
    async with FaultServer() as server:
        client = client_of(tmp_path, server)
        with pytest.raises(JournalError) as caught:
            await client.submit(PROMPT, custom_id="mine")
        assert caught.value.kind == ("newer" if how == "newer" else "damaged")
        await client.aclose()
        with pytest.raises(JournalError):
            async with client_of(tmp_path, server):
                pass
        assert server.started == []
    assert hashlib.sha256((tmp_path / "j").read_bytes()).digest() == before
    assert {path.name for path in tmp_path.iterdir()} <= {"j", "j.lock"}


async def test_row_38_the_same_id_twice_is_one_create(tmp_path):
    """Row 38: the second gets the first's task; other inputs are a conflict that names what to do; one row."""
    async with booked(tmp_path) as here:
        first = await here.submit()
        second = await here.submit()
        assert second.task_id == first.task_id
        assert (second.custom_id, second.metadata) == ("mine", {"order": 7})
        with pytest.raises(JournalError, match="give the changed request an id of its own") as caught:
            await here.submit("a dog")
        assert caught.value.kind == "conflict"
        assert (caught.value.custom_id, caught.value.task_id) == ("mine", first.task_id)
        assert len(here.server.posts) == 1
    assert set(rows(tmp_path)) == {"mine"}


async def test_row_38_without_an_id_each_is_a_create_of_its_own(tmp_path):
    """Row 38: nobody said that they are the same."""
    async with booked(tmp_path) as here:
        tasks = [await here.client.submit("a cat") for _ in range(3)]
        assert len({task.task_id for task in tasks}) == len(rows(tmp_path)) == 3
        assert {task.custom_id for task in tasks} == {None}


# --- every fault at every phase, with the journal ----------------------------------------------------------------


@pytest.mark.parametrize("connection", [FRESH, REUSED])
@pytest.mark.parametrize("framing", ["length", "chunked", "none"])
@pytest.mark.parametrize("then", ENDS)
@pytest.mark.parametrize("phase", PHASES)
async def test_an_answer_that_breaks_off_anywhere_is_one_post_and_uncertain_on_disk(
    tmp_path, phase, then, framing, connection
):
    """Fault x phase x connection: one POST in every cell, the row UNCERTAIN with its evidence, however often asked."""
    await _cell(tmp_path, Act(raw=cut(phase, framing).raw, then=then), connection)


@pytest.mark.parametrize("connection", [FRESH, REUSED])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("fault", INSERTED)
async def test_garbage_anywhere_is_one_post_and_uncertain_on_disk(tmp_path, fault, phase, connection):
    """Rows 22 and 23 at each phase."""
    inserted = INSERTED[fault] or b"HTTP/1.1 102 Processing\r\n\r\n"
    await _cell(tmp_path, Act(raw=cut(phase).raw + inserted, then="close"), connection)


async def _cell(folder, act, connection):
    before = [ACCEPT] if connection == REUSED else []
    async with booked(folder, *before, act) as here:
        here.server.always["GET"] = running("task-0000001")
        for _ in before:
            await here.submit(custom_id="before")
        for _ in range(2):
            with pytest.raises(SubmissionUncertainError) as caught:
                await here.submit()
            assert caught.value.may_have_charged
        assert here.server.started.count("POST") == len(here.server.charges) == 1 + len(before)
        row = rows(folder)["mine"]
        assert (row.state, row.task_id, row.attempts) == (State.UNCERTAIN, None, 1)
        assert row.detail
        assert [record.state for record in records(folder, "mine")] == ["UNCERTAIN"]
    assert states(folder) == {"mine": "UNCERTAIN", **({"before": "SUBMITTED"} if before else {})}


# --- row 62: what stands on disk ---------------------------------------------------------------------------------

SECRET = "CANARY-KEY/7f3a+secret"
SAID = f"no: key {SECRET}, Bearer {SECRET}"
ESCAPED = json.dumps(SECRET)[1:-1].replace("/", "\\/")
ECHOES = [
    ACCEPT,
    http(400, f"<p>{SAID}</p>"),
    http(401, {"code": "20001", "msg": SAID}),
    http(401, f'{{"code": "20001", "msg": "{ESCAPED}"}}'),
    envelope("20777", SAID),
    http(502, SAID),
    http(body={"code": "20000", "data": {"task_id": 5, "key": SECRET}}),
    http(400, SAID, headers={"X-Request-Id": f"req-{SECRET}"}),
    Act(raw=http(body={"code": "20000", "key": SECRET, "data": {}}).raw[:-4], then="close"),
    DROP,
]


@pytest.mark.parametrize("keep", [True, False])
async def test_row_62_the_key_is_in_no_byte_on_disk(tmp_path, keep, disk):
    """Row 62: whatever the gateway echoes; nor is the prompt with `keep_requests=False`, if no answer quotes it."""
    prompt = "CANARY-PROMPT a heron"
    async with booked(tmp_path, *ECHOES, slow(1.0), api_key=SECRET, keep_requests=keep) as here:
        here.server.always["GET"] = http(
            body={"code": 20000, "data": {"task_id": "x", "status": "failed", "error_message": f"no {SECRET}"}}
        )
        for number in range(len(ECHOES)):
            with contextlib.suppress(OmniError):
                await here.client.submit(prompt, custom_id=str(number), metadata={"n": number})
        await asyncio.sleep(100)
        asyncio.get_running_loop().call_later(0.5, disk.fail, "full")
        with pytest.raises(JournalError):
            await here.client.submit(prompt, custom_id="last")
        disk.mend()
        alive = all_bytes(tmp_path)
        assert (tmp_path / "j-wal").exists()
    assert len(rows(tmp_path)) == len(ECHOES) + 1
    assert fallback_of(tmp_path / "j").exists()
    for data in (alive, all_bytes(tmp_path)):
        for secret in (SECRET, ESCAPED, "CANARY-KEY"):
            assert secret.encode() not in data
        assert (b"CANARY-PROMPT" in data) is keep


QUOTING = 'CANARY/PROMPT "a heron"\n一只鹭'
SPELT = [json.dumps(QUOTING), json.dumps(QUOTING, ensure_ascii=False), json.dumps(QUOTING).replace("/", "\\/")]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("spelt", SPELT, ids=["ascii", "plain", "slashes"])
async def test_row_62_an_answer_that_quotes_the_prompt_is_kept_without_it(tmp_path, keep, spelt):
    """Row 62: where inputs are not kept; all else of it is evidence, and where they are kept it is as it came."""
    body = f'{{"error": {{"code": "bad", "message": "cannot draw {spelt[1:-1]}", "request": "req-7"}}}}'
    async with booked(tmp_path, http(400, body), keep_requests=keep) as here:
        with pytest.raises(RejectedError) as caught:
            await here.submit(QUOTING)
        assert QUOTING not in str(caught.value)
    row = rows(tmp_path)["mine"]
    assert (row.inputs is not None) is keep
    assert "CANARY" not in row.detail
    (record,) = records(tmp_path, "mine")
    assert record.body.decode() == (body if keep else body.replace(spelt[1:-1], "…"))
    assert (b"CANARY" in all_bytes(tmp_path)) is keep


async def test_row_62_a_prompt_of_three_letters_spoils_no_answer(tmp_path):
    """Row 62: it stands in the names of fields, too."""
    async with booked(tmp_path, keep_requests=False) as here:
        task = await here.submit("id")
        (record,) = records(tmp_path, "mine")
        assert task.task_id.encode() in record.body
        assert b'"task_id"' in record.body


async def test_an_anonymous_row_can_be_settled(tmp_path):
    """Its key stands in the error's evidence."""
    async with booked(tmp_path, DROP) as here:
        with pytest.raises(SubmissionUncertainError) as caught:
            await here.client.submit("a cat")
        key = caught.value.evidence["key"]
        assert set(rows(tmp_path)) == {key}
        await here.client.settle(key, not_charged=True)
        assert states(tmp_path) == {key: "PLANNED"}


def test_a_client_needs_no_loop_to_be_made_nor_makes_a_file(tmp_path):
    """Constructed at import time of an app; opened by its first call."""
    client = OmniClient(api_key=KEY, journal=tmp_path / "j", base_url="http://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []
    on_warp(client.aclose)
    assert list(tmp_path.iterdir()) == []
