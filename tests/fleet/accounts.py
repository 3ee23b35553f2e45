"""A fleet for a test: a database, an emulator, workers in this loop, and the program's commands."""

import asyncio
import contextlib
import hashlib
import io
import json
import sys

import pytest

from omni_async.cli import main
from omni_async.emulator import Emulator, Scenario
from omni_async.fleet.admin import set_up
from omni_async.fleet.looking import looking
from omni_async.fleet.worker import Worker
from omni_async.policies import PollPolicy
from omni_async.storage import storage_of

KEY = "CANARY-KEY-5c0e"
PATIENCE = 30.0
QUICK = {"task_seconds": 0.3, "task_sigma": 0.3, "queue_seconds": 0.0, "seed": 7}


class Ran:
    """What a command gave."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)


class Fleet:
    """One gateway's account, and the machines that work for it.

    Args:
        dsn: Of a database of its own.
        emulator: The gateway, running.
        place: For everything that is written.
    """

    def __init__(self, dsn, emulator, place):
        self.dsn, self.emulator, self.place = dsn, emulator, place
        self.videos, self.folder = place / "out" / "videos", place / "shots"

    async def omni(self, *words, stdin=b"", **more):
        """Run a command of the program, in a thread; its secrets show nowhere."""
        environment = {"JIMMYAI_API_KEY": KEY, "JIMMYAI_BASE_URL": self.emulator.url, "OMNI_FLEET_DSN": self.dsn}
        out, err, given = io.StringIO(), io.StringIO(), io.TextIOWrapper(io.BytesIO(stdin))
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.setattr(sys, "stdin", given)
            for name, value in (environment | {"NO_COLOR": "1", "COLUMNS": "200"} | more).items():
                patch.setenv(name, value)
            code = await asyncio.to_thread(main, [str(word) for word in words])
        told = Ran(code, out.getvalue(), err.getvalue())
        assert KEY not in told.out + told.err
        assert "Traceback" not in told.err
        return told

    async def fleet(self, *words, **more):
        """As `omni`, of the fleet's commands."""
        return await self.omni("fleet", *words, **more)

    @contextlib.asynccontextmanager
    async def workers(self, count=1, *, out=None, state=None, **options):
        """So many workers; they leave as on SIGTERM."""
        place = state or self.place / "state"
        place.mkdir(exist_ok=True)
        storage = storage_of(out or self.videos, scratch=place / "scratch", options=options.pop("storage", None))
        working = [
            Worker(
                self.dsn,
                storage=storage,
                state=place,
                heartbeat=5.0,
                api_key=KEY,
                base_url=self.emulator.url,
                poll=PollPolicy(min_interval=0.1),
                **options,
            )
            for _ in range(count)
        ]
        running = [asyncio.ensure_future(worker.run()) for worker in working]
        try:
            yield working
        finally:
            await asyncio.gather(*(worker.stop() for worker in working))
            await asyncio.gather(*running)

    async def until(self, *, patience=PATIENCE, **counts):
        """Wait until so many rows stand there, by the names of their states."""
        async with asyncio.timeout(patience):
            while not counts.items() <= (states := self.states()).items():  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.1)
        return states

    def states(self):
        """How many rows stand where."""
        with looking(self.dsn, "jimmy") as ledger:
            return {str(state): count for state, count in ledger.counts().items()}

    def rows(self):
        """Every row, by its id."""
        with looking(self.dsn, "jimmy") as ledger:
            return {entry.key: entry for entry in ledger.entries()}

    @property
    def paid(self):
        """How often each prompt was charged."""
        prompts = [charge.prompt for charge in self.emulator.ledger.charges]
        return {prompt: prompts.count(prompt) for prompt in prompts}

    def sheet(self, rows, name="shots.jsonl"):
        """A sheet of rows."""
        path = self.place / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path


@contextlib.asynccontextmanager
async def a_fleet(postgres, place, *, running=20, **scenario):
    """A fleet that is set up."""
    dsn = postgres.database()
    async with Emulator(Scenario(**{**QUICK, **scenario})) as emulator:
        await set_up(dsn, "jimmy", running=running)
        yield Fleet(dsn, emulator, place)


def row(number, **more):
    """A row of a sheet."""
    return {"id": f"r{number:04d}", "prompt": f"r{number:04d} a cat in neon rain", "duration": 4, **more}


def outcome(folder, videos):
    """What a run came to: ids with their status, and the bytes of each video."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    status = {(line["id"], line["status"]) for line in lines}
    digests = {
        line["id"]: hashlib.sha256((videos / line["file"].removeprefix("videos/")).read_bytes()).hexdigest()
        for line in lines
        if line["file"]
    }
    return status, digests
