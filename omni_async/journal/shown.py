"""What a reader is told of a journal: where each row stands, and how much was paid. The journal stays as it is."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import attrs

from .anew import WHY
from .entries import Entry, sent_again
from .fallback import waiting
from .ledger import Ledger
from .noted import HOW
from .owners import FileLock, beside
from .states import State

LOST = "the program that was sending it ended before an answer was written down"

SHOWN_AS: Mapping[State, State] = {State.UNCERTAIN: State.SUBMITTING, State.PLANNED: State.REJECTED}
"""States that are shown, and what else a row can be in the journal then."""

Alive = Callable[[str | None], bool]
"""Tells whether the owner of a row still lives."""


def alive_in(journal: Path) -> Alive:
    """Tells whether an owner of rows still lives; one whose lock cannot be looked at is taken to live."""
    journal = journal.resolve()

    @cache
    def alive(owner: str | None) -> bool:
        if not owner:
            return False
        lock = FileLock(beside(journal, f"owner-{owner}"))
        try:
            return not lock.acquire(make=False)
        except OSError:
            return True
        finally:
            lock.release()

    return alive


def shown_state(entry: Entry, alive: Alive) -> State:
    """Where a row stands for a reader: a create whose sender has gone may have been paid."""
    if entry.state is State.SUBMITTING and not alive(entry.owner):
        return State.UNCERTAIN
    return State.PLANNED if sent_again(entry) else entry.state


class ShownLedger(Ledger):
    """A journal's rows as they stand for a reader, to look at.

    Args:
        connection: To the journal's database.
        alive: Tells whether the owner of a row still lives.
    """

    def __init__(self, connection: sqlite3.Connection, alive: Alive) -> None:
        super().__init__(connection)
        self._alive = alive

    def entry(self, key: str) -> Entry | None:
        """See `Ledger.entry`."""
        entry = super().entry(key)
        return None if entry is None else self._shown(entry)

    def entries(self, states: Iterable[State] | None = None) -> Iterator[Entry]:
        """See `Ledger.entries`; the states are those that are shown."""
        wanted = None if states is None else {*states}
        kept = None if wanted is None else wanted | {SHOWN_AS[state] for state in wanted if state in SHOWN_AS}
        shown = map(self._shown, super().entries(kept))
        return shown if wanted is None else (entry for entry in shown if entry.state in wanted)

    def counts(self) -> dict[State, int]:
        """See `Ledger.counts`."""
        counts = Counter(super().counts())
        for entry in super().entries(SHOWN_AS.values()):
            counts[entry.state] -= 1
            counts[shown_state(entry, self._alive)] += 1
        return dict(+counts)

    def _shown(self, entry: Entry) -> Entry:
        state = shown_state(entry, self._alive)
        if state is entry.state:
            return entry
        return attrs.evolve(entry, state=state, detail=entry.detail or (LOST if state is State.UNCERTAIN else None))


def shown_ledger(ledger: Ledger, journal: Path) -> ShownLedger:
    """The rows of an open journal as they stand for a reader."""
    return ShownLedger(ledger.connection, alive_in(journal))


def paid_kinds(ledger: Ledger, journal: Path) -> dict[str, int]:
    """How many creates were surely accepted, in all runs and with rows that have left the sheet, by kind of video.

    A redo may have changed the kind: the video before it is counted as the row's present one.
    """
    redone = (*WHY.values(), HOW)  # not what is sent anew because its emulator has ended
    query = (
        "SELECT kind FROM item WHERE task_id IS NOT NULL UNION ALL"  # noqa: S608
        " SELECT kind FROM (SELECT DISTINCT item.key, kind, record.task_id FROM record JOIN item USING (key) WHERE"
        f" what = 'anew' AND record.detail IN ({', '.join('?' * len(redone))}) AND record.task_id IS NOT NULL"
        " AND record.task_id IS NOT item.task_id)"
    )
    told = ledger.connection.execute(f"SELECT coalesce(kind, ''), count(*) FROM ({query}) GROUP BY 1", redone)  # noqa: S608
    paid = Counter(dict(told.fetchall()))
    paid.update(entry.kind or "" for entry, state, _ in waiting(journal, ledger) if state is State.SUBMITTED)
    return dict(paid)
