"""`fleet enqueue`: rows for the workers, checked and shown before anything is entered."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import attrs
import typer

from ..batch import Plan, Prices, SheetOptions
from ..batch.folder import Folder
from ..batch.planning import price_doubts
from ..batch.session import BALANCE
from ..client import OmniClient
from ..errors import OmniError
from ..journal.staging import Changes
from ..models import Balance
from ..settings import dialect_of
from .asking import asks, at_terminal, confirmed
from .batch import DryRun, Encoding, PriceFile, SkipBad
from .batchjob import PATIENCE, check_begun
from .exits import CONFIRM_ABOVE, DONE, STOPPED, UsageError, in_options
from .fleetdsn import Dsn, needs_pg, shared_journal
from .fleetview import document, seen
from .options import Gateway, GatewayName, Json, Quiet
from .output import as_json
from .results import failing
from .running import run_plain
from .screen import Leaving, Screen, kind_of
from .tallyview import ReadingLine

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..fleet.book import SharedJournal
    from ..fleet.bulk import Enqueued
    from ..fleet.entering import Rows

NOTHING, REST = "nothing was entered", "some rows were entered: the same command again enters the rest"
CHECKING = Leaving(lost=(NOTHING,), patience=PATIENCE)
ENTERING = Leaving(lost=(REST,))

Source = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE",
        help="JSONL, CSV or .xlsx, - for stdin; or a batch's folder, a worker's, or a journal's file, as it stands.",
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="[b]Pays again[/b] for rows that failed or expired, not for moderated ones; without FILE for any of them.",
    ),
]
Lost = Annotated[
    bool,
    typer.Option(
        "--database-lost", help="The database of the fleet that has this folder's rows is lost for good: they are ours."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however many videos workers will pay for.")]


def enqueue(
    dsn: Dsn,
    source: Source = None,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,
    prices: PriceFile = None,
    retry_failed: RetryFailed = False,
    database_lost: Lost = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    gateway: Gateway = GatewayName.JIMMY,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Give the fleet rows to make. [b]Workers pay for them.[/b]

    A sheet is checked as a whole, as by omni-async batch, and refused for
    its faults. A row whose id the fleet knows is not entered again. A
    batch's folder is taken over with what is finished, running and
    uncertain: nothing of it is paid again, and the folder sends no more;
    its finished videos stay where they are. The same command again goes
    on where it was cut short.

    Examples:

      omni-async fleet enqueue shots.csv --dry-run
      omni-async fleet enqueue shots.csv --prices prices.json
      omni-async fleet enqueue shots        (a batch that outgrew its machine)
      omni-async fleet enqueue --retry-failed
    """
    needs_pg()
    _check(source, gateway, retry=retry_failed)
    entry = Enqueuing(
        source=source,
        dsn=dsn,
        gateway=gateway,
        sheet_options=SheetOptions(encoding=encoding, skip_bad=skip_bad, retry_failed=retry_failed),
        prices=Prices.load(prices) if prices is not None else None,
        lost=database_lost,
        yes=yes,
        dry=dry_run,
    )
    run_plain(entry.run, json=json, quiet=quiet)


def _check(source: str | None, gateway: GatewayName, *, retry: bool) -> None:
    """Refuse what cannot be read, before the database is asked.

    Raises:
        UsageError: It cannot.
        JournalError: A batch's journal cannot be read.
    """
    if source is None and not retry:
        raise UsageError("name a sheet or a batch's folder; see omni-async fleet enqueue --help")
    if source in (None, "-"):
        return
    path = Path(str(source))
    if not path.exists():
        raise UsageError(f"{source}: there is no such file")
    if _is_journal(path):
        check_begun(Folder(path if path.is_dir() else path.parent), gateway=gateway, emulator=False, own=False)


def _is_journal(path: Path) -> bool:
    return path.is_dir() or path.suffix == ".sqlite3"


