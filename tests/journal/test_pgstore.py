"""A journal in PostgreSQL as the client uses it, shared by hosts: nothing is paid twice, nothing paid is lost."""

import asyncio
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from books import accepted, intent, lost, rows, states
from children import child, kill

from omni_async import (
    InvalidRequestError,
    JournalError,
    OmniClient,
    PollPolicy,
    SubmissionUncertainError,
    TaskStatus,
    following,
)
from omni_async.journal import Answer, NotNow, PostgresJournal, fallback, session, store
from omni_async.journal.pgstore import file_of
from tests.fault_server import ACCEPT, DROP, HANG, KEY, FaultServer, running
from tests.postgres import ask
from tests.warp import WarpLoop

LOOP = WarpLoop


@pytest.fixture(scope="module")
def database(postgres):
    """A database."""
    return postgres.database()


@pytest.fixture
def dsn(database, monkeypatch):
    """It is empty, and its server counts as one that runs for long."""
    monkeypatch.setattr("omni_async.journal.postgres.LAPSE", 0.0)
    monkeypatch.setattr(session, "RECONNECT_AFTER", 0.0)
    ask(database, "DROP TABLE IF EXISTS omni_item, omni_record, omni_note")
    return database


@pytest.fixture
async def make(dsn, tmp_path, monkeypatch):
    """Makes journals of one database, each on a host of its own; all closed at the end."""
    made = []

    def journal(host="here", **settings):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / host))
        made.append(PostgresJournal(dsn, **{"gateway": "jimmy", **settings}))
        return made[-1]

    yield journal
    for one in made:
        await one.aclose()


def client_of(dsn, server, **settings):
    """A client of this server whose journal is there."""
    return OmniClient("jimmy", **{"api_key": KEY, "base_url": server.url, "proxy": None, "journal": dsn, **settings})


