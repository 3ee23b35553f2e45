"""The power fails at any moment while a journal is written, and nothing that was acknowledged is lost.

    python tests/crash/power_loss.py --prefixes 500 --rows 300 --seed 1                needs strace

A child writes a journal and tells each row on its standard output once the journal has acknowledged it. strace records
in one sequence what it writes, syncs and tells. From that, the disk after a power loss is made for many moments: what
was synced is there; of what was written since, each write is there, is not, or is torn at a sector. Each such disk is
opened as the library opens a journal, and must hold all that had been told by then.
"""

import argparse
import contextlib
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from judge import ITEMS, MEMORY, WITH_TASK
from rig import ROOT, environment

sys.path.insert(0, str(ROOT))

from omni_async import OmniError
from omni_async.journal import open_journal

CALLS = "openat,pwrite64,fsync,fdatasync,ftruncate,write"
SECTOR = 512
LINE = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*)$")
WRITER = """
import asyncio, os, sys
from omni_async.journal import Answer, Intent, SqliteJournal
from omni_async.models import TaskStatus, VideoTask

async def row(journal, number):
    key = f"r{number:06d}"
    intent = Intent(key=key, fingerprint=key, gateway="jimmy", custom_id=key, inputs="{}")
    await journal.intend(intent)
    os.write(1, f"ACK {key} -\\n".encode())
    answer = Answer(state="SUBMITTED", status=200, body=os.urandom(6000), task_id=f"task-{key}")
    await journal.answered(intent, answer)
    os.write(1, f"ACK {key} task-{key}\\n".encode())
    await journal.finished(VideoTask(task_id=f"task-{key}", status=TaskStatus.FAILED, gateway="jimmy"))
    os.write(1, f"ACK {key} FAILED\\n".encode())

async def work(journal, numbers):
    for number in numbers:
        await row(journal, number)

async def main():
    journal = SqliteJournal(sys.argv[1], gateway="jimmy", exclusive=True)
    numbers = iter(range(int(sys.argv[2])))
    await asyncio.gather(*(work(journal, numbers) for _ in range(8)))
    os._exit(0)

asyncio.run(main())
"""


def record(path, rows):
    """Let a child write a journal at `path`; the strace of it, line by line."""
    log = path.with_name("strace.log")
    traced = ["strace", "-f", "--seccomp-bpf", "-qq", "-xx", "-s", "70000", "-e", f"trace={CALLS}", "-o", log]
    subprocess.run(
        [*traced, sys.executable, "-c", WRITER, path, str(rows)],
        check=True,
        env=environment(),
        stdout=subprocess.DEVNULL,
    )
    with log.open(encoding="ascii") as lines:
        yield from lines


