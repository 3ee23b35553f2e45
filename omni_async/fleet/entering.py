"""Rows for the fleet: from a sheet with the batch's own checks, or from a journal with all that it knows."""

import contextlib
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import attrs

from ..batch.entering import HANDED_OVER, SHOWN, Entering, SheetOptions, Source, faulty, moderated
from ..batch.folder import Folder
from ..batch.planning import no_progress, opened
from ..batch.record import BadRecord
from ..dialects import Dialect
from ..errors import Fault, JournalError, invalid_request
from ..fields import local_references
from ..journal import Entry, Ledger, State, open_journal
from ..journal.anew import SheetLedger
from ..journal.entries import request_of, sent_again
from ..journal.owners import Ownership
from ..journal.staging import FAILED
from ..journal.states import UNPAID
from .book import SharedJournal, own_file
from .bulk import (
    Enqueued,
    IsRefused,
    can_be_tried,
    counted,
    entered,
    last_place,
    looked_at,
    tried_again,
)
from .tables import FleetLedger

CHUNK = 2000
"""Rows in one transaction: the workers wait for it."""
FLEET_NAME = "fleet"
"""The note of a fleet's own name, by which a folder knows who has its rows."""


@attrs.frozen(kw_only=True)
class Rows:
    """Rows on this machine, checked and ready to be entered.

    Args:
        ledger: Where they stand.
        gateway: Whose they are.
        columns: Names of their carried columns.
        path: Of the journal whose rows they are, with what they came to; None for a sheet's.
        run: The last run of a batch: what it was to send, the fleet sends. None for a journal of another kind, of which
            nothing is sent.
        bad: Lines left out.
        warnings: What is doubtful about a sheet's rows, each with its first lines.
        guesses: What was guessed of the sheet, with words of it.
    """

    ledger: Ledger
    gateway: str
    columns: list[str]
    path: Path | None = None
    run: int | None = None
    bad: int = 0
    warnings: tuple[Fault, ...] = ()
    guesses: tuple[Fault, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether they come with what they came to."""
        return self.path is not None

    def chunks(self) -> Iterator[tuple[list[Entry], int]]:
        """All of them, some at a time, and how many were passed over because they are not to be sent."""
        some: list[Entry] = []
        passed = 0
        for entry in self.ledger.entries():
            if entry.gateway != self.gateway:
                continue
            if self.whole and not self._belongs(entry):
                passed += 1
                continue
            some.append(entry)
            if len(some) == CHUNK:
                yield some, passed
                some, passed = [], 0
        if some or passed:
            yield some, passed

    def _belongs(self, entry: Entry) -> bool:
        """Whether a row was paid, or is still to be: not one that is no longer in the batch's sheet."""
        return entry.state not in UNPAID or (self.run is not None and entry.run == self.run)

    def check_fleet(self, name: str, *, lost: bool) -> None:
        """See that no other fleet has these rows.

        Args:
            name: Of this one.
            lost: Whether the other one's database is known to be lost.

        Raises:
            JournalError: Another one has them, and would pay for them too.
        """
        other, _, place = (self.ledger.note(HANDED_OVER) or "").partition(" ")
        if self.run is not None and other and other != name and not lost:
            raise JournalError(
                f"another fleet, at {place}, has the rows of {self.path}. If its database is lost for good: enqueue "
                "the journals of all its workers first, which know what was paid; then this with --database-lost",
                kind="conflict",
                may_have_charged=False,
            )

    def hand_over(self, name: str, place: str) -> None:
        """A batch's own rows are the fleet's from now on: durably, before one of them is entered."""
        if self.run is not None:
            self.ledger.write_note(HANDED_OVER, f"{name} {place}")
            self.ledger.commit()


@contextlib.contextmanager
def sheet_rows(
    source: Source,
    dialect: Dialect,
    sheet_options: SheetOptions,
    progress: Callable[[int], object] = no_progress,
    stop: threading.Event | None = None,
) -> Iterator[Rows]:
    """The rows of a sheet, in a passing journal: nothing is entered if one has a fault.

    Args:
        source: The sheet.
        dialect: Whose rules its rows keep.
        sheet_options: How it is taken; what they say of rows that were paid does not concern the passing journal.
        progress: Called with the rows read so far.
        stop: Set to give up.

    Raises:
        InvalidRequestError: Faults, each with its line; also a local file, which other machines cannot read.
    """
    sheet_options = attrs.evolve(sheet_options, retry_failed=False, redo_edited=False)
    with tempfile.TemporaryDirectory() as nowhere:
        folder = Folder(Path(nowhere))
        ledger = SheetLedger(open_journal(folder.journal))
        ledger.connection.execute("PRAGMA synchronous = OFF")  # it is of no use to anybody after this
        try:
            ledger.begin()
            entering = Entering(
                dialect=dialect,
                folder=folder,
                options=sheet_options,
                progress=progress,
                stop=stop or threading.Event(),
            )
            came = entering.enter(ledger, opened(source))
            bad = len(came.bad) + _leave_out_local(ledger, skip=sheet_options.skip_bad)
            ledger.commit()
            yield Rows(
                ledger=ledger,
                gateway=dialect.name,
                columns=ledger.columns,
                bad=bad,
                warnings=came.warnings,
                guesses=came.guesses,
            )
        finally:
            ledger.connection.close()


def journal_at(path: Path, gateway: str) -> Path:
    """The journal's file in a batch's folder or a worker's, or as named.

    Raises:
        JournalError: There is none.
    """
    there = (Folder(path).journal, own_file(path, gateway))
    file = next((file for file in there if file.exists()), there[0]) if path.is_dir() else path
    if not file.exists():
        raise JournalError(f"{path}: there is no journal of a batch or a worker here", may_have_charged=False)
    return file


@contextlib.contextmanager
def journal_rows(path: Path, dialect: Dialect) -> Iterator[Rows]:
    """The rows of a batch's folder, a worker's, or any journal's file, with what they came to.

    Nobody works with it meanwhile. It stays as it is, unless its rows are handed over.

    Args:
        path: The folder or file.
        dialect: Its gateway's.

    Raises:
        JournalError: There is none, somebody works with it, or it is another gateway's.
        InvalidRequestError: What is still to be sent needs a file of this machine.
    """
    file = journal_at(path, dialect.name)
    owner = Ownership(file, exclusive=True)
    try:
        ledger = Ledger(open_journal(file))
        try:
            begun = ledger.note("batch")
            if begun not in (None, dialect.name):
                raise JournalError(f"the batch in {path} was begun with {begun}: --gateway {begun}", kind="conflict")
            ledger.begin()
            ledger.take_over("", ledger.owners(), dialect.name)  # what a crash left is counted as what it is
            run = ledger.last_run if begun is not None else None
            if run is not None and ledger.note(HANDED_OVER) is None:
                _refuse_local(ledger, run)
            yield Rows(ledger=ledger, gateway=dialect.name, columns=ledger.columns, path=path, run=run)
        finally:
            ledger.rollback()
            ledger.connection.close()
    finally:
        owner.release()


# --- local files -----------------------------------------------------------------------------------------------------


def _local(entries: Iterator[Entry]) -> Iterator[tuple[Entry, BadRecord]]:
    """Rows that need a file of this machine."""
    told = "is a file of this machine, which workers cannot read: omni-async upload FILE, and give its URL"
    for entry in entries:
        request = request_of(entry)
        faults = [Fault(field, f"{link} {told}") for field, link in local_references(request)] if request else []
        if faults:
            yield entry, BadRecord(entry.position or 0, tuple(faults))


def _leave_out_local(ledger: Ledger, *, skip: bool) -> int:
    """Refuse a sheet for its local files, or leave those rows out; how many were."""
    bad = list(_local(ledger.entries([State.PLANNED])))
    if bad and not skip:
        raise faulty(record for _, record in bad)
    for entry, _ in bad:
        ledger.connection.execute("DELETE FROM item WHERE key = ?", (entry.key,))
    return len(bad)


def _refuse_local(ledger: Ledger, run: int) -> None:
    def to_send(entry: Entry) -> bool:
        return entry.run == run and (entry.state is State.PLANNED or sent_again(entry))

    bad = [record for _, record in _local(filter(to_send, ledger.entries(UNPAID)))]
    if bad:
        raise faulty(bad)


def refused_by(dialect: Dialect) -> IsRefused:
    """Tells whether a failed row would only be refused for its content again, or needs a file of some machine."""

    def refused(entry: Entry) -> bool:
        return moderated(dialect, entry) or any(_local(iter([entry])))

    return refused


# --- entering --------------------------------------------------------------------------------------------------------


async def look(shared: SharedJournal, rows: Rows, *, refused: IsRefused | None = None, lost: bool = False) -> Enqueued:
    """What rows would come to; nothing is entered.

    Args:
        shared: The fleet's journal.
        rows: What is to be entered.
        refused: With it, those that failed are tried again, unless it says that this would not help.
        lost: Whether another fleet that has them has lost its database.

    Raises:
        InvalidRequestError: Another row has the id or the file of one.
        JournalError: Another fleet has them.
    """
    rows.check_fleet(await shared.run(fleet_name), lost=lost)
    told, faults = Enqueued(bad=rows.bad), list[Fault]()
    for some, passed in rows.chunks():
        seen, clashes = await shared.run(partial(looked_at, some=some, whole=rows.whole, refused=refused))
        told, faults = told + seen + Enqueued(unsent=passed), faults + clashes
    if faults:
        raise invalid_request(faults[:SHOWN])
    return told


async def enter(
    shared: SharedJournal,
    rows: Rows,
    *,
    refused: IsRefused | None = None,
    progress: Callable[[int], object] = no_progress,
) -> None:
    """Enter rows with their jobs; a row that is there already is not entered, and not paid, again.

    It goes on where it was cut short if it is called again with the same rows.

    Args:
        shared: The fleet's journal.
        rows: What `look` found nothing against.
        refused: See `look`.
        progress: Called with the rows entered so far.

    Raises:
        JournalError: The database cannot be written.
    """
    base, name, place = await shared.run(lambda ledger: (last_place(ledger), fleet_name(ledger), database_of(ledger)))
    await shared.run(lambda ledger: ledger.write_columns([*ledger.columns, *rows.columns]))
    rows.hand_over(name, place)
    count = 0
    for some, _ in rows.chunks():
        await shared.run(partial(entered, some=some, base=base, whole=rows.whole, refused=refused))
        progress(count := count + len(some))


def fleet_name(ledger: FleetLedger) -> str:
    """The fleet's own name, made if it has none."""
    name = ledger.note(FLEET_NAME)
    if name is None:
        ledger.write_note(FLEET_NAME, name := secrets.token_hex(8))
    return name


def database_of(ledger: FleetLedger) -> str:
    """Where the database is, without who asks and how."""
    info = ledger.connection.raw.info
    return f"{info.host}/{info.dbname}"


async def failed_rows(shared: SharedJournal, refused: IsRefused) -> tuple[Enqueued, list[str]]:
    """The fleet's rows that failed or expired and may be tried again, counted and by key."""

    def find(ledger: FleetLedger) -> list[Entry]:
        rows = ledger.entries([*FAILED, State.REJECTED])
        return [
            row for row in rows
            if row.gateway == ledger.gateway and row.position is not None and can_be_tried(row, refused)
        ]  # fmt: skip

    found = await shared.run(find)
    return counted(found), [entry.key for entry in found]


async def retry(shared: SharedJournal, refused: IsRefused, keys: Sequence[str]) -> int:
    """Try rows again that failed or expired; how many of them still had."""
    count = 0
    for start in range(0, len(keys), CHUNK):
        count += await shared.run(partial(tried_again, refused=refused, keys=keys[start : start + CHUNK]))
    return count
