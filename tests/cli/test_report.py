"""`report`: a journal as one page."""

import json
import webbrowser
from pathlib import Path

import pytest

from omni_async.journal import Ledger, open_journal


@pytest.fixture
def shots(omni, scenario):
    """A batch of three, one of them uncertain."""
    rows = [{"id": f"s{number}", "prompt": f"a kite, take {number}"} for number in range(3)]
    Path("shots.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    faults = [{"kind": "drop_after_accept", "prompt": "take 2"}]
    path = scenario(faults=faults)
    ran = omni("batch", "shots.jsonl", "--out", "shots", "--emulator", "--scenario", path, "--poll", 0.05, "-q")
    assert ran.code == 3
    return Path("shots")


def test_a_batch_leaves_its_page_and_report_writes_it_again(omni, shots):
    """Stdout has the file; nothing else in the folder has changed."""
    page = shots / "report.html"
    assert "1 row may have been paid" in page.read_text("utf-8")
    page.unlink()
    before = {path: path.read_bytes() for path in shots.iterdir() if path.is_file()}
    ran = omni("report", shots)
    assert (ran.code, ran.out) == (0, "shots/report.html\n")
    assert {path: path.read_bytes() for path in shots.iterdir() if path.is_file() and path != page} == before
    assert page.stat().st_mode & 0o777 == 0o600


def test_it_goes_where_it_is_told_to_and_opens(omni, shots, monkeypatch):
    """A file or a folder; with --json for programs; with --open in the browser, if there is one."""
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address))
    ran = omni("report", shots, "-o", "my page.html", "--json", "--open")
    assert ran.json == {
        "report": "my page.html",
        "rows": 3,
        "states": {"done": 2, "uncertain": 1},
        "paid": 2,
    }
    assert "./shots/videos/s0.mp4" in Path("my page.html").read_text("utf-8")
    assert '<p class="counts">1 uncertain · 2 succeeded · 2 paid</p>' in Path("my page.html").read_text("utf-8")
    assert opened == [Path("my page.html").resolve().as_uri()]
    assert "no browser" in ran.err
    Path("pages").mkdir()
    assert omni("report", shots, "-o", "pages").out == "pages/report.html\n"


def test_it_works_while_the_batch_runs(omni, shots):
    """It only reads: who writes is not disturbed."""
    ledger = Ledger(open_journal(shots / "journal.sqlite3"))
    ledger.begin()
    assert omni("report", shots).code == 0
    ledger.rollback()
    ledger.connection.close()


def test_what_cannot_be_reported(omni, shots):
    """No batch, no folder, the journal itself: told in one line, and nothing is written."""
    journal = (shots / "journal.sqlite3").read_bytes()
    for words, told in (
        (["nowhere"], "no such file or folder"),
        (["."], "there is no journal.sqlite3"),
        (["shots.jsonl"], "shots.jsonl is a sheet and no journal: name the folder of its batch"),
        ([shots, "-o", "no/where.html"], "no such folder"),
        ([shots, "-o", shots / "journal.sqlite3"], "is the journal"),
        ([shots, "-o", "shots.jsonl"], "is not a report"),
        ([], "Missing argument"),
    ):
        ran = omni("report", *words)
        assert (ran.code, told in ran.err, ran.err.count("\n")) == (2, True, 1), ran.err
    assert (shots / "journal.sqlite3").read_bytes() == journal
    assert Path("shots.jsonl").read_text("utf-8").startswith('{"id": "s0"')


def test_a_settled_row_is_settled_on_the_page(omni, shots):
    """Settling writes the page anew."""
    assert omni("settle", shots, "s2", "--not-charged").code == 0
    assert "may have been paid" not in (shots / "report.html").read_text("utf-8")
