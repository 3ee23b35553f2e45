"""This package as a contender."""

import asyncio
import tempfile
from collections import deque
from contextlib import nullcontext
from pathlib import Path

from runs import KEY, Run

from omni_async import Limits, OmniClient, OmniError, PollPolicy, RetryPolicy, Timeouts


def opened(run: Run, *, journal: Path | None = None) -> OmniClient:
    """A client as a user would make it, at this server."""
    return OmniClient(
        "jimmy",
        api_key=KEY,
        base_url=run.gateway,
        journal=journal,
        limits=Limits(max_connections=run.connections, requests_per_second=run.told),
        poll=PollPolicy(fixed=run.interval, min_interval=run.least, lag_per_look=run.price),
        http_timeout=Timeouts(create=1) if run.creates == "mute" else Timeouts(),
        retry=RetryPolicy(),
        proxy=None,
    )


async def create(run: Run) -> None:
    """`generate_many`: submit all and follow them to their ends."""
    requests = ({"prompt": "a paper boat", "duration": 6} for _ in range(run.tasks))
    async with opened(run) as client:
        async for outcome in client.generate_many(requests):
            if outcome.task is not None and outcome.error is None:
                run.finished(outcome.task.task_id)
            elif outcome.error is not None:
                run.failed(outcome.error)


async def follow(run: Run) -> None:
    """`as_completed`: follow ids to their ends."""
    async with opened(run) as client:
        async for task in client.as_completed(run.ids):
            run.finished(task.task_id)


async def each(run: Run) -> None:
    """`wait`, once for each id and when it appears: a caller's coroutine for each."""

    async def one(client: OmniClient, task_id: str) -> None:
        run.finished((await client.wait(task_id)).task_id)

    async with opened(run) as client, asyncio.TaskGroup() as group:
        async for task_id in run.arrivals():
            group.create_task(one(client, task_id))


async def share(run: Run) -> None:
    """So many `wait` for one id."""
    async with opened(run) as client:
        task = await client.submit("a paper boat", duration=6)
        for done in await asyncio.gather(*(client.wait(task) for _ in range(run.waiters))):
            run.finished(done.task_id)


async def submit(run: Run) -> None:
    """`submit` alone, so many in flight, journalled or not."""
    numbers = iter(range(run.tasks))
    with tempfile.TemporaryDirectory() if run.journal else nullcontext() as folder:
        client = opened(run, journal=Path(folder) / "journal.sqlite3" if folder else None)

        async def work() -> None:
            for number in numbers:
                custom_id = f"boat-{number}" if run.journal else None
                try:
                    run.finished((await client.submit("a paper boat", duration=6, custom_id=custom_id)).task_id)
                except OmniError as error:
                    run.failed(error)

        async with client:
            await asyncio.gather(*(work() for _ in range(min(run.connections, run.tasks))))
            deque(client.unclaimed(), maxlen=0)
