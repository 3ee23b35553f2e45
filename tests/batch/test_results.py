"""Results for programs and for spreadsheets."""

import csv
import json

import pytest

from omni_async.batch.folder import Folder, folder_of
from omni_async.batch.results import COLUMNS, NOT_STORED, Results, column_of, settled
from omni_async.errors import InvalidRequestError, OmniError
from omni_async.journal.entries import Entry, sent_again
from omni_async.journal.states import State


def entry(key="a", state=State.DONE, **more):
    """A row."""
    return Entry(key=key, gateway="jimmy", fingerprint="f", state=state, target=f"{key}.mp4", **more)


@pytest.fixture
def folder(tmp_path):
    """A batch's folder."""
    found = Folder(tmp_path / "out")
    found.make()
    return found


def lines(folder):
    """What stands in the file for programs."""
    return [json.loads(line) for line in folder.lines.read_text("utf-8").splitlines()]


def table(folder):
    """What stands in the file for spreadsheets."""
    with folder.table.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_lines_are_appended_at_once_and_rewritten(folder):
    """After a rewrite there is one line a row, however many were appended before."""
    results = Results(folder)
    for _ in range(3):
        results.append(entry())
    assert len(lines(folder)) == 3
    results.rewrite([entry("b"), entry("a")], ["scene"])
    assert [line["id"] for line in lines(folder)] == ["b", "a"]
    results.append(entry("c"))
    assert [line["id"] for line in lines(folder)] == ["b", "a", "c"]
    results.close()
    assert folder.lines.stat().st_mode & 0o777 == folder.table.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.path.iterdir() if path.suffix == ".new"] == []


@pytest.mark.parametrize(("finished", "seconds"), [(190.04, 90.0), (100.0, 0.0), (99.0, None), (None, None)])
def test_seconds_are_never_negative(folder, finished, seconds):
    """A clock that was set back meanwhile tells nothing."""
    results = Results(folder)
    results.rewrite([entry(sent_at=100.0, finished_at=finished)], [])
    assert lines(folder)[0]["seconds"] == seconds
    assert table(folder)[0]["seconds"] == ("" if seconds is None else str(seconds))


@pytest.mark.parametrize(
    ("row", "through"),
    [
        (entry(state=State.DONE), True),
        (entry(state=State.FAILED), True),
        (entry(state=State.UNCERTAIN), True),
        (entry(state=State.REJECTED, again=1), True),
        (entry(state=State.REJECTED, again=2), False),
        (entry(state=State.SUCCEEDED), False),
        (entry(state=State.SUCCEEDED, detail="what the gateway said beside it"), False),
        (entry(state=State.SUCCEEDED, detail="its file has gone"), False),
        (entry(state=State.SUCCEEDED, detail=f"{NOT_STORED}no space"), True),
        (entry(state=State.PLANNED), False),
        (entry(state=State.SUBMITTED), False),
    ],
)
def test_what_has_settled(folder, row, through):
    """A run is through with it, and only then it has a line."""
    assert settled(row) is through
    Results(folder).rewrite([row], [])
    assert len(lines(folder)) == len(table(folder)) == through
    assert sent_again(row) is (row.again == 2)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t=", "\r=", "\n=", "＝"])
def test_what_a_gateway_says_is_no_formula(folder, sign):
    """In a table it begins with an apostrophe; for programs it is as it was."""
    said = f"{sign}HYPERLINK(1)"
    Results(folder).rewrite([entry(state=State.FAILED, detail=said, task_id=said)], [])
    (row,) = table(folder)
    assert (row["error"], row["task_id"]) == (f"'{said}", f"'{said}")
    assert lines(folder)[0]["error"] == said


def test_carried_columns(folder):
    """They stand behind, under a name of their own where theirs is taken; a column of an earlier sheet stays."""
    carried = json.dumps({"scene": 3, "status": "x", "note": "=1+1", "none": None})
    Results(folder).rewrite([entry(carried=carried), entry("b")], ["scene", "status", "note", "old"])
    assert list(table(folder)[0]) == [*COLUMNS, "scene", "sheet_status", "note", "old"]
    assert table(folder)[0]["note"] == "=1+1"  # the sheet's own, as it was
    assert lines(folder)[0]["sheet_status"] == "x"
    assert column_of("id") == "sheet_id"


def test_odd_texts(folder):
    """A lone surrogate, a line break, Chinese: written so that it can be read back."""
    Results(folder).rewrite([entry("猫", detail="a\nb\u2028\ud800", state=State.FAILED)], [])
    assert lines(folder)[0]["error"] == "a\nb\u2028?"
    assert lines(folder)[0]["id"] == table(folder)[0]["id"] == "猫"
    results = Results(folder)
    results.append(entry("猫", detail="\ud800", state=State.FAILED))
    results.close()
    assert len(lines(folder)) == 2


def test_a_disk_that_refuses(folder):
    """Appending says nothing, rewriting tells, and not of a download; what was there stays."""
    results = Results(folder)
    results.rewrite([entry()], [])
    (folder.path / "results.csv.new").mkdir()
    with pytest.raises(OmniError, match="cannot be written") as caught:
        results.rewrite([entry("b")], [])
    assert "download" not in caught.value.explain()
    assert caught.value.may_have_charged  # the rows it would have told of may be paid
    assert lines(folder)[0]["id"] == "a"
    folder.lines.unlink()
    folder.lines.mkdir()
    results.append(entry())
    results.close()


@pytest.mark.parametrize(
    ("source", "out", "path"),
    [("a/b.csv", None, "a/b"), ("rows", None, "rows.out"), ("-", "x", "x"), (None, "x", "x")],
)  # fmt: skip
def test_the_folder_of_a_batch(source, out, path):
    """As named, else after the file."""
    assert folder_of(source, out).path.as_posix() == path


@pytest.mark.parametrize("source", [None, "-", []])
def test_a_folder_must_be_named(source):
    """Where no file gives its name."""
    with pytest.raises(InvalidRequestError, match="out: rows that come from no file need a folder"):
        folder_of(source, None)


def test_a_folder_that_cannot_be_made(tmp_path):
    """Told before anything is sent."""
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequestError, match="cannot be made"):
        Folder(tmp_path / "file" / "out").make()
