"""A journal in PostgreSQL as the client uses it, shared by the processes of several machines."""

import contextlib
import os
import socket
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

from ..errors import JournalError, OmniError
from . import fallback
from .ledger import Ledger
from .postgres import PostgresLedger, Session, SessionOwner, open_postgres
from .store import LedgerJournal, Owner


class PostgresJournal(LedgerJournal):
    """A journal in PostgreSQL.

    Args:
        dsn: Where: `postgresql://user@host/database`. Directly, not through a pooler: who lives is told by who is
            connected.
        name: What this instance's rows carry; None makes one.
        more: As for `LedgerJournal`, without `exclusive`.
    """

    def __init__(self, dsn: str, *, name: str | None = None, **more: Any) -> None:
        super().__init__(**more)
        self._dsn, self._name = dsn, name
        self.path = state_folder() / f"postgres-{zlib.crc32(dsn.encode()):08x}"

    def opened(self) -> tuple[Ledger, Owner]:
        """See `LedgerJournal.opened`."""
        session = Session(self._dsn)
        owner = SessionOwner(session, self._name) if self._name else SessionOwner(session)
        session.on_open = owner.take
        ledger = self.ledger(session)
        with contextlib.suppress(OmniError):
            _merge(self.path, ledger)
        return ledger, owner

    def ledger(self, session: Session) -> PostgresLedger:
        """The ledger over a connection."""
        return open_postgres(session)

    def __repr__(self) -> str:
        return f"<PostgresJournal of {self.gateway}>"


def _merge(path: Path, ledger: PostgresLedger) -> None:
    """Enter what this machine could not write before."""
    try:
        ledger.begin()
        fallback.merge(path, ledger, mark=f"{fallback.READ} {socket.gethostname()}")
        ledger.commit()
    except Exception as error:
        ledger.rollback()
        raise (error if isinstance(error, JournalError) else ledger.trouble(error)) from None


def state_folder() -> Path:
    """The user's folder for what a program keeps between runs, made if need be; else that of temporary files."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or tempfile.gettempdir())
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = base / "omni-async"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir())
    return folder
