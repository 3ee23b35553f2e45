"""What a worker waits for when the database's clock is set meanwhile."""

import asyncio
from types import SimpleNamespace

import needed  # noqa: F401 - skips
import pytest

from omni_async.fleet.steps import SENDING, Steps
from omni_async.journal import Entry, State
from tests.warp import WarpLoop

LOOP = WarpLoop


class Shared:
    """A shared journal with one row, which nobody settles, and a clock that is set to another time by `jumps`."""

    def __init__(self, row, jumps):
        self.row, self.jumps = row, jumps

    def now(self):
        """Its clock."""
        loop = asyncio.get_running_loop()
        return loop.time() + (self.jumps if loop.time() > 1010 else 0.0)

    async def alive(self, name):
        """Everybody does."""
        return True

    async def run(self, work):
        """As a ledger."""
        work(self)
        return self.row

    def entry(self, key):
        """The row."""
        return self.row

    def taken_over(self, key):
        """Nothing comes of it."""


def steps(row, jumps):
    """The steps of a worker who has that row."""
    limiter = SimpleNamespace(run_time=100.0)
    client = SimpleNamespace(studio=SimpleNamespace(exchange=SimpleNamespace(limiter=limiter)))
    return Steps(SimpleNamespace(shared=Shared(row, jumps)), client, None)


@pytest.mark.parametrize("jumps", [0.0, -8 * 3600.0, 8 * 3600.0], ids=["right", "set back", "set forward"])
@pytest.mark.parametrize("state", [State.UNCERTAIN, State.SUBMITTING])
async def test_a_database_whose_clock_is_set_has_no_row_waited_for_longer_or_less(state, jumps, monkeypatch):
    """By hours, in the middle of a wait: no seat is taken for them, and no create that is being sent counts as lost."""
    row = Entry(key="k", state=state, sent_at=1000.0, fingerprint="f", gateway="jimmy")
    worker = steps(row, jumps)

    async def not_found(entry):
        return False

    monkeypatch.setattr(worker, "_found", not_found)
    wait = worker._uncertain if state is State.UNCERTAIN else worker._sent_by_another
    await asyncio.wait_for(wait(row), 3600)
    assert asyncio.get_running_loop().time() == pytest.approx(1000 + SENDING, abs=2)
