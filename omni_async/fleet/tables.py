"""The fleet's tables, and what happens in them in one transaction: rows with their jobs.

A row of the journal says what is known of a video; a job of the queue says that somebody has to see to it. Both are
written together, and a row without its job gets one again (`FleetLedger.restore`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from ..journal.entries import COLUMNS, SENT_AGAIN, Entry, entry_of
from ..journal.postgres import FLEET, PostgresLedger, has_place
from ..journal.session import Session
from ..journal.states import FINAL, OPEN, UNPAID, State
from ..safety import target_key

if TYPE_CHECKING:
    from pgqueuer.queries import SyncQueries

SCHEMA = """
CREATE TABLE IF NOT EXISTS omni_limit (
  gateway TEXT NOT NULL PRIMARY KEY,
  running INTEGER NOT NULL DEFAULT 40,
  submits_per_second DOUBLE PRECISION,
  polls_per_second DOUBLE PRECISION,
  not_before TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
  polls_not_before TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
  next_submit TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
  next_poll TIMESTAMPTZ NOT NULL DEFAULT '-infinity'
);
CREATE TABLE IF NOT EXISTS omni_worker (
  name TEXT NOT NULL PRIMARY KEY,
  gateway TEXT NOT NULL,
  host TEXT NOT NULL,
  state TEXT NOT NULL,
  following INTEGER NOT NULL DEFAULT 0,
  sent BIGINT NOT NULL DEFAULT 0,
  uncertain BIGINT NOT NULL DEFAULT 0,
  started_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
  seen_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
"""
LOCAL = "known to a worker's own journal"
GONE = "its worker ended before the answer was written down"
RANK = {
    **dict.fromkeys(UNPAID, 0),
    State.SUBMITTING: 1,
    State.UNCERTAIN: 2,
    State.SUBMITTED: 3,
    **dict.fromkeys(FINAL, 4),
    State.DONE: 5,
    State.EXPIRED: 5,
}
"""How much a state tells: of two accounts of a row the one that tells more stands."""
_OUTCOME = ("state", "task_id", "candidate", "again", "round", "attempts", "sent_at", "finished_at", "detail", "task",
            "expires_at", "size", "sha256")  # fmt: skip
MANY = 5000
"""Rows in one statement."""
LATEST, FETCHED = 2**31 - 1, 2
"""Seconds since 1970, in 2038: a job's priority is an integer of 32 bits, and what expires later is in no hurry. Videos
to be made have 0, or 1 where they run already."""
NO_PLACE = "its task id has no place in this database: it stands in the journal of the machine that sent it"


def video_job(gateway: str) -> str:
    """The queue's name for making videos: a seat of it is a task running at the gateway."""
    return f"omni_video:{gateway}"


def download_job(gateway: str) -> str:
    """The queue's name for storing them."""
    return f"omni_download:{gateway}"


class FleetLedger(PostgresLedger):
    """The shared journal, whose rows have jobs.

    Args:
        session: To its database.
        gateway: Whose rows.
    """

    def __init__(self, session: Session, gateway: str) -> None:
        super().__init__(session)
        self.gateway = gateway

    # --- jobs --------------------------------------------------------------------------------------------------

    @property
    def _queue(self) -> "SyncQueries":
        from pgqueuer.db import SyncPsycopgDriver
        from pgqueuer.queries import SyncQueries

        return SyncQueries(SyncPsycopgDriver(self.connection.raw))

    def give_jobs(self, entries: Sequence[Entry]) -> None:
        """Queue what is to be done for each row; one that is queued already is left as it is."""
        videos = [entry for entry in entries if entry.state is not State.SUCCEEDED]
        stored = [entry for entry in entries if entry.state is State.SUCCEEDED]
        # What runs already comes before what is still to be sent: the next free seat is its own.
        running = [int(entry.state in OPEN) for entry in videos]
        self._enqueue(video_job(self.gateway), [entry.key for entry in videos], running)
        # What expires first is fetched first, and before a worker whose hands are full pays for more.
        urgency = [max(LATEST - int(entry.expires_at or entry.finished_at or 0), FETCHED) for entry in stored]
        self._enqueue(download_job(self.gateway), [entry.key for entry in stored], urgency)

    def _enqueue(self, job: str, keys: Sequence[str], priorities: Sequence[int]) -> None:
        for start in range(0, len(keys), MANY):
            some = keys[start : start + MANY]
            self._queue.enqueue(
                [job] * len(some),
                [key.encode() for key in some],
                list(priorities[start : start + MANY]),
                dedupe_key=[f"{job} {key}" for key in some],
                on_conflict="skip",
            )

    def restore(self, *, every: float = 0.0) -> int:
        """Queue every row of the fleet's (it has a place) that has something left to be done and no job; how many.

        Args:
            every: Seconds within which one of the fleet does so, by the database's clock.
        """
        name, now = f"restored {self.gateway}", self.now()
        if now - float(self.note(name) or 0.0) < every:
            return 0
        self.write_note(name, str(now))
        query = (
            f"SELECT {', '.join(COLUMNS)} FROM item WHERE gateway = ? AND position IS NOT NULL"  # noqa: S608
            " AND (state IN ('PLANNED', 'SUBMITTING', 'SUBMITTED', 'SUCCEEDED') OR state = 'REJECTED' AND again = ?)"
            " AND NOT EXISTS (SELECT 1 FROM pgqueuer job"
            " WHERE job.dedupe_key = CASE WHEN item.state = 'SUCCEEDED' THEN ? ELSE ? END || ' ' || item.key"
            " AND job.status IN ('queued', 'picked')) ORDER BY rowid LIMIT ?"
        )
        names = (download_job(self.gateway), video_job(self.gateway))
        rows = self.connection.execute(query, (self.gateway, SENT_AGAIN, *names, MANY)).fetchall()
        left = [entry_of(row) for row in rows]
        self.give_jobs(left)
        return len(left)

    # --- what another journal knows --------------------------------------------------------------------------

    def merge(self, known: Entry) -> Entry:
        """Take over what another journal knows of a row, if it tells more; gives the row as it stands.

        A row that is not here is entered if it was paid: one that was not may stand in another fleet's database, and
        would be sent by both. One that was settled by a person meanwhile is left.
        """
        if not has_place(known.task_id):  # else this row would keep the others from being told, for ever
            known = attrs.evolve(known, state=State.UNCERTAIN, task_id=None, candidate=None, detail=NO_PLACE)
        here = self.entry(known.key)
        if here is None:
            return known if known.state in UNPAID else self._enter(known)
        if here.fingerprint != known.fingerprint or not _tells_more(known, here):
            self._note_other(known, here)
            return here
        if known.task_id is not None and self._taken(known, known.task_id):
            return here
        if here.state is not State.SUBMITTED:  # else it is only the end of its task
            self._record(known.key, "healed", known.state, LOCAL, known.task_id or known.candidate)
        told = {name: getattr(known, name) for name in _OUTCOME}
        self._set(known.key, told)
        return self.seen_to(self._must(known.key))

    def _note_other(self, known: Entry, here: Entry) -> None:
        """A row that was paid twice, by a person's word, keeps both ids."""
        if known.task_id in (None, here.task_id) or here.task_id is None:
            return
        query = "SELECT 1 FROM record WHERE key = ? AND task_id = ?"
        if self.connection.execute(query, (known.key, known.task_id)).fetchone() is None:
            self._record(known.key, "another task", here.state, LOCAL, known.task_id)

    def _enter(self, known: Entry) -> Entry:
        told = {name: getattr(known, name) for name in COLUMNS if name not in ("owner", "notify", "run")}
        told |= {"position": known.position or 0, "target_key": self._free_place(known.target)}
        if known.state is State.SUBMITTING:  # of a journal that nobody has any more
            told |= {"state": State.UNCERTAIN}
        names, marks = ", ".join(told), ", ".join("?" * len(told))
        self.connection.execute(
            f"INSERT INTO item ({names}, owner) VALUES ({marks}, ?)",  # noqa: S608 - our own names
            [*told.values(), FLEET],
        )
        return self.seen_to(self._must(known.key))

    def _free_place(self, target: str | None) -> str | None:
        """What keeps other rows from a file's name, if none has it yet."""
        key = target_key(target) if target else None
        taken = self.connection.execute("SELECT 1 FROM item WHERE target_key = ?", (key,)).fetchone()
        return None if taken else key

    def _set(self, key: str, told: dict[str, Any]) -> None:
        marks = ", ".join(f"{name} = ?" for name in told)
        self.connection.execute(f"UPDATE item SET {marks} WHERE key = ?", [*told.values(), key])  # noqa: S608

    def seen_to(self, entry: Entry) -> Entry:
        """Whatever is left to be done for the row has its job."""
        if entry.state in OPEN | {State.PLANNED, State.SUCCEEDED}:
            self.give_jobs([entry])
        return entry

    # --- a worker's steps --------------------------------------------------------------------------------------

    def of_task(self, task_id: str) -> Entry | None:
        """The row of a task."""
        return self.by_task(self.gateway, task_id)

    def taken_over(self, key: str) -> Entry:
        """A create whose sender has gone: nobody knows what came of it."""
        entry = self._must(key)
        if entry.state is State.SUBMITTING:
            self.settle(key, State.UNCERTAIN, GONE)
        return self._must(key)

    def resolve(self, key: str, state: State, what: str, task_id: str | None = None) -> Entry:
        """See `Ledger.resolve`; a worker goes on with it."""
        return self.seen_to(super().resolve(key, state, what, task_id))

    def disown(self, key: str) -> None:
        """See `Ledger.disown`; a worker goes on with it, not the next client that looks."""
        self.connection.execute("UPDATE item SET owner = ? WHERE key = ?", (FLEET, key))

    def anew(self, key: str, why: str) -> None:
        """See `Ledger.anew`; a worker sends it."""
        super().anew(key, why)
        self.seen_to(self._must(key))


def _tells_more(known: Entry, here: Entry) -> bool:
    """Whether one account of a row tells more than the other."""
    if known.state is State.SUBMITTING:  # that somebody is at it: news only to one who has forgotten that
        return here.state in UNPAID and (known.round, known.attempts) == (here.round, here.attempts)
    if known.state in UNPAID:
        return False
    if known.round != here.round:
        return known.round > here.round  # else a person has had it paid anew since
    if RANK[known.state] <= RANK[here.state]:
        return False
    if here.task_id is not None:
        return here.task_id == known.task_id
    return known.task_id is not None or known.attempts > here.attempts  # what was paid stands, whatever was believed
