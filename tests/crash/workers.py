"""Four processes of one app share a client's journal; one is killed, and the others finish what it had begun.

    python tests/crash/workers.py --rounds 20 --seed 1

Each worker submits its own rows and stays, as a web app's does. `on_finished` appends each task to one file, synced.
One worker is killed -9 at a random moment. Then every task that the journal knows must come to its end and be told at
least once, and no create may have been sent twice.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from judge import ITEMS, JOURNAL, Bill, judge, prompt_of
from rig import KEY, ROOT, GatewayProcess, Life

FINISHED = {"SUCCEEDED", "FAILED", "CANCELED"}
PATIENCE = 30.0


# --- a worker ---------------------------------------------------------------------------------------------------


async def work(name, folder, url, rows, every):
    """Submit rows, and go on living until SIGTERM; `every` so many seconds it looks for what the dead left."""
    sys.path.insert(0, str(ROOT))
    from omni_async import OmniClient, PollPolicy, following

    following.EVERY = float(every)
    told = os.open(Path(folder) / "told.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def on_finished(task):
        os.write(told, f"{task.custom_id} {task.task_id} {task.status.name} {name}\n".encode())
        await asyncio.to_thread(os.fsync, told)

    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    settings = {"journal": Path(folder) / JOURNAL, "on_finished": on_finished, "poll": PollPolicy(fixed=0.2)}
    async with OmniClient("jimmy", api_key=KEY, base_url=url, proxy=None, **settings) as client:
        await asyncio.gather(*(client.submit(prompt_of(row), custom_id=row) for row in rows_of(name, rows)))
        await stopped.wait()


def rows_of(name, count):
    """The ids of a worker's rows."""
    return [f"{name}-{number:03d}" for number in range(int(count))]


# --- their end --------------------------------------------------------------------------------------------------


class Workers:
    """So many workers on one journal.

    Args:
        folder: Where journal, ledger and the file of what was told are made.
        count: How many.
        rows: How many rows each submits.
        every: Seconds between two looks for what the dead left; the library's own are 5.
        latest: Seconds from the first charge of the one that is killed to its death, at most.
    """

    def __init__(self, folder, rng, *, count=4, rows=12, every=5.0, latest=1.2):
        self.folder, self.rng, self.count = Path(folder), rng, count
        self.rows, self.every, self.latest = rows, every, latest
        self.faults, self.adopted, self.verdict, self.seconds = [], 0, None, 0.0

    def run(self):
        """Start all, kill one, and wait for the rest to finish what it left."""
        with GatewayProcess(self.folder, delay=0.05, task_seconds=0.5) as gateway, contextlib.ExitStack() as lives:
            names = [f"w{number}" for number in range(self.count)]
            workers = {name: lives.enter_context(self._start(name, gateway.url)) for name in names}
            victim = self.rng.choice(names)
            self._kill(gateway, workers[victim], victim)
            began = time.monotonic()
            waiting = self._all_told(victim)
            self.seconds = time.monotonic() - began
            for name in set(names) - {victim}:
                self._end(name, workers[name])
            self._judge(gateway, victim, waiting)
        return self

    def _start(self, name, url):
        words = [__file__, "--worker", name, self.folder, url, self.rows, self.every]
        return Life(words, self.folder / f"{name}.txt")

    def _kill(self, gateway, life, victim):
        """At a random moment after its first charge."""
        size, its_rows = gateway.size(), prompt_of(f"{victim}-").partition(" a ")[0]
        while its_rows not in gateway.ledger.read_text():
            gateway.wait_for_more(size, life.process)
            size = gateway.size()
        time.sleep(self.rng.uniform(0, self.latest))
        life.signal(signal.SIGKILL)
        life.ended()

    def _all_told(self, victim):
        """Wait until all that the journal knows is finished and told; what is left after `PATIENCE`."""
        deadline = time.monotonic() + PATIENCE
        while (waiting := self._untold(victim)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return waiting

    def _untold(self, victim):
        """Rows of the living that are not in the journal yet, and rows in it that are not finished and told."""
        known, told = {key: state for key, state, _ in self._items()}, self._told()
        names = {f"w{number}" for number in range(self.count)} - {victim}
        missing = {row for name in names for row in rows_of(name, self.rows)} - known.keys()
        over = {key for key, state in known.items() if state == "UNCERTAIN" or (state in FINISHED and key in told)}
        return missing | (known.keys() - over)

    def _items(self):
        with contextlib.closing(sqlite3.connect(f"{(self.folder / JOURNAL).as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(ITEMS).fetchall()

    def _uncertain(self):
        return {key for key, state, _ in self._items() if state == "UNCERTAIN"}

    def _told(self):
        """Each row that was told of, with who told."""
        path = self.folder / "told.txt"
        lines = path.read_text().splitlines() if path.exists() else ()
        return {line.split()[0]: line.split()[3] for line in lines}

    def _end(self, name, life):
        life.signal(signal.SIGTERM)
        code = life.ended(20)
        if code != 0:
            self.faults.append(f"{name} ended with {code}: {life.said()[-500:]}")
        life.said()

    def _judge(self, gateway, victim, waiting):
        told = self._told()
        self.adopted = sum(key.startswith(victim) and by != victim for key, by in told.items())
        if waiting:
            self.faults.append(f"{len(waiting)} rows were not told within {PATIENCE:g} s: {sorted(waiting)[:5]}")
        self.verdict = judge(Bill(gateway.ledger), self.folder)
        self.faults += self.verdict.faults(self.rows)
        strangers = [key for key in self._uncertain() if not key.startswith(victim)]
        if strangers:
            self.faults.append(f"uncertain, and their worker lived: {strangers}")


def main(words=None):
    """The command; gives its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(words)
    rng, began, done = random.Random(given.seed), time.monotonic(), []
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            done.append(Workers(folder, rng).run())
    faults = [fault for one in done for fault in one.faults]
    print(f"rounds {given.rounds}, charges {sum(one.verdict.charges for one in done)}")
    print(f"uncertain {sum(one.verdict.uncertain for one in done)}, of these charged", end=" ")
    print(sum(one.verdict.uncertain_charged for one in done))
    print(f"tasks of the dead told by others {sum(one.adopted for one in done)}")
    print(f"longest from kill to all told {max(one.seconds for one in done):.1f} s")
    print(f"seconds {time.monotonic() - began:.0f}")
    for fault in faults:
        print("FAULT", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(work(*sys.argv[2:])) if sys.argv[1:2] == ["--worker"] else main())
