"""The fleet's database as its commands reach it."""

import asyncio
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

import typer

from ..disk import state_folder
from .exits import UsageError
from .settling import ANSWERS

if TYPE_CHECKING:
    from ..fleet.book import SharedJournal
    from ..fleet.looking import FleetView

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


def needs_pg() -> None:
    """See whether what speaks to the database is there.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import pgqueuer
        import psycopg  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{error.name} is missing: pip install 'omni-async[pg]'") from None
    del pgqueuer


def check_dsn(dsn: str) -> None:
    """Refuse what is not an address of a database: a server that is away is waited for, and a slip would be for ever.

    Raises:
        JournalError: It is not one.
    """
    needs_pg()
    from ..journal.session import address

    address(dsn)


def own_folder(dsn: str) -> Path:
    """Where a worker's journal is unless told: one for each database and schema, as fleets know nothing of others."""
    from ..journal.pgstore import file_of
    from ..journal.session import address

    told = address(dsn)
    place = {name: told[name] for name in ("host", "port", "dbname", "service", "options") if told.get(name)}
    return state_folder() / f"fleet-{file_of(f'postgresql://?{urlencode(place)}')}"


@contextmanager
def looking(dsn: str, gateway: str) -> Iterator["FleetView"]:
    """A fleet's rows, only to be read."""
    needs_pg()
    from ..fleet.looking import looking

    with looking(dsn, gateway) as ledger:
        yield ledger


@asynccontextmanager
async def shared_journal(dsn: str, gateway: str) -> AsyncIterator["SharedJournal"]:
    """The journal of a fleet that is set up, opened."""
    needs_pg()
    from ..fleet.book import SharedJournal

    await asyncio.to_thread(_see, dsn, gateway)
    shared = SharedJournal(dsn, gateway=gateway)
    try:
        await shared.open()
        yield shared
    finally:
        await shared.aclose()


def _see(dsn: str, gateway: str) -> None:
    with looking(dsn, gateway):
        pass


def settle_line(gateway: str, key: str = "ID") -> str:
    """The command that settles a row of a fleet."""
    own = [] if gateway == "jimmy" else ["--gateway", gateway]
    return f"omni-async fleet settle {shlex.join([key, *own])} {ANSWERS}"
