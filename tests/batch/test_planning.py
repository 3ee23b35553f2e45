"""A plan from a sheet, whatever happens while it is made."""

import asyncio
import threading

import anyio
import pytest

from omni_async import InvalidRequestError, Jimmy, JournalError
from omni_async.batch import planning
from omni_async.batch.entering import Entering, SheetOptions
from omni_async.batch.folder import Folder
from omni_async.batch.planning import ForeignError, Once
from omni_async.journal import SheetLedger, open_journal
from tests.batch.batches import cats, lab


@pytest.fixture
def ledger(tmp_path):
    """A new journal, inside a transaction."""
    found = SheetLedger(open_journal(tmp_path / "journal.sqlite3"))
    found.begin()
    yield found
    found.rollback()
    found.connection.close()


def once(tmp_path, source, **options):
    """A sheet to be entered."""
    options = SheetOptions(**options)
    entering = Entering(
        dialect=Jimmy(), folder=Folder(tmp_path), options=options, progress=lambda _: None, stop=threading.Event()
    )
    return Once(entering, source)


def test_a_stream_is_not_read_twice(tmp_path, ledger):
    """Done again because something else in its commit failed, it says so rather than enter half of it."""
    work = once(tmp_path, iter(cats(3)))
    assert work(ledger).staged.changes.new == 3
    ledger.rollback()
    ledger.begin()
    with pytest.raises(JournalError, match="give them again"):
        work(ledger)
    assert list(ledger.entries()) == []


def test_faults_of_a_stream_stay_what_they_were(tmp_path, ledger):
    """They are told again, not that there are no rows."""
    work = once(tmp_path, iter([{"prompt": ""}]))
    for _ in range(2):
        with pytest.raises(InvalidRequestError, match="line 1: prompt"):
            work(ledger)


def test_a_file_is_read_again(tmp_path, ledger):
    """It gives the same once more."""
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("prompt\na cat\n")
    work = once(tmp_path, sheet)
    for _ in range(2):
        assert work(ledger).staged.changes.new == 1
        ledger.rollback()
        ledger.begin()


def test_the_callers_own_error_is_carried(tmp_path, ledger):
    """What his iterable raised comes to him as it was."""

    def rows():
        yield {"prompt": "a cat"}
        raise LookupError("row 2")

    with pytest.raises(ForeignError) as caught:
        once(tmp_path, rows())(ledger)
    assert isinstance(caught.value.error, LookupError)
    assert list(ledger.entries()) == []


async def test_a_plan_that_is_cancelled(tmp_path):
    """While a long sheet is read: nothing is entered, and it ends soon."""
    begun, rows = threading.Event(), []

    def endless():
        while True:
            rows.append(1)
            begun.set()
            yield {"prompt": f"cat {len(rows)}"}

    async with lab(tmp_path) as here:
        work = asyncio.ensure_future(here.run(endless()))
        await anyio.to_thread.run_sync(begun.wait)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert here.rows == {}
        assert here.charges == 0


async def test_progress_is_told(tmp_path):
    """With the rows read so far."""
    told = []
    async with lab(tmp_path) as here, here.batch(cats(11_000)) as batch:
        await batch.plan(progress=told.append, balance=False)
        await anyio.sleep(1)
    assert told == [5000, 10_000]


def test_a_batch_whose_lock_cannot_be_looked_at_is_not_said_to_be_free(tmp_path):
    """As on a medium that is only read: a plan is made all the same."""
    journal = tmp_path / "journal.sqlite3"
    assert planning._is_free(journal)
    (tmp_path / "journal.sqlite3.lock").mkdir()
    assert not planning._is_free(journal)
