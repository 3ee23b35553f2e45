"""The journal's file: where it may lie, how it is opened, its tables and their versions.

A file that is damaged, of a newer version, or somebody else's is left as it is: what it may still tell about money
spent is worth more than a journal that works.
"""

import contextlib
import os
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..disk import reason
from ..errors import JournalError
from .entries import COLUMNS

JOURNAL_FILE = "journal.sqlite3"
"""What a journal is called in a folder of its own, such as a batch's."""
APPLICATION = 0x4F6D4E69
"""Marks the file as ours (SQLite's `application_id`)."""
BUSY = 30.0
"""Seconds to wait for another process's commit."""
REOPEN_AFTER = 0.02
"""Seconds before a journal that another process is just making is opened again."""
CHECKED = 32 * 1024 * 1024
"""Bytes up to which a file is checked as a whole when it is opened: 20,000 rows in 50 ms, a million would take 10 s."""
CHECKPOINT = 4000
"""Pages in the write-ahead log before they are copied into the file: the same few are written again and again."""
LOG = 32 * 1024 * 1024
"""Bytes of the log that are kept for writing over: a large transaction, such as a prune, makes it longer than usual."""
NETWORK = frozenset(
    "nfs nfs4 cifs smb3 smbfs afs afpfs ncpfs webdav davfs 9p ceph lustre glusterfs fuse.sshfs fuse.glusterfs".split()
)
"""File systems whose locks and syncs SQLite cannot rely on (sqlite.org/faq.html#q5)."""
MOUNTS = "/proc/self/mounts"
APART = "and under each of its names it would have a log and locks of its own"
"""Why a file has one name only: two clients would not see each other's rows (sqlite.org/howtocorrupt.html, 2.5)."""

MIGRATIONS: Sequence[str] = (
    """
    CREATE TABLE item (
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
      planned_at REAL,
      sent_at REAL,
      finished_at REAL,
      detail TEXT,
      task TEXT,
      expires_at REAL,
      target TEXT,
      target_key TEXT,
      size INTEGER,
      sha256 TEXT,
      carried TEXT,
      position INTEGER,
      run INTEGER
    );
    CREATE UNIQUE INDEX item_task ON item (gateway, task_id) WHERE task_id IS NOT NULL;
    CREATE UNIQUE INDEX item_target ON item (target_key) WHERE target_key IS NOT NULL;
    CREATE INDEX item_open ON item (state, owner) WHERE state IN ('SUBMITTING', 'SUBMITTED');
    CREATE INDEX item_untold ON item (owner) WHERE notify = 1 AND finished_at IS NOT NULL;
    CREATE INDEX item_uncertain ON item (gateway) WHERE state = 'UNCERTAIN';
    CREATE TABLE record (
      key TEXT NOT NULL,
      at REAL NOT NULL,
      what TEXT NOT NULL,
      state TEXT NOT NULL,
      detail TEXT,
      task_id TEXT,
      status INTEGER,
      request_id TEXT,
      body BLOB
    );
    CREATE TABLE note (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    """,
    "CREATE INDEX record_key ON record (key)",
)
"""One script a version; a file of version n gets those from n on, in one transaction each."""

UNFOUND = """
    SELECT 1 FROM item NOT INDEXED WHERE NOT EXISTS (
      SELECT 1 FROM item AS found INDEXED BY sqlite_autoindex_item_1
      WHERE found.key = item.key AND found.rowid = item.rowid
    ) LIMIT 1
"""
"""Whether there is a row that is not found by its key: it would be taken for new, and paid again. A million rows take
2 to 3 s."""

_ESCAPED = re.compile(r"\\([0-7]{3})")
"""How the table of mounts spells spaces, tabs, newlines and backslashes."""
_making = threading.Lock()


