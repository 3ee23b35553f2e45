"""A journal in PostgreSQL, for processes on several machines: the same ledger over another connection.

As in SQLite one transaction writes at a time, here by an advisory lock; so everything that the ledger does in one holds
here too. Extra `[pg]`.
"""

import functools
import logging
import re
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from ..errors import JournalError
from .entries import COLUMNS, Entry
from .ledger import Ledger
from .states import State

if TYPE_CHECKING:
    import psycopg

logger = logging.getLogger("omni_async")

OWNERS, WRITING = 0x6F6D6E, 0x6F6D6E69
"""Keys of our advisory locks: one an owner (beside a hash of his name), and the one of whoever writes."""
CONNECT = 10
"""Seconds to wait for the server."""
BUSY = 30
"""Seconds to wait for another process's transaction."""
FROZEN = 5
"""Seconds after which the server ends the transaction of a process that has stopped in the middle of it."""
SESSION = (
    f"-c lock_timeout={BUSY}s -c idle_in_transaction_session_timeout={FROZEN}s -c client_min_messages=warning"
    " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
)
"""A host that is gone must not seem alive for hours by a connection that nobody has closed."""
PAGE = 2000
"""Rows fetched at a time where all are asked for."""

MIGRATIONS: Sequence[str] = (
    """
    CREATE TABLE omni_item (
      key TEXT NOT NULL PRIMARY KEY,
      gateway TEXT NOT NULL,
      fingerprint TEXT NOT NULL,
      state TEXT NOT NULL,
      custom_id TEXT,
      owner TEXT,
      task_id TEXT,
      candidate TEXT,
      again INTEGER NOT NULL DEFAULT 0,
      kind TEXT,
      round INTEGER NOT NULL DEFAULT 0,
      attempts INTEGER NOT NULL DEFAULT 0,
      notify INTEGER NOT NULL DEFAULT 0,
      inputs TEXT,
      metadata TEXT,
      planned_at DOUBLE PRECISION,
      sent_at DOUBLE PRECISION,
      finished_at DOUBLE PRECISION,
      detail TEXT,
      task TEXT,
      expires_at DOUBLE PRECISION,
      target TEXT,
      target_key TEXT,
      size BIGINT,
      sha256 TEXT,
      carried TEXT,
      position BIGINT,
      run BIGINT,
      rowid BIGINT GENERATED ALWAYS AS IDENTITY
    );
    CREATE UNIQUE INDEX omni_item_task ON omni_item (gateway, task_id) WHERE task_id IS NOT NULL;
    CREATE UNIQUE INDEX omni_item_target ON omni_item (target_key) WHERE target_key IS NOT NULL;
    CREATE INDEX omni_item_place ON omni_item (coalesce(position, -1), rowid);
    CREATE INDEX omni_item_planned ON omni_item (run, rowid) WHERE state = 'PLANNED';
    CREATE INDEX omni_item_open ON omni_item (state, owner) WHERE state IN ('SUBMITTING', 'SUBMITTED');
    CREATE INDEX omni_item_untold ON omni_item (owner) WHERE notify = 1 AND finished_at IS NOT NULL;
    CREATE INDEX omni_item_uncertain ON omni_item (gateway) WHERE state = 'UNCERTAIN';
    CREATE TABLE omni_record (
      rowid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      key TEXT NOT NULL,
      at DOUBLE PRECISION NOT NULL,
      what TEXT NOT NULL,
      state TEXT NOT NULL,
      detail TEXT,
      task_id TEXT,
      status INTEGER,
      request_id TEXT,
      body BYTEA
    );
    CREATE INDEX omni_record_key ON omni_record (key);
    CREATE TABLE omni_note (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);
    """,
)
"""One script a version, each in a transaction of its own; `omni_note` tells which is there."""
VERSION = "schema version"


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
        self.total_changes = 0
        """Rows written since the beginning, also those that were undone."""

    @property
    def raw(self) -> "psycopg.Connection[Any]":
        """The connection, made if there is none that works.

        Raises:
            JournalError: The library for it is not installed.
            psycopg.Error: The server cannot be reached.
        """
        if self._connection is None or self._connection.closed:
            driver = _driver()
            self._connection = driver.connect(
                self._dsn, autocommit=True, connect_timeout=CONNECT, options=SESSION, application_name="omni_async"
            )
            try:
                self.on_open()
            except BaseException:
                self.close()
                raise
        return self._connection

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> "psycopg.Cursor[Any]":
        """Run one statement, written as for SQLite."""
        cursor = self.raw.execute(translated(sql), [plain(value) for value in parameters])
        if cursor.description is None and cursor.rowcount > 0:
            self.total_changes += cursor.rowcount
        return cursor

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._connection is not None and self._connection.info.transaction_status != 0

    @property
    def sound(self) -> bool:
        """Whether the open transaction can be committed: after an error PostgreSQL undoes it and says nothing."""
        return self._connection is not None and self._connection.info.transaction_status == _IN_TRANSACTION

    def close(self) -> None:
        """Close it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()


_IN_TRANSACTION = 2
"""libpq's PQTRANS_INTRANS."""


@functools.cache
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


