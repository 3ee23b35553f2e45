"""The report's file: read from the journal in one look, written whole, and only when something has changed."""

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..disk import private, replacing
from ..errors import JournalError
from ..journal import Entry, Ledger, State, open_journal
from ..journal.schema import JOURNAL_FILE, journal_error
from ..journal.shown import alive_in, paid_kinds, shown_state
from .page import Facts, in_script, page
from .plots import Span
from .rows import WORDS, Setting, row_of

NAME = "report.html"
VIDEOS = "videos"
TRAFFIC = "traffic"
"""The note in which a batch leaves what its last run sent."""
ROWS, LETTERS = 20_000, 32 * 1024 * 1024
"""Rows in a page, and letters of their data, at most: a browser has to hold it."""
CALM = 60.0
"""Seconds after which a page that somebody may watch is dated anew although nothing has changed."""


def write_report(place: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of a batch, finished or running, or of any other journal; only looks at the journal.

    Args:
        place: The batch's folder, or a journal's file.
        output: The file to write; by default `report.html` beside the journal. Videos are linked from there.

    Returns:
        The file, readable by its owner only.

    Raises:
        JournalError: There is no journal, or it cannot be read.
        OSError: The file cannot be written; what was there stays.
    """
    given = Path(place)
    journal = given / JOURNAL_FILE if given.is_dir() else given
    if not journal.exists():
        raise JournalError(f"there is no journal at {journal}", may_have_charged=False)
    report = Report(journal, Path(output) if output is not None else None)
    try:
        return report.write()
    finally:
        report.close()


class Report:
    """A journal's report, written as often as wanted. Not for two threads at once.

    Args:
        journal: The journal's file.
        output: The file to write; by default `report.html` beside it.
        clock: Wall time, in seconds since 1970.
    """

    def __init__(self, journal: Path, output: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._journal = journal.resolve()
        self.path = output if output is not None else self._journal.with_name(NAME)
        self._clock = clock
        self._ledger: Ledger | None = None
        self._version: tuple[int, float] | None = None
        self._stop = threading.Event()

    def write(self, *, running: bool | None = None, traffic: Mapping[str, Any] | None = None) -> Path:
        """Write the page.

        Args:
            running: Whether the rows being sent have somebody who sends them; None finds out, owner by owner.
            traffic: What the run has sent so far (`Traffic.document()`); None takes what the journal has of the last.

        Raises:
            JournalError: The journal cannot be read.
            OSError: The file cannot be written; what was there stays.
        """
        try:
            text = self._page(self._opened(), running=running, traffic=traffic)
        except sqlite3.Error as error:
            raise journal_error(error, self._journal) from None
        if not self._stop.is_set():
            with replacing(self.path) as new, os.fdopen(private(new), "wb") as file:
                file.write(text.encode("utf-8", "replace"))
        return self.path

    def write_changed(self, traffic: Mapping[str, Any]) -> bool:
        """Write the page of a running batch if the journal has changed since, or some time has passed; whether it did.

        Raises:
            JournalError: The journal cannot be read.
            OSError: The file cannot be written.
        """
        number = int(self._opened().connection.execute("PRAGMA data_version").fetchone()[0])
        now = self._clock()
        if self._version is not None and self._version[0] == number and now < self._version[1] + CALM:
            return False
        self.write(running=True, traffic=traffic)
        self._version = number, now
        return True

    def stop(self) -> None:
        """Let a writing that is under way in another thread end soon, without a page."""
        self._stop.set()

    def go_on(self) -> None:
        """Take `stop` back."""
        self._stop.clear()

    def close(self) -> None:
        """Close the journal; writing again opens it again."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.connection.close()

    def _opened(self) -> Ledger:
        if self._ledger is None:
            self._ledger = Ledger(open_journal(self._journal, read_only=True))
        return self._ledger

    # --- reading -----------------------------------------------------------------------------------------------

    def _page(self, ledger: Ledger, *, running: bool | None, traffic: Mapping[str, Any] | None) -> str:
        ledger.connection.execute("BEGIN")  # counts and rows belong to one moment
        try:
            run = ledger.note("run")
            setting = Setting(
                journal=self._journal,
                videos=_link(self._journal.parent / VIDEOS, self.path.absolute().parent),
                run=int(run) if run else None,
                alive=alive_in(self._journal) if running is None else lambda _owner: running,
            )
            gathered = Gathered(setting)
            for entry in self._entries(ledger, setting):
                if not gathered.add(entry):
                    break
            return page(self._facts(ledger, setting, gathered, running=bool(running), traffic=traffic))
        finally:
            ledger.connection.execute("ROLLBACK")

    def _entries(self, ledger: Ledger, setting: Setting) -> Iterator[Entry]:
        """All rows: what may have been paid first, the others as in the sheet."""
        doubtful = [
            entry
            for entry in ledger.entries([State.UNCERTAIN, State.SUBMITTING])
            if shown_state(entry, setting.alive) is State.UNCERTAIN
        ]
        yield from doubtful
        seen = {entry.key for entry in doubtful}
        for entry in ledger.entries():
            if self._stop.is_set():
                return
            if entry.key not in seen:
                yield entry

    def _facts(
        self,
        ledger: Ledger,
        setting: Setting,
        gathered: "Gathered",
        *,
        running: bool,
        traffic: Mapping[str, Any] | None,
    ) -> Facts:
        states = ledger.counts()
        total = sum(states.values())
        whole = total == len(gathered.rows)
        return Facts(
            title=self._journal.parent.name if self._journal.name == JOURNAL_FILE else self._journal.name,
            gateway=ledger.note("batch"),
            written=self._clock(),
            running=running,
            total=total,
            rows=gathered.rows,
            counts=gathered.counts if whole else {word: states.get(state, 0) for state, word in WORDS.items()},
            paid=sum(paid_kinds(ledger, self._journal).values()),
            spans=gathered.spans,
            unknown=gathered.unknown,
            traffic=traffic if traffic is not None else _noted_traffic(ledger, setting.run),
        )


class Gathered:
    """Rows as the page shows them, as many as it can hold.

    Args:
        setting: Where the report is made.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._letters = 0
        self.rows: list[str] = []
        self.counts: dict[str, int] = dict.fromkeys(WORDS.values(), 0)
        self.spans: list[Span] = []
        self.unknown = 0

    def add(self, entry: Entry) -> bool:
        """Take a row, if there is room for it; whether there was."""
        row = row_of(entry, self._setting)
        text = in_script(row)
        self._letters += len(text)
        if len(self.rows) >= ROWS or self._letters > LETTERS:
            return False
        self.rows.append(text)
        self.counts[row["state"]] += 1
        self.unknown += entry.inputs is None
        if entry.sent_at is not None and (entry.finished_at is not None or entry.state is State.SUBMITTED):
            good = entry.state in (State.DONE, State.SUCCEEDED, State.EXPIRED)
            self.spans.append(Span(entry.sent_at, entry.finished_at, good, row.get("model")))
        return True


def _noted_traffic(ledger: Ledger, run: int | None) -> dict[str, Any] | None:
    """What the last run sent, if it ended in good order and left word of it."""
    with contextlib.suppress(ValueError):
        found = json.loads(ledger.note(TRAFFIC) or "{}")
        if isinstance(found, dict) and found.get("run") == run:
            return found if {"counts", "width", "seconds", "pauses"} <= found.keys() else None
    return None


def _link(target: Path, start: Path) -> str:
    """A folder as a page in another one links to it."""
    try:
        found = Path(os.path.relpath(target, start)).as_posix()
    except ValueError:  # on another drive
        return target.as_uri()
    return f"./{quote(os.fsencode(found), safe='/')}"
