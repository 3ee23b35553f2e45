"""Rows for the fleet: from a sheet with the batch's own checks, or from a journal with all that it knows."""

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import attrs

from ..batch.entering import Source, columns_of
from ..batch.folder import Folder
from ..batch.planning import Wishes, entering_of, opened
from ..dialects import Dialect
from ..errors import Fault, JournalError
from ..journal import Entry, Ledger, State, open_journal
from ..journal.entries import request_of
from ..journal.owners import Ownership
from ..models import invalid
from ..references import local_references
from .book import SharedJournal
from .bulk import Enqueued, add_columns, entered, last_place, looked_at

HANDED_OVER = "handed over to a fleet"
"""The note of a batch's journal whose rows the fleet has: nobody else may send them."""
CHUNK = 10_000
"""Rows in one transaction."""
SHOWN = 1000
"""Faults that an error names at most."""


@attrs.frozen
class Rows:
    """Rows on this machine, checked and ready to be entered.

    Args:
        ledger: Where they stand.
        columns: Names of their carried columns.
        whole: Whether they come with what they came to.
        bad: Lines left out.
    """

    ledger: Ledger
    columns: list[str]
    whole: bool
    bad: int = 0

    def chunks(self) -> Iterator[list[Entry]]:
        """All of them, some at a time."""
        some: list[Entry] = []
        for entry in self.ledger.entries():
            some.append(entry)
            if len(some) == CHUNK:
                yield some
                some = []
        if some:
            yield some


@contextlib.contextmanager
def sheet_rows(source: Source, dialect: Dialect, wishes: Wishes, progress: Callable[[int], object]) -> Iterator[Rows]:
    """The rows of a sheet, in a passing journal: nothing is entered if one has a fault.

    Raises:
        InvalidRequestError: Faults, each with its line; also a local file, which other machines cannot read.
    """
    with tempfile.TemporaryDirectory() as nowhere:
        folder = Folder(Path(nowhere))
        ledger = Ledger(open_journal(folder.journal))
        try:
            ledger.begin()
            entering = entering_of(dialect, folder, wishes, progress=progress, stop=threading.Event())
            entered = entering.enter(ledger, opened(source))
            ledger.commit()
            _refuse_local(ledger)
            yield Rows(ledger, columns_of(ledger), whole=False, bad=len(entered.bad))
        finally:
            ledger.connection.close()


@contextlib.contextmanager
def journal_rows(path: Path, gateway: str) -> Iterator[Rows]:
    """The rows of a batch's folder, or of any journal's file, with what they came to; nobody works with it meanwhile.

    Raises:
        JournalError: Somebody works with it, or it is another gateway's.
    """
    file = path / "journal.sqlite3" if path.is_dir() else path
    if not file.exists():
        raise JournalError(f"{path}: there is no journal here", may_have_charged=False)
    owner = Ownership(file.absolute(), exclusive=path.is_dir())
    try:
        ledger = Ledger(open_journal(file))
        try:
            begun = ledger.note("batch")
            if begun not in (None, gateway):
                raise JournalError(f"the batch in {path} was begun with {begun}: --gateway {begun}", kind="conflict")
            if begun is not None:
                ledger.begin()
                ledger.take_over("", ledger.owners(), gateway)  # what a crash left is counted as what it is
                ledger.write_note(HANDED_OVER, "1")
                ledger.commit()
            yield Rows(ledger, columns_of(ledger), whole=True)
        finally:
            ledger.connection.close()
    finally:
        owner.release()


async def enqueue(shared: SharedJournal, rows: Rows, *, dry: bool = False) -> Enqueued:
    """Enter rows with their jobs; a row that is there already is not entered, and not paid, again.

    Args:
        shared: The fleet's journal.
        rows: What to enter.
        dry: Only look what it would come to.

    Raises:
        InvalidRequestError: Two rows want the same file; nothing was entered.
    """
    told, faults, base = Enqueued(bad=rows.bad), list[Fault](), await shared.fleet(last_place)
    for some in rows.chunks():
        counted, clashes = await shared.fleet(partial(looked_at, some=some))
        told, faults = told + counted, faults + clashes
    if faults:
        raise invalid(faults[:SHOWN])
    if not dry:
        for some in rows.chunks():
            await shared.fleet(partial(entered, some=some, base=base, whole=rows.whole))
        await shared.fleet(lambda ledger: add_columns(ledger, rows.columns))
    return told


def _refuse_local(ledger: Ledger) -> None:
    told = "is a file of this machine: upload it first (omni-async upload FILE), and give its URL"
    faults = [
        Fault(f"line {entry.position}: {field}", told)
        for entry in ledger.entries([State.PLANNED])
        if (request := request_of(entry)) is not None
        for field, _ in local_references(request)
    ]
    if faults:
        raise invalid(faults[:SHOWN])
