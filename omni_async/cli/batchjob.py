"""A batch from its plan to its exit code: asks, runs, and tells what it came to."""

import asyncio
import os
import shlex
from collections.abc import Iterable
from typing import Any

import attrs

from ..batch import Batch, Bounds, Plan, SheetOptions, Summary
from ..batch.entering import check_own
from ..batch.folder import Folder
from ..journal import Ledger, SqliteJournal, State
from ..report.rows import in_shell
from ..settings import base_url_of
from ..wording import counted, doubtful
from .asking import asks, at_terminal, confirmed
from .connect import Target, served, words_for
from .exits import CONFIRM_ABOVE, DONE, FAILED, STOPPED, UNCERTAIN, UsageError, in_options
from .ledgers import reading
from .output import as_json
from .results import failing
from .screen import DRAINED, Leaving, Screen
from .tally import Tally

EMULATED = "emulator"
"""The note of a batch that was made of test videos."""
ADDRESS = "base_url"
"""The note of where a batch's gateway was last."""
DECLINED = "you said no"
ENDED = "the emulator that made it has ended"
HUSHED = ("a create finished after its caller had gone", "the journal cannot be searched for unfinished tasks")
"""Warnings of the library that a batch tells better: of a drained create, which the journal has and the next run
follows; and of a journal that cannot be opened, which ends the command."""
NAMED = 5
"""Rows that are named at the end; a command shows all."""
PATIENCE = 2.0
"""Seconds to end in good order while nothing was sent: a sheet may come from a pipe that never ends."""


def check_begun(folder: Folder, *, gateway: str, emulator: bool, own: bool = True) -> None:
    """Refuse a folder whose batch belongs to another gateway or to a fleet, before anything is made or asked for.

    Args:
        folder: Of the batch.
        gateway: Which is asked for.
        emulator: Whether that is the emulator's.
        own: Whether a fleet may not have its rows.

    Raises:
        UsageError: It belongs to another gateway.
        JournalError: A fleet has its rows.
    """
    begun, emulated = _begun(folder, own=own)
    other = "another folder with --out" if own else "another folder"
    if begun is not None and begun != gateway:
        raise UsageError(f"the batch in {folder.path} was begun with {begun}: add --gateway {begun}, or name {other}")
    if begun is not None and emulated != emulator:
        told = "with the emulator: its videos are test pictures" if emulated else "without the emulator"
        raise UsageError(f"the batch in {folder.path} was begun {told}; name {other}")


def _begun(folder: Folder, *, own: bool) -> tuple[str | None, bool]:
    """The gateway of the batch in a folder, if there is one, and whether that was the emulator's."""
    if not folder.journal.exists():
        return None, False
    with reading(folder.journal) as ledger:
        if own:
            check_own(ledger, folder.path)
        return ledger.note("batch"), ledger.note(EMULATED) == "1"


