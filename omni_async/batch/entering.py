"""A sheet into the journal: one pass that checks every row and enters it, committed only when all are good."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from ..dialects import Dialect
from ..errors import Fault, JournalError, OmniError, invalid_argument, invalid_request
from ..journal.anew import SheetLedger
from ..journal.entries import Entry, read_task
from ..journal.ledger import Ledger
from ..journal.staging import Changes, Row, Staged, Staging, all_or_none
from ..models import VideoRequest
from ..safety import target_key
from ..wording import brief
from .cells import cell_text
from .columns import at_line, field_of
from .folder import Folder
from .given import records_of
from .record import BadRecord, SheetRecord
from .rows import Checker
from .sheet import Sheet, open_sheet
from .storing import find_again
from .unsent import asked_target

Source = str | os.PathLike[str] | BinaryIO | Iterable[VideoRequest | Mapping[str, Any]]

SHOWN = 1000
"""Faulty lines that an error names at most; it says how many there are beyond."""
DOUBTS, FIRST = 100, 3
"""Different warnings that are told at most, and lines that are named for each."""
STEP = 5000
"""Rows between two reports of progress."""
HANDED_OVER = "handed over to a fleet"
"""The note of a batch's journal whose rows a fleet has, which it names: nobody else may send them."""


@attrs.frozen(kw_only=True)
class SheetOptions:
    """How a sheet is to be taken.

    Args:
        encoding: Of a text file; None finds out.
        skip_bad: Leave out rows with faults instead of refusing the sheet.
        redo_edited: Pay again for rows that were edited after they were paid.
        retry_failed: Pay again for rows that failed or expired, not for moderated or uncertain ones.
        strict: Whether what breaks the documents' rules is a fault.
    """

    encoding: str | None = None
    skip_bad: bool = False
    redo_edited: bool = False
    retry_failed: bool = False
    strict: bool = True


@attrs.frozen(kw_only=True)
class Entering:
    """How a sheet is entered.

    Args:
        dialect: Whose rules its rows keep.
        folder: Of the batch.
        options: How the sheet is to be taken.
        progress: Called in the journal's thread with the rows read so far.
        stop: Set to give up.
    """

    dialect: Dialect
    folder: Folder
    options: SheetOptions
    progress: Callable[[int], object]
    stop: threading.Event

    def enter(self, ledger: SheetLedger, source: Source | None) -> "Entered":
        """Check and enter a sheet, inside a transaction of the ledger's; without one, the last sheet's rows stand.

        Raises:
            InvalidRequestError: Faults, each with its line; nothing was entered.
        """
        self._check_gateway(ledger, resumed=source is None)
        find_again(self.folder, ledger)  # before anything is to be paid again
        staging = Staging(
            ledger,
            self.dialect.name,
            redo_edited=self.options.redo_edited,
            occupied=self._occupied() if source is not None else None,
            moderated=partial(moderated, self.dialect),
        )
        with all_or_none(ledger.connection):
            bad: list[BadRecord] = []
            doubts = Doubts()
            if source is None:
                staging.resume()
            else:
                bad = self._read(staging, source, doubts)
                self._check_faults(bad, entered=staging.changes)
            if self.options.retry_failed:
                staging.retry()
            staged = staging.finish()
        return Entered(staged=staged, bad=tuple(bad), warnings=tuple(doubts.told()), guesses=tuple(doubts.guesses))

    def _check_gateway(self, ledger: Ledger, *, resumed: bool) -> None:
        check_own(ledger, self.folder.path)
        gateway = ledger.note("batch")
        if resumed and gateway is None:
            raise invalid_argument(Fault("file", f"{self.folder.path} holds no batch yet: name a file with rows"))
        if gateway is not None and gateway != self.dialect.name:
            fault = Fault(
                "gateway", f"the batch in {self.folder.path} was begun with {gateway}, not {self.dialect.name}"
            )
            raise invalid_argument(fault)

    def _read(self, staging: Staging, source: Source, doubts: "Doubts") -> list[BadRecord]:
        """Enter row after row; gives those with faults, and counts what is doubtful about the others."""
        bad: list[BadRecord] = []
        guess = None
        with _records(source, self.options.encoding) as records:
            checker = Checker(self.dialect, strict=self.options.strict, folder=_beside(source))
            for count, record in enumerate(records, 1):
                row = _read_on(record, checker) if isinstance(record, BadRecord) else checker.check(record)
                if isinstance(row, BadRecord):
                    bad.append(BadRecord(row.line, (*self._left_out(staging, record), *row.faults)))
                elif (fault := staging.add(row)) is not None:
                    bad.append(BadRecord(row.line, (fault,)))
                    if row.custom_id is not None:
                        staging.left_out(row.custom_id, row.line)
                else:
                    doubts.add(row)
                if records.guessed and guess is None:
                    guess = _foreign_prompt(record)
                if count % STEP == 0:
                    self._report(count)
            doubts.guesses += [
                Fault("sheet", f"read as {name}" + (f": “{guess}”" if guess else "")) for name in records.guessed
            ]
        staging.write_columns(checker.carried_columns)
        return bad

    def _report(self, count: int) -> None:
        if self.stop.is_set():
            raise OmniError("stopped while the rows were checked; nothing was entered", may_have_charged=False)
        self.progress(count)

    def _occupied(self) -> Callable[[str], bool] | None:
        """Tells whether something is in the place of a file to be made; None if nothing can be, as in a new folder."""
        videos = self.folder.videos
        if not videos.is_dir() or not any(videos.iterdir()):
            return None
        root = os.path.join(videos, "")  # noqa: PTH118 - asked for each row that waits: paths as text are faster
        return lambda target: os.path.lexists(root + target)

    def _left_out(self, staging: Staging, record: SheetRecord | BadRecord) -> list[Fault]:
        """A row with faults is in the sheet all the same, if one can tell which. Its id or file may be another's."""
        read = record.rest if isinstance(record, BadRecord) else record
        if read is None:
            return []
        given = [value for name, value in read.values.items() if field_of(name) in ("id", "custom_id")]
        keys = [str(key) for key in (map(cell_text, given) if read.cells else given) if key not in (None, "")]
        target = asked_target(
            read.values.get(next((name for name in read.values if field_of(name) == "file"), "")), read.cells, []
        )
        found = [staging.left_out(key, record.line) for key in keys]
        found += [staging.file_left_out(target, target_key(target), record.line)] if target is not None else []
        return [fault for fault in found if fault is not None]

    def _check_faults(self, bad: list[BadRecord], *, entered: Changes) -> None:
        """Refuse the sheet for its faults, all of them at once."""
        if bad and not self.options.skip_bad:
            raise faulty(bad)
        if not bad and not any(attrs.astuple(entered)):
            raise invalid_request([Fault("file", "there are no rows in it")])


