"""One connection to PostgreSQL for a journal, made anew when it was lost; and what the server says, in plain words."""

import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from ..errors import JournalError

if TYPE_CHECKING:
    import psycopg

CONNECT = 10
"""Seconds to wait for the server."""
OLDEST = 130000
"""The first version that tells what became of a transaction by its 64-bit number, in PostgreSQL's way of counting."""
RECONNECT_AFTER = 0.5
"""Seconds after a failure to connect in which it is not tried again: many may ask, and each would wait."""
BUSY = 30
"""Seconds to wait for another process's transaction."""
FROZEN = 5
"""Seconds after which the server ends the transaction of a process that has stopped in the middle of it."""
SESSION = (
    f"-c lock_timeout={BUSY}s -c idle_in_transaction_session_timeout={FROZEN}s -c synchronous_commit=on"
    " -c statement_timeout=0"
    r" -c default_transaction_isolation=read\ committed -c datestyle=ISO"
    " -c standard_conforming_strings=on -c client_min_messages=warning"
    " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
)
"""They stand after the user's own options, and count. A database may be set to acknowledge commits that a crash undoes,
to refuse what is written at the same time, to cut what takes long over many rows each time it is tried, or to read and
write values in ways of its own; a host that is gone must not seem alive for hours by a connection that nobody has
closed."""
UNLESS_TOLD = {
    "connect_timeout": ("PGCONNECT_TIMEOUT", str(CONNECT)),
    "application_name": ("PGAPPNAME", "omni_async"),
    "target_session_attrs": ("PGTARGETSESSIONATTRS", "read-write"),
    "keepalives_idle": (None, "10"),
    "keepalives_interval": (None, "5"),
    "keepalives_count": (None, "3"),
    "tcp_user_timeout": (None, "30000"),
}
"""What an address may say, or libpq's environment, and what it is otherwise. Of several hosts the one that takes writes
is wanted; a server that is gone is noticed in half a minute, not in the two hours of most systems."""
KEEP = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
"""An idle client is not a dead one, whatever the database's default (PostgreSQL 14 and later)."""
LEAVE = "SELECT pg_advisory_unlock_all()"
"""A server may take a moment to see that a connection has ended; whoever opens the journal next may be faster."""
IDLE, IN_TRANSACTION = 0, 2
"""libpq's PQTRANS_IDLE and PQTRANS_INTRANS."""


class Session:
    """A connection that is made anew when it was lost, and speaks as the ledger does.

    Args:
        dsn: Where the database is.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.on_open: Callable[[], None] = lambda: None
        """Called with each new connection."""
        self._connection: psycopg.Connection[Any] | None = None
        self._begun = False
        self._refused: tuple[float, str] | None = None
        self.total_changes = 0
        """Rows written since the beginning, also those that were undone."""

    @property
    def raw(self) -> "psycopg.Connection[Any]":
        """The connection, made if there is none that works.

        Raises:
            JournalError: The library for it is not installed, or the server has just refused.
            psycopg.Error: The server cannot be reached.
        """
        if self._connection is None or self._connection.closed:
            self.close()
            self._connection = self._connected()
            try:
                self._check()
                self.on_open()
            except BaseException:
                self.close()
                raise
        return self._connection

    def _connected(self) -> "psycopg.Connection[Any]":
        driver = _driver()
        if self._refused is not None and time.monotonic() < self._refused[0]:
            raise JournalError(self._refused[1], kind="failed")
        try:
            connection: psycopg.Connection[Any] = driver.connect(**address(self._dsn), autocommit=True)
        except driver.Error as error:
            self._refused = (time.monotonic() + RECONNECT_AFTER, str(postgres_error(error)))
            raise
        return connection

    def _check(self) -> None:
        connection = self.raw
        version, encoding = connection.info.server_version, connection.info.parameter_status("server_encoding")
        if version < OLDEST:
            raise JournalError(f"the journal's PostgreSQL is {version // 10000}: it takes {OLDEST // 10000} or later")
        if encoding != "UTF8":
            raise JournalError(f"the journal's database has the encoding {encoding}: make one with UTF8")
        connection.execute(KEEP)

    def begin(self, first: str) -> Any:
        """Begin a transaction with these statements, once more if the connection was lost: nothing was done yet.

        Gives the row of the last one.
        """
        if self.in_transaction:
            self.rollback()
        try:
            return self._begin(first)
        except Exception:
            if not self.lost:
                raise
            return self._begin(first)

    def _begin(self, first: str) -> Any:
        cursor = self.raw.execute(first)
        while cursor.nextset():
            pass
        self._begun = True
        return cursor.fetchone()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> "psycopg.Cursor[Any]":
        """Run one statement, written as for SQLite. A transaction that is lost does not go on in a new connection."""
        connection = self._connection if self._begun and self._connection is not None else self.raw
        cursor = connection.execute(translated(sql), [plain(value) for value in parameters])
        if cursor.description is None and cursor.rowcount > 0:
            self.total_changes += cursor.rowcount
        return cursor

    def commit(self) -> None:
        """Make durable what was begun; after an error `lost` tells whether it may be so all the same."""
        if not self.sound or self._connection is None:
            raise JournalError("the transaction was undone by an error", kind="failed")
        self._connection.execute("COMMIT")
        self._begun = False

    def rollback(self) -> None:
        """Undo what was not committed; a connection that cannot even do that is given up, which undoes it too."""
        connection, begun = self._connection, self.in_transaction
        self._begun = False
        if connection is not None and begun:
            try:
                connection.execute("ROLLBACK")
            except Exception:
                self.close()

    @property
    def lost(self) -> bool:
        """Whether there was a connection, and it has broken."""
        return self._connection is not None and bool(self._connection.closed)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._begun or (self._connection is not None and self._connection.info.transaction_status != IDLE)

    @property
    def sound(self) -> bool:
        """Whether the open transaction can be committed: after an error PostgreSQL undoes it and says nothing."""
        return self._connection is not None and self._connection.info.transaction_status == IN_TRANSACTION

    def close(self) -> None:
        """Close it."""
        connection, self._connection, self._begun = self._connection, None, False
        if connection is not None:
            with suppress(Exception):
                if connection.info.transaction_status == IDLE:
                    connection.execute(LEAVE)
            with suppress(Exception):
                connection.close()


def address(dsn: str) -> dict[str, Any]:
    """What libpq is told: the user's address, and ours where it says nothing."""
    told = _parsed(dsn)
    if told is None:
        raise JournalError(
            "the journal's address is malformed (a password's special characters are written as %40 and the like)",
            may_have_charged=False,
        )
    ours = {
        name: value for name, (variable, value) in UNLESS_TOLD.items() if variable is None or variable not in os.environ
    }
    options = told.get("options") or os.environ.get("PGOPTIONS", "")
    return {**ours, **told, "options": f"{options} {SESSION}".strip(), "client_encoding": "utf8"}


