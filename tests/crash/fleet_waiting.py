"""One worker of a fleet follows ten thousand tasks: its peak memory, and what each costs it.

    python tests/crash/fleet_waiting.py [--items 10000] [--seconds 30]

The tasks are created beforehand and handed over as a journal; they run for longer than this looks. The exit code is 0
when the peak stays under 500 MB.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

from fleet import Fleet, options
from judge import prompt_of
from rig import GatewayProcess, row_id
from ten_thousand import peak_of

from tests.postgres import server  # found by way of `fleet`

MOST = 500e6
"""Bytes of memory that ten thousand items may take."""
AT_ONCE = 50


async def created(url, items):
    """Create tasks; their ids."""
    import aiohttp
    from charging import CREATE

    ids, waiting = {}, iter(range(1, items + 1))

    async def one(session):
        for number in waiting:
            body = {"prompt": prompt_of(row_id(number)), "model": "gemini_omni_flash"}
            async with session.post(url + CREATE, json=body) as answer:
                ids[row_id(number)] = (await answer.json())["data"]["task_id"]

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(one(session) for _ in range(AT_ONCE)))
    return ids


def written(path, ids):
    """A journal of them, as of a client that has submitted them all."""
    from omni_async.journal import Answer, Intent, Ledger, open_journal

    ledger = Ledger(open_journal(path))
    ledger.begin()
    for key, task_id in ids.items():
        asked = Intent(key=key, fingerprint=key, gateway="jimmy", custom_id=key, inputs='{"prompt": "a cat"}')
        ledger.intend(asked, owner="")
        ledger.answered(key, Answer(state="SUBMITTED", task_id=task_id))
    ledger.commit()
    ledger.connection.close()


def seconds_of(pid):
    """CPU seconds a process has used, its own and the kernel's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(given, folder, postgres):
    """The figures, and the peak memory in bytes."""
    words = {"workers": 1, "running": given.items, "heartbeat": 30, "rate": 0, "poll": given.poll}
    asked = options([word for name, value in words.items() for word in (f"--{name}", str(value))])
    fleet = Fleet(asked, folder, postgres)
    with contextlib.ExitStack() as open_:
        fleet.open(open_.enter_context(GatewayProcess(folder, delay=0, task_seconds=3600)), open_)
        written(folder / "journal.sqlite3", asyncio.run(created(fleet.gateway.url, given.items)))
        fleet.command("enqueue", folder / "journal.sqlite3")
        began = time.monotonic()
        fleet.start("w0")
        pid = fleet.processes.pids["w0"]
        _until_all(fleet, given.items)
        taken, used = time.monotonic() - began, seconds_of(pid)
        time.sleep(given.seconds)
        share, peak = (seconds_of(pid) - used) / given.seconds, peak_of(pid) * 1024**2
    return {
        "items followed": given.items,
        "until it had them all, s": f"{taken:.0f}",
        "CPU, share of a core": f"{share:.1%}",
        "… for each item, µs a second": f"{share / given.items * 1e6:.1f}",
        "peak memory, MB": f"{peak / 1e6:.0f}",
    }, peak


def _until_all(fleet, items):
    """Wait until the worker follows them all."""
    while fleet.ask("SELECT coalesce(max(following), 0) FROM omni_worker") < [(items,)]:
        assert fleet.processes.runs("w0"), fleet.processes.log("w0").read_text()
        time.sleep(0.5)


def main():
    """The command; gives its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=30.0, help="for which its work is measured")
    parser.add_argument("--poll", type=float, default=10.0, help="seconds between two looks at a task, at least")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server() as postgres:
        table, peak = measured(given, Path(folder), postgres)
    for name, value in table.items():
        print(f"{name:32} {value}")
    return 1 if peak > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
