"""`batch`: every video of a sheet."""

import asyncio
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from ..batch import Batch, Bounds, Plan, Prices, Summary, Wishes, dry_plan
from ..errors import Fault
from ..models import invalid
from .connect import Target, served
from .exits import CONFIRM_ABOVE, DONE, FAILED, STOPPED, UNCERTAIN
from .options import (
    BaseUrl,
    Gateway,
    GatewayName,
    Json,
    Poll,
    Progress,
    ProgressMode,
    Quiet,
    ScenarioFile,
    UseEmulator,
)
from .output import as_json, note, out
from .running import run
from .screen import Screen, Show
from .tally import Tally

_BOUNDS, _SHEET = "Money and speed", "Sheet"


def _bound(*names: str, help: str, metavar: str = "N", **more: Any) -> Any:  # noqa: A002 - typer's word
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=_BOUNDS, **more)


def _sheet(*names: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's word
    return typer.Option(*names, help=help, rich_help_panel=_SHEET, **more)


File = Annotated[
    str | None,
    typer.Argument(metavar="FILE", help="JSONL, CSV or .xlsx, [b]-[/b] for stdin; none goes on with what --out holds."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Folder for all that is made; FILE's name without its ending."),
]
Encoding = Annotated[str | None, _sheet("--encoding", help="Of a text file, where it cannot be told: utf-8, gb18030.")]
SkipBad = Annotated[bool, _sheet("--skip-bad", help="Leave out rows with faults instead of refusing the sheet.")]
RetryFailed = Annotated[
    bool, _sheet("--retry-failed", help="[b]Pays again[/b] for rows that failed or expired; not for moderated ones.")
]
RedoEdited = Annotated[
    bool, _sheet("--redo-edited", help="[b]Pays again[/b] for rows that were edited after they were paid.")
]
Limit = Annotated[int | None, _bound("--limit", help="Pay for so many videos at most.", min=0)]
PriceFile = Annotated[
    Path | None,
    _bound("--prices", metavar="FILE", help='JSON such as {"1080p": 0.9, "*": 0.5}: words of a kind, and an amount.'),
]
MaxCost = Annotated[float | None, _bound("--max-cost", help="Pay so much at most; needs --prices.", min=0.0)]
Concurrency = Annotated[int | None, _bound("--concurrency", help="Tasks running at the gateway at most.", min=1)]
StopAfter = Annotated[
    int | None, _bound("--stop-after-failures", help="Send no more when so many rows have failed.", min=1)
]
WaitFor = Annotated[
    float | None, _bound("--timeout", metavar="SECONDS", help="Wait for one task so long at most.", min=0.01)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however many videos will be paid.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the sheet and show the plan; needs no key.")]


def batch(
    file: File = None,
    out_dir: Out = None,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,
    retry_failed: RetryFailed = False,
    redo_edited: RedoEdited = False,
    limit: Limit = None,
    prices: PriceFile = None,
    max_cost: MaxCost = None,
    concurrency: Concurrency = None,
    stop_after_failures: StopAfter = None,
    timeout: WaitFor = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    gateway: Gateway = GatewayName.JIMMY,
    base_url: BaseUrl = None,
    emulator: UseEmulator = False,
    scenario: ScenarioFile = None,
    poll: Poll = None,
    json: Json = False,
    progress: Progress = ProgressMode.AUTO,
    quiet: Quiet = False,
) -> None:
    """Make every video of a sheet. [b]This pays.[/b]

    A row has the fields of a request (prompt, duration, model, …), an id,
    a file name if you like, and any columns of your own. The sheet is
    checked as a whole and the plan is shown before anything is paid. The
    same command again goes on where it stopped: nothing is paid twice,
    sorting and adding rows change nothing. DIR gets journal.sqlite3,
    results.jsonl, results.csv and videos/.

    Examples:

      omni-async batch shots.csv --dry-run
      omni-async batch shots.csv --out shots --limit 3
      omni-async batch shots.xlsx --prices prices.json --max-cost 50
      cat shots.jsonl | omni-async batch - --out shots
      omni-async batch --out shots --retry-failed
      omni-async batch shots.csv --emulator
    """
    wishes = Wishes(encoding=encoding, skip_bad=skip_bad, retry_failed=retry_failed, redo_edited=redo_edited)
    if max_cost is not None and prices is None:
        raise invalid([Fault("max_cost", "what videos cost has to be told: --prices FILE")])
    bounds = Bounds(
        limit=limit,
        prices=Prices.load(prices) if prices is not None else None,
        max_cost=max_cost,
        concurrency=concurrency,
        stop_after=stop_after_failures,
        timeout=timeout,
    )
    if dry_run:
        plan = dry_plan(file, out=out_dir, gateway=gateway, wishes=wishes, bounds=bounds)
        out(as_json(plan.document()) if json else "\n".join([*plan.lines(), "dry run: nothing was sent or entered"]))
        return
    target = Target(gateway=gateway, base_url=base_url, emulator=emulator, scenario=scenario, poll=poll)
    job = Job(source=file, out=out_dir, wishes=wishes, bounds=bounds, yes=yes)
    run(lambda screen: job.run(screen, target), Screen(Show(progress=progress, quiet=quiet, json=json)))


@attrs.frozen(kw_only=True)
class Job:
    """A batch to run.

    Args:
        source: The sheet.
        out: The folder.
        wishes: How the sheet is taken.
        bounds: Where to stop.
        yes: Whether to begin without asking.
    """

    source: str | None
    out: Path | None
    wishes: Wishes
    bounds: Bounds
    yes: bool

    async def run(self, screen: Screen, target: Target) -> int:
        """Plan, ask, run, and tell what came of it."""
        async with served(target) as settings:
            work = Batch(
                self.source,
                out=self.out,
                gateway=target.gateway,
                wishes=self.wishes,
                bounds=self.bounds,
                **settings,
            )
            again = self._again(target, work)
            summary: Summary | None = None
            try:
                async with work:
                    tally = Tally(work, screen)
                    plan = await work.plan(progress=tally.reading)
                    for line in plan.lines():
                        note(line)
                    if not self._agreed(plan):
                        note("nothing was sent")
                        return DONE
                    async with tally:
                        summary = await work.run()
            except asyncio.CancelledError:
                summary = work.ended
                if summary is None or not summary.ok:
                    note(f"to go on: {again}")
                    raise
            return self._tell(screen, summary, again)

    def _agreed(self, plan: Plan) -> bool:
        """Whether to begin; on a terminal many videos are asked for first."""
        asks = not self.yes and plan.to_pay > CONFIRM_ABOVE and sys.stdin.isatty() and sys.stderr.isatty()
        return not asks or typer.confirm(f"Pay for {plan.to_pay:,} videos?", err=True)

    def _again(self, target: Target, work: Batch) -> str:
        """The command that goes on."""
        source = [] if self.source in (None, "-") else [str(self.source)]
        options = ["--out", os.fspath(work.folder.path), *target.words()]
        return f"omni-async batch {shlex.join([*source, *options])}"

    def _tell(self, screen: Screen, summary: Summary, again: str) -> int:
        if screen.show.json:
            screen.result(as_json(document(summary)))
        else:
            screen.result(str(summary.folder))
        for line in told(summary, again):
            note(line)
        return code_of(summary)


def code_of(summary: Summary) -> int:
    """The exit code: uncertain rows before rows that were not sent before failed ones."""
    if summary.uncertain:
        return UNCERTAIN
    if summary.unsent:
        return STOPPED
    return FAILED if summary.failed or summary.under_way else DONE


def document(summary: Summary) -> dict[str, Any]:
    """What it came to as plain JSON data."""
    return {
        "folder": str(summary.folder),
        "done": summary.done,
        "failed": summary.failed,
        "uncertain": summary.uncertain,
        "unsent": summary.unsent,
        "under_way": summary.under_way,
        "stopped": summary.stopped,
        "seconds": round(summary.seconds, 1),
        "states": {str(state): count for state, count in summary.states.items()},
    }


def told(summary: Summary, again: str) -> list[str]:
    """What it came to, and the next step, as lines."""
    counts = (
        (summary.done, "done"),
        (summary.failed, "failed"),
        (summary.uncertain, "uncertain"),
        (summary.unsent, "not sent"),
        (summary.under_way, "still under way"),
    )
    lines = [" · ".join(f"{count:,} {word}" for count, word in counts if count) or "nothing to do"]
    if summary.stopped:
        lines.append(f"stopped: {summary.stopped}")
    if summary.uncertain:
        lines.append(
            f"{summary.uncertain:,} rows may have been paid and have no task id; look in the gateway's console, then: "
            f"omni-async settle {shlex.quote(str(summary.folder))} ID --task-id T | --not-charged | --pay-again"
        )
    if summary.unsent or summary.under_way:
        lines.append(f"to go on: {again}")
    return lines
