"""`fleet`: workers on many machines that share one account, by way of PostgreSQL."""

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from ..batch import Wishes
from ..batch.entering import columns_of
from ..batch.folder import Folder
from ..batch.planning import no_progress
from ..batch.results import Results
from ..journal import State
from ..journal.pgstore import state_folder
from ..journal.store import resolve
from ..policies import PollPolicy
from ..settings import dialect_of
from .batch import DryRun, Encoding, SkipBad
from .connect import Target
from .exits import DONE, FAILED, UNCERTAIN, UsageError
from .fleetview import document, seen, told
from .journal import show_row, show_rows, states_of
from .options import BaseUrl, Gateway, GatewayName, Json, Poll, Quiet
from .output import as_json, write_all
from .rowtext import document as row_document
from .running import run
from .screen import Leaving, Screen, Show
from .settling import ANSWERS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..fleet.book import SharedJournal
    from ..fleet.entering import Rows
    from ..fleet.worker import Worker

app = typer.Typer(
    help="Many machines under one account's limits, on PostgreSQL (extra \\[pg]).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
Dsn = Annotated[
    str,
    typer.Option(
        "--dsn",
        envvar="OMNI_FLEET_DSN",
        metavar="URL",
        help="postgresql://user@host/database, directly and not through a pooler; the password best in PGPASSWORD.",
        show_envvar=True,
    ),
]
EVERY = 1.0
"""Seconds between two looks of `status --watch`."""
PLAIN = 30.0
"""Seconds between two lines of a worker."""


@asynccontextmanager
async def shared_journal(dsn: str, gateway: str) -> AsyncIterator["SharedJournal"]:
    """The fleet's journal, opened."""
    _needs_pg()
    from ..fleet.book import SharedJournal

    shared = SharedJournal(dsn, gateway=gateway)
    try:
        await shared.open()
        yield shared
    finally:
        await shared.aclose()


def _needs_pg() -> None:
    try:
        import pgqueuer
        import psycopg  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{error.name} is missing: pip install 'omni-async[pg]'") from None
    del pgqueuer


def _run(work: Callable[[Screen], Coroutine[Any, Any, int]], *, json: bool = False, quiet: bool = False) -> None:
    run(work, Screen(Show(progress="none", json=json, quiet=quiet)))


@app.command()
def init(
    dsn: Dsn,
    running: Annotated[
        int | None,
        typer.Option("--running", metavar="N", min=1, help="Tasks at the gateway at once, in all; 40 at first."),
    ] = None,
    submits: Annotated[
        float | None,
        typer.Option("--submits-per-second", metavar="N", min=0, help="Creates, over the fleet; 0 for no limit."),
    ] = None,
    polls: Annotated[
        float | None,
        typer.Option("--polls-per-second", metavar="N", min=0, help="Looks at tasks, over the fleet; 0 for no limit."),
    ] = None,
    gateway: Gateway = GatewayName.JIMMY,
    json: Json = False,
) -> None:
    """Set up the tables, or bring them up to date, and set the account's limits.

    Does no harm twice. Limits that are not named stay as they are; what is
    set holds for every worker from the next second on.

    Examples:

      omni-async fleet init --dsn postgresql://omni@db/omni --running 40
      omni-async fleet init --submits-per-second 2
    """

    async def work(screen: Screen) -> int:
        _needs_pg()
        from ..fleet.admin import set_up

        allowed = await set_up(dsn, gateway, running=running, submits_per_second=submits, polls_per_second=polls)
        screen.result(as_json(attrs.asdict(allowed)) if json else told(allowed))
        return DONE

    _run(work, json=json)


@app.command()
def enqueue(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="JSONL, CSV or .xlsx, - for stdin; or a batch's folder, or a journal's file, as it stands.",
        ),
    ],
    dsn: Dsn,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,
    dry_run: DryRun = False,
    gateway: Gateway = GatewayName.JIMMY,
    json: Json = False,
) -> None:
    """Give the fleet rows to make. [b]Workers pay for them.[/b]

    A sheet is checked as a whole, as by omni-async batch, and refused for
    its faults. A row whose id the fleet knows is not entered again. A
    batch's folder is taken over with what is finished, running and
    uncertain: nothing of it is paid again, and the folder sends no more.

    Examples:

      omni-async fleet enqueue shots.csv --dry-run
      omni-async fleet enqueue shots.csv
      omni-async fleet enqueue shots        (a batch that outgrew its machine)
    """

    _needs_pg()
    from ..fleet.entering import enqueue as enter

    rows = _rows(source, gateway, Wishes(encoding=encoding, skip_bad=skip_bad))

    async def work(screen: Screen) -> int:
        async with shared_journal(dsn, gateway) as shared:
            with rows as ready:
                came = await enter(shared, ready, dry=dry_run)
        screen.result(as_json(document(came)) if json else "\n".join(seen(came, dry=dry_run)))
        return DONE

    _run(work, json=json)


