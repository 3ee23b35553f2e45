"""A fleet's tables set up, its limits set, and where it stands."""

from datetime import datetime
from typing import Any

import attrs
import psycopg
from pgqueuer.db import PsycopgDriver
from pgqueuer.queries import Queries

from ..errors import JournalError
from ..journal import State
from ..journal.session import postgres_error
from .book import SharedJournal
from .budget import LIMITS, Allowed
from .entering import fleet_name
from .looking import FleetView
from .queue import connect
from .tables import SCHEMA, download_job, video_job

SHOWN = 20
"""Uncertain rows that a status names."""
MINUTE = 60
SETTING_UP = 0x6F6D6E6974
"""Key of the advisory lock of whoever makes the tables: hosts that are set up by a script do so at the same time."""


async def set_up(
    dsn: str,
    gateway: str,
    *,
    running: int | None = None,
    submits_per_second: float | None = None,
    polls_per_second: float | None = None,
) -> Allowed:
    """Make or update the tables, and set limits; those that are None stay as they are. Does no harm twice.

    Args:
        dsn: The database.
        gateway: Whose account's limits.
        running: Tasks at the gateway at once, over the whole fleet.
        submits_per_second: Creates; 0 for no limit.
        polls_per_second: Looks; 0 for no limit.

    Raises:
        JournalError: The database cannot be used.
    """
    shared = SharedJournal(dsn, gateway=gateway)
    try:
        await shared.run(fleet_name)
    finally:
        await shared.aclose()
    try:
        async with await connect(dsn) as connection:
            await connection.execute(f"SELECT pg_advisory_lock({SETTING_UP})")  # until the connection ends
            queries = Queries(PsycopgDriver(connection))
            if await queries.schema_is_installed():
                await queries.upgrade()
            else:
                await queries.install()
            await connection.execute(SCHEMA)
            return await _limited(connection, gateway, running, submits_per_second, polls_per_second)
    except psycopg.Error as error:
        raise postgres_error(error) from None


async def _limited(connection: Any, gateway: str, *limits: float | None) -> Allowed:
    await connection.execute("INSERT INTO omni_limit (gateway) VALUES (%s) ON CONFLICT DO NOTHING", (gateway,))
    cursor = await connection.execute(
        "UPDATE omni_limit SET running = coalesce(%s, running),"
        " submits_per_second = nullif(coalesce(%s::float8, submits_per_second), 0),"
        " polls_per_second = nullif(coalesce(%s::float8, polls_per_second), 0)"
        " WHERE gateway = %s RETURNING running, submits_per_second, polls_per_second",
        (*limits, gateway),
    )
    running, submits, polls = await cursor.fetchone()
    return Allowed(running=running, submits_per_second=submits, polls_per_second=polls)


@attrs.frozen(kw_only=True)
class WorkerSeen:
    """A worker as the table shows it.

    Args:
        name: Its name.
        state: `working`, `draining` or `gone`.
        following: Rows in its hands.
        sent: Creates it has sent.
        uncertain: Of those, how many ended uncertain.
        silent: Seconds since it was last seen.
    """

    name: str
    state: str
    following: int
    sent: int
    uncertain: int
    silent: float


@attrs.frozen(kw_only=True)
class FleetStatus:
    """Where a fleet stands.

    Args:
        states: How many rows stand where.
        allowed: Its limits.
        seats: Of those tasks at the gateway that are allowed, how many are taken.
        waiting: Jobs in the queue: videos to make, videos to store.
        resting: Of those to store, how many could not be stored yet and rest until their next try.
        sent: Creates that were answered in the last minute.
        finished: Tasks that ended in the last minute.
        paused: Seconds for which no create is sent, and no look.
        workers: Those seen in the last hour.
        uncertain: Keys of rows to be settled.
        at: When this was.
    """

    states: dict[State, int]
    allowed: Allowed
    seats: int
    waiting: tuple[int, int]
    resting: int
    sent: int
    finished: int
    paused: tuple[float, float]
    workers: tuple[WorkerSeen, ...]
    uncertain: tuple[str, ...]
    at: datetime


def fleet_status(ledger: FleetView) -> FleetStatus:
    """Where the fleet stands."""
    fetch, gateway = ledger.connection.execute, ledger.gateway
    limits = fetch(f"SELECT {LIMITS}, now() FROM omni_limit WHERE gateway = ?", (gateway,)).fetchone()  # noqa: S608
    if limits is None:  # `looking` saw them
        raise JournalError(f"the limits of {gateway} have gone", kind="setup")
    jobs = {
        (name, status): count
        for name, status, count in fetch("SELECT entrypoint, status::text, count(*) FROM pgqueuer GROUP BY 1, 2")
    }
    video, download = video_job(gateway), download_job(gateway)
    own = "FROM omni_item WHERE gateway = ? AND position IS NOT NULL"
    recent = f"SELECT count(*) {own} AND {{}} > extract(epoch FROM now()) - ?"  # noqa: S608 - our own
    workers = fetch(
        "SELECT name, state, following, sent, uncertain, extract(epoch FROM now() - seen_at)::float8 FROM omni_worker"
        " WHERE gateway = ? AND seen_at > now() - interval '1 hour' ORDER BY started_at",
        (gateway,),
    )
    resting = fetch(
        "SELECT count(*) FROM pgqueuer WHERE entrypoint = ? AND status = 'queued' AND attempts > 0"
        " AND execute_after > now()",
        (download,),
    )
    uncertain = fetch(f"SELECT key {own} AND state = 'UNCERTAIN' ORDER BY position, rowid LIMIT ?", (gateway, SHOWN))
    return FleetStatus(
        states=ledger.counts(),
        allowed=Allowed(running=limits[0], submits_per_second=limits[1], polls_per_second=limits[2]),
        seats=jobs.get((video, "picked"), 0),
        waiting=(jobs.get((video, "queued"), 0), sum(jobs.get((download, s), 0) for s in ("queued", "picked"))),
        resting=_count(resting),
        sent=_count(fetch(recent.format("sent_at"), (gateway, MINUTE))),
        finished=_count(fetch(recent.format("finished_at"), (gateway, MINUTE))),
        paused=(limits[3], limits[4]),
        workers=tuple(
            WorkerSeen(**dict(zip([field.name for field in attrs.fields(WorkerSeen)], row, strict=True)))
            for row in workers
        ),
        uncertain=tuple(key for (key,) in uncertain),
        at=limits[5],
    )


def _count(cursor: Any) -> int:
    return int(cursor.fetchone()[0])
