"""What a person asks of a fleet: where it stands, what it knows, and the answer to what it cannot know."""

import asyncio
import contextlib
import csv
import io
import json
import sys

import anyio
import psycopg
import pytest
from accounts import KEY, a_fleet, row

from omni_async import OmniClient, VideoRequest
from omni_async.emulator import InjectedFault, Scenario
from omni_async.policies import Limits, PollPolicy

FAULTS = (InjectedFault("fail", prompt="FAILS"), InjectedFault("drop_after_accept", prompt="LOST", first=3))


@pytest.fixture
async def fleet(postgres, tmp_path):
    """One that is set up."""
    async with a_fleet(postgres, tmp_path, faults=FAULTS) as fleet:
        yield fleet


async def test_where_it_stands_is_told_to_people_and_programs(fleet):
    """Rows, seats, limits, workers; the exit code says whether something waits for a person."""
    await fleet.fleet("init", "--running", "7", "--submits-per-second", "20")
    await fleet.fleet("enqueue", fleet.sheet([row(1), row(2, prompt="FAILS")]))
    idle = await fleet.fleet("status")
    assert (idle.code, idle.out.splitlines()[0]) == (0, "2 planned")
    assert "limits: 7 tasks at once · 20 creates a second" in idle.out
    async with fleet.workers(2):
        await fleet.until(DONE=1, FAILED=1)
        now = await fleet.fleet("status", "--json")
    assert [worker["state"] for worker in now.json["workers"]] == ["working", "working"]
    now = await fleet.fleet("status", "--json")
    assert now.code == 1
    assert now.json["states"] == {"DONE": 1, "FAILED": 1}
    assert [worker["state"] for worker in now.json["workers"]] == ["gone", "gone"]
    assert sum(worker["sent"] for worker in now.json["workers"]) == 2


async def test_who_looks_holds_nobody_up(fleet):
    """A journal shown in a pager that nobody scrolls does not keep the fleet from writing."""
    await fleet.fleet("enqueue", fleet.sheet([row(number) for number in range(3)]))
    from omni_async.fleet.looking import looking

    with looking(fleet.dsn, "jimmy") as ledger:
        entries = ledger.entries()
        next(entries)
        await fleet.fleet("enqueue", fleet.sheet([row(7)]))
        assert [entry.key for entry in entries] == ["r0001", "r0002", "r0007"]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            ledger.write_note("x", "y")


async def test_the_journal_is_shown_as_a_batchs_is(fleet):
    """A table, one row with its evidence, rows in a state; as JSON."""
    await fleet.fleet("enqueue", fleet.sheet([row(1), row(2)]))
    assert [line.split("\t")[:2] for line in (await fleet.fleet("journal")).out.splitlines()] == [
        ["r0001", "planned"],
        ["r0002", "planned"],
    ]
    assert "r0002 a cat in neon rain" in (await fleet.fleet("journal", "r0002")).out
    assert (await fleet.fleet("journal", "--state", "done", "--json")).json == []
    assert [entry["id"] for entry in (await fleet.fleet("journal", "--json")).json] == ["r0001", "r0002"]
    told = await fleet.fleet("journal", "r9")
    assert (told.code, told.err) == (1, "error: there is no row 'r9' in this journal\n")