@attrs.frozen(kw_only=True)
class Enqueuing:
    """Rows to be entered.

    Args:
        source: The sheet, `-`, or a journal with its rows; None for those that failed.
        dsn: The fleet's database.
        gateway: Whose rows.
        sheet_options: How they are taken.
        prices: What they cost.
        lost: Whether another fleet that had them has lost its database.
        yes: Whether to enter them without asking.
        dry: Only show the plan.
    """

    source: str | None
    dsn: str
    gateway: GatewayName
    sheet_options: SheetOptions
    prices: Prices | None
    lost: bool
    yes: bool
    dry: bool

    async def run(self, screen: Screen) -> int:
        """Check, show the plan, ask, and enter them."""
        screen.early = CHECKING
        try:
            with failing(json=screen.show.json):
                async with screen, shared_journal(self.dsn, self.gateway) as shared:
                    return await (self._again if self.source is None else self._enter)(screen, shared)
        except asyncio.CancelledError:
            screen.note(REST if screen.leaving is ENTERING else NOTHING)
            raise

    async def _enter(self, screen: Screen, shared: "SharedJournal") -> int:
        from ..fleet.entering import enter, look, refused_by

        refused = refused_by(dialect_of(self.gateway)) if self.sheet_options.retry_failed else None
        if self.source == "-" and at_terminal() and not screen.show.quiet:
            screen.note("reading rows from this terminal: end them with Ctrl-D")
        async with self._rows(screen) as rows:
            came = await look(shared, rows, refused=refused, lost=self.lost)
            for fault in (*rows.guesses, *rows.warnings):
                screen.note(f"warning: {fault}")
            if not await self._agreed(screen, came):
                return STOPPED
            if not self.dry:
                screen.early = ENTERING
                with _line(screen, f"of {came.rows:,} rows entered") as line:
                    await enter(shared, rows, refused=refused, progress=line)
        self._tell(screen, came)
        return DONE

    async def _again(self, screen: Screen, shared: "SharedJournal") -> int:
        """What failed, wherever it came from."""
        from ..fleet.entering import failed_rows, refused_by, retry

        refused = refused_by(dialect_of(self.gateway))
        came, keys = await failed_rows(shared, refused)
        if not await self._agreed(screen, came):
            return STOPPED
        if not self.dry:
            screen.early = ENTERING
            await retry(shared, refused, keys)
        self._tell(screen, came)
        return DONE

    @asynccontextmanager
    async def _rows(self, screen: Screen) -> AsyncIterator["Rows"]:
        """The rows, checked in a thread of their own: Ctrl-C is heard meanwhile."""
        stop = threading.Event()
        with ExitStack() as stack, _line(screen) as line:
            opening = self._opening(line, stop)
            entered = asyncio.get_running_loop().run_in_executor(None, opening.__enter__)
            try:
                rows = await asyncio.shield(entered)
            except asyncio.CancelledError:
                stop.set()
                await asyncio.wait({entered})
                if entered.exception() is None:
                    stack.push(opening)
                raise
            stack.push(opening)
            line.clear()
            yield rows

    def _opening(self, progress: Callable[[int], object], stop: threading.Event) -> "AbstractContextManager[Rows]":
        """The rows of a sheet, or of a journal with what they came to."""
        from ..fleet.entering import journal_rows, sheet_rows

        dialect, path = dialect_of(self.gateway), Path(str(self.source))
        if self.source != "-" and _is_journal(path):
            return journal_rows(path, dialect)
        return sheet_rows(str(self.source), dialect, self.sheet_options, progress, stop)

    # --- what is told ------------------------------------------------------------------------------------------------

    async def _agreed(self, screen: Screen, came: "Enqueued") -> bool:
        """Show the plan of what workers will pay for; on a terminal many videos are asked for first."""
        if self.dry:
            return True
        if not screen.show.quiet and came.to_pay:
            balance = await _balance(self.gateway)
            for line in self._money(came, balance):
                screen.note(line)
        if self.yes or came.to_pay <= CONFIRM_ABOVE or not asks(taken=self.source == "-"):
            return True
        with screen.aside():
            agreed = await confirmed(f"Have workers pay for {came.to_pay:,} videos?")
        if not agreed:
            screen.note("you said no: nothing was entered")
        return agreed

    def _money(self, came: "Enqueued", balance: Balance | None = None) -> list[str]:
        """What is to be paid, in the lines of a batch's plan."""
        plan = self._plan(came, balance)
        return [*map(in_options, plan.lines())][1:] if came.to_pay else ["nothing to pay"]

    def _plan(self, came: "Enqueued", balance: Balance | None = None) -> Plan:
        from ..journal import State

        return Plan(
            states={State.PLANNED: came.to_pay},
            changes=Changes(),
            kinds=came.kinds,
            prices=self.prices,
            balance=balance,
            warnings=price_doubts(self.prices, dialect_of(self.gateway), came.kinds),
        )

    def _tell(self, screen: Screen, came: "Enqueued") -> None:
        if screen.show.json:
            screen.result(as_json(document(came) | {"to_pay": came.to_pay, "cost": self._plan(came).cost}))
            return
        lines = seen(came)
        if self.dry:
            lines += [*self._money(came), "dry run: nothing was sent or entered"]
        screen.result("\n".join(lines))
        if not self.dry and not screen.show.quiet:
            screen.note("how it goes on: omni-async fleet status --watch")


@contextmanager
def _line(screen: Screen, text: str = "") -> Iterator[ReadingLine]:
    """A count of rows on the terminal while they are checked or entered."""
    kind = kind_of(attrs.evolve(screen.show, progress="auto"))
    line = ReadingLine(kind, text=lambda count: f"{count:,} {text}") if text else ReadingLine(kind)
    try:
        yield line
    finally:
        line.clear()


async def _balance(gateway: GatewayName) -> Balance | None:
    """What the account has left, if this machine has its key."""
    if not os.environ.get(dialect_of(gateway).key_variable, "").strip():
        return None
    with anyio.move_on_after(BALANCE):
        try:
            async with OmniClient(gateway) as client:
                return await client.balance()
        except OmniError:
            return None
    return None
