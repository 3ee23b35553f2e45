"""The journal's file: where it may lie, how it is opened, what leaves it untouched, how it grows older."""

import hashlib
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from books import Book, accepted, intent, rows, sound, writing
from children import child

from omni_async.errors import JournalError
from omni_async.journal import Ledger, open_journal, schema
from omni_async.journal.schema import APPLICATION, MIGRATIONS, is_mounted, journal_error, on_network

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="modes and mount tables are POSIX")


def contents(folder):
    """Every file but the shared memory, which is no content, by what it holds."""
    files = (path for path in Path(folder).iterdir() if not path.name.endswith("-shm"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def value(connection, pragma):
    """A pragma's value."""
    return connection.execute(f"PRAGMA {pragma}").fetchone()[0]


def full(path):
    """A journal of many pages."""
    book = Book(path)
    with writing(book.ledger) as ledger:
        for number in range(300):
            ledger.intend(intent(f"k{number}", inputs="x" * 500), owner="me")
            ledger.answered(f"k{number}", accepted(f"t{number}"))
    book.close()


def written(path):
    """A connection of other means than the library's."""
    return closing(sqlite3.connect(path))


def killed_writer(path, *statements):
    """A process that writes and is killed: what it wrote stands in the write-ahead log."""
    program = """
        import sys
        from pathlib import Path
        from books import Book
        book = Book(Path(sys.argv[1]))
        book.intend("k")
        for statement in sys.argv[2:]:
            book.ledger.connection.execute(statement)
        print("written", flush=True)
        sys.stdin.read()
    """
    with child(program, path, *statements) as process:
        assert process.first == "written"
        process.kill()
        process.wait()


def test_the_log_does_not_stay_as_long_as_its_largest_transaction(tmp_path, monkeypatch):
    """A prune writes everything anew; what a client that is open goes on with takes the room of usual days."""
    monkeypatch.setattr(schema, "CHECKPOINT", 10)
    monkeypatch.setattr(schema, "LOG", 50_000)
    log = tmp_path / "j-wal"
    open_long = Book(tmp_path / "j")
    full(tmp_path / "j")
    longest = log.stat().st_size
    open_long.intend("one more")
    open_long.intend("and another")
    assert log.stat().st_size <= 50_000 < longest
    open_long.close()


# --- a new journal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["j", "日志 a?b#c%41.sqlite3", "with 'quotes' & more"])
def test_a_new_journal(tmp_path, name):
    """WAL, synced at each commit, marked as ours, of the newest version; any file name will do."""
    connection = open_journal(tmp_path / name)
    assert value(connection, "journal_mode") == "wal"
    assert value(connection, "synchronous") == 2
    assert value(connection, "fullfsync") == 1
    assert value(connection, "application_id") == APPLICATION == 0x4F6D4E69
    assert value(connection, "user_version") == len(MIGRATIONS)
    assert value(connection, "busy_timeout") == 30_000
    with writing(Ledger(connection)) as ledger:
        ledger.intend(intent(), owner="me")
    assert (tmp_path / name).exists()
    connection.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_path_may_be_relative(tmp_path, monkeypatch):
    """It is the working folder's at the time."""
    monkeypatch.chdir(tmp_path)
    open_journal(Path("j")).close()
    assert (tmp_path / "j").exists()


@POSIX
@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_only_its_owner_reads_it(tmp_path, mask):
    """The file, its log and its shared memory have mode 0600, whatever the umask."""
    before = os.umask(mask)
    try:
        book = Book(tmp_path / "j")
        book.intend("k")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"j": 0o600, "j-wal": 0o600, "j-shm": 0o600}
    book.close()


@POSIX
def test_it_is_not_made_in_somebody_elses_place(tmp_path):
    """A file that came to be in between is taken as it is, not emptied."""
    (tmp_path / "j").write_bytes(b"")
    schema._make(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == b""


def test_an_empty_file_becomes_a_journal(tmp_path):
    """As a crash in the first moment leaves it."""
    (tmp_path / "j").touch()
    book = Book(tmp_path / "j")
    book.intend("k")
    book.close()
    assert sound(tmp_path / "j")


@pytest.mark.parametrize("connected", [False, True])
def test_an_empty_file_reads_as_a_journal_without_rows(tmp_path, connected, monkeypatch):
    """Nothing is made of it, nor anywhere else; from whatever thread it is read."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "j"
    path.touch()
    if connected:
        other = sqlite3.connect(path)
        other.execute("PRAGMA journal_mode = WAL")
        other.close()
    before = contents(tmp_path)
    connection = open_journal(path, read_only=True)
    assert connection.isolation_level is None
    with ThreadPoolExecutor() as pool:
        assert pool.submit(lambda: list(Ledger(connection).entries())).result() == []
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("INSERT INTO note VALUES ('a', 'b')")
    connection.close()
    assert contents(tmp_path) == before


def test_a_file_that_has_its_mode_and_no_tables_yet_becomes_a_journal(tmp_path):
    """As a crash between the first two steps leaves it."""
    connection = sqlite3.connect(tmp_path / "j")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    assert (tmp_path / "j").stat().st_size > 0
    open_journal(tmp_path / "j").close()


def test_opened_again_nothing_is_changed(tmp_path):
    """Neither by writers nor by readers."""
    book = Book(tmp_path / "j")
    book.submitted("k")
    book.close()
    before = contents(tmp_path)
    open_journal(tmp_path / "j").close()
    open_journal(tmp_path / "j", read_only=True).close()
    assert contents(tmp_path) == before


def test_many_make_it_at_once(tmp_path):
    """Five processes open a journal that is not there yet, at the same moment: all of them can write."""
    program = """
        import sys
        from pathlib import Path
        from books import Book
        print("ready", flush=True)
        sys.stdin.readline()
        book = Book(Path(sys.argv[1]))
        book.intend(sys.argv[2])
        book.close()
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(child(program, tmp_path / "j", f"k{n}")) for n in range(5)]
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.wait(60) for process in processes] == [0] * 5
    assert set(rows(tmp_path / "j")) == {f"k{n}" for n in range(5)}
    assert sound(tmp_path / "j")


