"""`batch --template`: the sheet is the result, what its columns may hold is told beside it."""

import errno
import io
from pathlib import Path

import pytest


@pytest.mark.parametrize("gateway", ["jimmy", "toapis", "gemini_omni"])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "xlsx"])
def test_a_sheet_to_fill_in(omni, gateway, ending):
    """Written, named on stdout, and taken unchanged by the command that is told."""
    ran = omni("batch", "--template", f"shots.{ending}", "--gateway", gateway)
    assert (ran.code, ran.out) == (0, f"shots.{ending}\n")
    assert ran.err.endswith(f"  omni-async batch shots.{ending} --gateway {gateway} --dry-run\n")
    assert omni("batch", f"shots.{ending}", "--gateway", gateway, "--dry-run").out.startswith("2 new\n")


def test_what_the_columns_may_hold_is_told(omni):
    """A line a column, on stderr; with -q none, with --json as data."""
    assert "duration         whole seconds (Gemini-Omini 4/6/8/10; " in omni("batch", "--template", "a.csv").err
    assert omni("batch", "--template", "b.csv", "-q").err == ""
    told = omni("batch", "--template", "c.csv", "--json").json
    assert told["file"] == "c.csv"
    assert told["columns"]["duration"]["allowed"] == [4, 6, 8, 10]


@pytest.mark.parametrize("words", [[], ["-"]])
def test_without_a_file_it_goes_to_stdout(omni, words):
    """As CSV, to be redirected."""
    ran = omni("batch", "--template", *words)
    Path("shots.csv").write_text(ran.out)
    assert omni("batch", "shots.csv", "--dry-run").code == 0
    assert (omni("batch", "--template", *words, "--json")).code == 2


def test_it_never_overwrites(omni):
    """What is there stays, and that is a usage error."""
    Path("shots.csv").write_text("mine")
    ran = omni("batch", "--template", "shots.csv")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: shots.csv is there already and is left as it is: name another file\n"
    assert Path("shots.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["batch", "--template", "new.csv"], "new.csv"),
        (["sweep", "a cat", "--duration", "4,6", "-o", "new.jsonl"], "new.jsonl"),
    ],
)
def test_on_a_full_disk_no_empty_sheet_is_left(omni, monkeypatch, words, left):
    """It would be refused the next time, as a file that is there already; the file is named."""

    class Full(io.BytesIO):
        def write(self, _data):
            raise OSError(errno.ENOSPC, "No space left on device")

    opened = io.open

    def full(file, mode="r", *more, **options):
        found = opened(file, mode, *more, **options)
        return found if Path(str(file)).name != left else (found.close(), Full())[1]

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", full)
        ran = omni(*words)
    assert (ran.code, ran.err.splitlines()[-1]) == (1, f"error: No space left on device: {left}")
    assert not Path(left).exists()
    assert omni(*words).code == 0
