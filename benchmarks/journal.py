"""What the journal costs: durable submissions a second, and its share of a submit's CPU.

    python benchmarks/journal.py [--seconds 3] [--commit 0.002] [--submits 3000] [--pairs 7] [--submitting 64]
                                 [--instructions] [--postgres postgresql://… [--clients 4]] [--json FILE]
                                 [--plot FILE.png]

First table: an intent and an answer, each durable before the next step, by so many submits in flight, on a disk whose
commit takes `--commit` seconds (the rest is slept after SQLite's own commit): this journal, beside what one would write
without it, a commit for each write in a worker thread.

Second table: the CPU of a whole submit against a loopback server, `--submitting` of them in flight, with the journal
and without it, in processes of their own that take turns. Opening and closing the client counts, and so does that a
journalled task is followed. `--instructions` counts those of the process instead, as `polling.py` does: a run of many
submits minus one of few, so that opening cancels, without the kernel's share, and undisturbed by other programs, which
move a share of CPU time by tens of percent.

`--postgres` adds what a journal in that database takes, whose commits are as slow as they are: for one client, and for
`--clients` processes that have as many in flight together.
"""

import argparse
import asyncio
import json
import resource
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from polling import COUNTERS, Counter
from tables import bars, parser_of, save

from omni_async import Limits, OmniClient, PollPolicy
from omni_async.journal import Answer, Intent, Ledger, LedgerJournal, PostgresJournal, open_journal
from omni_async.journal.owners import Ownership

HERE = Path(__file__).resolve()
IN_FLIGHT = (1, 16, 64, 256)
FEW = 500
"""Submits of the run that is subtracted when instructions are counted."""

Submit = Callable[[int], Awaitable[None]]


class SlowLedger(Ledger):
    """A ledger on a disk whose commit takes its time."""

    takes = 0.0

    def commit(self) -> None:
        """Commit, and be no faster than the disk that is played."""
        began = time.perf_counter()
        super().commit()
        time.sleep(max(self.takes - (time.perf_counter() - began), 0.0))


class SlowJournal(LedgerJournal[SlowLedger]):
    """The journal on that disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(gateway="jimmy")
        self.path = path

    def open_ledger(self) -> tuple[SlowLedger, Ownership]:
        """The ledger on that disk."""
        return SlowLedger(open_journal(self.path)), Ownership(self.path, exclusive=False)


async def many(in_flight: int, seconds: float, submit: Submit) -> float:
    """Submissions a second by so many at once."""
    count, ends = 0, time.perf_counter() + seconds

    async def one(worker: int) -> None:
        nonlocal count
        turn = 0
        while time.perf_counter() < ends:
            await submit(turn * in_flight + worker)
            turn, count = turn + 1, count + 1

    await asyncio.gather(*(one(worker) for worker in range(in_flight)))
    return count / seconds


async def ours(folder: Path, in_flight: int, seconds: float) -> float:
    """Group commit."""
    return await kept(SlowJournal(folder / f"ours-{in_flight}.sqlite3"), in_flight, seconds)


async def kept(journal: LedgerJournal[Any], in_flight: int, seconds: float) -> float:
    """An intent and an answer for each, in this journal."""
    await journal.open()
    run = secrets.token_hex(4)

    async def submit(number: int) -> None:
        key = f"{run}-{number}"
        intent = Intent(key=key, fingerprint="f" * 64, gateway="jimmy", inputs='{"prompt": "a cat"}')
        await journal.intend(intent)
        await journal.answered(intent, Answer(state="SUBMITTED", status=200, body=b"x" * 200, task_id=f"t-{key}"))

    try:
        return await many(in_flight, seconds, submit)
    finally:
        await journal.aclose()


def shared(dsn: str, in_flight: int, seconds: float, clients: int) -> float:
    """A journal in PostgreSQL, written by so many processes that have them in flight together."""
    command = [sys.executable, str(HERE), "--writer", str(in_flight // clients), "--postgres", dsn]
    command += ["--seconds", str(seconds)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(clients)]
    return sum(float(writer.communicate()[0]) for writer in writers)


async def plain(folder: Path, in_flight: int, seconds: float) -> float:
    """A commit for each write, in a worker thread, one after the other."""
    path = folder / f"plain-{in_flight}.sqlite3"
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"):
        connection.execute(statement)
    connection.execute("CREATE TABLE item (key TEXT PRIMARY KEY, state TEXT, task_id TEXT UNIQUE, body BLOB)")
    one_at_a_time = asyncio.Lock()

    def write(statement: str, values: tuple[object, ...]) -> None:
        began = time.perf_counter()
        connection.execute(statement, values)
        time.sleep(max(SlowLedger.takes - (time.perf_counter() - began), 0.0))

    async def durable(statement: str, *values: object) -> None:
        async with one_at_a_time:
            await asyncio.to_thread(write, statement, values)

    async def submit(number: int) -> None:
        await durable("INSERT INTO item (key, state) VALUES (?, 'SUBMITTING')", f"row-{number}")
        update = "UPDATE item SET state = 'SUBMITTED', task_id = ?, body = ? WHERE key = ?"
        await durable(update, f"t-{number}", b"x" * 200, f"row-{number}")

    try:
        return await many(in_flight, seconds, submit)
    finally:
        connection.close()


async def submits(port: int, count: int, journal: Path | None, in_flight: int) -> None:
    """So many whole submits."""
    client = OmniClient(
        "jimmy",
        api_key="benchmark",
        base_url=f"http://127.0.0.1:{port}",
        journal=journal,
        limits=Limits(max_connections=in_flight, requests_per_second=1e6),
        poll=PollPolicy(fixed=3600),
        proxy=None,
    )
    numbers = iter(range(count))

    async def one() -> None:
        for number in numbers:
            await client.submit(f"a paper boat, number {number}", duration=6, custom_id=f"boat-{number}")

    async with client:
        await asyncio.gather(*(one() for _ in range(in_flight)))


def child(kind: str, port: int, count: int, in_flight: int) -> None:
    """Submit, and tell what it cost: microseconds of CPU a submit."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.sqlite3" if kind == "journal" else None
        before = resource.getrusage(resource.RUSAGE_SELF)
        asyncio.run(submits(port, count, journal, in_flight))
        after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"us": cpu / count * 1e6}))