def cut_all(dsn):
    """End every connection to the database."""
    ask(dsn, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
             " WHERE datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip


# --- where what cannot be written is noted -----------------------------------------------------------------------


def test_a_file_of_its_own_for_each_database_and_schema(monkeypatch):
    """Whoever asks, with whatever password: a changed one does not lose what was noted."""
    here = file_of("postgresql://me:first@db.example:5432/videos")
    for same in ("postgresql://me:second@db.example:5432/videos", "postgres://db.example:5432/videos?sslmode=require"):
        assert file_of(same) == here
    others = ["postgresql://db.example:5433/videos", "postgresql://db.example:5432/else", "postgresql:///videos"]
    others += ["postgresql:///?host=/run&dbname=videos", "postgresql:///?service=shop", "postgresql://[half"]
    others += [f"postgresql://db.example:5432/videos?options=-csearch_path%3D{schema}" for schema in ("one", "two")]
    assert len({here, *map(file_of, others)}) == 9
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=5 -c search_path=one")
    assert file_of("postgresql://db.example:5432/videos") == file_of(others[-2])


def test_nothing_is_made_or_reached_before_it_is_opened(monkeypatch, tmp_path):
    """And what it is shows no address."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    journal = PostgresJournal("postgresql://me:CANARY@db.example/videos", gateway="jimmy")
    assert list(tmp_path.iterdir()) == []
    assert repr(journal) == "<PostgresJournal of jimmy>"
    assert "CANARY" not in str(journal.path)


async def test_what_two_hosts_could_not_write_is_entered_from_both(make):
    """Each file is read on its own, to its end, and never twice; also when a look comes before the next opening."""
    one, other = make("one"), make("two")
    await one.open()
    await other.open()
    for n in range(6):
        await one.intend(intent(f"k{n}"))
    for n in range(5):  # the file of one is long, the other's short
        fallback.append(one.path, intent(f"k{n}"), accepted(f"t{n}"))
    await one.claim()
    fallback.append(other.path, intent("k5"), accepted("t5"))
    await other.claim()
    assert set(states(one._dsn).values()) == {"SUBMITTED"}
    assert one.path != other.path


async def test_a_file_that_begins_anew_is_read_from_its_beginning(make):
    """A container's next life has the same name and an empty disk."""
    journal = make()
    await journal.open()
    for key in ("a", "b"):
        await journal.intend(intent(key))
    fallback.append(journal.path, intent("a"), lost("t-" + "x" * 10))
    await journal.claim()
    fallback.fallback_of(journal.path).unlink()
    fallback.append(journal.path, intent("b"), accepted("t-" + "y" * 200))
    await journal.claim()
    assert states(journal._dsn) == {"a": "UNCERTAIN", "b": "SUBMITTED"}


async def test_a_file_that_cannot_be_read_keeps_the_journal_shut(make):
    """It may tell of payments."""
    journal = make()
    fallback.fallback_of(journal.path).mkdir(parents=True)
    with pytest.raises(JournalError, match=r"lost\.jsonl cannot be read"):
        await journal.open()


async def test_a_folder_that_cannot_be_made(make, tmp_path):
    """Then it is that of temporary files, for the next life too."""
    (tmp_path / "here").write_text("a file")
    journal = make()
    await journal.open()
    assert journal.path.parent == Path(tempfile.gettempdir())


# --- one journal, several hosts ----------------------------------------------------------------------------------


async def test_two_know_of_each_other(make):
    """One row an id, one task a row, one place each."""
    one, other = make(), make("other")
    assert await one.intend(intent()) is None
    with pytest.raises(NotNow):
        await other.intend(intent())
    await one.answered(intent(), accepted("t-1"))
    assert (await other.intend(intent())).task_id == "t-1"
    with pytest.raises(JournalError, match="with other inputs"):
        await other.intend(intent(fingerprint="other"))
    assert await other.claim() == []
    assert one.owner != other.owner


async def test_whoever_opens_next_takes_over_at_once(make):
    """Closed is gone, without a moment between."""
    for n in range(5):
        one = make()
        await one.intend(intent(f"k{n}"))
        await one.answered(intent(f"k{n}"), accepted(f"t-{n}"))
        await one.aclose()
        other = make()
        assert f"k{n}" in [entry.key for entry in await other.claim()]
        await other.aclose()


async def test_room_counts_the_tasks_of_all(make):
    """However many ask at once, of whichever host."""
    journals = [make(f"host {n}", room=3) for n in range(3)]
    found = await asyncio.gather(*(journals[n % 3].intend(intent(f"k{n}")) for n in range(12)), return_exceptions=True)
    assert sum(one is None for one in found) == 3
    assert sum(isinstance(one, NotNow) for one in found) == 9


async def test_a_connection_that_breaks_is_not_noticed_by_the_next_call(make):
    """Nor is one that breaks between a create and its answer; late ids heal what was taken for lost meanwhile."""
    one, other = make(), make("other")
    await one.intend(intent("a"))
    await one.intend(intent("b"))
    await other.open()
    cut_all(one._dsn)
    assert {entry.key for entry in await other.claim()} == {"a", "b"}
    assert states(one._dsn) == {"a": "UNCERTAIN", "b": "UNCERTAIN"}
    assert await one.answered(intent("a"), accepted("t-1")) == "SUBMITTED"
    with pytest.raises(JournalError, match="cannot become"):
        await one.answered(intent("b"), Answer(state="PLANNED"))
    assert states(one._dsn) == {"a": "SUBMITTED", "b": "UNCERTAIN"}


async def test_a_break_in_the_middle_spoils_only_one_call(make):
    """Of many in one transaction each is done once more by itself."""
    journal = make()
    await journal.open()

    def broken(ledger):
        cut_all(journal._dsn)
        ledger.running()

    calls = [journal.intend(intent("a")), journal.run(broken), journal.intend(intent("b"))]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in found] == [type(None), JournalError, type(None)]
    assert states(journal._dsn) == {"a": "SUBMITTING", "b": "SUBMITTING"}


async def test_row_35_a_server_that_is_gone_after_the_post(make, postgres, dsn):
    """Row 35: half a minute, then the file beside the journal; merged at the next opening, and followed."""
    journal = make()
    for key in ("a", "b", "c"):
        await journal.intend(intent(key))
    postgres.crash()
    began = asyncio.get_running_loop().time()
    failures = await asyncio.gather(
        journal.answered(intent("a"), accepted("t-1")),
        journal.answered(intent("b"), lost()),
        journal.settle(intent("c"), "PLANNED", "never sent"),
        return_exceptions=True,
    )
    assert asyncio.get_running_loop().time() - began >= store.INSIST
    assert ["is noted in" in str(failure) for failure in failures] == [True] * 3
    assert [failure.may_have_charged for failure in failures] == [True, True, False]
    await journal.aclose()
    postgres.start()
    again = make()
    await again.open()
    assert states(dsn) == {"a": "SUBMITTED", "b": "UNCERTAIN", "c": "PLANNED"}
    assert [entry.task_id for entry in await again.claim() if entry.task_id] == ["t-1"]


