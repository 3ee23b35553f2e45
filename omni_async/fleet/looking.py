"""A fleet looked at from outside: nothing is changed, and whoever writes does not wait for whoever looks."""

import contextlib
from collections.abc import Iterable, Iterator

import psycopg

from ..errors import JournalError
from ..journal import Entry, State
from ..journal.session import Session, postgres_error
from .tables import FleetLedger


class FleetView(FleetLedger):
    """The rows of one fleet: not those that clients of the same database submitted by themselves."""

    def entries(self, states: Iterable[State] | None = None) -> Iterator[Entry]:
        """See `Ledger.entries`."""
        for entry in super().entries(states):
            if entry.gateway == self.gateway and entry.position is not None:
                yield entry

    def counts(self) -> dict[State, int]:
        """See `Ledger.counts`."""
        query = "SELECT state, count(*) FROM item WHERE gateway = ? AND position IS NOT NULL GROUP BY 1"
        return {State(state): count for state, count in self.connection.execute(query, (self.gateway,))}


@contextlib.contextmanager
def looking(dsn: str, gateway: str) -> Iterator[FleetView]:
    """A fleet's rows, only to be read: page by page, without a transaction that others would wait for.

    Args:
        dsn: The database.
        gateway: Whose rows.

    Raises:
        JournalError: It cannot be used, or no fleet is set up in it.
    """
    session = Session(dsn)
    session.on_open = lambda: _only_reads(session)
    try:
        ledger = FleetView(session, gateway)
        check_set_up(ledger)
        yield ledger
    except psycopg.Error as error:
        raise postgres_error(error) from None
    finally:
        session.close()


def _only_reads(session: Session) -> None:
    session.raw.execute("SET default_transaction_read_only = on")


def check_set_up(ledger: FleetLedger) -> None:
    """See whether a fleet has its tables and its limits here.

    Raises:
        JournalError: It has not.
        psycopg.Error: The database cannot be used.
    """
    names = ("omni_item", "omni_limit", "omni_worker", "pgqueuer")
    there = ledger.connection.execute(f"SELECT {', '.join('to_regclass(?)::text' for _ in names)}", names).fetchone()
    if there is not None and None not in there:
        limits = "SELECT 1 FROM omni_limit WHERE gateway = ?"
        if ledger.connection.execute(limits, (ledger.gateway,)).fetchone() is not None:
            return
    own = "" if ledger.gateway == "jimmy" else f" --gateway {ledger.gateway}"
    raise JournalError(
        f"no fleet is set up for {ledger.gateway} in this database: omni-async fleet init{own}",
        kind="setup",
        may_have_charged=False,
    )