async def test_results_are_the_batchs_own(fleet):
    """One line for each settled row, in the order of the sheets, with the columns that were carried."""
    await fleet.fleet("enqueue", fleet.sheet([row(2, shot="=A"), row(1)]))
    await fleet.fleet("enqueue", fleet.sheet([row(0, prompt="FAILS", note="late")]))
    async with fleet.workers():
        await fleet.until(DONE=2, FAILED=1)
    told = await fleet.fleet("results", fleet.videos.parent)
    assert (told.code, told.out.strip()) == (0, str(fleet.videos.parent / "results.jsonl"))
    table = (fleet.videos.parent / "results.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [line["id"] for line in rows] == ["r0002", "r0001", "r0000"]
    assert [line["status"] for line in rows] == ["succeeded", "succeeded", "failed"]
    assert (rows[0]["shot"], rows[2]["note"]) == ("=A", "late")
    assert (fleet.videos.parent / rows[0]["file"]).read_bytes()[4:8] == b"ftyp"


# --- settling --------------------------------------------------------------------------------------------------------


async def test_an_uncertain_row_is_settled_and_a_worker_goes_on_at_once(fleet):
    """By its task, as not charged, or to be paid again."""
    rows = [row(number, prompt=f"r{number:04d} LOST") for number in (1, 2, 3)]
    await fleet.fleet("enqueue", fleet.sheet(rows))
    async with fleet.workers():
        await fleet.until(UNCERTAIN=3)
        told = await fleet.fleet("status")
        assert told.code == 3
        assert "omni-async fleet settle ID --task-id T | --not-charged | --pay-again" in told.err
        accepted = {charge.prompt: charge.task_id for charge in fleet.emulator.ledger.charges}
        answers = (["--task-id", accepted["r0001 LOST"]], ["--not-charged"], ["--pay-again"])
        for number, answer in enumerate(answers, 1):
            told = await fleet.fleet("settle", f"r{number:04d}", *answer)
            assert (told.code, told.err.partition(" ")[0]) == (0, "a")
        async with asyncio.timeout(10):
            await fleet.until(DONE=3)
    assert fleet.paid == {"r0001 LOST": 1, "r0002 LOST": 2, "r0003 LOST": 2}
    assert "settled by a person: pay again" in (await fleet.fleet("journal", "r0003")).out
    told = await fleet.fleet("settle", "r0001", "--pay-again")
    assert (told.code, "not UNCERTAIN" in told.err) == (1, True)
    assert (await fleet.fleet("settle", "r0001")).code == 2


# --- beside a client of the same database ----------------------------------------------------------------------------


async def test_a_client_of_the_same_database_and_the_fleet_leave_each_other_alone(fleet):
    """Neither follows, sends or stores the other's rows, and each is shown its own."""
    await fleet.fleet("enqueue", fleet.sheet([row(1), row(2, prompt="LOST")]))
    settings = {"api_key": KEY, "base_url": fleet.emulator.url, "poll": PollPolicy(min_interval=0.1)}
    async with OmniClient(journal=fleet.dsn, **settings) as client:
        task = await client.submit(VideoRequest(prompt="an app's own", custom_id="app-1"))
        resumed = [outcome async for outcome in client.resume()]
        async with fleet.workers():
            await fleet.until(DONE=1, UNCERTAIN=1)
            done = await client.wait(task)
            left = [outcome async for outcome in client.resume()]
            await fleet.fleet("enqueue", fleet.sheet([row(3)]))  # and the fleet has gone on since
            await fleet.until(DONE=2, UNCERTAIN=1)
    assert [outcome.task.task_id for outcome in resumed] in ([], [task.task_id])
    assert (done.video_url is not None, left) == (True, [])
    assert set(fleet.rows()) == {"r0001", "r0002", "r0003"}
    assert fleet.paid["an app's own"] == 1
    assert sorted(path.name for path in fleet.videos.glob("*.mp4")) == ["r0001.mp4", "r0003.mp4"]
    with contextlib.closing(psycopg.connect(fleet.dsn)) as connection:
        jobs = connection.execute("SELECT count(*) FROM pgqueuer WHERE convert_from(payload, 'UTF8') = 'app-1'")
        assert jobs.fetchone() == (0,)


async def test_tasks_of_the_fleet_take_no_room_of_a_client_and_are_not_pending_for_it(fleet):
    """Its `max_running_tasks` counts its own; `pending` shows its own."""
    fleet.emulator.scenario = Scenario(task_seconds=6.0, task_sigma=0.0, queue_seconds=0.0)
    await fleet.fleet("enqueue", fleet.sheet([row(1), row(2)]))
    settings = {"api_key": KEY, "base_url": fleet.emulator.url, "limits": Limits(max_running_tasks=1)}
    async with fleet.workers(), OmniClient(journal=fleet.dsn, **settings) as client:
        await fleet.until(SUBMITTED=2)
        with anyio.fail_after(4):
            task = await client.submit(VideoRequest(prompt="an app's own", custom_id="app-1"))
        assert [one.task_id for one in await client.pending()] == [task.task_id]


# --- what a person gets wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["status", "--dsn", "nonsense"], 1, "the journal's address is malformed"),
        (["status", "--dsn", "postgresql://u:CANARY-PASSWORD@127.0.0.1:1/x"], 1, "no server listens there"),
        (["worker", "--out", "v", "--dsn", "host=a user"], 1, "the journal's address is malformed"),
        (["enqueue", "none.csv"], 2, "none.csv: there is no such file"),
        (["enqueue"], 2, "name a sheet or a batch's folder"),
        (["results", "x", "--gateway", "toapis"], 1, "in this database: omni-async fleet init --gateway toapis"),
        (["settle", "r1", "--pay-again", "--not-charged"], 2, "say one of --task-id T"),
        (["journal", "--state", "gone"], 2, "allowed: planned"),
        (["init", "--running", "99999999999"], 2, "less than or equal to 1000000"),
        (["init", "--submits-per-second", "inf"], 2, "less than or equal to 1000000"),
        (["worker", "--out", "v", "--heartbeat", "inf"], 2, "less than or equal to 86400"),
    ],
)  # fmt: skip
async def test_a_slip_is_told_in_a_line(fleet, words, code, said):
    """What is wrong, what to do, and no secret of the address."""
    told = await fleet.fleet(*words)
    assert told.code == code
    assert said in told.err
    assert "CANARY" not in told.err