@attrs.frozen(kw_only=True)
class BatchJob:
    """A batch to run.

    Args:
        source: The sheet.
        folder: Where everything goes.
        sheet_options: How the sheet is taken.
        bounds: Where to stop.
        yes: Whether to begin without asking.
        tally: Counts for the view.
        kept: Options that the command that goes on has, too: above all the bounds of what is paid.
    """

    source: str | None
    folder: Folder
    sheet_options: SheetOptions
    bounds: Bounds
    yes: bool
    tally: Tally
    kept: list[str]

    async def run(self, screen: Screen, target: Target) -> int:
        """Plan, ask, run, and tell what came of it."""
        again = self.again(target)
        screen.early = Leaving(lost=("left; nothing was sent",), patience=PATIENCE)
        screen.hushed = HUSHED
        async with served(target) as settings:
            work = Batch(
                self.source,
                out=self.folder.path,
                gateway=target.gateway,
                sheet_options=self.sheet_options,
                bounds=self.bounds,
                on_event=self.tally.on_event,
                **settings,
            )
            try:
                with failing(json=screen.show.json):
                    async with screen:
                        await self._start_over(screen, target)
                        async with work:
                            summary = await self._run(screen, target, work, again)
            except asyncio.CancelledError:
                ended = work.ended
                if ended is None:
                    screen.note("nothing was entered or sent")
                    raise
                code = tell(screen, ended, again)
                if ended.unsent or ended.under_way or ended.put_off:
                    raise
                return code
        return tell(screen, summary, again)

    async def _start_over(self, screen: Screen, target: Target) -> None:
        """An emulator knows nothing of the tasks that ran in an earlier one: they are sent anew, and pay nothing."""
        if not target.emulator or not self.folder.journal.exists():
            return
        journal = SqliteJournal(self.folder.journal, gateway=target.gateway, exclusive=True, follow_others=False)
        try:
            count = await journal.run(_unmade)
        finally:
            await journal.aclose()
        if count and not screen.show.quiet:
            screen.note(
                f"{counted(count, 'task')} ended with the emulator of the last run: sent anew, nothing was paid"
            )

    async def _run(self, screen: Screen, target: Target, work: Batch, again: str) -> Summary:
        address = base_url_of(work.dialect, target.base_url)
        before = await work.journal.run(lambda ledger: _write_served(ledger, emulator=target.emulator, address=address))
        if before is not None and not screen.show.quiet:
            screen.note(f"warning: this batch was at {before} before, and goes on at {address}")
        if self.source == "-" and at_terminal():
            screen.note("reading rows from this terminal: end them with Ctrl-D")
        plan = await work.plan(progress=self.tally.reading)
        self.tally.planned()
        for line in plan.doubts() if screen.show.quiet else plan.lines():
            screen.note(in_options(line))
        if not await self._agreed(screen, plan):
            return attrs.evolve(await work.summary(), stopped=DECLINED)
        lost = "left at once: creates in flight may have been charged; the next run shows them as uncertain"
        waiting = [name for name, count in plan.changes.to_be_paid_again.items() if count]
        screen.early = Leaving(waits=DRAINED, lost=(lost, f"to go on: {again}{flags(waiting)}"))
        self.tally.begin(work.progress, work.client.stats, unsent=plan.unsent, to_pay=plan.to_pay)
        return await work.run()

    async def _agreed(self, screen: Screen, plan: Plan) -> bool:
        """Whether to begin; on a terminal many videos are asked for first."""
        if self.yes or plan.to_pay <= CONFIRM_ABOVE or not asks(taken=self.source == "-"):
            return True
        with screen.aside():
            return await confirmed(f"Pay for {plan.to_pay:,} videos?")

    def again(self, target: Target) -> str:
        """The command that goes on; what was edited after it was paid stands in the sheet alone."""
        needless = self.source is None or (self.source == "-" and not self.sheet_options.redo_edited)
        source = [] if needless else [str(self.source)]
        emulator = ["--emulator"] if target.emulator else []
        options = ["--out", os.fspath(self.folder.path), *target.words(), *emulator, *self.kept]
        return f"omni-async batch {shlex.join([*source, *options])}"


def _write_served(ledger: Ledger, *, emulator: bool, address: str) -> str | None:
    """Note what a new batch is made with, and where its gateway is; gives where it was before."""
    if ledger.note("batch") is None:
        ledger.write_note(EMULATED, "1" if emulator else "0")
    before = ledger.note(ADDRESS)
    ledger.write_note(ADDRESS, address)
    return None if emulator or before == address else before


def _unmade(ledger: Ledger) -> int:
    """Have sent anew what an emulator that has ended was making; how much that was. Of a real gateway, nothing."""
    left = list(ledger.entries([State.SUBMITTED, State.SUCCEEDED])) if ledger.note(EMULATED) == "1" else []
    for entry in left:
        ledger.anew(entry.key, ENDED)
    return len(left)


def options_of(ledger: Ledger) -> list[str]:
    """The options with which the batch command reaches the gateway of a batch again."""
    gateway = ledger.note("batch")
    if gateway is None:
        return []
    emulated = ledger.note(EMULATED) == "1"
    return ["--gateway", gateway, "--emulator"] if emulated else words_for(gateway, ledger.note(ADDRESS))


def tell(screen: Screen, summary: Summary, again: str) -> int:
    """Show what it came to; gives the exit code."""
    code = code_of(summary)
    screen.result(as_json(document(summary)) if screen.show.json else str(summary.folder))
    if code != DONE or not screen.show.quiet:
        for line in told(summary, again):
            screen.note(line)
    return code