def _rows(source: str, gateway: str, wishes: Wishes) -> "AbstractContextManager[Rows]":
    """The rows of a sheet, or of a journal with what they came to."""
    from ..fleet.entering import journal_rows, sheet_rows

    path = Path(source)
    if source != "-" and not path.exists():
        raise UsageError(f"{source}: there is no such file")
    if source != "-" and (path.is_dir() or path.suffix == ".sqlite3"):
        return journal_rows(path, gateway)
    return sheet_rows(source, dialect_of(gateway), wishes, no_progress)


@app.command()
def worker(
    dsn: Dsn,
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR_OR_URL", help="Where videos go: a folder, or s3://…")],
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="For this machine's own journal; your state folder unless given."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", metavar="N", min=1, help="Rows in this worker's hands at most.")
    ] = None,
    heartbeat: Annotated[
        float,
        typer.Option("--heartbeat", metavar="SECONDS", min=1, help="Silent so long, its rows are taken over."),
    ] = 30.0,
    gateway: Gateway = GatewayName.JIMMY,
    base_url: BaseUrl = None,
    poll: Poll = None,
    quiet: Quiet = False,
) -> None:
    """Work: take rows, make their videos, store them. [b]This pays.[/b]

    Runs until Ctrl-C or SIGTERM: then it takes no more, lets creates in
    flight come to their recorded end, and hands what is only waited for
    to the others. A database that goes away is waited for. What came back
    for a create stands in this machine's own journal first, so keep it
    (--state) over restarts.

    Examples:

      omni-async fleet worker --out s3://bucket/videos
      omni-async fleet worker --out /srv/videos --state /var/lib/omni
    """
    Target(gateway=gateway, base_url=base_url, poll=poll)  # refuses a missing key

    _needs_pg()
    from ..fleet.worker import Worker
    from ..storage import storage_of

    place = state or state_folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    storage = storage_of(out, scratch=place / "scratch")

    async def work(screen: Screen) -> int:
        screen.leaves_with(Leaving(waits="creates in flight are waited for, the rest is handed over"))
        working = Worker(
            dsn,
            gateway=gateway,
            storage=storage,
            state=place,
            heartbeat=heartbeat,
            concurrency=concurrency,
            base_url=base_url,
            poll=PollPolicy(min_interval=poll) if poll else None,
        )
        async with screen:
            if not quiet:
                screen.note(f"worker {working.name}; videos go to {out}")
            return await _until_stopped(screen, working)

    _run(work, quiet=quiet)


async def _until_stopped(screen: Screen, working: "Worker") -> int:
    running, telling = asyncio.ensure_future(working.run()), asyncio.ensure_future(_tell(screen, working))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await working.stop()
        await running
        raise
    finally:
        telling.cancel()
    return DONE


async def _tell(screen: Screen, working: "Worker") -> None:
    while not screen.show.quiet:
        await asyncio.sleep(PLAIN)
        screen.note(f"{working.steps.sent:,} creates sent · {working.steps.at_hand:,} rows at hand")