class PostgresLedger(Ledger):
    """The ledger in PostgreSQL.

    Args:
        session: To its database.
        clock: Wall time, in seconds since 1970.
    """

    connection: Session  # type: ignore[assignment]

    def begin(self) -> None:
        """Begin to write, with a new connection if the old one was lost."""
        if self.connection.in_transaction:
            self.rollback()
        self.connection.raw.execute(f"BEGIN; SELECT pg_advisory_xact_lock({WRITING})")

    def commit(self) -> None:
        """Make it durable."""
        if not self.connection.sound:
            raise JournalError("the transaction was undone by an error", kind="failed")
        self.connection.raw.execute("COMMIT")

    def rollback(self) -> None:
        """Undo what was not committed; a connection that cannot even do that is given up, which undoes it too."""
        if self.connection.in_transaction:
            try:
                self.connection.raw.execute("ROLLBACK")
            except Exception:
                self.connection.close()

    def trouble(self, error: Exception) -> JournalError:
        """What PostgreSQL says, in the user's words."""
        return postgres_error(error)

    def entries(self, states: Iterable[State] | None = None) -> Iterator[Entry]:
        """All rows, or those in certain states, in the order of the sheet or of entering, page by page."""
        named, place = [str(state) for state in states] if states is not None else None, (-2, 0)
        query = f"SELECT {_PLACE}, rowid, {', '.join(COLUMNS)} FROM item WHERE ({_PLACE}, rowid) > (?, ?)"  # noqa: S608
        if named is not None:
            query += f" AND state IN ({', '.join('?' * len(named))})" if named else " AND false"
        query += f" ORDER BY {_PLACE}, rowid LIMIT {PAGE}"
        while rows := self.connection.execute(query, (*place, *(named or ()))).fetchall():
            place = rows[-1][:2]
            yield from (Entry(**dict(zip(COLUMNS, row[2:], strict=True))) for row in rows)


_PLACE = "coalesce(position, -1)"


_REFUSED = {
    "password authentication failed": "the password is refused",
    "no password supplied": "it asks for a password: set PGPASSWORD",
    "no pg_hba.conf entry": "it lets nobody in from here",
    "failed to resolve host": "nobody knows its host",
    'role ".*" does not exist': "there is no such user",
    'database ".*" does not exist': "there is no such database",
}
"""What the server says in English before there is a connection, in our words: its own may hold the address."""


def postgres_error(error: Exception) -> JournalError:
    """What PostgreSQL says, in the user's words. Nothing of a row, and nothing of the address, stands in it."""
    if isinstance(error, JournalError):
        return error
    state = getattr(error, "sqlstate", None) or ""
    if state == "53100":
        return JournalError("no space left for the journal's database: free some", kind="full")
    if state == "55P03":
        return JournalError(f"the journal's database is held by another process for {BUSY} s already", kind="locked")
    if state == "42P01":
        return JournalError("the fleet's tables are not there: omni-async fleet init", kind="setup")
    if state in ("28000", "28P01", "3D000", "42501"):
        why = {"28P01": "the password is refused", "3D000": "there is no such database"}.get(state, "access is refused")
        return JournalError(f"the journal's database cannot be used: {why}", kind="failed")
    if type(error).__name__ == "ProgrammingError" and not state:
        return JournalError(
            "this is no address of a database: write postgresql://user@host/database",
            kind="failed",
            may_have_charged=False,
        )
    for words, why in _REFUSED.items():  # of a connection that is refused, libpq tells no SQLSTATE
        if not state and re.search(words, str(error)):
            return JournalError(f"the journal's database cannot be used: {why}", kind="failed")
    what = f"SQLSTATE {state}" if state else type(error).__name__
    return JournalError(
        f"the journal's database cannot be used ({what}): is the server up and reachable?", kind="failed"
    )


def open_postgres(session: Session) -> PostgresLedger:
    """The ledger of a database, its tables made or brought up to date if need be.

    Raises:
        JournalError: It cannot be reached or used, or a newer library made it.
    """
    ledger = PostgresLedger(session)  # type: ignore[arg-type]
    try:
        version = _version(session)
        if version < len(MIGRATIONS):
            ledger.begin()
            for script in MIGRATIONS[_version(session) :]:  # unless another process was faster
                session.raw.execute(script)
            ledger.write_note(VERSION, str(len(MIGRATIONS)))
            ledger.commit()
    except Exception as error:
        session.close()
        raise postgres_error(error) from None
    if version > len(MIGRATIONS):
        session.close()
        raise JournalError(
            f"the journal's tables have version {version}, and this library knows {len(MIGRATIONS)}: upgrade it",
            kind="newer",
        )
    return ledger


def _version(session: Session) -> int:
    if session.raw.execute("SELECT to_regclass('omni_note')").fetchone() == (None,):
        return 0
    row = session.execute("SELECT value FROM note WHERE name = ?", (VERSION,)).fetchone()
    return int(row[0]) if row is not None else 0


@attrs.define
class SessionOwner:
    """One client instance's place: a lock that the server drops when the connection ends, however it ends.

    Args:
        session: Whose connection holds it.
        name: What its rows carry.
    """

    session: Session
    name: str = attrs.field(factory=lambda: secrets.token_hex(8))

    def take(self) -> None:
        """Take the place, with each new connection."""
        self.session.raw.execute("SELECT pg_advisory_lock(%s, %s)", (OWNERS, _number(self.name)))

    def alive(self, name: str) -> bool:
        """Whether the instance of that name lives."""
        return name == self.name or name.startswith(FLEET) or self.held(name)

    def held(self, name: str) -> bool:
        """Whether the instance of that name has a connection."""
        query = (
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = %s"
            " AND objid = %s AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return self.session.raw.execute(query, (OWNERS, _number(name))).fetchone() is not None

    def bury(self, name: str) -> None:
        """A dead instance has left nothing but its rows."""

    def release(self) -> None:
        """Give the place up."""
        self.session.close()


FLEET = "fleet:"
"""How names of fleet workers begin: their queue decides who goes on with what they left, no client does."""


def _number(name: str) -> int:
    return zlib.crc32(name.encode()) >> 1