def ran(kind: str, count: int, in_flight: int, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """One run in a process of its own, against a server of its own."""
    server = subprocess.Popen(
        [sys.executable, HERE.with_name("server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with server:
        port = server.stdout.readline().strip() if server.stdout else ""
        command = [*under, sys.executable, str(HERE), "--child", kind, port, "--submits", str(count)]
        command += ["--submitting", str(in_flight)]
        told = subprocess.run(command, capture_output=True, text=True, check=True)
        server.communicate()
    return told


def measure(kind: str, count: int, in_flight: int) -> float:
    """Microseconds of CPU a submit."""
    return float(json.loads(ran(kind, count, in_flight).stdout)["us"])


def count_instructions(kind: str, count: int, in_flight: int, counter: Counter) -> float:
    """Instructions a submit."""
    few, many = (counter.told(ran(kind, some, in_flight, counter.command).stderr) for some in (FEW, FEW + count))
    return (many - few) / count


def throughput(seconds: float, dsn: str | None, clients: int) -> dict[str, dict[str, float]]:
    """The first table."""
    print(f"durable submissions a second, a commit takes {SlowLedger.takes * 1e3:g} ms")
    more = f"{'PostgreSQL':>13}{f'{clients} clients':>12}" if dsn else ""
    print(f"{'in flight':>9}{'this journal':>14}{'commit each':>13}{'ratio':>8}{more}")
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        for in_flight in IN_FLIGHT:
            rates = [asyncio.run(way(Path(folder), in_flight, seconds)) for way in (ours, plain)]
            table[str(in_flight)] = row = {"ours": rates[0], "plain": rates[1]}
            print(f"{in_flight:9}{rates[0]:14,.0f}{rates[1]:13,.0f}{rates[0] / rates[1]:8.1f}", end="")
            if dsn:
                row["postgres"], row["clients"] = (
                    shared(dsn, in_flight, seconds, n) for n in (1, min(clients, in_flight))
                )
                print(f"{row['postgres']:13,.0f}{row['clients']:12,.0f}", end="")
            print()
    return table


def share(count: int, pairs: int, in_flight: int, counter: Counter | None) -> dict[str, list[float]]:
    """The second table."""
    runs: dict[str, list[float]] = {"none": [], "journal": []}
    for pair in range(pairs):
        for kind in ("none", "journal") if pair % 2 else ("journal", "none"):
            if counter is None:
                runs[kind].append(measure(kind, count, in_flight))
            else:
                runs[kind].append(count_instructions(kind, count, in_flight, counter))
    shares = [1 - none / with_it for none, with_it in zip(runs["none"], runs["journal"], strict=True)]
    what, unit = ("CPU", "µs") if counter is None else ("Instructions", f"by {counter.command[0]}")
    print(f"\n{what} of a submit, {in_flight} in flight, {count} submits, {pairs} alternating pairs, medians")
    for kind, words in (("none", "without a journal"), ("journal", "with the journal")):
        print(f"{words:18}{statistics.median(runs[kind]):12,.0f} {unit}")
    print(f"journal's share: {statistics.median(shares):.0%} (from {min(shares):.0%} to {max(shares):.0%})")
    return runs


def main() -> None:
    """Print both tables."""
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--commit", type=float, default=0.002)
    parser.add_argument("--submits", type=int, default=3000)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--submitting", type=int, default=64, help="submits in flight in the second table")
    parser.add_argument("--instructions", action="store_true", help="count instructions, by perf or valgrind")
    parser.add_argument("--postgres", metavar="DSN", help="a database to measure in; its rows stay there")
    parser.add_argument("--clients", type=int, default=4, help="processes that share that database")
    parser.add_argument("--writer", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], int(given.child[1]), given.submits, given.submitting)
        return
    if given.writer:
        journal = PostgresJournal(given.postgres, gateway="jimmy")
        print(asyncio.run(kept(journal, given.writer, given.seconds)))
        return
    counter = next((one for one in COUNTERS if one.works()), None) if given.instructions else None
    if given.instructions and counter is None:
        parser.exit(2, "--instructions needs perf or valgrind, and neither is there\n")
    SlowLedger.takes = given.commit
    rates = throughput(given.seconds, given.postgres, given.clients)
    runs = share(given.submits, given.pairs, given.submitting, counter)
    save(given.json, throughput=rates, cpu=runs, counted_by=counter.command if counter else None)
    ways = [("ours", "ours", "this journal"), ("plain", "bare", "a commit each")]
    ways += [("postgres", "ours", "this journal in PostgreSQL")] if given.postgres else []
    rows = [
        {"client": client, "label": f"{words}, {in_flight} in flight", "rate": rate[way]}
        for in_flight, rate in rates.items()
        for way, client, words in ways
    ]
    bars(given.plot, rows, key="rate", title=f"Durable submissions a second, a commit takes {given.commit * 1e3:g} ms")


if __name__ == "__main__":
    main()
