"""From options to an open client: the gateway itself, or an emulator that runs as long as the command."""

import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from ..client import OmniClient
from ..dialects import GATEWAYS
from ..disk import reason
from ..emulator import Emulator, Scenario
from ..events import OnEvent
from ..journal import SqliteJournal
from ..policies import PollPolicy
from ..settings import dialect_of
from .exits import UsageError

EMULATOR_KEY = "no-key-needed"
LOOKS_PER_TASK = 20
SHORTEST_LOOK = 0.02


@attrs.frozen(kw_only=True)
class Target:
    """Whom a command talks to.

    Args:
        gateway: Its name.
        base_url: Where it is; None takes the environment's, or its own address.
        emulator: Talk to an emulator started for this command.
        scenario: JSON file that says how that behaves.
        poll: The shortest interval between looks, in seconds; None takes the gateway's advice.
        offers: Whether the command has an option `--emulator`.
    """

    gateway: str = "jimmy"
    base_url: str | None = None
    emulator: bool = False
    scenario: Path | None = None
    poll: float | None = None
    offers: bool = True

    def __attrs_post_init__(self) -> None:
        """Refuse options that exclude each other, and a missing key, before anything is drawn."""
        if self.emulator and self.base_url:
            raise UsageError("--emulator starts a gateway of its own: leave out --base-url, or --emulator")
        if self.scenario and not self.emulator:
            raise UsageError("--scenario says how the emulator behaves: add --emulator")
        load_scenario(self.scenario)
        variable = dialect_of(self.gateway).key_variable
        if not self.emulator and not os.environ.get(variable, "").strip():
            raise UsageError(
                f"no API key for gateway {self.gateway}: set the environment variable {variable}"
                + (", or add --emulator to try it without a key" if self.offers else "")
            )

    def resuming(self, output: str | None) -> str | None:
        """The options with which `wait` reaches the same gateway again; None where it ends with this command."""
        stored = [] if output is None else ["-o", output]
        return None if self.emulator else shlex.join([*self.words(), *stored])

    def words(self) -> list[str]:
        """The options with which another command reaches the same gateway."""
        return ["--gateway", self.gateway, *([] if self.base_url is None else ["--base-url", self.base_url])]


def words_for(gateway: str, address: str | None) -> list[str]:
    """The options with which a command reaches a gateway where it was; its own address needs no word."""
    own = dialect_of(gateway).base_url if gateway in GATEWAYS else None
    return ["--gateway", gateway, *([] if address in (None, own) else ["--base-url", address])]


def load_scenario(path: Path | None) -> Scenario:
    """The scenario in a JSON file, or the default one."""
    if path is None:
        return Scenario()
    try:
        return Scenario.from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        problem = reason(error)
    raise UsageError(f"scenario {path}: {problem}")


def poll_policy(scenario: Scenario) -> PollPolicy:
    """Looks as often as an emulator's short tasks deserve."""
    return PollPolicy(min_interval=max(scenario.task_seconds * scenario.time_scale / LOOKS_PER_TASK, SHORTEST_LOOK))


@asynccontextmanager
async def served(target: Target) -> AsyncIterator[dict[str, Any]]:
    """The keywords with which a client reaches the target; an emulator runs as long as they are used."""
    poll = PollPolicy(min_interval=target.poll) if target.poll else None
    if not target.emulator:
        yield {"base_url": target.base_url, "poll": poll}
        return
    scenario = load_scenario(target.scenario)
    async with Emulator(scenario) as emulator:
        yield {"api_key": EMULATOR_KEY, "base_url": emulator.url, "poll": poll or poll_policy(scenario)}


@asynccontextmanager
async def connected(
    target: Target, on_event: OnEvent | None = None, journal: SqliteJournal | None = None
) -> AsyncIterator[OmniClient]:
    """A client of the target, closed at the end with its journal; POSTs in flight are waited for."""
    try:
        async with (
            served(target) as settings,
            OmniClient(target.gateway, on_event=on_event, journal=journal, **settings) as client,
        ):
            yield client
    finally:
        if journal is not None:
            await journal.aclose()
