"""Rows for a fleet: from a sheet, from a batch that outgrew its machine, from a worker's own journal."""

import csv
import json
from secrets import token_hex

import pytest
from accounts import a_fleet, outcome, row

from omni_async.emulator import InjectedFault

FAULTS = (
    InjectedFault("fail", prompt="FAILS"),
    InjectedFault("moderation", prompt="MODERATED"),
    InjectedFault("drop_after_accept", prompt="LOST"),
)
SENT = [row(1), row(2, file="EP01/雪.mp4", shot="镜头二"), row(3, prompt="FAILS"), row(4, prompt="MODERATED")]


@pytest.fixture
async def fleet(postgres, tmp_path):
    """One that is set up."""
    async with a_fleet(postgres, tmp_path, faults=FAULTS) as fleet:
        yield fleet


async def begun(fleet, rows, *more):
    """A batch that was run on one machine, up to some point."""
    return await fleet.omni("batch", fleet.sheet(rows), "--out", fleet.folder, "--poll", "0.1", *more)


async def test_a_sheet_is_entered_once(fleet):
    """The same sheet again enters nothing; a row that was edited before it was sent has its new inputs."""
    sheet = fleet.sheet([row(1, shot="A"), row(2)])
    assert "2 new" in (await fleet.fleet("enqueue", sheet)).out
    assert "2 known already" in (await fleet.fleet("enqueue", sheet)).out
    fleet.sheet([row(1, shot="B", file="new.mp4"), row(2, duration=6), row(3)])
    again = await fleet.fleet("enqueue", sheet, "--json")
    assert (again.json["new"], again.json["updated"]) == (1, 1)
    rows = fleet.rows()
    assert list(rows) == ["r0001", "r0002", "r0003"]
    assert json.loads(rows["r0002"].inputs)["duration"] == 6
    assert (rows["r0001"].carried, rows["r0001"].target) == ('{"shot": "B"}', "new.mp4")


async def test_an_edit_after_paying_is_not_taken(fleet):
    """What was paid stands."""
    sheet = fleet.sheet([row(1)])
    await fleet.fleet("enqueue", sheet)
    async with fleet.workers():
        await fleet.until(DONE=1)
    fleet.sheet([row(1, duration=10)])
    assert "1 edited after paying: kept" in (await fleet.fleet("enqueue", sheet)).out
    assert len(fleet.emulator.ledger.charges) == 1


async def test_faults_are_told_with_their_lines_as_in_a_batch(fleet):
    """The same words for the same sheet, and nothing is entered."""
    sheet = fleet.sheet([row(1), row(2, duration=99), row(3, prompt=" ")])
    batch, told = await fleet.omni("batch", sheet, "--dry-run"), await fleet.fleet("enqueue", sheet)
    assert (told.code, told.err) == (batch.code, batch.err)
    assert "line 2: duration" in told.err
    assert fleet.states() == {}
    assert "1 new · 2 with faults: left out" in (await fleet.fleet("enqueue", sheet, "--skip-bad")).out


async def test_what_is_doubtful_is_told_before_workers_pay(fleet):
    """With the lines concerned, as in a batch; also quietly, and where nothing is entered."""
    sheet = fleet.sheet([row(1), row(2, model="omni-10s", duration=4)])
    for words in (["--dry-run"], ["-q"]):
        told = await fleet.fleet("enqueue", sheet, *words)
        assert "warning: line 2: duration: omni-10s ignores it and bills 10 s\n" in told.err


async def test_an_id_that_the_database_cannot_index_is_told_with_its_line(fleet):
    """Not as a server that is away, in the middle of entering."""
    told = await fleet.fleet("enqueue", fleet.sheet([row(1), row(2, id=token_hex(1500), file="two.mp4")]))
    assert told.code == 2
    assert "line 2: id: is longer than 2000 bytes" in told.err
    assert fleet.rows() == {}