async def test_ids_that_are_too_long_for_an_index(make):
    """One of ours is refused before anything is sent, one of the gateway's noted at once; neither locks the journal."""
    journal, long = make(), "x" * 2001
    with pytest.raises(JournalError, match="more than 2000 bytes") as caught:
        await journal.intend(intent(long))
    assert not caught.value.may_have_charged
    await journal.intend(intent())
    began = asyncio.get_running_loop().time()
    with pytest.raises(JournalError, match="is noted in") as caught:
        await journal.answered(intent(), accepted(long))
    assert caught.value.may_have_charged
    assert asyncio.get_running_loop().time() - began < 1
    again = make()
    await again.open()
    longest = "".join(chr(0x4E00 + n) for n in range(666))  # incompressible
    await again.intend(intent(longest))
    assert await again.answered(intent(longest), accepted(longest)) == "SUBMITTED"


async def test_a_server_that_comes_back_is_waited_for(make, postgres, dsn):
    """The answer is written then, once."""
    journal = make()
    await journal.intend(intent())
    postgres.crash()
    answering = asyncio.ensure_future(journal.answered(intent(), accepted()))
    await asyncio.sleep(2)
    assert not answering.done()
    postgres.start()
    assert await answering == "SUBMITTED"
    assert len(await journal.run(lambda ledger: ledger.records("k"))) == 1


# --- clients -----------------------------------------------------------------------------------------------------


