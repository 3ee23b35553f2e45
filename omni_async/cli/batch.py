"""`batch`: every video of a sheet."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..batch import Bounds, Prices, SheetOptions, dry_plan
from ..batch.folder import Folder, folder_of
from . import options
from .batchjob import BatchJob, check_begun
from .connect import Target
from .exits import UsageError, in_options
from .output import as_json, out
from .results import failing
from .running import run
from .screen import Screen, Show, kind_of
from .tally import Tally
from .tallyview import ReadingLine, view_of
from .template import template as write_template

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
    typer.Option(
        "--output", "--out", "-o", metavar="DIR", help="Folder for all that is made; FILE's name without its ending."
    ),
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
    _bound("--prices", metavar="FILE", help='JSON such as {"1080p": 0.9, "*": 0.5}, or a CSV with kind and price.'),
]
MaxCost = Annotated[float | None, _bound("--max-cost", help="Pay so much at most; needs --prices.", min=0.0)]
Concurrency = Annotated[int | None, _bound("--concurrency", help="The account's running tasks at most.", min=1)]
StopAfter = Annotated[
    int | None, _bound("--stop-after-failures", help="Send no more when so many rows have failed.", min=1)
]
WaitFor = Annotated[
    float | None,
    _bound(
        "--timeout",
        metavar="SECONDS",
        help="Wait for one task so long at most; the next run goes on with it.",
        min=0.01,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however many videos will be paid.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the sheet and show the plan; needs no key.")]
Template = Annotated[
    bool, _sheet("--template", help="Write FILE (.csv, .jsonl, .xlsx; none: CSV on stdout) as a sheet to fill in.")
]


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
    template: Template = False,
    gateway: options.Gateway = options.GatewayName.JIMMY,
    base_url: options.BaseUrl = None,
    emulator: options.UseEmulator = False,
    scenario: options.ScenarioFile = None,
    poll: options.Poll = None,
    json: options.Json = False,
    progress: options.Progress = options.ProgressMode.AUTO,
    quiet: options.Quiet = False,
) -> None:
    """Make every video of a sheet. [b]This pays.[/b]

    A row has the fields of a request (prompt, duration, model, …), an id,
    a file name if you like, and any columns of your own. The sheet is
    checked as a whole and the plan is shown before anything is paid. The
    same command again goes on where it stopped: nothing is paid twice,
    sorting and adding rows change nothing. DIR gets journal.sqlite3,
    results.jsonl, results.csv, report.html (the videos to look at) and
    videos/; with --emulator its name ends in -emulator.

    Stdout gets DIR; with --json one document with the sums.

    Examples:

      omni-async batch --template shots.csv
      omni-async batch shots.csv --dry-run
      omni-async batch shots.csv --out shots --limit 3
      omni-async batch shots.xlsx --prices prices.json --max-cost 50
      cat shots.jsonl | omni-async batch - --out shots
      omni-async batch --out shots --retry-failed
      omni-async batch shots.csv --emulator
    """
    show = Show(progress=progress, quiet=quiet, json=json)
    if template:
        write_template(file, gateway, show)
        return
    folder = _folder(file, out_dir, emulator=emulator)
    check_begun(folder, gateway=gateway, emulator=emulator)
    sheet_options = SheetOptions(
        encoding=encoding, skip_bad=skip_bad, retry_failed=retry_failed, redo_edited=redo_edited
    )
    if max_cost is not None and prices is None:
        raise UsageError('--max-cost needs to know what videos cost: --prices FILE, such as {"1080p": 0.9, "*": 0.5}')
    bounds = Bounds(
        limit=limit,
        prices=Prices.load(prices) if prices is not None else None,
        max_cost=max_cost,
        concurrency=concurrency,
        stop_after_failures=stop_after_failures,
        timeout=timeout,
    )
    if dry_run:
        _show_plan(file, folder, gateway, sheet_options, bounds, show)
        return
    target = Target(gateway=gateway, base_url=base_url, emulator=emulator, scenario=scenario, poll=poll)
    tally = Tally()
    kept = _words(
        encoding=encoding,
        skip_bad=skip_bad,
        limit=limit,
        prices=prices,
        max_cost=max_cost,
        concurrency=concurrency,
        stop_after_failures=stop_after_failures,
        timeout=timeout,
        poll=poll,
        scenario=scenario,
    )
    job = BatchJob(
        source=file, folder=folder, sheet_options=sheet_options, bounds=bounds, yes=yes, tally=tally, kept=kept
    )
    run(lambda screen: job.run(screen, target), Screen(show, view=view_of(tally, show)))


def _folder(file: str | None, out_dir: Path | None, *, emulator: bool) -> Folder:
    """Where everything goes, if what is named is there to be read."""
    if file is None and out_dir is None:
        raise UsageError("name a sheet, or with --out the folder of a batch to go on with; see omni-async batch --help")
    if file == "":
        raise UsageError("the name of the sheet is empty")
    if file == "-" and out_dir is None:
        raise UsageError("rows from stdin need a folder for what is made of them: --out DIR")
    if file == "-" and sys.stdin is None:
        raise UsageError("there is no stdin to read rows from")
    if file not in (None, "-") and not Path(str(file)).exists():
        raise UsageError(f"{file}: there is no such file")
    if file not in (None, "-") and Path(str(file)).is_dir():
        raise UsageError(f"{file} is a folder: to go on with the batch in it, say --out {file}")
    return made_in(file, out_dir, emulator=emulator)


def made_in(file: str | None, out_dir: Path | None, *, emulator: bool) -> Folder:
    """Where everything goes. Test videos are kept apart: their rows would count as done for a real run."""
    folder = folder_of(file, out_dir)
    if emulator and out_dir is None:
        return Folder(folder.path.with_name(f"{folder.path.name}-emulator"))
    return folder


def _words(**given: Any) -> list[str]:
    """Options as they are written; those that were not given are left out."""
    words: list[str] = []
    for name, value in given.items():
        if value is not None and value is not False:
            words.append(f"--{name.replace('_', '-')}")
            words += [] if value is True else [f"{value:.12g}" if isinstance(value, float) else str(value)]
    return words


def _show_plan(
    file: str | None, folder: Folder, gateway: str, sheet_options: SheetOptions, bounds: Bounds, show: Show
) -> None:
    """The plan, and nothing else: results on stdout."""
    reading = ReadingLine(kind_of(show))
    try:
        with failing(json=show.json):
            plan = dry_plan(
                file, out=folder.path, gateway=gateway, sheet_options=sheet_options, bounds=bounds, progress=reading
            )
    finally:
        reading.clear()
    lines = [*map(in_options, plan.lines()), "dry run: nothing was sent or entered"]
    out(as_json(plan.document()) if show.json else "\n".join(lines))