async def test_files_of_one_machine_are_refused_with_their_lines(fleet):
    """Workers cannot read them; with --skip-bad those rows are left out."""
    (fleet.place / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    sheet = fleet.sheet([row(1), row(2, image_urls=["cat.png"], generation_type="frame")])
    told = await fleet.fleet("enqueue", sheet)
    assert told.code == 2
    assert "line 2: image_urls" in told.err
    assert "omni-async upload" in told.err
    assert "1 new · 1 with faults: left out" in (await fleet.fleet("enqueue", sheet, "--skip-bad")).out


async def test_another_rows_file_and_id_are_refused(fleet):
    """Two rows that would be stored in one place, and an id that another gateway's row has."""
    await fleet.fleet("init", "--gateway", "toapis")
    await fleet.fleet("enqueue", fleet.sheet([row(1, file="a.mp4")]))
    told = await fleet.fleet("enqueue", fleet.sheet([row(2), row(3, file="A.mp4")]))
    assert told.code == 2
    assert "line 2: file: 'A.mp4' is the file of row 'r0001', which the fleet has already" in told.err
    told = await fleet.fleet("enqueue", fleet.sheet([row(1, duration=10)]), "--gateway", "toapis")
    assert told.code == 2
    assert "line 1: id: 'r0001' is the id of a row for jimmy" in told.err
    assert fleet.states() == {"PLANNED": 1}


async def test_rows_come_from_stdin_csv_and_in_any_script(fleet):
    """As for a batch."""
    sheet = "id,prompt,duration,镜头\nz1,猫在霓虹雨中,4,一\n".encode("gb18030")
    told = await fleet.fleet("enqueue", "-", stdin=sheet)
    assert "1 new" in told.out
    assert "warning: sheet: read as GB18030: “猫在霓虹雨中”" in told.err
    assert json.loads(fleet.rows()["z1"].inputs)["prompt"] == "猫在霓虹雨中"
    assert "there are no rows" in (await fleet.fleet("enqueue", "-", stdin=b"prompt\n")).err


# --- a batch that outgrew its machine --------------------------------------------------------------------------------


async def test_a_batch_is_taken_over_and_nothing_is_paid_again(fleet):
    """Finished, failed, uncertain and unsent rows keep what they are, their file names and their columns."""
    lost = row(5, prompt="LOST")
    assert (await begun(fleet, [*SENT, lost, row(6)], "--limit", "5")).code == 3
    paid = dict(fleet.paid)
    dry = await fleet.fleet("enqueue", fleet.folder, "--dry-run")
    assert "6 new · 4 of them finished · 1 of them uncertain" in dry.out
    assert "to pay: 1 video" in dry.out
    assert (await fleet.fleet("enqueue", fleet.folder)).code == 0
    again = await fleet.fleet("enqueue", fleet.folder)
    assert "6 known already" in again.out
    async with fleet.workers():
        states = await fleet.until(DONE=3)
    assert states == {"DONE": 3, "FAILED": 2, "UNCERTAIN": 1}
    assert fleet.paid == paid | {row(6)["prompt"]: 1}
    assert (await fleet.fleet("results", fleet.place / "end")).code == 0
    with (fleet.place / "end" / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = {line["id"]: line for line in csv.DictReader(file)}
    assert (lines["r0002"]["file"], lines["r0002"]["shot"]) == ("videos/EP01/雪.mp4", "镜头二")
    assert lines["r0005"]["status"] == "uncertain"


async def test_a_folder_that_was_handed_over_sends_no_more(fleet):
    """Neither its batch nor its settling; and it belongs to one fleet."""
    await begun(fleet, [row(1), row(2)], "--limit", "1")
    await fleet.fleet("enqueue", fleet.folder, "--dry-run")
    assert "handed over" not in (await begun(fleet, [row(1), row(2)], "--dry-run")).err
    await fleet.fleet("enqueue", fleet.folder)
    for words in (["batch", "--out", fleet.folder], ["settle", fleet.folder, "r0002", "--not-charged"]):
        told = await fleet.omni(*words)
        assert told.code == 1
        assert "were handed over to the fleet at 127.0.0.1/" in told.err
        assert "omni-async fleet status" in told.err
    assert (await fleet.omni("journal", fleet.folder)).code == 0


async def test_a_folder_belongs_to_one_fleet(postgres, tmp_path, fleet):
    """Another one would pay for its rows too, unless the first one's database is gone."""
    await begun(fleet, [row(1), row(2)], "--limit", "1")
    await fleet.fleet("enqueue", fleet.folder)
    first, fleet.dsn = fleet.dsn, postgres.database()
    await fleet.fleet("init")
    told = await fleet.fleet("enqueue", fleet.folder)
    assert told.code == 1
    assert f"another fleet, at 127.0.0.1/{first.rpartition('/')[2]}, has the rows" in told.err
    assert "2 new" in (await fleet.fleet("enqueue", fleet.folder, "--database-lost")).out
    assert "2 known already" in (await fleet.fleet("enqueue", fleet.folder)).out


async def test_a_batch_that_runs_is_refused(fleet):
    """Two would send its rows."""
    await begun(fleet, [row(1), row(2)], "--limit", "1")
    from omni_async.journal.owners import Ownership

    owner = Ownership(fleet.folder / "journal.sqlite3", exclusive=True)
    told = await fleet.fleet("enqueue", fleet.folder)
    by_file = await fleet.fleet("enqueue", fleet.folder / "journal.sqlite3")
    owner.release()
    assert (told.code, by_file.code) == (1, 1)
    assert "in use by another process" in told.err
    assert fleet.states() == {}


async def test_rows_no_longer_in_the_sheet_are_not_sent(fleet):
    """A row that was taken out of the sheet before it was paid is not paid by the fleet."""
    await begun(fleet, [row(1), row(2), row(3)], "--limit", "1")
    await begun(fleet, [row(1), row(3)], "--limit", "0")
    assert "1 not sent, and left out" in (await fleet.fleet("enqueue", fleet.folder)).out
    assert set(fleet.rows()) == {"r0001", "r0003"}


async def test_test_videos_and_other_gateways_are_refused(fleet):
    """A batch made with the emulator would count as done."""
    sheet = fleet.sheet([row(1)])
    await fleet.omni("batch", sheet, "--emulator", "--limit", "0")
    told = await fleet.fleet("enqueue", fleet.place / "shots-emulator")
    assert told.code == 2
    assert "test pictures" in told.err
    await begun(fleet, [row(1)])
    assert "--gateway jimmy" in (await fleet.fleet("enqueue", fleet.folder, "--gateway", "toapis")).err
    assert "no journal of a batch or a worker" in (await fleet.fleet("enqueue", fleet.place)).err


# --- again -----------------------------------------------------------------------------------------------------------


async def test_what_failed_is_tried_again_by_a_persons_word(fleet):
    """A new attempt, on record; never for moderated or uncertain rows."""
    await fleet.fleet("enqueue", fleet.sheet([*SENT, row(5, prompt="LOST")]))
    async with fleet.workers():
        await fleet.until(DONE=2, FAILED=2, UNCERTAIN=1)
        fleet.emulator.scenario = fleet.emulator.scenario.__class__(task_seconds=0.3, queue_seconds=0.0)
        dry = await fleet.fleet("enqueue", "--retry-failed", "--dry-run")
        assert "1 tried again" in dry.out
        assert "to pay: 1 video" in dry.out
        assert "1 tried again" in (await fleet.fleet("enqueue", "--retry-failed")).out
        await fleet.until(DONE=3, FAILED=1, UNCERTAIN=1)
    assert fleet.paid["FAILS"] == 2
    assert fleet.rows()["r0003"].attempts == 2
    assert "retried" in (await fleet.fleet("journal", "r0003")).out
    assert "5 known already" in (await fleet.fleet("enqueue", fleet.place / "shots.jsonl", "--retry-failed")).out


# --- the database is lost for good -----------------------------------------------------------------------------------


async def test_a_lost_database_is_refilled_from_a_workers_journal(postgres, fleet):
    """Every paid row comes back with its task and its file's name, and none is paid again; then its sheet."""
    sheet = fleet.sheet([row(1, shot="A", file="EP/one.mp4"), row(2, prompt="LOST"), row(3, prompt="FAILS")])
    await fleet.fleet("enqueue", sheet)
    async with fleet.workers():
        await fleet.until(DONE=1, FAILED=1, UNCERTAIN=1)
    before, paid = fleet.rows(), dict(fleet.paid)
    fleet.dsn = postgres.database()
    await fleet.fleet("init")
    came = await fleet.fleet("enqueue", fleet.place / "state")
    assert "3 new · 2 of them finished · 1 of them uncertain" in came.out
    fleet.sheet([row(1, shot="A", file="EP/one.mp4"), row(2, prompt="LOST"), row(3, prompt="FAILS"), row(4)])
    assert "1 new · 3 known already" in (await fleet.fleet("enqueue", sheet)).out
    async with fleet.workers():
        await fleet.until(DONE=2, FAILED=1, UNCERTAIN=1)
    assert fleet.paid == paid | {row(4)["prompt"]: 1}
    rows = fleet.rows()
    assert {key: rows[key].task_id for key in before} == {key: entry.task_id for key, entry in before.items()}
    assert (rows["r0001"].target, rows["r0001"].carried) == ("EP/one.mp4", '{"shot": "A"}')
    assert outcome_of(fleet)["r0001"] == "succeeded"


def outcome_of(fleet):
    """Ids with their status, as the results tell them."""
    from omni_async.batch.folder import Folder
    from omni_async.batch.results import Results

    folder = Folder(fleet.place / "end")
    folder.make()
    Results(folder).rewrite(fleet.rows().values(), [])
    return dict(outcome(folder.path, fleet.videos)[0])