async def test_row_34_a_server_that_is_not_there_before_the_post(monkeypatch, tmp_path):
    """Row 34: nothing is sent, and the error says so."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with FaultServer() as server:
        client = client_of("postgresql://me:CANARY@127.0.0.1:1/x", server)
        with pytest.raises(JournalError, match="no server listens there") as caught:
            async with client:
                await client.submit("a cat", custom_id="mine")
        assert caught.value.kind == "failed"
        assert not caught.value.may_have_charged
        assert "CANARY" not in str(caught.value) + repr(client)
        assert server.started == []


async def test_row_34_a_server_that_goes_away_while_creates_have_to_wait(dsn, postgres, monkeypatch):
    """Row 34: an order is looked for before it waits for leave, and that failing says as well that nothing was sent."""
    async with FaultServer() as server, client_of(dsn, server) as client:
        await client.submit("a cat", custom_id="one")
        monkeypatch.setattr(type(client.limiter), "busy", True)
        postgres.crash()
        with pytest.raises(JournalError) as caught:
            await client.submit("a cat", custom_id="two")
        postgres.start()
        assert not caught.value.may_have_charged
        assert len(server.posts) == 1


async def test_row_38_an_order_is_paid_once_whichever_host_it_reaches(dsn):
    """Row 38: also when it reaches them at the same time."""
    async with FaultServer() as server, client_of(dsn, server) as one, client_of(dsn, server) as other:
        order = {"custom_id": "order-1"}
        tasks = await asyncio.gather(*(client.submit("a cat", **order) for client in (one, other) * 5))
        assert {task.task_id for task in tasks} == set(server.charges)
        assert len(server.posts) == 1


async def test_an_order_is_found_on_whichever_host(dsn):
    """By its own id, while it runs, and with its reason if nobody knows what came of it."""
    async with FaultServer([ACCEPT, DROP]) as server, client_of(dsn, server) as one, client_of(dsn, server) as other:
        task = await one.submit("a cat", custom_id="order-1", metadata={"user": 5})
        found = await other.find("order-1")
        assert (found.task_id, found.metadata) == (task.task_id, {"user": 5})
        with pytest.raises(SubmissionUncertainError):
            await one.submit("a dog", custom_id="order-2")
        with pytest.raises(SubmissionUncertainError, match="was sent before"):
            await other.find("order-2")
        assert await other.find("order-3") is None
        await other.settle("order-2", pay_again=True)
        with pytest.raises(SubmissionUncertainError, match="settled as pay_again"):
            await one.find("order-2")
        with pytest.raises(InvalidRequestError) as refused:
            await one.submit("", custom_id="order-2")
        assert refused.value.may_have_charged
        assert len(server.posts) == 2


async def test_after_a_break_a_client_goes_on_as_if_nothing_was(dsn):
    """The next create needs no luck."""
    async with FaultServer() as server, client_of(dsn, server) as client:
        for n in range(3):
            await client.submit("a cat", custom_id=f"order-{n}")
            cut_all(dsn)
        assert len(server.charges) == 3


async def test_a_row_keeps_what_it_is_told_to_keep(dsn):
    """Without requests no inputs, and odd characters harm nothing."""
    async with FaultServer() as server, client_of(dsn, server, keep_requests=False) as client:
        await client.submit("a secret cat", custom_id="mine", metadata={"who": "\U0001f600 \x00 李"})
    (row,) = rows(dsn).values()
    assert row["inputs"] is None
    assert json.loads(row["metadata"]) == {"who": "\U0001f600 \x00 李"}
    assert KEY not in str(ask(dsn, "SELECT * FROM omni_item")) + str(ask(dsn, "SELECT * FROM omni_record"))


async def test_on_finished_is_told_by_whoever_is_left(dsn):
    """One client submits and goes; the other, on another host, is told, and only of what was not told."""
    told = []

    async def on_finished(task):
        told.append((task.custom_id, task.status))

    async with FaultServer() as server:
        server.always["GET"] = running("task-0000001")
        async with client_of(dsn, server, on_finished=on_finished) as one:
            await one.submit("a cat", custom_id="mine", metadata={"chat": 4})
        assert told == []
        server.always["GET"] = None
        async with client_of(dsn, server, on_finished=on_finished) as other:
            async for outcome in other.resume():
                assert outcome.task.metadata == {"chat": 4}
            await asyncio.sleep(5)
        assert told == [("mine", TaskStatus.SUCCEEDED)]
        assert len(server.posts) == 1


async def until(holds):
    """Look until it is so."""
    while not holds():  # noqa: ASYNC110 - another process's doing is not an event of the loop's
        await asyncio.sleep(0.02)


# --- processes ---------------------------------------------------------------------------------------------------

APP = """
import asyncio, sys
from omni_async import OmniClient

async def main(dsn, url, *keys):
    client = OmniClient("jimmy", api_key="k", base_url=url, proxy=None, journal=dsn)
    await client.submit("a cat", custom_id=keys[0])
    print(keys[0], flush=True)
    await asyncio.gather(*(client.submit("a cat", custom_id=key) for key in keys[1:]))

asyncio.run(main(*sys.argv[1:]))
"""


class TestProcesses:
    """In real time."""

    @pytest.fixture
    def anyio_backend(self):
        """The usual loop."""
        return "asyncio"

    async def test_row_36b_one_host_is_killed_and_another_goes_on(self, dsn, monkeypatch):
        """Row 36b: what was submitted is followed to its end, what was on its way is uncertain, none is paid twice."""
        monkeypatch.setattr(following, "EVERY", 0.2)
        ended = []

        async def on_finished(task):
            ended.append(task.custom_id)

        with ExitStack() as processes:
            async with (
                FaultServer([ACCEPT, HANG, HANG]) as server,
                client_of(dsn, server, on_finished=on_finished, poll=PollPolicy(fixed=0.1)) as survivor,
                asyncio.timeout(20),
            ):
                process = await asyncio.to_thread(processes.enter_context, child(APP, dsn, server.url, *"abc"))
                await until(lambda: len(server.charges) == 3)
                assert states(dsn) == {"a": "SUBMITTED", "b": "SUBMITTING", "c": "SUBMITTING"}
                kill(process)
                await until(lambda: "a" in ended)
                for key in "bc":
                    with pytest.raises(SubmissionUncertainError):
                        await survivor.submit("a cat", custom_id=key)
            assert states(dsn) == {"a": "SUCCEEDED", "b": "UNCERTAIN", "c": "UNCERTAIN"}
            assert ended == ["a"]
            assert len(server.charges) == len(server.posts) == 3
