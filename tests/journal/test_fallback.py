"""The file of what was paid and could not be written into the journal."""

import importlib.util
import json
import os
import stat
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from books import Book, accepted, intent, lost, refused, task, writing

from omni_async.journal import Answer, fallback
from omni_async.journal.fallback import append, elsewhere, fallback_of
from omni_async.journal.noted import HOW
from omni_async.journal.store import resolve
from omni_async.models import TaskStatus

WRONG = [{"fingerprint": 0}, {"key": 1}, {"state": []}, {"task_id": 3}, {"round": "1"}, {"at": True}, {"gateway": ""}]
READ_STATES = ["SUBMITTED", "UNCERTAIN", "REJECTED", "PLANNED"]


@pytest.fixture
def book(tmp_path):
    """A journal."""
    book = Book(tmp_path / "j")
    yield book
    book.close()


def merge(book):
    """Enter what is told, in a transaction."""
    book.ledger.begin()
    found = fallback.merge(book.path, book.ledger)
    book.ledger.commit()
    return found


def test_a_line_an_answer(tmp_path):
    """With all that is needed to enter it later; nobody else may read it."""
    path = append(tmp_path / "j", intent("一", round=2, metadata={"chat": 7}), accepted("t-1"))
    assert path == fallback_of(tmp_path / "j") == tmp_path / "j.lost.jsonl"
    append(tmp_path / "j", intent("k"), lost("t-9"))
    assert "一" in path.read_text("utf-8")
    first, second = (json.loads(line) for line in path.read_text("utf-8").split("\n") if line)
    assert first.pop("at") > 1.7e9
    assert first == {
        "key": "一",
        "gateway": "jimmy",
        "fingerprint": "print",
        "round": 2,
        "state": "SUBMITTED",
        "task_id": "t-1",
        "candidate": None,
        "custom_id": "一",
        "metadata": '{"chat": 7}',
    }
    assert (second["state"], second["task_id"], second["candidate"]) == ("UNCERTAIN", None, "t-9")
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_where_the_journals_folder_takes_nothing_the_temporary_one_does(tmp_path, monkeypatch):
    """Under a name that no other journal's file has there. And if that does not either, it is said."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    gone = tmp_path / "gone" / "j"
    path = append(gone, intent(), accepted())
    assert path == elsewhere(gone) != elsewhere(tmp_path / "another" / "j")
    assert path.parent == tmp_path
    assert json.loads(path.read_text())["task_id"] == "task-k"
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "gone"))
    assert append(gone, intent(), accepted()) is None


def test_a_machine_without_a_folder_for_temporary_files_notes_beside_the_journal(tmp_path, monkeypatch):
    """Every disk but the journal's is full: Python finds no such folder, and says so by an error."""

    def none():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert append(tmp_path / "j", intent(), accepted()) == fallback_of(tmp_path / "j")
    assert append(tmp_path / "gone" / "j", intent(), accepted()) is None


@pytest.mark.skipif(sys.platform == "win32", reason="links are POSIX")
def test_it_is_no_link(tmp_path, monkeypatch):
    """What somebody laid there is not followed."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "none"))
    fallback_of(tmp_path / "j").symlink_to(tmp_path / "elsewhere")
    assert append(tmp_path / "j", intent(), accepted()) is None
    assert not (tmp_path / "elsewhere").exists()


def test_a_write_that_takes_only_a_part_goes_on(tmp_path, monkeypatch):
    """As a disk that is nearly full does; the line is whole, synced and closed."""
    write, synced = os.write, []
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:7]))
    monkeypatch.setattr(os, "fsync", synced.append)
    path = append(tmp_path / "j", intent(), accepted())
    assert json.loads(path.read_text())["task_id"] == "task-k"
    assert len(synced) == 1
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(synced[0])


# --- entering ----------------------------------------------------------------------------------------------------


def test_nothing_is_told(book):
    """No file, or an empty one."""
    assert merge(book) == 0
    fallback_of(book.path).touch()
    assert merge(book) == 0


def test_a_task_is_found_again(book):
    """The row is submitted, on record, and anybody's to follow; the file stays, and tells it only once."""
    book.intend("k")
    append(book.path, intent("k"), accepted("t-1"))
    assert merge(book) == 1
    row = book.entry("k")
    assert (row.state, row.task_id, row.owner, row.attempts) == ("SUBMITTED", "t-1", "", 1)
    assert book.records("k")[-1].detail == HOW == "found in the file of what could not be written"
    before = fallback_of(book.path).read_bytes()
    book.anew("k", "retried")
    book.intend("k", round=1)
    assert merge(book) == 0
    assert book.entry("k").state == "SUBMITTING"
    append(book.path, intent("k"), accepted("t-2"))
    assert merge(book) == 1
    assert book.entry("k").task_id == "t-2"
    assert fallback_of(book.path).read_bytes().startswith(before)


