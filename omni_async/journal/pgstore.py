"""A journal in PostgreSQL as the client uses it, shared by the processes of several machines."""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from ..disk import make_private, state_folder
from ..errors import JournalError
from . import fallback
from .entries import Entry
from .pgtables import open_postgres
from .postgres import FLEET, PostgresLedger, SessionOwner
from .session import Session
from .store import LedgerJournal, Owner

P = TypeVar("P", bound=PostgresLedger)


class ServerJournal(LedgerJournal[P]):
    """A journal in a database server, over the ledger that a subclass names.

    Args:
        dsn: Where: `postgresql://user@host/database`. Directly, not through a pooler: who lives is told by who is
            connected.
        name: What this instance's rows carry; None makes one.
        more: As for `LedgerJournal`, without `exclusive`.
    """

    def __init__(self, dsn: str, *, name: str | None = None, **more: Any) -> None:
        super().__init__(**more)
        self._dsn, self._name = dsn, name
        self.path = state_folder() / file_of(dsn)

    def open_ledger(self) -> tuple[P, Owner]:
        """See `LedgerJournal.open_ledger`."""
        try:
            make_private(self.path.parent)
        except OSError:  # what cannot be written then goes to the folder of temporary files, and is found there
            self.path = Path(tempfile.gettempdir()) / self.path.name
        session = Session(self._dsn)
        owner = SessionOwner(session, self._name) if self._name else SessionOwner(session)
        session.on_open = owner.take
        ledger = self.ledger(session)
        failure = self._merged(ledger)
        if failure is not None:
            session.close()
            failure.may_have_charged = False
            raise failure
        return ledger, owner

    def ledger(self, session: Session) -> P:
        """The ledger over a connection, its tables made or brought up to date."""
        raise NotImplementedError

    def has(self, entry: Entry) -> bool:
        """See `LedgerJournal.has`; a fleet's rows are seen to by its workers."""
        return super().has(entry) and not (entry.owner or "").startswith(FLEET)

    def _merged(self, ledger: PostgresLedger) -> JournalError | None:
        """Enter it in a transaction of its own; gives why that cannot be."""
        try:
            ledger.begin()
            self.enter(ledger)
            ledger.commit()
        except OSError as error:
            ledger.rollback()
            return JournalError(f"{fallback.fallback_of(self.path)} cannot be read ({error.strerror})")
        except Exception as error:
            ledger.rollback()
            return ledger.trouble(error)
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.gateway}>"


class PostgresJournal(ServerJournal[PostgresLedger]):
    """A journal in PostgreSQL; its arguments are `ServerJournal`'s."""

    def ledger(self, session: Session) -> PostgresLedger:
        """See `ServerJournal.ledger`."""
        return open_postgres(session)


_SCHEMAS = re.compile(r"search[_-]path\s*=\s*((?:\\.|\S)+)")


def file_of(dsn: str) -> str:
    """A name for the file beside the journal: by where its database and schema are, whoever asks, whatever password."""
    try:
        parts = urlsplit(dsn)
        told = {name: words[-1] for name, words in parse_qs(parts.query).items()}
    except ValueError:
        return "postgres-unknown"
    place = [
        parts.netloc.rpartition("@")[2] or told.get("host") or os.environ.get("PGHOST"),
        told.get("port") or os.environ.get("PGPORT"),
        parts.path.strip("/") or told.get("dbname") or os.environ.get("PGDATABASE"),
        told.get("service") or os.environ.get("PGSERVICE"),
    ]
    schemas = _SCHEMAS.findall(told.get("options") or os.environ.get("PGOPTIONS", ""))
    place += schemas[-1:]  # the last one holds; one that the role or the database sets is not seen here
    return f"postgres-{hashlib.sha256(repr(place).encode()).hexdigest()[:16]}"
