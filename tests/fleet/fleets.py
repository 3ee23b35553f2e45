"""A small fleet in one process: a real database, the emulator as gateway, and workers that begin and end as told."""

import asyncio
import contextlib
import json

from omni_async.batch import SheetOptions
from omni_async.emulator import Emulator, Scenario
from omni_async.errors import JournalError
from omni_async.fleet.admin import set_up
from omni_async.fleet.book import SharedJournal
from omni_async.fleet.entering import enter, look, sheet_rows
from omni_async.fleet.worker import Worker
from omni_async.policies import PollPolicy
from omni_async.settings import dialect_of
from omni_async.storage import storage_of

PATIENCE = 20.0
"""Seconds after which what does not come will not come."""


class Fleet:
    """A fleet of one gateway's account.

    Args:
        emulator: The gateway.
        dsn: The database.
        folder: For journals and videos.
    """

    def __init__(self, emulator, dsn, folder):
        self.emulator, self.dsn, self.folder = emulator, dsn, folder
        self.shared = SharedJournal(dsn, gateway="jimmy")
        self.running = {}

    async def add(self, *rows):
        """Enter rows by their ids, or with more than a prompt of their own."""
        lines = [row if isinstance(row, dict) else {"id": row} for row in rows]
        sheet = self.folder / "sheet.jsonl"
        sheet.write_text("".join(json.dumps({"prompt": f"a cat, {line['id']}", **line}) + "\n" for line in lines))
        with sheet_rows(sheet, dialect_of("jimmy"), SheetOptions(), lambda _: None) as ready:
            told = await look(self.shared, ready)
            await enter(self.shared, ready)
            return told

    def worker(self, machine="one", **options):
        """A worker, not begun yet."""
        state = self.folder / machine
        state.mkdir(exist_ok=True)
        storage = storage_of(self.folder / "videos", scratch=self.folder / "scratch", patience=None)
        asked = {"api_key": "sk-test", "base_url": self.emulator.url, "poll": PollPolicy(fixed=0.05), "heartbeat": 1.0}
        return Worker(self.dsn, storage=storage, state=state, **{**asked, **options})

    @contextlib.asynccontextmanager
    async def at_work(self, *workers):
        """Workers that work; they are stopped in the end, unless they have stopped by themselves."""
        self.running = {worker: asyncio.ensure_future(worker.run()) for worker in workers}
        try:
            yield
        finally:
            await asyncio.gather(*(worker.stop() for worker in workers))
            await asyncio.wait(self.running.values())

    async def states(self):
        """Where each row stands."""
        return await self.shared.run(lambda ledger: {entry.key: str(entry.state) for entry in ledger.entries()})

    async def until(self, *wanted):
        """Wait until all rows stand where they are wanted to; where each stands."""

        async def all_there():
            states = await self.states()
            return states if set(states.values()) <= set(wanted) else None

        return await until(all_there)

    async def jobs(self):
        """How many jobs of the queue stand where."""
        query = "SELECT status::text, count(*) FROM pgqueuer GROUP BY 1"
        return await self.shared.run(lambda ledger: dict(ledger.connection.execute(query).fetchall()))

    def charged(self):
        """Prompts that were charged, in order."""
        return [charge.prompt for charge in self.emulator.ledger.charges]


async def until(look):
    """Ask again and again, also while the database is away, until the answer is something; that."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(JournalError):
                if seen := await look():
                    return seen
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def fleet(postgres, folder, *, running=10, submits=None, **scenario):
    """A fleet that is set up."""
    dsn = postgres.database()
    await set_up(dsn, "jimmy", running=running, submits_per_second=submits)
    quick = {"task_seconds": 0.2, "task_sigma": 0.0, "queue_seconds": 0.0}
    async with Emulator(Scenario(**{**quick, **scenario})) as emulator:
        here = Fleet(emulator, dsn, folder)
        try:
            yield here
        finally:
            await here.shared.aclose()