def code_of(summary: Summary) -> int:
    """The exit code: uncertain rows before rows that were not sent before failed ones."""
    if summary.uncertain:
        return UNCERTAIN
    if summary.unsent or summary.put_off:
        return STOPPED
    return FAILED if summary.failed or summary.not_stored or summary.under_way else DONE


def document(summary: Summary) -> dict[str, Any]:
    """What it came to as plain JSON data."""
    return {
        "folder": str(summary.folder),
        "done": summary.done,
        "failed": summary.failed,
        "not_stored": summary.not_stored,
        "uncertain": summary.uncertain,
        "uncertain_elsewhere": list(summary.uncertain_elsewhere),
        "unsent": summary.unsent,
        "under_way": summary.under_way,
        "put_off": dict(summary.put_off),
        "paid": summary.paid,
        "cost": summary.cost,
        "stopped": in_options(summary.stopped) if summary.stopped else None,
        "noted": [str(path) for path in summary.noted],
        "seconds": round(summary.seconds, 1),
        "states": {str(state): count for state, count in summary.states.items()},
    }


def told(summary: Summary, again: str) -> list[str]:
    """What it came to, and the next step, as lines."""
    counts = (
        (summary.done, "done"),
        (summary.failed, "failed"),
        (summary.not_stored, "not stored"),
        (summary.uncertain, "uncertain"),
        (summary.unsent, "not sent"),
        (summary.under_way, "still under way"),
    )
    lines = [" · ".join(f"{count:,} {word}" for count, word in counts if count) or "nothing to do"]
    lines += _paid(summary)
    if summary.put_off:
        lines.append(f"{sum(summary.put_off.values()):,} to be paid again, not sent: they stay as they were")
    if summary.stopped:
        lines.append(f"stopped: {in_options(summary.stopped)}")
    folder = shlex.quote(str(summary.folder))
    if summary.failed:
        lines.append(f"why they failed: omni-async journal {folder} --state failed,rejected,expired,canceled")
    if summary.not_stored:
        lines.append(
            f"why they were not stored, which the next run tries again: omni-async journal {folder} --state succeeded"
        )
    if summary.noted:
        lines.append(
            "answers to creates that the journal could not take are noted, their task ids with them, in "
            f"{' and '.join(shlex.quote(str(path)) for path in summary.noted)}: keep it, free space on the disk, and "
            "run the same command again"
        )
    lines += _uncertain(summary, folder)
    if summary.unsent or summary.under_way or summary.noted or summary.put_off:
        lines.append(f"to go on: {again}{flags(summary.put_off)}")
    return lines


def _paid(summary: Summary) -> list[str]:
    """What the batch has cost so far, whichever run paid for it."""
    if not summary.paid:
        return []
    currency = summary.prices.currency if summary.prices else ""
    about = "" if summary.cost is None else f", about {summary.cost:,.2f} {currency}".rstrip()
    doubt = f"; {summary.uncertain:,} uncertain" if summary.uncertain else ""
    return [f"{counted(summary.paid, 'video')} paid over all runs{about}{doubt}"]


def _uncertain(summary: Summary, folder: str) -> list[str]:
    """What to do about rows that may have been paid, and which of them are no longer in the sheet."""
    if not summary.uncertain:
        return []
    elsewhere = summary.uncertain_elsewhere
    lines = [
        f"{doubtful(summary.uncertain)}: omni-async journal {folder} --state uncertain; look in "
        f"the gateway's console, then: omni-async settle {folder} ID --task-id T | --not-charged | --pay-again"
    ]
    if elsewhere:
        more = f" and {len(elsewhere) - NAMED:,} more" if len(elsewhere) > NAMED else ""
        lines.append(f"no longer in the sheet: {' '.join(map(in_shell, elsewhere[:NAMED]))}{more}")
    return lines


def flags(names: Iterable[str]) -> str:
    """Options of these names, behind a command: ` --redo-edited`."""
    return "".join(f" --{name.replace('_', '-')}" for name in names)
