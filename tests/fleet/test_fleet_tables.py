"""The fleet's tables: which job comes first, and what a machine's journal may tell that has no place there."""

import asyncio
import secrets

import attrs
import needed  # noqa: F401 - skips
from fleets import fleet

from omni_async.cli.fleetdsn import own_folder
from omni_async.fleet.admin import set_up
from omni_async.fleet.tables import NO_PLACE, download_job, video_job
from omni_async.journal import State


async def rows_of(here, *keys):
    """Rows as they stand."""
    return [await here.shared.run(lambda ledger, key=key: ledger.entry(key)) for key in keys]


async def test_what_is_paid_is_fetched_before_a_worker_with_full_hands_pays_for_more_and_what_expires_first_at_first(
    postgres, tmp_path
):
    """Else a long line of rows would keep videos waiting until their links are dead; links may outlive 2038."""
    async with fleet(postgres, tmp_path) as here:
        await here.add("late", "soon", "new", "running")
        late, soon, _, running = await rows_of(here, "late", "soon", "new", "running")
        stored = [
            attrs.evolve(late, state=State.SUCCEEDED, expires_at=4.1e9),
            attrs.evolve(soon, state=State.SUCCEEDED, expires_at=1.8e9),
        ]

        def queue(ledger):
            ledger.connection.execute("DELETE FROM pgqueuer WHERE dedupe_key = ?", [f"{video_job('jimmy')} running"])
            ledger.give_jobs([*stored, attrs.evolve(running, state=State.SUBMITTED, task_id="t1")])
            query = "SELECT entrypoint, convert_from(payload, 'utf8') FROM pgqueuer ORDER BY priority DESC, id"
            return ledger.connection.execute(query).fetchall()

        video, download = video_job("jimmy"), download_job("jimmy")
        told = await here.shared.run(queue)
        assert told[:3] == [(download, "soon"), (download, "late"), (video, "running")]


async def test_a_task_id_that_the_database_cannot_take_is_uncertain_there_and_keeps_no_other_row_from_being_told(
    postgres, tmp_path
):
    """One odd answer must not stop every worker of a machine for good."""
    async with fleet(postgres, tmp_path) as here:
        await here.add("odd", "even")
        odd, even = await rows_of(here, "odd", "even")
        known = [
            attrs.evolve(odd, state=State.SUBMITTED, task_id="t" + secrets.token_hex(1500), attempts=1),
            attrs.evolve(even, state=State.SUBMITTED, task_id="t2", attempts=1),
        ]
        for _ in range(2):
            await here.shared.run(lambda ledger: [ledger.merge(row) for row in known])
        odd, even = await rows_of(here, "odd", "even")
        assert (odd.state, odd.task_id, odd.detail) == (State.UNCERTAIN, None, NO_PLACE)
        assert (even.state, even.task_id) == (State.SUBMITTED, "t2")


async def test_hosts_that_set_up_the_same_fleet_at_the_same_time_all_succeed(postgres):
    """As a script does that runs on each of them."""
    dsn = postgres.database()
    gateways = ("jimmy", "toapis", "jimmy", "gemini_omni")
    allowed = await asyncio.gather(*(set_up(dsn, gateway, running=5) for gateway in gateways))
    assert {limits.running for limits in allowed} == {5}


def test_each_schema_has_a_folder_of_its_own_for_a_machines_journal_whoever_asks(monkeypatch):
    """Rows of two fleets would stand under the same ids there; a new password changes nothing."""
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    one = own_folder("postgresql://omni:secret@db:5432/one")
    assert one == own_folder("host=db port=5432 dbname=one user=other password=rotated")
    assert one != own_folder("postgresql://omni:secret@db:5432/two")
    schemas = [f"postgresql://db:5432/one?options=-c%20search_path%3D{schema}" for schema in ("shop", "lab")]
    assert len({one, *map(own_folder, schemas)}) == 3
    assert own_folder("host=db port=5432 dbname=one options='-c search_path=shop'") == own_folder(schemas[0])
    assert "secret" not in str(one)
