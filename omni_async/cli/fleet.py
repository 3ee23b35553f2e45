"""`fleet`: workers on many machines that share one account, by way of PostgreSQL."""

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from ..batch.folder import Folder
from ..batch.results import Results
from ..journal import State
from ..journal.store import resolve
from .exits import DONE, FAILED, UNCERTAIN, UsageError
from .fleetdsn import Dsn, looking, needs_pg, settle_line, shared_journal
from .fleetenter import enqueue
from .fleetview import document, picture, told, watched
from .fleetwork import worker
from .journal import Key, States, as_list, show_row, show_rows, states_of
from .options import Gateway, GatewayName, Json
from .output import as_json, note, out, write_all
from .running import run_plain
from .screen import Leaving, Screen
from .settling import TaskId, given_answer

MOST = 1_000_000
"""Of any limit; the database counts no further than some billions."""

app = typer.Typer(
    help="Many machines under one account's limits, on PostgreSQL (extra \\[pg]).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command()
def init(
    dsn: Dsn,
    running: Annotated[
        int | None,
        typer.Option(
            "--running", metavar="N", min=1, max=MOST, help="Tasks at the gateway at once, in all; 40 at first."
        ),
    ] = None,
    submits: Annotated[
        float | None,
        typer.Option(
            "--submits-per-second", metavar="N", min=0, max=MOST, help="Creates, over the fleet; 0 for no limit."
        ),
    ] = None,
    polls: Annotated[
        float | None,
        typer.Option(
            "--polls-per-second", metavar="N", min=0, max=MOST, help="Looks at tasks, over the fleet; 0 for no limit."
        ),
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
        needs_pg()
        from ..fleet.admin import set_up

        allowed = await set_up(dsn, gateway, running=running, submits_per_second=submits, polls_per_second=polls)
        screen.result(as_json(attrs.asdict(allowed)) if json else told(allowed))
        return DONE

    run_plain(work, json=json)


app.command()(enqueue)
app.command()(worker)


@app.command()
def status(
    dsn: Dsn,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C; with --json a line a second.")
    ] = False,
    gateway: Gateway = GatewayName.JIMMY,
    json: Json = False,
) -> None:
    """Show where the fleet stands: rows, seats, workers, pauses, uncertain rows.

    Exit code 3 while rows wait to be settled, 1 while some failed.
    """
    needs_pg()
    from ..fleet.admin import fleet_status

    if watch:

        async def work(screen: Screen) -> int:
            screen.early = Leaving(patience=1.0)
            await watched(lambda: asyncio.to_thread(look), json=json)
            return DONE

        def look() -> Any:
            with looking(dsn, gateway) as ledger:
                return fleet_status(ledger)

        run_plain(work, json=json)
    with looking(dsn, gateway) as ledger:
        now = fleet_status(ledger)
    out(as_json(document(now)) if json else "\n".join(picture(now)))
    if now.uncertain:
        note(f"these may have been paid: look in the gateway's console, then {settle_line(gateway)}")
    failed = sum(now.states.get(state, 0) for state in (State.FAILED, State.REJECTED, State.EXPIRED, State.CANCELED))
    raise typer.Exit(UNCERTAIN if now.states.get(State.UNCERTAIN) else FAILED if failed else DONE)


@app.command()
def results(
    out_dir: Annotated[Path, typer.Argument(metavar="DIR", help="Gets results.jsonl and results.csv.")],
    dsn: Dsn,
    gateway: Gateway = GatewayName.JIMMY,
    json: Json = False,
) -> None:
    """Write what came of each row so far, in the batch's own format.

    The videos are where the workers' --out put them: the column file is
    their name there, behind videos/.
    """
    folder = Folder(out_dir)
    with looking(dsn, gateway) as ledger:
        out_dir.mkdir(parents=True, exist_ok=True)
        Results(folder).rewrite(ledger.entries(), ledger.columns)
        counts = ledger.counts()
    written = {"results": str(folder.lines), "table": str(folder.table)}
    out(as_json(written | {"states": counts}) if json else str(folder.lines))


@app.command()
def journal(
    dsn: Dsn,
    key: Key = None,
    state: States = None,
    gateway: Gateway = GatewayName.JIMMY,
    json: Json = False,
) -> None:
    """Show what the fleet's journal knows of each video, or of one with its evidence."""
    wanted = states_of(state or [])
    if key is not None and wanted:
        raise UsageError("--state goes with the list, not with one ID")
    with looking(dsn, gateway) as ledger:
        if key is not None:
            show_row(ledger, key, partial(settle_line, gateway), json=json)
        elif json:
            write_all(sys.stdout, as_list(ledger.entries(wanted)))
        else:
            show_rows(ledger, wanted, settle_line(gateway))


@app.command()
def settle(
    key: Annotated[str, typer.Argument(metavar="ID", help="The row, as omni-async fleet journal shows it.")],
    dsn: Dsn,
    task_id: TaskId = None,
    not_charged: Annotated[bool, typer.Option("--not-charged", help="It surely was not accepted: it is sent.")] = False,
    pay_again: Annotated[
        bool, typer.Option("--pay-again", help="Nobody can tell: it is sent, and perhaps [b]pays twice[/b].")
    ] = False,
    gateway: Gateway = GatewayName.JIMMY,
    json: Json = False,
) -> None:
    """Settle a row that may have been paid and has no task id.

    Or one whose task the gateway no longer shows, as its detail says.
    Look for the video in the gateway's console or bill first. A worker
    goes on with the row at once (within five minutes, if its task was not
    to be seen): it follows the task, or sends the row.

    Examples:

      omni-async fleet journal --state uncertain
      omni-async fleet settle s17 --task-id task_0123456789
      omni-async fleet settle s18 --not-charged
    """
    answer = given_answer(task_id=task_id, not_charged=not_charged, pay_again=pay_again)
    sent = f"a worker sends it, which {'may pay a second time' if pay_again else 'pays'}"
    then = sent if task_id is None else "a worker follows the task"

    async def work(screen: Screen) -> int:
        async with shared_journal(dsn, gateway) as shared:
            entry = await shared.run(lambda ledger: resolve(ledger, key, **answer))
        settled = {"id": entry.key, "state": str(entry.state), "task_id": entry.task_id, "next": then}
        screen.result(as_json(settled) if json else f"{entry.key}: {entry.state.lower()}")
        if not json:
            screen.note(then)
        return DONE

    run_plain(work, json=json)
