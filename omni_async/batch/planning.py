"""A plan from a sheet: entered into the journal, or into a copy of it."""

import os
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import attrs

from ..dialects import Dialect
from ..errors import Fault, JournalError, OmniError, invalid_request
from ..journal import open_journal
from ..journal.anew import SheetLedger
from ..journal.fallback import merge
from ..journal.owners import FileLock, beside
from ..models import Balance
from ..settings import dialect_of
from .entering import Entered, Entering, SheetOptions, Source
from .folder import folder_of
from .given import check_source
from .plan import Plan, Prices
from .rows import kind_words
from .sending import Bounds


class ForeignError(OmniError):
    """What a caller's own iterable or dialect raised while its rows were entered, on its way to him.

    Args:
        error: That.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__("the rows could not be read", may_have_charged=False)
        self.error = error


class Once:
    """A sheet being entered. Done a second time, a stream or an iterator would have nothing more to give.

    What is written into one commit is undone and done again, piece by piece, when another piece of it fails.

    Args:
        entering: How it is entered.
        source: The sheet.
    """

    def __init__(self, entering: Entering, source: Source | None) -> None:
        self._entering, self._source = entering, source
        self._can_be_read_again = source is None or isinstance(source, str | os.PathLike)
        self._failure: OmniError | None = None

    def __call__(self, ledger: SheetLedger) -> Entered:
        """Enter it."""
        if self._failure is not None and not self._can_be_read_again:
            raise self._failure
        self._failure = JournalError("the rows could not be entered: give them again", may_have_charged=False)
        try:
            return self._entering.enter(ledger, self._source)
        except sqlite3.Error:
            raise
        except OmniError as error:
            self._failure = error
            raise
        except BaseException as error:  # of the caller's own iterable: it must not end the journal's thread
            self._failure = ForeignError(error)
            raise self._failure from None


def opened(source: Source | None) -> Source | None:
    """The source, with stdin in the place of `-`.

    Raises:
        InvalidRequestError: It is none.
    """
    check_source(source)
    if isinstance(source, str | os.PathLike) and os.fspath(source) == "-":
        return sys.stdin.buffer
    return source


def planned(entered: Entered, bounds: Bounds, dialect: Dialect, *, balance: Balance | None = None) -> Plan:
    """The plan that follows from what was entered.

    Raises:
        InvalidRequestError: A price is missing where the cost is bounded.
    """
    plan = Plan(
        **attrs.asdict(entered.staged, recurse=False),
        limit=bounds.limit,
        prices=bounds.prices,
        max_cost=bounds.max_cost,
        balance=balance,
        bad=len(entered.bad),
        warnings=(*price_doubts(bounds.prices, dialect, entered.staged.kinds), *entered.warnings),
        guesses=entered.guesses,
    )
    if bounds.max_cost is not None and plan.cost is None:
        without = [kind for kind in plan.kinds if bounds.prices is None or bounds.prices.of(kind) is None]
        if without:
            raise invalid_request(
                [Fault("max_cost", f"there is no price for {kind!r}: say it in the prices") for kind in without]
            )
    return plan


def price_doubts(prices: Prices | None, dialect: Dialect, kinds: Iterable[str]) -> tuple[Fault, ...]:
    """Prices that are misspelt, or another gateway's: their videos would cost what less exact keys say, or nothing.

    Args:
        prices: As the user wrote them down.
        dialect: The gateway's.
        kinds: Of the videos to be paid, which may be of models that only the gateway knows.
    """
    words = kind_words(dialect)
    odd = prices.misspelt((*words, *kinds)) if prices is not None and words else []
    told = f"no video of {dialect.name} is of the kind {' or '.join(map(repr, odd))}"
    return (Fault("prices", told, words),) if odd else ()


def dry_plan(
    source: Source | None,
    *,
    out: str | os.PathLike[str] | None = None,
    gateway: str | Dialect = "jimmy",
    sheet_options: SheetOptions | None = None,
    bounds: Bounds | None = None,
    progress: Callable[[int], object] | None = None,
) -> Plan:
    """What a batch would do and pay. Needs no key, sends nothing and leaves everything as it is.

    Raises:
        InvalidRequestError: Faults, each with its line.
        JournalError: The folder's journal cannot be read.
    """
    folder, dialect = folder_of(source, out), dialect_of(gateway)
    tell, never = progress or no_progress, threading.Event()
    options = sheet_options or SheetOptions()
    entering = Entering(dialect=dialect, folder=folder, options=options, progress=tell, stop=never)
    with tempfile.TemporaryDirectory() as nowhere:
        copy = Path(nowhere) / folder.journal.name
        if folder.journal.exists():
            _copy(folder.journal, copy)
        ledger = SheetLedger(open_journal(copy))
        try:
            ledger.begin()
            if _is_free(folder.journal):  # what a crash left is counted as what it is
                merge(folder.journal, ledger)
                ledger.take_over("", ledger.owners(), dialect.name)
            return planned(entering.enter(ledger, opened(source)), bounds or Bounds(), dialect)
        finally:
            ledger.rollback()
            ledger.connection.close()


def _copy(journal: Path, copy: Path) -> None:
    """A copy to try things on: whoever has the journal goes on writing it meanwhile."""
    with closing(open_journal(journal, read_only=True)) as looking, closing(sqlite3.connect(copy)) as there:
        looking.backup(there)


def _is_free(journal: Path) -> bool:
    """Whether no process has the batch; of a lock that cannot be looked at that is not said."""
    lock = FileLock(beside(journal, "lock"))
    try:
        return lock.acquire(make=False)
    except OSError:
        return False
    finally:
        lock.release()


def no_progress(_count: int) -> None:
    """Nobody looks."""