def _parsed(dsn: str) -> dict[str, Any] | None:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        return dict(conninfo_to_dict(dsn))
    except (ProgrammingError, ValueError):  # their text holds the address
        return None


@cache
def translated(sql: str) -> Any:
    """A statement of the ledger's in PostgreSQL's words: its placeholders, and our tables' names."""
    return re.sub(r"\b(item|record|note)\b", r"omni_\1", sql).replace("?", "%s")


def plain(value: Any) -> Any:
    """A parameter as PostgreSQL takes it: text has neither NUL nor half of a character pair, a flag is a number."""
    if isinstance(value, str):
        return str(value).replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return int(value) if isinstance(value, bool) else value


def _driver() -> Any:
    try:
        import psycopg
    except ImportError:
        raise JournalError(
            "a journal in PostgreSQL needs the extra: pip install 'omni-async[pg]'", may_have_charged=False
        ) from None
    return psycopg


# --- what the server says ----------------------------------------------------------------------------------------

PASSWORD = "the password is missing or refused"  # noqa: S105 - words
STATES = {
    "25006": "it can only be read: is it a standby?",
    "28000": "access is refused",
    "28P01": PASSWORD,
    "3D000": "there is no such database",
    "3F000": "there is no schema for its tables: see its search_path",
    "42501": "its user may not make or use the tables",
    "53300": "it has too many connections",
}
SAID = (
    (r"password authentication failed|no password supplied", PASSWORD),
    (r"database .* does not exist", STATES["3D000"]),
    (r"role .* does not exist|no pg_hba\.conf entry|is not permitted to log in", STATES["28000"]),
    (r"too many (clients|connections)|connection slots are reserved", STATES["53300"]),
    (r"session is (read-only|not read-write)", STATES["25006"]),
    (r"could not translate host name|resolve", "its host is not known"),
    (r"SSL|certificate", "TLS could not be agreed on"),
    (r"[Cc]onnection refused|No such file", "no server listens there"),
    (r"timeout expired|timed out", f"no answer in {CONNECT} s"),
    (r"unrecognized configuration parameter|unsupported startup parameter", "it refuses a connection's options"),
)
"""Of a connection that was not made libpq tells no state, only words, in English unless the server is set otherwise."""
FOREIGN = frozenset({"42P01", "42P07", "42703", "42804"})
"""No such table or column, a table that is there already, a column of another type."""


def postgres_error(error: Exception) -> JournalError:
    """What PostgreSQL says, in the user's words. Nothing of a row, and nothing of the address, stands in it."""
    if isinstance(error, JournalError):
        return error
    state = getattr(error, "sqlstate", None) or ""
    if state == "53100":
        return JournalError("no space left for the journal's database: free some", kind="full")
    if state == "55P03":
        return JournalError(f"the journal's database is held by another process for {BUSY} s already", kind="locked")
    if state in FOREIGN:
        return JournalError(
            f"the journal's tables (omni_item, omni_record, omni_note) are not as this library made them ({state})",
            kind="damaged",
        )
    why = STATES.get(state) or (None if state else _reason(error))
    if why is None:
        what = f"SQLSTATE {state}" if state else type(error).__name__
        why = f"{what}: is the server up and reachable?"
    told = f"the journal's database cannot be used: {why}"
    return JournalError(told, kind="setup" if state == "42501" else "failed")  # waiting gives nobody rights


def _reason(error: Exception) -> str | None:
    return next((words for pattern, words in SAID if re.search(pattern, str(error))), None)
