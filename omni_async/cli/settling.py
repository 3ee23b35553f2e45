"""`settle`: the answer to the one open question about a create that may have been paid."""

import asyncio
import contextlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from ..batch.entering import check_own
from ..batch.folder import Folder
from ..batch.results import Results
from ..errors import JournalError, OmniError
from ..journal import Entry, Ledger, SqliteJournal, State
from ..report import write_report
from ..report.rows import journal_argument
from .again import generate_line
from .batchjob import options_of
from .exits import DONE, UsageError
from .ledgers import found, own_path, reading
from .options import Json
from .output import as_json
from .running import run_plain
from .screen import Screen

ANSWERS = "--task-id T | --not-charged | --pay-again"
TaskId = Annotated[
    str | None, typer.Option("--task-id", metavar="T", help="It was accepted: this is its task. Costs nothing.")
]


def given_answer(*, task_id: str | None, not_charged: bool, pay_again: bool) -> dict[str, Any]:
    """The one answer that was given, as keywords of `resolve`.

    Raises:
        UsageError: None was, or more than one.
    """
    if (task_id is not None) + not_charged + pay_again != 1:
        raise UsageError(f"say one of {ANSWERS}")
    return {"task_id": task_id, "not_charged": not_charged, "pay_again": pay_again}


def settle_line(path: Path, key: str = "ID") -> str:
    """The command that settles a row of a journal."""
    return f"omni-async settle {shlex.quote(str(journal_argument(path)))} {shlex.quote(key)} {ANSWERS}"


def settle(
    place: Annotated[
        Path, typer.Argument(metavar="DIR_OR_FILE", help="The batch's folder, or the journal's file or folder.")
    ],
    key: Annotated[str, typer.Argument(metavar="ID", help="The row, as omni-async journal shows it.")],
    task_id: TaskId = None,
    not_charged: Annotated[
        bool, typer.Option("--not-charged", help="It surely was not accepted: it may be sent.")
    ] = False,
    pay_again: Annotated[
        bool, typer.Option("--pay-again", help="Nobody can tell: it may be sent, and perhaps [b]pays twice[/b].")
    ] = False,
    json: Json = False,
) -> None:
    """Settle a row that may have been paid and has no task id.

    Or one whose task the gateway no longer shows: its detail in the
    journal says that it cannot be followed, and why. Look for the video in
    the gateway's console or bill first. Nothing is sent by this: the next
    run follows the task, or sends the row.

    Examples:

      omni-async journal shots --state uncertain
      omni-async settle shots s17 --task-id task_0123456789
      omni-async settle shots s18 --not-charged
    """
    answer = given_answer(task_id=task_id, not_charged=not_charged, pay_again=pay_again)
    settling = Settling(path=found(place), key=key, answer=answer)
    run_plain(settling.run, json=json)


@attrs.frozen(kw_only=True)
class Settling:
    """A row to settle.

    Args:
        path: The journal's file.
        key: The row's id.
        answer: Keywords of `SqliteJournal.resolve`.
    """

    path: Path
    key: str
    answer: dict[str, Any]

    async def run(self, screen: Screen) -> int:
        """Settle it and tell what happens next."""
        with reading(self.path) as ledger:
            check_own(ledger, self.path.parent)
            batch, row, options = ledger.note("batch"), ledger.entry(self.key), options_of(ledger)
            run = ledger.last_run
        if row is None:
            raise JournalError(f"there is no row {self.key!r} in {self.path}", may_have_charged=False)
        journal = SqliteJournal(self.path, gateway=row.gateway, exclusive=batch is not None, follow_others=False)
        try:
            await journal.claim()  # what a crash left in flight is uncertain from now on
            entry = await journal.resolve(self.key, **self.answer)
            if batch is not None:
                await journal.run(self._rewritten())
        finally:
            await journal.aclose()
        if Folder(self.path.parent).report.exists():
            with contextlib.suppress(OmniError, OSError):  # the row is settled; the next run writes the page again
                await asyncio.to_thread(write_report, self.path)
        then = self._then(entry, options, in_sheet=entry.run == run)
        if screen.show.json:
            told = {"id": entry.key, "state": str(entry.state), "task_id": entry.task_id, "next": then}
            screen.result(as_json(told))
        else:
            screen.result(f"{entry.key}: {entry.state.lower()}")
            screen.note(then)
        return DONE

    def _rewritten(self) -> Callable[[Ledger], None]:
        """The batch's results anew: the row's line says what it is now."""
        results = Results(Folder(self.path.parent))
        return lambda ledger: results.rewrite(ledger.entries(), ledger.columns)

    def _then(self, entry: Entry, options: list[str], *, in_sheet: bool) -> str:
        """What happens next, and by which command."""
        out = shlex.join(["--out", str(self.path.parent), *options])
        run = f"omni-async batch {out}"
        batch = bool(options)
        if entry.state is State.SUBMITTED and not batch:
            own = f": omni-async wait --gateway {entry.gateway}" if self._own() else ""
            return f"the task is followed by the next client of this journal{own}"
        if entry.state is State.SUBMITTED:
            return f"the task is followed by the next run: {run}"
        pays = "which may pay a second time" if self.answer["pay_again"] else "which pays"
        if not batch:
            line = generate_line(entry) if self._own() else None
            return f"this sends it, {pays}: {line}" if line else f"submitting it again with this id sends it, {pays}"
        if not in_sheet:
            again = f"put it back and run that, {pays}: omni-async batch SHEET {out}"
            return f"it is no longer in the sheet, so no run sends it; to have it made, {again}"
        return f"it is sent by the next run, {pays}: {run}"

    def _own(self) -> bool:
        return self.path.resolve() == own_path().resolve()
