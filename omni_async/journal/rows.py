"""The journal's rows as they stand: what is read of them, as plain functions of one database connection."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator

import attrs

from ..dialects import Reply
from ..errors import JournalError
from ..models import VideoTask
from .entries import COLUMNS, PAY_AGAIN, Entry, Record, entry_of, state_named
from .states import UNPAID, State

RECORD = tuple(field.name for field in attrs.fields(Record))
"""The columns of a record, in the order of its fields."""
DOUBTFUL = f"SELECT key FROM record WHERE what = 'settled' AND detail = '{PAY_AGAIN}'"  # noqa: S608 - our own words
"""Rows that were to be sent again since nobody could tell: an earlier create of them may have been charged."""
RECALLED = ("model", "mode", "created_at", "request_id")
"""What a row does not keep of its task and the answer to its create tells."""

ReadCreate = Callable[[Reply], VideoTask]
"""A dialect's `read_create`."""

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM item"  # noqa: S608 - column names of our own
LIVE, UNSETTLED = "state IN ('SUBMITTING', 'SUBMITTED')", "state = 'UNCERTAIN'"
"""Rows that may be running at their gateway, and those to be settled: in the words of the indexes of them."""


def _among(states: Iterable[State]) -> str:
    """The condition for rows in these states, spelt as indexes spell it: else all that ever ended are walked over."""
    named = set(states)
    if named == {State.UNCERTAIN}:
        return UNSETTLED
    named_so = f"state IN ({', '.join(sorted(repr(str(state)) for state in named))})"
    return f"{named_so} AND {LIVE}" if named <= {State.SUBMITTING, State.SUBMITTED} else named_so


class Rows:
    """The rows, to look at.

    Args:
        connection: To the journal's database.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def entry(self, key: str) -> Entry | None:
        """One row."""
        row = self.connection.execute(f"{_SELECT} WHERE key = ?", (key,)).fetchone()
        return None if row is None else entry_of(row)

    def _must(self, key: str) -> Entry:
        entry = self.entry(key)
        if entry is None:
            raise JournalError(f"row {key!r} has gone from the journal")
        return entry

    def entries(self, states: Iterable[State] | None = None) -> Iterator[Entry]:
        """All rows, or those in certain states, in the order of the sheet or of entering."""
        marks = "" if states is None else f" WHERE {_among(states)}"
        for row in self.connection.execute(f"{_SELECT}{marks} ORDER BY position, rowid"):
            yield entry_of(row)

    def planned(self, run: int, after: int, count: int) -> list[tuple[int, Entry]]:
        """The next rows of a run that are to be sent, each with its place; `after` is the place of the last one."""
        query = f"SELECT rowid, {', '.join(COLUMNS)} FROM item WHERE state = 'PLANNED' AND run = ? AND rowid > ?"  # noqa: S608
        rows = self.connection.execute(f"{query} ORDER BY rowid LIMIT ?", (run, after, count))
        return [(row[0], entry_of(row[1:])) for row in rows]

    def by_task(self, gateway: str, task_id: str) -> Entry | None:
        """A task's row, if it has one."""
        row = self.connection.execute(f"{_SELECT} WHERE gateway = ? AND task_id = ?", (gateway, task_id)).fetchone()
        return None if row is None else entry_of(row)

    def counts(self) -> dict[State, int]:
        """How many rows stand where."""
        counted = self.connection.execute("SELECT state, count(*) FROM item GROUP BY state")
        return {state_named(state): count for state, count in counted}

    def records(self, key: str) -> list[Record]:
        """What happened to a row, the oldest first."""
        query = f"SELECT {', '.join(RECORD)} FROM record WHERE key = ? ORDER BY rowid"  # noqa: S608
        return [Record(**dict(zip(RECORD, row, strict=True))) for row in self.connection.execute(query, (key,))]

    def paid_before(self, entry: Entry) -> bool:
        """Whether it may have been paid: it was, or a person had it sent again since nobody could tell."""
        if entry.state not in UNPAID or entry.sent_at is None:
            return entry.state not in UNPAID
        return self.connection.execute(f"{DOUBTFUL} AND key = ?", (entry.key,)).fetchone() is not None

    def recalled(self, key: str, task: VideoTask, read: ReadCreate) -> VideoTask:
        """A row's task, its gaps filled from the answer as it is kept; as it is if that is not kept or unreadable."""
        answers = [record for record in self.records(key) if record.body and record.task_id == task.task_id]
        if not answers:
            return task
        last = answers[-1]
        headers = {"x-request-id": last.request_id} if last.request_id else {}
        try:
            told = read(Reply(status=last.status or 200, headers=headers, body=last.body or b""))
            gaps = {name: getattr(told, name) for name in RECALLED if getattr(task, name) is None}
        except Exception:  # it was written down before anybody knew whether it can be read
            return task
        return attrs.evolve(task, **gaps)

    @property
    def last_run(self) -> int:
        """The number of a batch's last run; 0 before the first, and without a batch."""
        return int(self.note("run") or 0)

    @property
    def columns(self) -> list[str]:
        """Names of the sheet's carried columns."""
        return [str(name) for name in json.loads(self.note("columns") or "[]")]

    def note(self, name: str) -> str | None:
        """What is noted under a name."""
        row = self.connection.execute("SELECT value FROM note WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])
