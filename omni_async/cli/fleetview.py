"""A fleet, as lines and as plain JSON data."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..errors import OmniError
from ..journal import State
from .output import as_json, out, printable

if TYPE_CHECKING:
    from ..fleet.admin import FleetStatus
    from ..fleet.budget import Allowed
    from ..fleet.bulk import Enqueued

EVERY, PLAIN = 1.0, 30.0
"""Seconds between two looks of `status --watch`: on a terminal and for programs; as lines for people."""


def document(came: Any) -> dict[str, Any]:
    """Plain JSON data."""
    return attrs.asdict(came, value_serializer=lambda _owner, _field, value: _plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): count for name, count in value.items()}
    return value.isoformat() if hasattr(value, "isoformat") else value


def told(allowed: "Allowed") -> str:
    """The limits in a line."""
    rates = ((allowed.submits_per_second, "creates"), (allowed.polls_per_second, "looks"))
    words = [f"{rate:g} {what} a second" for rate, what in rates if rate is not None]
    return " · ".join([f"{allowed.running:,} tasks at once", *words])


def seen(came: "Enqueued") -> list[str]:
    """What rows came to."""
    done = {State.DONE, State.SUCCEEDED, State.FAILED, State.CANCELED, State.EXPIRED}
    brought = sum(count for state, count in came.states.items() if state in done)
    counts = (
        (came.new, "new"),
        (brought, "of them finished"),
        (came.states.get(State.SUBMITTED, 0), "of them running"),
        (came.states.get(State.UNCERTAIN, 0) + came.states.get(State.SUBMITTING, 0), "of them uncertain"),
        (came.known, "known already"),
        (came.told, "of them with news for the fleet"),
        (came.updated, "edited before sending: updated"),
        (came.kept, "edited after paying: kept"),
        (came.retried, "tried again"),
        (came.unsent, "not sent, and left out"),
        (came.bad, "with faults: left out"),
    )
    return [" · ".join(f"{count:,} {word}" for count, word in counts if count) or "nothing to do"]


def picture(now: "FleetStatus") -> list[str]:
    """Where a fleet stands."""
    counts = [f"{now.states[state]:,} {state.lower()}" for state in State if now.states.get(state)]
    lines = [" · ".join(counts) or "no rows yet"]
    lines.append(
        f"seats {now.seats:,} of {now.allowed.running:,} · {now.waiting[0]:,} videos and {now.waiting[1]:,} downloads"
        f" wait · {now.sent:,} sent and {now.finished:,} finished in the last minute"
    )
    if now.resting:
        lines.append(f"{now.resting:,} downloads rest until their next try: 'not stored' in fleet journal tells why")
    lines.append(f"limits: {told(now.allowed)}")
    for seconds, what in zip(now.paused, ("creates", "looks"), strict=True):
        if seconds > 0:
            lines.append(f"pause: no {what} for {seconds:.0f} s")
    for worker in now.workers:
        silent = f", silent for {worker.silent:.0f} s" if worker.silent > 10 and worker.state != "gone" else ""
        uncertain = f" · {worker.uncertain:,} uncertain" if worker.uncertain else ""
        lines.append(
            f"{worker.name}: {worker.state}{silent} · {worker.following:,} at hand · {worker.sent:,} sent{uncertain}"
        )
    return [*lines, *(f"uncertain: {key}" for key in now.uncertain)]


async def watched(look: Callable[[], Awaitable["FleetStatus"]], *, json: bool) -> None:
    """Show it again and again, until the command is interrupted: drawn on a terminal, else as lines."""
    if sys.stdout.isatty() and not json:
        await _drawn(look)
    while True:
        now = await look()
        out(as_json(document(now), indent=None) if json else " | ".join(picture(now)[:2]))
        await asyncio.sleep(EVERY if json else PLAIN)


async def _drawn(look: Callable[[], Awaitable["FleetStatus"]]) -> None:
    """A database that goes away is told of, and waited for; what was seen last stays on the terminal."""
    with Live(console=Console(highlight=False), auto_refresh=False, transient=False) as live:
        seen = _text(await look())
        while True:
            live.update(seen, refresh=True)
            await asyncio.sleep(EVERY)
            try:
                seen = _text(await look())
            except OmniError as error:
                live.update(Text.assemble(seen, ("\n" + str(error.args[0]), "red")), refresh=True)
                await asyncio.sleep(EVERY)


def _text(now: "FleetStatus") -> Text:
    return Text(printable("\n".join(picture(now))), overflow="ellipsis", no_wrap=True)