@app.command()
def status(
    dsn: Dsn,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again each second, until Ctrl-C.")] = False,
    gateway: Gateway = GatewayName.JIMMY,
    json: Json = False,
) -> None:
    """Show where the fleet stands: rows, seats, workers, pauses, uncertain rows.

    Exit code 3 while rows wait to be settled, 1 while some failed.
    """

    async def work(screen: Screen) -> int:
        from ..fleet.admin import standing
        from .fleetview import picture, watched

        async with shared_journal(dsn, gateway) as shared:
            if watch and not json and sys.stdout.isatty():
                await watched(lambda: shared.fleet(standing), EVERY)
            now = await shared.fleet(standing)
            screen.result(as_json(document(now)) if json else "\n".join(picture(now)))
            if now.uncertain:
                screen.note(f"these may have been paid: look in the gateway's console, then {_settle_line(gateway)}")
        failed = sum(now.states.get(state, 0) for state in (State.FAILED, State.REJECTED, State.EXPIRED))
        return UNCERTAIN if now.states.get(State.UNCERTAIN) else FAILED if failed else DONE

    _run(work, json=json)


def _settle_line(gateway: str, key: str = "ID") -> str:
    own = [] if gateway == "jimmy" else ["--gateway", gateway]
    return f"omni-async fleet settle {shlex.join([key, *own])} {ANSWERS}"


@app.command()
def results(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Gets results.jsonl and results.csv.")],
    dsn: Dsn,
    gateway: Gateway = GatewayName.JIMMY,
) -> None:
    """Write what came of each row, in the batch's own format."""

    async def work(screen: Screen) -> int:
        folder = Folder(out)
        folder.make()
        async with shared_journal(dsn, gateway) as shared:
            await shared.fleet(lambda ledger: Results(folder).rewrite(ledger.entries(), columns_of(ledger)))
        screen.result(str(folder.lines))
        return DONE

    _run(work)


@app.command()
def journal(
    dsn: Dsn,
    key: Annotated[
        str | None, typer.Argument(metavar="ID", help="A row's id or task id: all that is known of it.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", "-s", metavar="STATE", help="Only rows in this state; or a,b,c.")
    ] = None,
    gateway: Gateway = GatewayName.JIMMY,
    json: Json = False,
) -> None:
    """Show what the fleet's journal knows of each video, or of one with its evidence."""
    wanted = states_of(state or [])

    def look(ledger: Any) -> None:
        if key is not None:
            show_row(ledger, key, lambda key: _settle_line(gateway, key), json=json)
        elif json:
            write_all(sys.stdout, [as_json([row_document(entry) for entry in ledger.entries(wanted)]) + "\n"])
        else:
            show_rows(ledger, wanted, _settle_line(gateway))

    async def work(_screen: Screen) -> int:
        async with shared_journal(dsn, gateway) as shared:
            await shared.fleet(look)
        return DONE

    _run(work, json=json)


@app.command()
def settle(
    key: Annotated[str, typer.Argument(metavar="ID", help="The row, as omni-async fleet journal shows it.")],
    dsn: Dsn,
    task_id: Annotated[
        str | None, typer.Option("--task-id", metavar="T", help="It was accepted: this is its task. Costs nothing.")
    ] = None,
    not_charged: Annotated[bool, typer.Option("--not-charged", help="It surely was not accepted: it is sent.")] = False,
    pay_again: Annotated[
        bool, typer.Option("--pay-again", help="Nobody can tell: it is sent, and perhaps [b]pays twice[/b].")
    ] = False,
    gateway: Gateway = GatewayName.JIMMY,
    json: Json = False,
) -> None:
    """Settle a row that may have been paid and has no task id. A worker goes on with it at once."""
    if (task_id is not None) + not_charged + pay_again != 1:
        raise UsageError(f"say one of {ANSWERS}")
    answer: dict[str, Any] = {"task_id": task_id, "not_charged": not_charged, "pay_again": pay_again}

    async def work(screen: Screen) -> int:
        async with shared_journal(dsn, gateway) as shared:
            entry = await shared.fleet(lambda ledger: resolve(ledger, key, **answer))
        screen.result(
            as_json({"id": entry.key, "state": str(entry.state), "task_id": entry.task_id})
            if json
            else f"{entry.key}: {entry.state.lower()}"
        )
        return DONE

    _run(work, json=json)
