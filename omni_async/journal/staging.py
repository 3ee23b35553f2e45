"""A sheet's rows entered into the journal, all or none: what is new, what was edited, what stays as it is.

A row is known by its key, never by its place: sorting, inserting and deleting rows change nothing. What was paid is
never paid again without a person's word.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from ..errors import Fault
from .anew import REDO, RETRY, SheetLedger, Wish
from .entries import SENT_AGAIN, Entry, file_of
from .states import FINAL, UNPAID, State

PREFIX = 12
"""Hex digits of the fingerprint that make the id of a row without one."""
FAILED = (State.FAILED, State.CANCELED, State.EXPIRED)
"""What `retry` is for."""
CACHE = 64 * 1024
"""KiB of the database kept in memory while a sheet is entered: its keys come in no order."""

_INSERT = (
    "INSERT OR IGNORE INTO item (key, custom_id, gateway, fingerprint, state, inputs, metadata, planned_at, target,"
    " target_key, carried, kind, position, run)"
    " VALUES (?, ?, ?, ?, 'PLANNED', ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@attrs.frozen(kw_only=True)
class Row:
    """A checked row of a sheet, ready to be entered.

    Args:
        line: Where it stands in the sheet; unique and growing.
        custom_id: The caller's id; None takes one from the fingerprint.
        fingerprint: What is asked of the gateway, as `identity.fingerprint_of` tells it.
        inputs: The keywords of the `VideoRequest` that were given, as JSON, without `custom_id` and `metadata`; local
            paths are absolute.
        metadata: The caller's own data, as JSON.
        target: Where the video goes, relative; None if that follows from an id which is yet to be made.
        target_key: What no two rows may share.
        carried: The columns that are only carried, as JSON.
        kind: What it is in a few words, for counting.
        warnings: What is doubtful about it.
    """

    line: int
    custom_id: str | None
    fingerprint: str
    inputs: str
    metadata: str | None
    target: str | None
    target_key: str | None
    carried: str | None
    kind: str
    warnings: tuple[Fault, ...]


@attrs.define(kw_only=True)
class Changes:
    """What a sheet changed: rows that are new, the same, edited before they were paid, edited afterwards."""

    new: int = 0
    same: int = 0
    updated: int = 0
    kept: int = 0
    redone: int = 0
    retried: int = 0
    missing: int = 0

    @property
    def to_be_paid_again(self) -> dict[str, int]:
        """Rows by the option that asks for it."""
        return {REDO: self.redone, RETRY: self.retried}


@attrs.frozen
class Staged:
    """What a sheet changed, and what it comes to.

    Args:
        changes: What it changed.
        states: How many of its rows stand where.
        kinds: Those that are to be sent, by kind.
        edited: Those whose edit came after they were paid, and was not taken, by where they stand.
        moderated: Those, not edited, whose tasks were refused for their content: trying again would not help.
    """

    changes: Changes
    states: dict[State, int]
    kinds: dict[str, int]
    edited: dict[State, int] = attrs.field(factory=dict)
    moderated: int = 0


def _taken(key: str, line: int | None) -> Fault:
    return Fault("id", f"{key!r} is the id of line {line} already")


def _file_taken(target: str | None, where: str) -> Fault:
    return Fault("file", f"{target!r} is the file of {where} already (capitals make no difference)")


class Staging:
    """One sheet being entered.

    Args:
        ledger: Inside a transaction.
        gateway: Of its rows.
        redo_edited: Whether rows edited after paying are paid again.
        clock: Wall time, in seconds since 1970.
        occupied: Tells whether something is in the place of a file to be made; None if nothing can be.
        moderated: Tells whether a row's task was refused for its content.
    """

    def __init__(
        self,
        ledger: SheetLedger,
        gateway: str,
        *,
        redo_edited: bool = False,
        clock: Callable[[], float] = time.time,
        occupied: Callable[[str], bool] | None = None,
        moderated: Callable[[Entry], bool] = lambda _: False,
    ) -> None:
        self._ledger, self._gateway, self._redo, self._occupied = ledger, gateway, redo_edited, occupied
        self._execute, self._moderated = ledger.connection.execute, moderated
        self._now = clock()
        self.run = ledger.last_run + 1
        self.changes = Changes()
        self._kinds: dict[str, int] = {}
        self._folders: set[str] = set()
        self._left_out: dict[str, int] = {}
        self._left_files: dict[str, int] = {}
        ledger.forget_wishes()
        self._execute("DROP TABLE IF EXISTS temp.repeat")
        self._execute("DROP TABLE IF EXISTS temp.edited")
        self._execute("CREATE TEMP TABLE edited (key TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, row: Row) -> Fault | None:
        """Enter one row; a fault, and nothing entered, if its id or its file is another row's or the file is there."""
        if row.custom_id is not None and row.custom_id in self._left_out:
            return self.left_out(row.custom_id, row.line)
        place = row.target_key
        if place in self._left_files:
            return _file_taken(row.target, f"line {self._left_files[place]}")
        if place is not None and ("/" in place or place in self._folders):
            fault = self._in_the_way(row, place)
            if fault is not None:
                return fault
        return self._enter(row, row.custom_id or row.fingerprint[:PREFIX])

    def left_out(self, key: str, line: int) -> Fault | None:
        """A row of this id is in the sheet and has faults: it stays as it is, and is not missing.

        Gives one fault more if the id is that of an earlier line.
        """
        entry = self._ledger.entry(key)
        if entry is not None and entry.run == self.run:
            return _taken(key, entry.position)
        first = self._left_out.setdefault(key, line)
        return None if first == line else _taken(key, first)

    def file_left_out(self, target: str, target_key: str, line: int) -> Fault | None:
        """As `left_out`, of the file that such a row names."""
        query = "SELECT position FROM item WHERE target_key = ? AND run = ?"
        found = self._execute(query, (target_key, self.run)).fetchone()
        first = found[0] if found else self._left_files.setdefault(target_key, line)
        return None if first == line else _file_taken(target, f"line {first}")

    def _enter(self, row: Row, key: str) -> Fault | None:
        other = self._with_target(row, key) if self.changes.redone else None  # a file that is only to be is not a row's
        if other is None and self._insert(row, key):
            if self._occupied is not None and (fault := self._found(file_of(key, row.target))) is not None:
                self._execute("DELETE FROM item WHERE key = ?", (key,))
                return fault
            self.changes.new += 1
            self._kinds[row.kind] = self._kinds.get(row.kind, 0) + 1
            return None
        return self._meet(row, key)

    def _found(self, target: str) -> Fault | None:
        """A file in the place of one that is to be made: found before it is paid."""
        if self._occupied is None or not self._occupied(target):
            return None
        return Fault("file", f"{target!r} is in the folder already: move it away, or name another file")

    def _in_the_way(self, row: Row, place: str) -> Fault | None:
        """One row's file would be another's folder."""
        if place in self._folders:
            return Fault("file", f"{row.target!r} is a folder for other rows' files")
        while "/" in place:
            place = place.rpartition("/")[0]
            if place not in self._folders:
                taken = self._execute("SELECT 1 FROM item WHERE target_key = ?", (place,)).fetchone()
                if taken or self._ledger.wished_for(place, row.custom_id or ""):
                    return Fault("file", f"{row.target!r} lies in a folder that is another row's file")
                self._folders.add(place)
        return None

    def _insert(self, row: Row, key: str) -> bool:
        values = (key, key, self._gateway, row.fingerprint, row.inputs, row.metadata, self._now,
                  file_of(key, row.target), row.target_key, row.carried, row.kind, row.line, self.run)  # fmt: skip
        return self._execute(_INSERT, values).rowcount > 0

    def _meet(self, row: Row, key: str) -> Fault | None:
        """Something of this key, or with this file, is there already."""
        entry = self._ledger.entry(key)
        if entry is not None and entry.run == self.run and row.custom_id is not None:
            return _taken(key, entry.position)
        fresh = entry is not None and (entry.run == self.run or entry.fingerprint != row.fingerprint)
        if fresh and row.custom_id is None:  # its id is made of what it asks for
            return self._repeat(row, key)
        other = self._with_target(row, key)
        if other is not None and other.run != self.run and other.state is not State.DONE:
            self._move_away(other)
            return self._enter(row, key)
        if other is not None:
            where = f"line {other.position}" if other.run == self.run else f"row {other.key!r}, which is in the journal"
            return _file_taken(row.target, where)
        if entry is None:
            return None
        if entry.state in UNPAID and entry.sha256 is None:  # else it is its old video, which is kept beside
            fault = self._found(row.target or entry.file)
            if fault is not None:
                return fault
        self._known(row, entry)
        return None

    def _repeat(self, row: Row, key: str) -> Fault | None:
        """The same inputs once more, without an id: a second video of it."""
        query = "SELECT value FROM repeat WHERE key = ?"
        self._execute("CREATE TEMP TABLE IF NOT EXISTS repeat (key TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID")
        count = (self._execute(query, (key,)).fetchone() or (1,))[0] + 1
        self._execute("INSERT OR REPLACE INTO repeat VALUES (?, ?)", (key, count))
        return self._enter(row, f"{key}-{count}")

    def _with_target(self, row: Row, key: str) -> Entry | None:
        if row.target_key is None:
            return None
        query = "SELECT key FROM item WHERE target_key = ? AND key != ?"
        found = self._execute(query, (row.target_key, key)).fetchone()
        other = found[0] if found else self._ledger.wished_for(row.target_key, key)
        return self._ledger.entry(other) if other else None

    def _move_away(self, other: Entry) -> None:
        """A row of an earlier run, whose file was not made yet, leaves its place to a row of this sheet.

        It gets what this sheet names for it, if it is still there.
        """
        stem, dot, ending = other.file.rpartition(".")
        target = f"{stem}-{other.fingerprint[:PREFIX]}{dot}{ending}"
        self._execute("UPDATE item SET target = ?, target_key = NULL WHERE key = ?", (target, other.key))

    def _known(self, row: Row, entry: Entry) -> None:
        """A row of an earlier run."""
        changes, place_is_open = self.changes, entry.state is not State.DONE
        if entry.fingerprint == row.fingerprint:
            changes.same += 1
        elif entry.state in UNPAID:
            changes.updated += 1
            self._replace(row, entry.key)
        elif self._redo and entry.state in FINAL:
            changes.redone += 1
            place_is_open = False
            self._pay_again(row, entry.key)
        else:
            changes.kept += 1
            self._execute("INSERT INTO edited VALUES (?)", (entry.key,))
        self._execute(
            "UPDATE item SET run = ?, position = ?, carried = ?, metadata = ?, kind = coalesce(kind, ?),"
            " inputs = CASE WHEN fingerprint = ? THEN coalesce(inputs, ?) ELSE inputs END,"
            " target = coalesce(target, ?) WHERE key = ?",
            (self.run, row.line, row.carried, row.metadata, row.kind, row.fingerprint, row.inputs, entry.file,
             entry.key),
        )  # fmt: skip
        if place_is_open and row.target is not None:
            self._execute(
                "UPDATE item SET target = ?, target_key = ? WHERE key = ?", (row.target, row.target_key, entry.key)
            )

    def _replace(self, row: Row, key: str) -> None:
        """Other inputs for a row that is to be sent."""
        self._execute(
            "UPDATE item SET state = 'PLANNED', fingerprint = ?, inputs = ?, kind = ?, again = 0, detail = NULL"
            " WHERE key = ?",
            (row.fingerprint, row.inputs, row.kind, key),
        )

    def _pay_again(self, row: Row, key: str) -> None:
        """Its old video stays what it is until the new one is paid."""
        asked = {"fingerprint": row.fingerprint, "inputs": row.inputs, "kind": row.kind}
        wish = Wish(key=key, wish=REDO, target=row.target, target_key=row.target_key, **asked)
        self._ledger.wish(wish)

    def retry(self) -> None:
        """Wish a new attempt for what failed, was cancelled or expired, and was not refused for its content."""
        for entry in list(self._ledger.wished([*FAILED, State.REJECTED])):
            refused = entry.state is State.REJECTED and entry.again != 1
            if entry.run == self.run and not refused and not self._moderated(entry):
                self.changes.retried += 1
                self._ledger.wish(Wish(key=entry.key, wish=RETRY))

    def finish(self) -> Staged:
        """The sheet is through: what is in it is this run's. Gives how many of its rows stand where."""
        self._ledger.write_note("run", str(self.run))
        self._ledger.write_note("batch", self._gateway)
        if self.run == 1 and self.changes == Changes(new=self.changes.new):  # nothing was there to be looked for
            return Staged(self.changes, {State.PLANNED: self.changes.new}, self._kinds)
        self._execute(
            "UPDATE item SET state = 'PLANNED', detail = NULL WHERE state = 'REJECTED' AND again = ? AND run = ?",
            (SENT_AGAIN, self.run),
        )
        missing = self._execute("SELECT count(*) FROM item WHERE run < ?", (self.run,)).fetchone()[0]
        self.changes.missing = missing - sum(self._is_old(key) for key in self._left_out)
        return Staged(self.changes, *self._counted(), self._edited(), self._refused())

    def _is_old(self, key: str) -> bool:
        """Whether a row stands as an earlier sheet left it."""
        entry = self._ledger.entry(key)
        return entry is not None and entry.run is not None and entry.run < self.run

    def _counted(self) -> tuple[dict[State, int], dict[str, int]]:
        states: dict[State, int] = {}
        kinds: dict[str, int] = {}
        query = "SELECT state, kind, count(*) FROM temp.sheet WHERE run = ? GROUP BY state, kind"
        for state, kind, count in self._execute(query, (self.run,)):
            states[State(state)] = states.get(State(state), 0) + count
            if state == State.PLANNED:
                kinds[kind or ""] = count
        return states, kinds

    def _edited(self) -> dict[State, int]:
        query = "SELECT state, count(*) FROM temp.sheet JOIN edited USING (key) GROUP BY state"
        return {State(state): count for state, count in self._execute(query)}

    def _refused(self) -> int:
        """Failed rows, not edited, that trying again would not help."""
        edited = "SELECT 1 FROM edited WHERE key = ?"
        return sum(
            entry.run == self.run and self._moderated(entry) and not self._execute(edited, (entry.key,)).fetchone()
            for entry in self._ledger.wished(FAILED)
        )

    def write_columns(self, names: list[str]) -> None:
        """Note the carried columns, those of earlier sheets behind them."""
        self._ledger.write_columns([*names, *self._ledger.columns])

    def resume(self) -> None:
        """No sheet this time: the rows of the last one stand."""
        self.run -= 1


@contextmanager
def all_or_none(connection: sqlite3.Connection) -> Iterator[None]:
    """What happens inside is undone if it raises; the transaction around it goes on."""
    connection.execute(f"PRAGMA cache_size = -{CACHE}")
    connection.execute("SAVEPOINT sheet")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK TO sheet")
        raise
    finally:
        connection.execute("RELEASE sheet")
        connection.execute("PRAGMA cache_size = -2000")