@dataclass
class File:
    """A file of the journal: what is on the disk for sure, and what was written since the last sync."""

    data: bytearray = field(default_factory=bytearray)
    pending: list = field(default_factory=list)

    def synced(self):
        """All of it is on the disk."""
        for place, data in self.pending:
            put(self.data, place, data)
        self.pending = []

    def after_loss(self, rng):
        """What may be found when the power is back."""
        left = bytearray(self.data)
        for place, data in self.pending:
            kept = rng.choice((0, len(data), SECTOR * rng.randint(0, len(data) // SECTOR)))
            put(left, place, data[:kept])
        return left


def put(file, place, data):
    """Write at a place, or (`data` is None) cut there."""
    if data is None:
        del file[place:]
        return
    file.extend(bytes(max(place - len(file), 0)))
    file[place : place + len(data)] = data


class Disk:
    """The journal's files as a sequence of system calls leaves them, and what was told by then."""

    def __init__(self, path):
        self.path = Path(path)
        self.files = {self.path.name: File(), f"{self.path.name}-wal": File()}
        self.told = {}
        self.syncs = 0
        self.broken = {}  # process: the call that another's line interrupted
        self.open = {}  # descriptor: file

    def take(self, line):
        """Take in one line of strace; whether it was something that happened to the journal."""
        match = LINE.match(line)
        if match is None:
            return False
        process, call, rest = match.groups()
        if rest.endswith("<unfinished ...>"):
            self.broken[process] = rest.removesuffix("<unfinished ...>")
            return False
        words, _, result = (self.broken.pop(process, "") + rest).rpartition("=")
        if result.strip().startswith("-"):
            return False
        return getattr(self, f"_{call}")(words.strip().removesuffix(")"), int(result.split()[0]))

    def _openat(self, words, descriptor):
        name = Path(text(words).decode()).name
        self.open[descriptor] = self.files.get(name)
        return False

    def _pwrite64(self, words, written):
        descriptor, _, rest = words.partition(", ")
        file, place = self.open.get(int(descriptor)), int(words.rpartition(", ")[2])
        if file is not None:
            file.pending.append((place, text(rest)[:written]))
        return file is not None

    def _ftruncate(self, words, _):
        descriptor, _, size = words.partition(", ")
        file = self.open.get(int(descriptor))
        if file is not None:
            file.pending.append((int(size), None))
        return file is not None

    def _fdatasync(self, words, _):
        file = self.open.get(int(words))
        if file is not None:
            self.syncs += 1
            file.synced()
        return file is not None

    _fsync = _fdatasync

    def _write(self, words, _):
        if not words.startswith("1, "):
            return False
        _, key, what = text(words).decode().split()
        self.told[key] = what
        return True

    def lose_power(self, rng, place):
        """Write the disk after a power loss into a folder; the journal in it."""
        for name, file in self.files.items():
            if file.data or file.pending:
                (place / name).write_bytes(file.after_loss(rng))
        return place / self.path.name


def text(words):
    """The quoted text of a call's words, every byte of it written as `\\x..`."""
    return bytes.fromhex(words.partition('"')[2].rpartition('"')[0].replace("\\x", ""))


def missing(journal, told):
    """What was told and is not there, after the journal was opened as the library opens it."""
    with contextlib.closing(open_journal(journal)) as connection:
        assert connection.execute("pragma integrity_check").fetchone()[0] == "ok"
        rows = {key: (state, task_id) for key, state, task_id in connection.execute(ITEMS)}
    for key, what in told.items():
        state, task_id = rows.get(key, (None, None))
        kept = {"-": state is not None, "FAILED": state == "FAILED"}.get(what, task_id == what and state in WITH_TASK)
        if not kept:
            yield f"{key}: told {what}, found {state} {task_id}"


def run(*, prefixes, rows, seed):
    """Lose the power at so many moments; figures and faults."""
    rng, faults = random.Random(seed), []
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir=MEMORY) as place:
        disk = Disk(Path(folder) / "journal.sqlite3")
        calls = list(record(disk.path, rows))
        began = next(number for number, line in enumerate(calls) if " write(1, " in line)
        chosen = set(rng.sample(range(began, len(calls)), min(prefixes, len(calls) - began)))
        for number, line in enumerate(calls):
            disk.take(line)
            if number in chosen:
                faults += lost_by(disk, rng, Path(place))
    figures = {"system calls": len(calls), "power losses": len(chosen), "rows told": len(disk.told)}
    return {**figures, "syncs": disk.syncs, "lost": len(faults)}, faults


def lost_by(disk, rng, place):
    """What is lost when the power goes now."""
    journal = disk.lose_power(rng, place)
    try:
        return list(missing(journal, disk.told))
    except (sqlite3.Error, OmniError) as error:
        return [f"the journal cannot be read: {error}"]
    finally:
        for path in place.iterdir():
            path.unlink()


def main():
    """The command; gives its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prefixes", type=int, default=500)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    if shutil.which("strace") is None:
        sys.exit("strace is not installed")
    figures, faults = run(**vars(parser.parse_args()))
    for name, value in figures.items():
        print(f"{name:20} {value}")
    for fault in faults[:20]:
        print("FAULT", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
