"""One contender in a process of its own: does one run and prints what it took as a line of JSON.

Started by `arena.py`: `python contender.py '{"client": "ours", "task": "create", "port": …, "tasks": …}'`. CPU and wall
time are counted after the imports, from the making of the client to the end of its last waiter. With `"warmed": PORT`
the same is done with one task before that, by a client of its own at the server there: what is loaded late is loaded
then.
"""

import asyncio
import gc
import importlib
import json
import statistics
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from runs import Run, peak, quantile, resident

IDLE = 0.005
"""CPU seconds within a quarter of a second below which everything has been looked at."""

UNLIMITED = 1e6
"""Requests a second that a client is told it may send, where floors and peers take it for granted."""

EQUAL = 1.1
"""Seconds of lag that a look is worth if tasks of 3 s that tell progress shall be found as late as by one a second."""

Job = Coroutine[Any, Any, None]


def floors() -> dict[tuple[str, str], Callable[[Run], Job]]:
    """What the floors can do."""
    floor = importlib.import_module("floor")
    jobs: dict[tuple[str, str], Callable[[Run], Job]] = {("bare", "submit"): floor.posts}
    for task in ("create", "follow", "each"):
        jobs["bare", task] = lambda run: floor.one_heap(run, floor.as_dicts)
        jobs["attrs", task] = lambda run: floor.one_heap(run, floor.as_attrs)
        jobs["lean", task] = lambda run: floor.one_heap(run, floor.as_attrs, timeout=floor.UNTIMED)
    for task in ("create", "follow"):
        jobs["coroutines", task] = lambda run: floor.coroutines(run, floor.as_dicts)
        jobs["protocol", task] = floor.protocol
    return jobs


def job_of(client: str, task: str, run: Run) -> Job:
    """The coroutine that does a run; imports what it needs."""
    if client.startswith("ours"):
        job: Job = getattr(importlib.import_module("ours"), task)(run)
        return job
    if client in ("bare", "attrs", "lean", "coroutines", "protocol"):
        return floors()[client, task](run)
    peers = importlib.import_module("peers")
    importlib.import_module(peers.PACKAGES[client.partition("-")[0]])

    async def peer() -> None:  # made inside the loop, and inside what is measured
        await getattr(peers, task)(run, peers.peer_of(client, run))

    return peer()


async def still_following(job: Job) -> float:
    """Bytes of memory once every id has been looked at and none is due."""
    following = asyncio.create_task(job)
    used = -1.0
    while time.process_time() - used > IDLE:
        used = time.process_time()
        await asyncio.sleep(0.25)
    gc.collect()
    bytes_now = resident()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return bytes_now


async def done(run: Run, job: Job) -> None:
    """The job, broken off when patience ends."""
    try:
        async with asyncio.timeout(run.patience):
            await job
    except TimeoutError:
        run.errors["unfinished"] = run.tasks - len(run.lags) - run.errors.total()


def main() -> None:
    """Do the run that is described by the one argument."""
    warnings.simplefilter("ignore")  # a peer calls its own videos deprecated
    given = json.loads(sys.argv[1])
    client, task, holding = given.pop("client"), given.pop("task"), given.pop("holding", False)
    warmed = given.pop("warmed", None)
    client, _, loop = client.partition("+")
    factory = importlib.import_module("uvloop").new_event_loop if loop else asyncio.new_event_loop
    run = Run(**given)
    if client.startswith("ours-"):
        run.told, run.journal = UNLIMITED, client == "ours-journal"
    if client in ("ours-schedule", "ours-equal"):
        run.interval, run.least = None, (run.interval or 1.0) / 2
    if client == "ours-equal" and run.price is None:
        run.price = EQUAL
    if task in ("follow", "each"):
        run.prepare()
    with asyncio.Runner(loop_factory=factory) as runner:
        if warmed is not None:
            alone = replace(run, port=warmed, tasks=1, ids=["l-0-1"], lags=[], errors=Counter())
            runner.run(done(alone, job_of(client, task, alone)))
        job = job_of(client, task, run)
        gc.collect()
        before, began, cpu = resident(), time.perf_counter(), time.process_time()
        held = runner.run(still_following(job)) if holding else runner.run(done(run, job))
    figures = {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - began,
        "grown": held - before if held is not None else max(peak() - before, 0.0),
        "peak": peak(),
        "finished": len(run.lags),
        "errors": dict(run.errors),
        "lag_mean": statistics.fmean(run.lags) if run.lags else None,
        "lag_p50": quantile(run.lags, 0.5),
        "lag_p99": quantile(run.lags, 0.99),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
