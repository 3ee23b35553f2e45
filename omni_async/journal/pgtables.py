"""The journal's tables in PostgreSQL, their versions, and how the ledger over them is opened."""

from collections.abc import Sequence

from ..errors import JournalError
from .postgres import PostgresLedger
from .session import Session, postgres_error

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


def open_postgres(session: Session) -> PostgresLedger:
    """The ledger of a database, its tables made or brought up to date if need be.

    Raises:
        JournalError: It cannot be reached or used, or a newer library made it.
    """
    ledger = PostgresLedger(session)
    failure = _migrated(ledger)
    if failure is not None:
        session.close()
        failure.may_have_charged = False
        raise failure  # not in the clause that catches: what is caught may hold the address
    return ledger


def _migrated(ledger: PostgresLedger) -> JournalError | None:
    """Bring the tables up to date; gives why that cannot be."""
    session = ledger.connection
    try:
        version = _version(session)
        if version < len(MIGRATIONS):
            ledger.begin()
            version = _version(session)  # another process may have been faster, or newer
            for script in MIGRATIONS[version:]:
                session.raw.execute(script)
            if version < len(MIGRATIONS):
                ledger.write_note(VERSION, str(len(MIGRATIONS)))
            ledger.commit()
    except Exception as error:
        return postgres_error(error)
    if version <= len(MIGRATIONS):
        return None
    told = f"the journal's tables have version {version}, and this library knows {len(MIGRATIONS)}: upgrade it"
    return JournalError(told, kind="newer")


def _version(session: Session) -> int:
    if session.raw.execute("SELECT to_regclass('omni_note')").fetchone() == (None,):
        return 0
    row = session.execute("SELECT value FROM note WHERE name = ?", (VERSION,)).fetchone()
    return int(row[0]) if row is not None else 0