@attrs.frozen(kw_only=True)
class Entered:
    """What a sheet changed, and what the journal holds now.

    Args:
        staged: See `staging.Staged`.
        bad: Lines with faults.
        warnings: What is doubtful about the others, as `Doubts.told` tells it.
        guesses: What was guessed of the sheet, with words of it: for the eyes of who pays, and for no log.
    """

    staged: Staged
    bad: tuple[BadRecord, ...]
    warnings: tuple[Fault, ...]
    guesses: tuple[Fault, ...] = ()


class Doubts:
    """What is doubtful about the rows of a sheet, which may be a million: each thing once."""

    def __init__(self) -> None:
        self.guesses: list[Fault] = []
        self._counts: dict[Fault, int] = {}
        self._first: dict[Fault, list[int]] = {}
        self._others = 0

    def add(self, row: Row) -> None:
        """Count what is doubtful about a row."""
        for fault in row.warnings:
            if fault not in self._counts and len(self._counts) == DOUBTS:
                self._others += 1
                continue
            self._counts[fault] = self._counts.get(fault, 0) + 1
            lines = self._first.setdefault(fault, [])
            if len(lines) < FIRST:
                lines.append(row.line)

    def told(self) -> Iterator[Fault]:
        """Each with the first lines that it concerns, and how many more."""
        for fault, count in self._counts.items():
            lines = ", ".join(map(str, self._first[fault]))
            more = f" and {count - FIRST:,} more" if count > FIRST else ""
            yield fault._replace(field=f"line{'s' if count > 1 else ''} {lines}{more}: {fault.field}")
        if self._others:
            yield Fault("file", f"and {self._others:,} warnings of other kinds")


def check_own(ledger: Ledger, place: Path) -> None:
    """Refuse to work on a batch whose rows a fleet has.

    Raises:
        JournalError: It has them.
    """
    fleet = ledger.note(HANDED_OVER)
    if fleet is not None:
        raise JournalError(
            f"the rows of {place} were handed over to the fleet at {fleet.partition(' ')[2]}, whose workers send them: "
            "omni-async fleet status shows it, and omni-async fleet results writes what came of them",
            kind="conflict",
            may_have_charged=False,
        )


def moderated(dialect: Dialect, entry: Entry) -> bool:
    """Whether a row's task was refused for its content: a new attempt would be refused again."""
    told = read_task(entry.task) if entry.task else {}
    return dialect.moderated(told.get("error_code"), told.get("error_message"))


def faulty(bad: Iterable[BadRecord]) -> OmniError:
    """One error that names every faulty line and each of its faults."""
    lines = [record for record in bad if record.faults]
    faults = [at_line(record.line, fault) for record in lines[:SHOWN] for fault in record.faults]
    if len(lines) > SHOWN:
        faults.append(Fault("file", f"and {len(lines) - SHOWN:,} more lines with faults"))
    return invalid_request(faults)


def _read_on(bad: BadRecord, checker: Checker) -> BadRecord:
    """What cannot be read of a line hides no fault of the rest."""
    found = checker.check(bad.rest) if bad.rest is not None else None
    if not isinstance(found, BadRecord):
        return bad
    told = {field_of(fault.field) for fault in bad.faults}
    return bad._replace(faults=(*bad.faults, *(fault for fault in found.faults if fault.field not in told)))


def _foreign_prompt(record: SheetRecord | BadRecord) -> str | None:
    """A record's prompt in brief, if it has letters beyond ASCII."""
    values = record.values if isinstance(record, SheetRecord) else {}
    prompt = str(next((value for name, value in values.items() if field_of(name) == "prompt"), None) or "")
    return None if prompt.isascii() else brief(prompt)


def _records(source: Source, encoding: str | None) -> Sheet:
    """The records of a file, a stream or an iterable, in a `with`."""
    if isinstance(source, str | os.PathLike) or hasattr(source, "read"):
        given: Any = Path(source) if isinstance(source, str | os.PathLike) else source
        return open_sheet(given, encoding=encoding)
    return Sheet(records_of(source))


def _beside(source: Source) -> Path:
    """Where local references of a sheet are looked for: beside it."""
    return Path(source).absolute().parent if isinstance(source, str | os.PathLike) else Path.cwd()
