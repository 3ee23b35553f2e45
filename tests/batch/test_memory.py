"""Long sheets: as much memory for many rows as for few. `benchmarks/staging.py` does it with a million."""

import io
import threading
import tracemalloc

import pytest

from omni_async.batch.entering import Entering, SheetOptions
from omni_async.batch.folder import Folder
from omni_async.dialects import Jimmy
from omni_async.journal import SheetLedger, open_journal
from omni_async.models import VideoRequest

FEW, MANY = 2_000, 20_000
SLACK = 256 * 1024


def line(number):
    """A row's JSON text."""
    return f'{{"id": "b{number}", "prompt": "a paper boat, number {number}", "scene": {number % 7}}}\n'


def as_file(folder, count):
    """The rows in a file."""
    path = folder / "rows.jsonl"
    with path.open("w") as file:
        file.writelines(line(number) for number in range(count))
    return path


def as_stream(folder, count):
    """The rows as they come on stdin: it cannot be read twice."""

    class Pipe(io.BufferedReader):
        def seekable(self):
            return False

    return Pipe(io.FileIO(as_file(folder, count)))


def as_iterable(folder, count):
    """The rows one after the other, from a program."""
    return (VideoRequest(prompt=f"a paper boat, number {number}", custom_id=f"b{number}") for number in range(count))


def doubtful(folder, count):
    """Rows of which each is doubtful for a reason of its own, where strictness is off."""
    return ({"prompt": "a paper boat", "id": f"b{number}", "orientation": f"to {number}"} for number in range(count))


def peak(folder, source_of, count):
    """The most memory that entering so many rows takes, in bytes; and how many were entered."""
    folder.mkdir()
    ledger = SheetLedger(open_journal(folder / "journal.sqlite3"))
    options = SheetOptions(strict=False)
    entering = Entering(dialect=Jimmy(), folder=Folder(folder), options=options, progress=print, stop=threading.Event())
    source = source_of(folder, count)
    tracemalloc.start()
    try:
        ledger.begin()
        entered = entering.enter(ledger, source)
        ledger.commit()
        return tracemalloc.get_traced_memory()[1], entered.staged.changes.new
    finally:
        tracemalloc.stop()
        if hasattr(source, "close"):
            source.close()
        ledger.connection.close()


@pytest.mark.parametrize("source_of", [as_file, as_stream, as_iterable, doubtful])
def test_row_64_memory_does_not_grow_with_the_rows(source_of, tmp_path):
    """Row 64: ten times the rows, read and checked as a whole before any is sent, in the same memory."""
    few, entered = peak(tmp_path / "few", source_of, FEW)
    many, all_entered = peak(tmp_path / "many", source_of, MANY)
    assert (entered, all_entered) == (FEW, MANY)
    assert many < few + SLACK