# --- what is left as it is ---------------------------------------------------------------------------------------


def refused(path, kind, match, **options):
    """Opening fails with this kind and words, and changes no byte."""
    before = contents(path.parent)
    with pytest.raises(JournalError, match=match) as caught:
        open_journal(path, **options)
    assert caught.value.kind == kind
    assert str(path) in str(caught.value)
    assert contents(path.parent) == before
    return caught.value


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("how", ["no database", "header", "page", "cut"])
def test_row_37_a_damaged_journal_is_left_as_it_is(tmp_path, how, read_only):
    """Row 37: whatever is broken, it is told, with the way to recover, and not one byte changes."""
    path = tmp_path / "j"
    full(path)
    data = path.read_bytes()
    broken = {
        "no database": b"this is a shopping list\n" * 100,
        "header": b"SQLite format 4\0" + data[16:],
        "page": data[: 4096 * 3] + b"\xff" * 4096 * 5 + data[4096 * 8 :],
        "cut": data[: len(data) // 2],
    }[how]
    path.write_bytes(broken)
    error = refused(path, "damaged", "is damaged", read_only=read_only)
    assert "left as it is, because it tells what was paid" in str(error)
    assert str(error).endswith("copy it, and recover what it holds with SQLite's `.recover`")
    assert error.may_have_charged


@pytest.mark.parametrize("missing", [1, 100, 4095])
def test_row_37_a_journal_that_ends_within_a_page_is_damaged(tmp_path, missing):
    """Row 37: SQLite takes zeros for what is missing, and would read another task id."""
    path = tmp_path / "j"
    full(path)
    path.write_bytes(path.read_bytes()[:-missing])
    refused(path, "damaged", "it is cut off")
    refused(path, "damaged", "it is cut off", read_only=True)


@pytest.mark.parametrize("left", [None, b""])
def test_row_37_a_log_without_its_file_is_not_thrown_away(tmp_path, left):
    """Row 37: SQLite would begin anew, and remove what the log tells."""
    path = tmp_path / "j"
    killed_writer(path)
    kept = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    refused(path, "damaged", "put the file back beside it")
    path.write_bytes(kept)
    assert list(rows(path)) == ["k"]


def test_row_37_a_journal_without_a_column_is_not_written_to(tmp_path):
    """Row 37: it was made by a version that was never released; better told now than after a create was paid."""
    path = tmp_path / "j"
    connection = open_journal(path)
    connection.execute("ALTER TABLE item DROP COLUMN round")
    connection.close()
    refused(path, "failed", "no such column: round")


@pytest.mark.parametrize("crashed", [False, True])
def test_row_37_a_newer_journal_is_left_as_it_is(tmp_path, crashed):
    """Row 37: also one whose log still holds what a killed process wrote."""
    path = tmp_path / "j"
    newer = f"PRAGMA user_version = {len(MIGRATIONS) + 1}"
    if crashed:
        killed_writer(path, newer)
        assert (tmp_path / "j-wal").stat().st_size
    else:
        connection = open_journal(path)
        connection.execute(newer)
        connection.close()
    for read_only in (False, True):
        error = refused(path, "newer", "upgrade the library", read_only=read_only)
        assert f"has version {len(MIGRATIONS) + 1}, and this library knows {len(MIGRATIONS)}" in str(error)


FOREIGN = ["PRAGMA application_id = 7", "PRAGMA user_version = 1", "CREATE TABLE notes (text)"]


@pytest.mark.parametrize("statement", FOREIGN)
@pytest.mark.parametrize("crashed", [False, True])
def test_another_programs_database_is_left_as_it_is(tmp_path, statement, crashed):
    """Marked as another's, of some version, or with tables of its own."""
    path = tmp_path / "j"
    program = """
        import sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(sys.argv[2])
        if sys.argv[3] == "False":
            connection.close()
        print("written", flush=True)
        sys.stdin.read()
    """
    with child(program, path, statement, crashed) as process:
        process.kill()
        process.wait()
    assert crashed == (tmp_path / "j-wal").exists()
    refused(path, "damaged", "is another program's database, not a journal")


def misfiled(path, how):
    """Damage the page by which a journal of two rows finds keys; the rows themselves are whole."""
    book = Book(path)
    book.submitted("order-1")
    book.close()
    with written(path) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_item_1'"
        begin = (connection.execute(query).fetchone()[0] - 1) * value(connection, "page_size")
    page = slice(begin, begin + 4096)
    stale = path.read_bytes()[page]
    book = Book(path)
    book.submitted("order-2")
    book.close()
    data = bytearray(path.read_bytes())
    data[page] = stale if how == "stale" else bytes(data[page]).replace(b"order-2", b"order-0")
    path.write_bytes(data)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("how", ["stale", "one letter"])
def test_row_37_a_key_that_its_index_does_not_find_is_not_paid_again(tmp_path, monkeypatch, how, big):
    """Row 37: a page that never reached the disk, or a flipped bit, in a journal of any size."""
    path = tmp_path / "j"
    misfiled(path, how)
    if big:
        monkeypatch.setattr(schema, "CHECKED", 0)
    refused(path, "damaged", "missing from (the )?index|non-unique entry in index|wrong # of entries in index")
    if big:
        assert set(rows(path)) == {"order-1", "order-2"}
        open_journal(path, read_only=True).close()


def test_a_big_journal_is_not_checked_as_a_whole(tmp_path, monkeypatch):
    """That would take long: a reader meets what is broken when he comes to it, a writer is told at once."""
    path = tmp_path / "j"
    full(path)
    data = path.read_bytes()
    path.write_bytes(data[: 4096 * 9] + b"\xff" * 4096 * 5 + data[4096 * 14 :])
    monkeypatch.setattr(schema, "CHECKED", path.stat().st_size)
    refused(path, "damaged", "is damaged")
    monkeypatch.setattr(schema, "CHECKED", path.stat().st_size - 1)
    refused(path, "damaged", "is damaged")
    connection = open_journal(path, read_only=True)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        list(Ledger(connection).entries())
    assert journal_error(caught.value).kind == "damaged"
    connection.close()


# --- places ------------------------------------------------------------------------------------------------------


def test_places_where_no_journal_can_be(tmp_path):
    """A folder, a folder that is not there, and for a reader a file that is not there; nothing is made."""
    for path, words, options in [
        (tmp_path, "is a folder", {}),
        (tmp_path / "no" / "j", "cannot be made: its folder does not exist", {}),
        (tmp_path / "j", "does not exist", {"read_only": True}),
    ]:
        with pytest.raises(JournalError, match=words) as caught:
            open_journal(path, **options)
        assert not caught.value.may_have_charged
        assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /data nfs4 rw 0 0
/dev/sdb1 /data/local ext4 rw 0 0
//nas/share /mnt/my\\040share cifs rw 0 0
user@host:/ /mnt/ssh fuse.sshfs rw 0 0
odd
tmpfs /data/local/tmp tmpfs rw 0 0
/dev/sda1 /srv/a\\040journal\\134x ext4 rw 0 0
server:/later /late nfs rw 0 0
/dev/sdc1 /late ext4 rw 0 0
"""


@POSIX
@pytest.mark.parametrize(
    ("path", "network"),
    [
        ("/home/j", False),
        ("/data/j", True),
        ("/data/deep/er/j", True),
        ("/data/local/j", False),
        ("/data/local/tmp/j", False),
        ("/database/j", False),
        ("/mnt/my share/j", True),
        ("/mnt/ssh/j", True),
        ("/mnt/j", False),
        ("/late/j", False),
    ],
)
def test_network_file_systems_are_known_by_the_mounts(tmp_path, path, network):
    """The deepest mount counts, of two at one place the later; names may hold spaces; odd lines are passed over."""
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS, "utf-8")
    assert on_network(Path(path), str(mounts)) is network


def test_where_the_system_does_not_tell_it_is_taken_as_local(tmp_path):
    """No table of mounts."""
    assert on_network(tmp_path, str(tmp_path / "none")) is False


@pytest.mark.parametrize(
    ("path", "network"),
    [
        (r"\\server\share\j", True),
        (r"\\?\UNC\server\share\j", True),
        (r"C:\data\j", False),
        (r"\\?\C:\data\j", False),  # how a path of more than 260 characters is written
    ],
)
def test_on_windows_a_share_is_a_network_file_system(monkeypatch, path, network):
    """By its name."""
    monkeypatch.setattr(schema.sys, "platform", "win32")
    monkeypatch.setattr(Path, "resolve", lambda _: path)
    assert on_network(Path("j")) is network


def test_a_journal_on_a_network_file_system_is_refused(tmp_path, monkeypatch):
    """Before anything is made; for readers too."""
    monkeypatch.setattr(schema, "on_network", lambda _: True)
    with pytest.raises(JournalError, match="keep it on a local disk"):
        open_journal(tmp_path / "j")
    assert list(tmp_path.iterdir()) == []


# --- reading beside a writer -------------------------------------------------------------------------------------


def test_a_reader_sees_what_is_committed_while_another_writes(tmp_path):
    """Also in the middle of a transaction; it can change nothing, and hinders nobody."""
    book = Book(tmp_path / "j")
    book.submitted("a")
    reader = Ledger(open_journal(tmp_path / "j", read_only=True))
    book.ledger.begin()
    book.ledger.intend(intent("b"), owner="me")
    assert [row.key for row in reader.entries()] == ["a"]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.connection.execute("DELETE FROM item")
    book.ledger.commit()
    assert [row.key for row in reader.entries()] == ["a", "b"]
    reader.connection.close()
    book.close()


def test_a_reader_finds_what_a_killed_process_wrote(tmp_path):
    """From the log, and leaves the log where it is."""
    killed_writer(tmp_path / "j")
    before = contents(tmp_path)
    reader = Ledger(open_journal(tmp_path / "j", read_only=True))
    assert [row.key for row in reader.entries()] == ["k"]
    reader.connection.close()
    assert contents(tmp_path) == before


# --- versions ----------------------------------------------------------------------------------------------------

LATER = (*MIGRATIONS, "ALTER TABLE item ADD COLUMN two TEXT; CREATE TABLE more (a)", "INSERT INTO more VALUES (3)")


def test_an_older_journal_is_brought_up_to_date_step_by_step(tmp_path, monkeypatch):
    """In order, from the version it has, and only once; its rows stay."""
    book = Book(tmp_path / "j")
    book.submitted("k")
    book.close()
    monkeypatch.setattr(schema, "MIGRATIONS", LATER)
    for _ in range(2):
        connection = open_journal(tmp_path / "j")
        assert value(connection, "user_version") == len(LATER)
        assert connection.execute("SELECT * FROM more").fetchall() == [(3,)]
        assert connection.execute("SELECT key, two FROM item").fetchall() == [("k", None)]
        connection.close()


def test_a_step_that_fails_changes_nothing(tmp_path, monkeypatch):
    """The journal stays at the version before, whole."""
    Book(tmp_path / "j").close()
    before = contents(tmp_path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE more (a); SELECT nonsense"))
    with pytest.raises(JournalError, match="nonsense"):
        open_journal(tmp_path / "j")
    assert contents(tmp_path) == before
    monkeypatch.undo()
    open_journal(tmp_path / "j").close()


def test_another_process_may_be_faster(tmp_path, monkeypatch):
    """Both found the old version; the second, let in afterwards, does the step no second time."""
    Book(tmp_path / "j").close()
    monkeypatch.setattr(schema, "MIGRATIONS", LATER)
    first, second = (sqlite3.connect(tmp_path / "j", isolation_level=None) for _ in range(2))
    old = len(MIGRATIONS)
    assert value(first, "user_version") == value(second, "user_version") == old
    for connection in (first, second):
        schema._migrate(connection, old)
    assert value(second, "user_version") == old + 1
    schema._migrate(second, old + 1)
    for connection in (first, second):
        schema._prepare(connection)
        assert connection.execute("SELECT * FROM more").fetchall() == [(3,)]
        connection.close()


# --- what SQLite says --------------------------------------------------------------------------------------------


def _sqlite_error(code, words="odd"):
    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (_sqlite_error(sqlite3.SQLITE_FULL), "full", "no space left for the journal: free some"),
        (_sqlite_error(sqlite3.SQLITE_CORRUPT), "damaged", "the journal the journal is damaged (odd)"),
        (_sqlite_error(sqlite3.SQLITE_NOTADB), "damaged", "is damaged (odd)"),
        (_sqlite_error(sqlite3.SQLITE_BUSY), "locked", "the journal is held by another process for 30 s already"),
        (_sqlite_error(sqlite3.SQLITE_BUSY | 2 << 8), "locked", "is held by another process"),
        (_sqlite_error(sqlite3.SQLITE_IOERR | 4 << 8, "disk I/O error"), "failed", "cannot be used (disk I/O error)"),
        (sqlite3.ProgrammingError("closed"), "failed", "cannot be used (closed): see to its disk and permissions"),
        (OSError(13, "Permission denied", "/secret"), "failed", "cannot be used (Permission denied)"),
        (OSError(), "failed", "cannot be used (OSError)"),
        (ValueError(), "failed", "cannot be used (ValueError)"),
    ],
    ids=str,
)
def test_what_went_wrong_in_the_users_words(error, kind, words):
    """Its kind and the next step; a file name only where it is the journal's own."""
    told = journal_error(error)
    assert told.kind == kind
    assert words in str(told)
    assert "secret" not in str(told)
    assert "/a/j" in str(journal_error(error, Path("/a/j")))


def test_a_journal_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    """The system's word, with the path."""

    def fail(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(schema, "_make", fail)
    with pytest.raises(JournalError, match=r"j cannot be used \(Permission denied\)") as caught:
        open_journal(tmp_path / "j")
    assert caught.value.kind == "failed"


def test_a_file_whose_making_was_cut_short_reads_as_a_journal_without_rows(tmp_path):
    """Killed between the file and its tables: whoever only looks sees nothing, and changes nothing."""
    path = tmp_path / "j"
    path.touch()
    looking = open_journal(path, read_only=True)
    assert looking.execute("SELECT count(*) FROM item").fetchone() == (0,)
    with pytest.raises(sqlite3.OperationalError):
        looking.execute("DELETE FROM item")
    looking.close()
    assert path.read_bytes() == b""


def test_processes_that_open_it_at_once_all_get_it(tmp_path):
    """As the workers of an app do when it starts: whoever comes second finds it made, or waits."""
    program = """
        import sys
        from pathlib import Path
        from omni_async.errors import JournalError
        from omni_async.journal import open_journal
        print("ready", flush=True)
        for turn in sys.stdin:
            try:
                open_journal(Path(sys.argv[1] + turn.strip())).close()
            except JournalError as error:
                print(error, flush=True)
            else:
                print("open", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "j")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with ExitStack() as stack:
        workers = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(4)]
        assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 4
        for turn in range(25):
            for worker in workers:
                worker.stdin.write(f"{turn}\n")
            assert [worker.stdout.readline() for worker in workers] == ["open\n"] * 4


@POSIX
@pytest.mark.parametrize(
    ("path", "mounted"), [("/srv/a journal\\x", True), ("/srv/a", False), ("/data/local/j", False)]
)
def test_a_file_that_is_a_mount_is_known_by_the_mounts(tmp_path, path, mounted):
    """Just that file: not one below a mount."""
    table = tmp_path / "mounts"
    table.write_text(MOUNTS, "utf-8")
    assert is_mounted(Path(path), str(table)) is mounted


@pytest.mark.parametrize("read_only", [False, True])
def test_a_journal_that_is_mounted_as_a_file_is_refused(tmp_path, monkeypatch, read_only):
    """As by a container that was given the file: its log and locks would be that container's alone."""
    open_journal(tmp_path / "j").close()
    monkeypatch.setattr(schema, "is_mounted", lambda path: path == tmp_path / "j")
    error = refused(tmp_path / "j", "failed", "mount its folder instead", read_only=read_only)
    assert not error.may_have_charged


@pytest.mark.parametrize("read_only", [False, True])
def test_a_journal_of_two_names_is_refused_under_both(tmp_path, read_only):
    """A hard link: two clients would pay for one id twice; with one name left it opens again, with all its rows."""
    book = Book(tmp_path / "j")
    book.submitted("k")
    book.close()
    other = tmp_path / "other"
    os.link(tmp_path / "j", other)
    for path in (tmp_path / "j", other):
        error = refused(
            path, "failed", r"has a second name \(a hard link\).*remove one of the two", read_only=read_only
        )
        assert not error.may_have_charged
    other.unlink()
    with closing(open_journal(tmp_path / "j", read_only=read_only)) as connection:
        assert [entry.key for entry in Ledger(connection).entries()] == ["k"]


@POSIX
def test_a_link_leads_to_the_journal_and_to_its_log(tmp_path):
    """What a killed process left in the log beside the file counts, also where the link alone is looked at."""
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "j")
    open_journal(tmp_path / "link").close()
    killed_writer(tmp_path / "far" / "j")
    with closing(open_journal(tmp_path / "link", read_only=True)) as connection:
        assert [entry.key for entry in Ledger(connection).entries()] == ["k"]
    (tmp_path / "far" / "j").unlink()
    with pytest.raises(JournalError, match="put the file back beside it"):
        open_journal(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir() if path.is_file() or path.is_symlink()] == ["link"]


def test_a_journal_on_a_medium_that_is_only_read_can_be_looked_at(tmp_path, monkeypatch):
    """Nothing is made beside it, not even for a moment; a log that is there is read as ever."""
    path = tmp_path / "j"
    book = Book(path)
    book.submitted("k")
    book.close()
    monkeypatch.setattr(schema.os, "access", lambda *_: False)
    with closing(open_journal(path, read_only=True)) as connection:
        assert [entry.key for entry in Ledger(connection).entries()] == ["k"]
        assert [file.name for file in tmp_path.iterdir()] == ["j"]
    book = Book(path)
    book.intend("another")
    with closing(open_journal(path, read_only=True)) as connection:
        assert [entry.key for entry in Ledger(connection).entries()] == ["k", "another"]
    book.close()