def test_a_task_noted_elsewhere_is_found_again(book, tmp_path, monkeypatch):
    """The disk was full, so it went into the folder of temporary files: entered once, also when that is cleaned."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    for key in ("a", "b"):
        book.intend(key)
        append(book.path, intent(key), accepted(f"task-{key}"))
        noted = fallback_of(book.path).rename(elsewhere(book.path))
        assert merge(book) == 1
        assert merge(book) == 0
        assert book.entry(key).task_id == f"task-{key}"
        noted.unlink()


@pytest.mark.skipif(sys.platform == "win32", reason="owners are POSIX")
def test_what_somebody_else_noted_elsewhere_is_not_believed(book, tmp_path, monkeypatch):
    """Everybody may write into the folder of temporary files, and lay links there."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    book.intend("a")
    append(book.path, intent("a"), accepted())
    noted = fallback_of(book.path).rename(elsewhere(book.path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: 12345)
        assert merge(book) == 0
    noted.rename(tmp_path / "real")
    noted.symlink_to(tmp_path / "real")
    assert merge(book) == 0


def test_what_is_rolled_back_is_told_again(book):
    """How far it was read stands in the same transaction."""
    book.intend("k")
    append(book.path, intent("k"), accepted("t-1"))
    book.ledger.begin()
    assert fallback.merge(book.path, book.ledger) == 1
    book.ledger.rollback()
    assert merge(book) == 1


@pytest.mark.parametrize("told", READ_STATES)
@pytest.mark.parametrize("stands", ["SUBMITTING", "UNCERTAIN", "SUBMITTED", "REJECTED", "PLANNED"])
def test_what_may_be_entered(book, stands, told):
    """Anything for what was on its way; for what is uncertain a task; for what is unpaid what is or may be paid."""
    book.intend("k")
    ends = {
        "UNCERTAIN": lost(),
        "SUBMITTED": accepted("t-0"),
        "REJECTED": refused(),
        "PLANNED": Answer(state="PLANNED"),
    }
    if stands in ends:
        book.answered("k", ends[stands])
    before = book.entry("k")
    append(book.path, intent("k"), Answer(state=told, task_id="t-1" if told == "SUBMITTED" else None, candidate="t-9"))
    paid = told in ("SUBMITTED", "UNCERTAIN")
    entered = stands == "SUBMITTING" or (stands, told) == ("UNCERTAIN", "SUBMITTED")
    entered = entered or (stands in ("REJECTED", "PLANNED") and paid)
    assert merge(book) == entered
    row = book.entry("k")
    assert row.state == (told if entered else stands)
    assert row == before or entered
    if entered:
        assert row.task_id == ("t-1" if told == "SUBMITTED" else None)
        assert row.candidate == (None if told == "SUBMITTED" else "t-9")


def test_what_does_not_fit_is_passed_over(book):
    """Other inputs, another row's task, odd lines, a line that was cut off."""
    book.submitted("a", "t-1")
    book.intend("k")
    path = fallback_of(book.path)
    for wrong in (
        append(book.path, intent("k", fingerprint="other"), accepted("t-2")),
        append(book.path, intent("none"), accepted("t-1")),
        append(book.path, intent("none"), refused()),
        append(book.path, intent("k"), accepted("t-1")),
        append(book.path, intent("k"), Answer(state="DONE", task_id="t-4")),
    ):
        assert wrong == path
    line = json.loads(path.read_text().split("\n")[1])
    odd = [b"[]", b"7", b"\xff\xfe", b""]
    odd += [json.dumps({**line, "key": "x", **wrong}).encode() for wrong in WRONG]
    names = ("key", "fingerprint", "state", "task_id", "candidate")
    odd += [json.dumps({n: v for n, v in line.items() if n != name}).encode() for name in names]
    with path.open("ab") as file:
        file.write(b"\n".join(odd) + b"\n")
        file.write(b'{"key": "k", "task')  # a full disk
    assert merge(book) == 0
    assert book.entry("k").state == "SUBMITTING"
    assert [entry.key for entry in book.ledger.entries()] == ["a", "k"]
    append(book.path, intent("k"), accepted("t-5"))
    assert merge(book) == 1
    assert book.entry("k").task_id == "t-5"


def test_a_file_that_is_another_is_read_from_its_beginning(book):
    """Somebody took the old one away."""
    for key in "abc":
        book.intend(key)
        append(book.path, intent(key), accepted(f"t-{key}"))
    assert merge(book) == 3
    fallback_of(book.path).unlink()
    book.intend("d")
    path = append(book.path, intent("d"), accepted("t-d"))
    path.write_bytes(path.read_bytes().lstrip())
    assert merge(book) == 1


def test_a_first_file_may_begin_at_once(book):
    """Somebody put it together from others."""
    book.intend("k")
    path = append(book.path, intent("k"), accepted("t-1"))
    path.write_bytes(path.read_bytes().lstrip())
    assert merge(book) == 1


def test_what_a_line_needs_is_enough(book):
    """Nothing but what tells the row and what came to it."""
    book.intend("k")
    told = {"key": "k", "fingerprint": "print", "state": "SUBMITTED", "task_id": "t-1", "candidate": None}
    fallback_of(book.path).write_text(json.dumps(told) + "\n")
    assert merge(book) == 1


def test_an_odd_id_is_noted_too(tmp_path):
    """Half a surrogate pair has no UTF-8 form."""
    path = append(tmp_path / "j", intent("\ud83d"), accepted("t-1"))
    assert b"\xed\xa0\xbd" in path.read_bytes()


def test_a_line_that_is_being_written_is_read_when_it_is_whole(book):
    """What has no end yet is left for the next time."""
    book.intend("k")
    path = append(book.path, intent("k"), accepted("t-1"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert merge(book) == 0
    path.write_bytes(whole)
    assert merge(book) == 1


def test_the_file_is_beside_the_journal():
    """By its name."""
    assert fallback_of(Path("/a/journal.sqlite3")) == Path("/a/journal.sqlite3.lost.jsonl")


def test_what_waits_to_be_entered_is_told_with_its_file(book, tmp_path, monkeypatch):
    """Each row with what it will be; neither those that were entered nor lines of an earlier attempt."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    book.intend("k")
    append(book.path, intent("k"), accepted("t-1"))
    beside = fallback_of(book.path)
    other = beside.rename(elsewhere(book.path))
    assert merge(book) == 1
    book.anew("k", "retried")
    book.intend("k", round=1)
    book.intend("l")
    assert fallback.waiting(book.path, book.ledger) == []
    append(book.path, intent("k"), accepted("t-2"))
    other.write_bytes(other.read_bytes() + beside.read_bytes())
    beside.unlink()
    append(book.path, intent("l"), lost("t-9"))
    found = [(entry.key, state, where) for entry, state, where in fallback.waiting(book.path, book.ledger)]
    assert found == [("l", "UNCERTAIN", beside), ("k", "SUBMITTED", other)]
    assert merge(book) == 2
    assert fallback.waiting(book.path, book.ledger) == []


# --- a journal that knows less ------------------------------------------------------------------------------------


def test_a_second_file_is_read_whole_though_the_first_was_as_long(book):
    """The user deleted it after it was entered: how far that one was read says nothing of this one."""
    for key in ("a", "b", "c"):
        book.intend(key)
        path = append(book.path, intent(key), accepted(f"t-{key}"))
        size = path.stat().st_size
        assert merge(book) == 1
        path.unlink()
    book.intend("d")
    book.intend("e")
    append(book.path, intent("d"), accepted("t-d"))
    assert append(book.path, intent("e"), accepted("t-e")).stat().st_size > size
    assert merge(book) == 2


@pytest.mark.parametrize("told", [accepted("t-1"), lost("t-1")], ids=["paid", "uncertain"])
@pytest.mark.parametrize("print_", ["print", "edited"])
def test_a_row_of_an_older_copy_is_not_sent_though_it_is_still_to_be(book, told, print_):
    """A backup was put back: the row is what the file says, and what was edited since is not known."""
    book.intend("k")
    book.answered("k", Answer(state="PLANNED"))
    append(book.path, intent("k", fingerprint=print_), told)
    assert merge(book) == 1
    row = book.entry("k")
    assert (row.state, row.task_id or row.candidate, row.owner, row.fingerprint) == (told.state, "t-1", "", print_)
    assert (row.inputs is None) == (print_ == "edited")
    assert row.attempts == 1
    assert merge(book) == 0


def test_a_row_that_was_paid_again_since_is_taken_up_in_its_new_round(book):
    """In the older copy it has its first task: that stays on record, and the second one is followed."""
    book.submitted("k", "t-1")
    book.finished("jimmy", task("t-1"))
    book.arriving("k", 7, "abc")
    book.stored("k", 7)
    append(book.path, intent("k", round=1), accepted("t-2"))
    assert merge(book) == 1
    row = book.entry("k")
    assert (row.state, row.task_id, row.round, row.size, row.sha256) == ("SUBMITTED", "t-2", 1, None, "abc")
    assert (row.task, row.finished_at) == (None, None)
    assert [record.task_id for record in book.records("k")] == ["t-1", "t-1", "t-2"]


@pytest.mark.parametrize("told", [accepted("t-1"), lost("t-1")], ids=["paid", "uncertain"])
def test_a_row_that_has_gone_is_made(book, told):
    """A journal was lost and another begun: its row is there again, for whoever follows it, with the caller's data."""
    append(book.path, intent("k", round=1, metadata={"chat": 7}), told)
    assert merge(book) == 1
    row = book.entry("k")
    assert (row.state, row.task_id or row.candidate, row.owner, row.round) == (told.state, "t-1", "", 1)
    assert (row.gateway, row.custom_id, row.fingerprint, row.data) == ("jimmy", "k", "print", {"chat": 7})
    with writing(book.ledger):
        taken = book.ledger.take_over("me", [""], "jimmy")
    assert [entry.key for entry in taken] == ["k"] * (told.state == "SUBMITTED")


def test_what_was_refused_makes_no_row(book):
    """Nothing of it was paid."""
    append(book.path, intent("k"), refused())
    assert merge(book) == 0
    assert book.entry("k") is None


def test_a_row_whose_noted_task_is_anothers_is_uncertain(book):
    """It may not be sent, whatever came of it."""
    book.submitted("a", "t-1")
    book.intend("k")
    book.answered("k", refused())
    append(book.path, intent("k"), accepted("t-1"))
    assert merge(book) == 1
    row = book.entry("k")
    assert (row.state, row.task_id) == ("UNCERTAIN", None)
    assert "task t-1" in row.detail


def test_a_task_that_no_row_can_have_is_told(book, caplog):
    """The row has another one."""
    book.submitted("k", "t-1")
    append(book.path, intent("k"), accepted("t-1"))
    assert merge(book) == 0
    assert not caplog.records
    append(book.path, intent("k"), accepted("t-2"))
    assert merge(book) == 0
    assert "names task t-2 for row 'k', which has another one" in caplog.text


def test_a_persons_word_since_stands_against_a_doubt_and_not_against_a_task(book):
    """He settled it as not charged after that was noted: a doubt is over, a task is the gateway's own word."""
    book.clock.now = 4e9
    book.uncertain("k")
    with writing(book.ledger):
        resolve(book.ledger, "k", not_charged=True)
    append(book.path, intent("k"), lost())
    assert merge(book) == 0
    assert book.entry("k").state == "PLANNED"
    append(book.path, intent("k"), accepted("t-1"))
    assert merge(book) == 1
    assert book.entry("k").task_id == "t-1"


def test_a_line_that_is_read_again_is_entered_once(book):
    """Somebody put the file together anew: what a new attempt comes to is not what the old one came to."""
    book.clock.now = 4e9
    book.intend("k")
    path = append(book.path, intent("k"), accepted("t-1"))
    assert merge(book) == 1
    book.finished("jimmy", task("t-1", TaskStatus.FAILED))
    book.anew("k", "retried")
    path.write_bytes(b"{}\n" + path.read_bytes())
    assert merge(book) == 0
    assert book.entry("k").state == "PLANNED"


def test_data_that_changed_meanwhile_costs_the_line_nothing(tmp_path):
    """What was to be kept of it cannot be written any more."""
    changed = intent("k", metadata={"chat": object()})
    path = append(tmp_path / "j", changed, accepted("t-1"))
    assert json.loads(path.read_text())["metadata"] is None


def test_on_windows_a_line_is_appended_under_a_lock(tmp_path, monkeypatch):
    """To go to the end and to write are two steps there. Where there are no locks, it is appended all the same."""
    path, locks = fallback_of(tmp_path / "j"), []

    def locking(file, mode, count):
        locks.append((mode, count, os.lseek(file, 0, os.SEEK_CUR) > 2**32, path.stat().st_size))
        if len(locks) > 1:
            raise OSError(22, "Invalid argument")

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_LOCK="wait"))
    monkeypatch.setattr(sys, "platform", "win32")
    spec = importlib.util.spec_from_file_location("omni_async.journal.elsewhere", fallback.__file__)
    there = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(there)
    assert there.append(tmp_path / "j", intent("k"), accepted("t-1")) == path
    size = path.stat().st_size
    assert there.append(tmp_path / "j", intent("l"), accepted("t-2")) == path
    assert locks == [("wait", 1, True, 0), ("wait", 1, True, size)]
    assert [json.loads(line)["task_id"] for line in path.read_text().split("\n") if line] == ["t-1", "t-2"]
