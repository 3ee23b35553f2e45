"""Batches against an emulator, as the tests want them, and what they leave."""

import contextlib
import csv
import json
import sqlite3
from pathlib import Path
from typing import Any

import attrs

from omni_async.batch import Batch, Plan, run_batch
from omni_async.emulator import Emulator, InjectedFault
from omni_async.journal import State

KEY = "key"


def cats(count: int, first: int = 0, **fields: Any) -> list[dict[str, Any]]:
    """So many rows with ids."""
    return [{"id": f"r{number}", "prompt": f"cat {number}", **fields} for number in range(first, first + count)]


@attrs.define
class Lab:
    """An emulator and a folder that outlives runs."""

    emulator: Emulator
    out: Path
    gateway: str = "jimmy"

    def options(self, more: dict[str, Any]) -> dict[str, Any]:
        """What every run here needs."""
        return {"out": self.out, "gateway": self.gateway, "api_key": KEY, "base_url": self.emulator.url, **more}

    async def run(self, source: Any = None, **options: Any) -> Any:
        """One run of the batch."""
        return await run_batch(source, **self.options(options))

    def batch(self, source: Any = None, **options: Any) -> Batch:
        """The same to be held in the hand."""
        return Batch(source, **self.options(options))

    async def plan(self, source: Any = None, **options: Any) -> Plan:
        """The plan alone; nothing is sent."""
        plans: list[Plan] = []

        def keep(plan: Plan) -> bool:
            plans.append(plan)
            return False

        await self.run(source, confirm=keep, **options)
        return plans[0]

    @property
    def charges(self) -> int:
        """Videos paid."""
        return len(self.emulator.ledger.charges)

    @property
    def prompts(self) -> list[str]:
        """What was paid for."""
        return sorted(charge.prompt for charge in self.emulator.ledger.charges)

    def asked(self, kind: str) -> int:
        """Requests of a kind."""
        return self.emulator.ledger.requests[kind]

    def fault(self, *faults: InjectedFault, **fields: Any) -> None:
        """From now on the emulator does this, and nothing of what it did before."""
        self.emulator.scenario = attrs.evolve(self.emulator.scenario, faults=faults, **fields)

    # --- what is in the folder ---------------------------------------------------------------------------------

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The results, in their order."""
        return [json.loads(line) for line in (self.out / "results.jsonl").read_text("utf-8").splitlines()]

    @property
    def statuses(self) -> dict[str, str]:
        """Of each row; there is one line of it."""
        lines = self.lines
        found = {line["id"]: line["status"] for line in lines}
        assert len(found) == len(lines)
        return found

    @property
    def table(self) -> list[dict[str, str]]:
        """The same from the table."""
        with (self.out / "results.csv").open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The journal's rows by key, read by other means."""
        with contextlib.closing(sqlite3.connect(self.out / "journal.sqlite3")) as connection:
            connection.row_factory = sqlite3.Row
            return {row["key"]: dict(row) for row in connection.execute("SELECT * FROM item")}

    @property
    def states(self) -> dict[str, State]:
        """Where each row stands."""
        return {key: State(row["state"]) for key, row in self.rows.items()}

    def change(self, statement: str, *values: Any) -> None:
        """Change the journal by other means, while no run has it."""
        with contextlib.closing(sqlite3.connect(self.out / "journal.sqlite3")) as connection:
            connection.execute(statement, values)
            connection.commit()

    @property
    def videos(self) -> list[str]:
        """The files that were made, by their paths."""
        root = self.out / "videos"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@contextlib.asynccontextmanager
async def lab(folder: Path, gateway: str = "jimmy", **scenario: Any) -> Any:
    """A lab whose tasks take half a minute unless the scenario says otherwise."""
    async with Emulator(**{"task_seconds": 30, "task_sigma": 0.0, **scenario}) as emulator:
        yield Lab(emulator, folder / "out", gateway)