def open_journal(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to the journal, made or brought up to date if need be.

    Args:
        path: Its file, or a link to it: SQLite keeps its log beside the file itself.
        read_only: Only look: nothing is made or changed, and no lock is needed.

    Raises:
        JournalError: It cannot be opened, is damaged, newer, no journal, or lies where none can.
    """
    path = Path(os.path.realpath(path))
    _check_place(path, read_only=read_only)
    until = time.monotonic() + BUSY
    while True:
        try:
            return _opened(path, read_only=read_only)
        except (sqlite3.Error, OSError) as error:
            if not _busy(error) or time.monotonic() >= until:
                raise journal_error(error, path) from None
        time.sleep(REOPEN_AFTER)


def _opened(path: Path, *, read_only: bool) -> sqlite3.Connection:
    with _making:  # SQLite's locks are dropped when its file is closed by other means
        _check_log(path)
        if not path.exists():
            _make(path)
    looking = _look(path)
    try:
        _check(looking, path)
        _check_rows(looking, path, read_only=read_only)
    except BaseException:
        looking.close()
        raise
    if read_only:
        return looking if _number(looking, "user_version") else _empty(looking)
    connection = _connect(path, "rw")
    looking.close()
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _busy(error: Exception) -> bool:
    """Whether another process is just making the journal: two of them cannot wait for each other, as SQLite sees it."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _empty(looking: sqlite3.Connection) -> sqlite3.Connection:
    """In the place of a file whose making was cut short: a journal without rows."""
    looking.close()
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    _prepare(connection)
    connection.execute("PRAGMA query_only = 1")
    return connection


def _check_place(path: Path, *, read_only: bool) -> None:
    problem = None
    if path.is_dir():
        problem = "is a folder"
    elif read_only and not path.exists():
        problem = "does not exist"
    elif not path.parent.is_dir():
        problem = "cannot be made: its folder does not exist"
    elif on_network(path):
        problem = "lies on a network file system, whose locks cannot be relied on: keep it on a local disk"
    elif is_mounted(path):
        problem = f"is mounted as a single file, {APART}: mount its folder instead"
    elif _names(path) > 1:
        problem = f"has a second name (a hard link), {APART}: remove one of the two, or make it a symbolic link"
    if problem:
        raise JournalError(f"the journal {path} {problem}", may_have_charged=False)


def _names(path: Path) -> int:
    try:
        return path.stat().st_nlink
    except OSError:  # none yet, or what opening it tells better
        return 0


def on_network(path: Path, mounts: str = MOUNTS) -> bool:
    """Whether a path lies on a network file system, as far as the system tells (Linux and Windows)."""
    if sys.platform == "win32":
        place = str(path.resolve()).upper()
        return place.startswith("\\\\") and not re.match(r"\\\\[?.]\\(?!UNC\\)", place)
    here, best, kind = path.resolve(), -1, ""
    for mount, name in _mounts(mounts):
        if len(mount.parts) >= best and here.is_relative_to(mount):
            best, kind = len(mount.parts), name
    return kind in NETWORK


def is_mounted(path: Path, mounts: str = MOUNTS) -> bool:
    """Whether just this file is a mount, as of a container that was given the file and not its folder (Linux)."""
    return any(mount == path for mount, _ in _mounts(mounts))


def _mounts(table: str) -> Iterator[tuple[Path, str]]:
    """Each mount's place and kind, in their order; none where the system does not tell."""
    try:
        lines = Path(table).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, place, kind, *_ = (*line.split(" "), "", "", "")
        yield Path(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), place)), kind


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _check_log(path: Path) -> None:
    """A log without its file: SQLite would remove it, and what it tells of payments."""
    if _size(_log(path)) and not _size(path):  # in this order: whoever makes a journal makes the file first
        raise JournalError(
            f"the journal {path} is gone or empty, and its log {_log(path).name}, which tells what was paid, is there: "
            "put the file back beside it, or move the log away to begin anew",
            kind="damaged",
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def presence(path: Path) -> Callable[[], None]:
    """A check that a journal which is open is still there under its name: what goes into another file is not kept.

    The check raises a JournalError once the file or its log was removed or replaced. As long as somebody has them open
    SQLite does neither.
    """
    files = (path, _log(path))
    known = [_identity(file) for file in files]

    def check() -> None:
        if [_identity(file) for file in files] != known:
            raise JournalError(
                f"the journal {path} was removed or replaced while it was in use: put it back, or end this process",
                kind="failed",
            )

    return check


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - half the time, and it is for each commit
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make(path: Path) -> None:
    """An empty file that only its owner reads; SQLite gives its companions the same mode."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _look(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing.

    The last one to be closed moves what stands in the write-ahead log into the file, unless it was opened only to read;
    and one opened only to read cannot remove the log that it made where there was none.
    """
    if not (_log(path).exists() or os.access(path.parent, os.W_OK)):
        return _connect(path, "ro&immutable=1")  # a medium that is only read: SQLite would make a log first
    connection = _connect(path, "ro" if _size(_log(path)) else "rw")
    connection.execute("PRAGMA query_only = 1")
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    where = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(where, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Only look, until it is sure that the file is a journal that this library can keep."""
    connection.execute("BEGIN")  # what is read belongs together: another process may just be making it
    application, version, tables = (
        _number(connection, name) for name in ("application_id", "user_version", "schema_version")
    )
    connection.execute("COMMIT")
    if application != APPLICATION and (application or version or tables):
        raise JournalError(f"{path} is another program's database, not a journal", kind="damaged")
    if version > len(MIGRATIONS):
        raise JournalError(
            f"the journal {path} has version {version}, and this library knows {len(MIGRATIONS)}: upgrade the library",
            kind="newer",
        )
    if path.stat().st_size % _number(connection, "page_size") and not _size(_log(path)):
        raise JournalError(_damaged(path, "it is cut off"), kind="damaged")  # SQLite reads zeros for what is missing


def _check_rows(connection: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    """All of a small journal, also its indexes, which SQLite's `quick_check` believes; of a big one what pays twice."""
    told = "ok"
    if path.stat().st_size <= CHECKED:
        told = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    elif not read_only and _number(connection, "user_version") and connection.execute(UNFOUND).fetchone():
        told = "a row is missing from the index of its key"
    if told != "ok":
        raise JournalError(_damaged(path, told), kind="damaged")


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
    connection.execute(f"PRAGMA journal_size_limit = {LOG}")
    connection.execute("PRAGMA fullfsync = 1")  # macOS: fsync alone leaves it in the disk's cache
    while (version := _number(connection, "user_version")) < len(MIGRATIONS):
        _migrate(connection, version)
    # One made by a version that was never released may lack a column: better now than after a create was paid.
    if version:
        connection.execute(f"SELECT {', '.join(COLUMNS)} FROM item LIMIT 0")  # noqa: S608 - column names of our own


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """One version up, unless another process was faster."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _number(connection, "user_version") == version:
            for statement in MIGRATIONS[version].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def opened_file(connection: sqlite3.Connection) -> Path | None:
    """The file that a connection has open; None if it has none, or none any more."""
    with contextlib.suppress(sqlite3.Error):
        name = connection.execute("SELECT file FROM pragma_database_list WHERE name = 'main'").fetchone()[0]
        return Path(name) if name else None
    return None


def journal_error(error: Exception, path: Path | None = None) -> JournalError:
    """What SQLite or the system says, in the user's words. Nothing of a row stands in it."""
    name, code = path or "the journal", getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary == sqlite3.SQLITE_FULL:
        return JournalError(f"no space left for {name}: free some", kind="full")
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return JournalError(_damaged(name, str(error)), kind="damaged")
    if primary == sqlite3.SQLITE_BUSY:
        return JournalError(f"{name} is held by another process for {BUSY:g} s already", kind="locked")
    why = reason(error) or type(error).__name__
    return JournalError(f"{name} cannot be used ({why}): see to its disk and permissions", kind="failed")


def _damaged(path: Path | str, told: str) -> str:
    return (
        f"the journal {path} is damaged ({told}). It was left as it is, because it tells what was paid: copy it, and "
        "recover what it holds with SQLite's `.recover`"
    )