async def test_a_database_that_is_not_set_up_stays_as_it_is(postgres, fleet):
    """Who only looks, or enters rows in the wrong place, makes no tables there."""
    fleet.dsn = postgres.database()
    for words in (["status"], ["journal"], ["enqueue", fleet.sheet([row(1)])]):
        told = await fleet.fleet(*words)
        assert told.code == 1
        assert "no fleet is set up for jimmy in this database: omni-async fleet init" in told.err
    with contextlib.closing(psycopg.connect(fleet.dsn)) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'omni%'").fetchone() == (0,)


async def test_a_worker_without_a_key_says_which(fleet):
    """Before the database is asked."""
    told = await fleet.fleet("worker", "--out", fleet.videos, JIMMYAI_API_KEY="")
    assert told.code == 2
    assert told.err == "error: no API key for gateway jimmy: set the environment variable JIMMYAI_API_KEY\n"


async def test_the_plan_is_priced(fleet, tmp_path):
    """Kinds, what they cost, and what the account has left."""
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"4 s": 0.5, "*": 1, "currency": "USD"}))
    sheet = fleet.sheet([row(1), row(2), row(3, duration=6)])
    dry = await fleet.fleet("enqueue", sheet, "--dry-run", "--prices", prices)
    assert "  2 × text-to-video 4 s Gemini-Omini at 0.5 USD" in dry.out
    assert "cost: 2.00 USD" in dry.out
    told = await fleet.fleet("enqueue", sheet, "--prices", prices, "--json")
    assert told.json["cost"] == 2.0
    assert "balance: " in told.err


async def test_without_the_extra_it_says_what_to_install(fleet, monkeypatch):
    """In each command, before anything is read."""
    monkeypatch.setitem(sys.modules, "pgqueuer", None)
    commands = (["status"], ["init"], ["enqueue", "x.csv"], ["worker", "--out", "v"], ["settle", "r", "--pay-again"])
    for words in commands:
        told = await fleet.fleet(*words)
        assert (told.code, told.err) == (2, "error: pgqueuer is missing: pip install 'omni-async[pg]'\n")


async def test_many_videos_are_asked_for_on_a_terminal(fleet, monkeypatch):
    """A no enters nothing; --yes does not ask."""
    from omni_async.cli import fleetenter

    asked = []

    async def no(question):
        asked.append(question)
        return False

    monkeypatch.setattr(fleetenter, "asks", lambda **_: True)
    monkeypatch.setattr(fleetenter, "confirmed", no)
    sheet = fleet.sheet([row(number) for number in range(101)])
    told = await fleet.fleet("enqueue", sheet)
    assert (told.code, asked, fleet.states()) == (4, ["Have workers pay for 101 videos?"], {})
    assert "you said no: nothing was entered" in told.err
    assert (await fleet.fleet("enqueue", sheet, "--yes")).code == 0
    assert fleet.states() == {"PLANNED": 101}
