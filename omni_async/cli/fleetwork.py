"""`fleet worker`: takes rows, makes their videos, stores them."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..disk import make_private
from ..policies import PollPolicy
from .connect import Target
from .exits import DONE, UsageError
from .fleetdsn import Dsn, check_dsn, own_folder
from .options import BaseUrl, Gateway, GatewayName, Poll, Quiet
from .running import run_plain
from .screen import Leaving, Screen

if TYPE_CHECKING:
    from ..fleet.worker import Worker

PLAIN = 30.0
"""Seconds between two lines of a worker."""
DAY = 86_400.0
LEAVING = Leaving(
    waits="creates in flight are waited for, the rest is handed over",
    lost=("left at once: creates in flight are uncertain unless their answer was written down",),
)


def worker(
    dsn: Dsn,
    out: Annotated[
        str, typer.Option("--output", "--out", "-o", metavar="DIR_OR_URL", help="Where videos go: a folder, or s3://…")
    ],
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="DIR",
            help="For this machine's own journal; one for this database in your state folder unless given.",
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", metavar="N", min=2, help="Rows in hand at most, running or storing."),
    ] = None,
    heartbeat: Annotated[
        float,
        typer.Option("--heartbeat", metavar="SECONDS", min=1, max=DAY, help="Silent so long, its rows are taken over."),
    ] = 30.0,
    gateway: Gateway = GatewayName.JIMMY,
    base_url: BaseUrl = None,
    poll: Poll = None,
    quiet: Quiet = False,
) -> None:
    """Work: take rows, make their videos, store them. [b]This pays.[/b]

    Runs until Ctrl-C or SIGTERM: then it takes no more, lets creates in
    flight come to their recorded end, and hands what is only waited for
    to the others. A database that goes away is waited for. What came back
    for a create stands in this machine's own journal first, so keep it
    (--state) over restarts.

    Examples:

      omni-async fleet worker --out s3://bucket/videos
      omni-async fleet worker --out shots/videos --state /var/lib/omni
    """
    Target(gateway=gateway, base_url=base_url, poll=poll, offers=False)  # refuses a missing key
    check_dsn(dsn)
    from ..fleet.worker import Worker
    from ..storage import storage_of

    place = state or own_folder(dsn)
    try:
        make_private(place)
    except OSError as error:
        raise UsageError(f"--state {place}: the folder cannot be made ({error.strerror})") from None
    storage = storage_of(out, scratch=place / "scratch", patience=None)

    async def work(screen: Screen) -> int:
        screen.early = LEAVING
        working = Worker(
            dsn,
            gateway=gateway,
            storage=storage,
            state=place,
            heartbeat=heartbeat,
            concurrency=concurrency,
            base_url=base_url,
            poll=PollPolicy(min_interval=poll) if poll else None,
        )
        async with screen:
            if not quiet:
                screen.note(f"worker {working.name}; videos go to {out}, what was paid stands in {place}")
            return await _until_stopped(screen, working)

    run_plain(work, quiet=quiet)


async def _until_stopped(screen: Screen, working: "Worker") -> int:
    running, telling = asyncio.ensure_future(working.run()), asyncio.ensure_future(_tell(screen, working))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await working.stop()
        await running
        raise
    finally:
        telling.cancel()
    return DONE


async def _tell(screen: Screen, working: "Worker") -> None:
    """A line now and then, as long as there is something new to tell."""
    told = ""
    while not screen.show.quiet:
        await asyncio.sleep(PLAIN)
        line = f"{working.steps.sent:,} creates sent · {working.steps.at_hand:,} rows at hand"
        if line != told:
            screen.note(told := line)
