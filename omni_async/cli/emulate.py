"""`emulator`: the three gateways on a port of this machine, until Ctrl-C."""

import asyncio
import contextlib
import json as jsonlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from ..emulator import Emulator, Ledger, Scenario
from .connect import load_scenario
from .exits import DONE, UsageError
from .options import Json
from .output import as_json
from .running import run_plain
from .screen import Screen

PORT = 8787
_TASKS, _LIMITS = "Tasks", "Hidden limits"


def _number(name: str, help: str, panel: str) -> Any:  # noqa: A002 - typer's word
    return typer.Option(name, help=help, rich_help_panel=panel, metavar="N", show_default=False)


def emulator(
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="Where it listens; 0 picks one.")] = PORT,
    host: Annotated[str, typer.Option("--host", help="Address it listens at.")] = "127.0.0.1",
    scenario: Annotated[
        Path | None, typer.Option("--scenario", metavar="FILE.json", help="How it behaves; options below win over it.")
    ] = None,
    task_seconds: Annotated[
        float | None, _number("--task-seconds", "How long a task takes, by median.", _TASKS)
    ] = None,
    task_sigma: Annotated[float | None, _number("--task-sigma", "Spread of that; 0 is exact.", _TASKS)] = None,
    time_scale: Annotated[float | None, _number("--time-scale", "Multiplies task times.", _TASKS)] = None,
    seed: Annotated[int | None, _number("--seed", "Of all that is drawn by chance.", _TASKS)] = None,
    latency: Annotated[float | None, _number("--latency", "Seconds added to each answer.", _LIMITS)] = None,
    requests_per_second: Annotated[
        float | None, _number("--requests-per-second", "Requests above this are refused.", _LIMITS)
    ] = None,
    creates_per_second: Annotated[
        float | None, _number("--creates-per-second", "Creates above this are refused.", _LIMITS)
    ] = None,
    http_concurrency: Annotated[
        int | None, _number("--http-concurrency", "Requests in flight above this are refused.", _LIMITS)
    ] = None,
    running_tasks: Annotated[
        int | None, _number("--running-tasks", "Creates are refused while so many tasks run.", _LIMITS)
    ] = None,
    balance: Annotated[float | None, _number("--balance", "What can be spent; a video costs 1.", _LIMITS)] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=JSON", help="Any other field of a scenario, faults too; repeatable."),
    ] = None,
    replay: Annotated[
        Path | None, typer.Option("--replay", metavar="DIR", help="Give the answers recorded there instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Run the emulator of the three gateways until Ctrl-C, then show what it counted.

    It answers as the gateways document it, refuses what they refuse, keeps a
    ledger (/_emulator/ledger), serves real videos, takes any key and charges
    nobody. Stdout gets its URL first and the sums at the end; with --json an
    object with the url, then the whole ledger in a line. Ctrl-C is its
    normal end: exit code 0.

    Examples:

      omni-async emulator --port 8787 --task-seconds 5
      omni-async emulator --running-tasks 5 --requests-per-second 20
      omni-async emulator --set 'faults=[{"kind": "fail", "first": 1}]'
    """
    given = {
        "task_seconds": task_seconds,
        "task_sigma": task_sigma,
        "time_scale": time_scale,
        "seed": seed,
        "latency": latency,
        "requests_per_second": requests_per_second,
        "creates_per_second": creates_per_second,
        "http_concurrency": http_concurrency,
        "running_tasks": running_tasks,
        "balance": balance,
    }
    fields = {name: value for name, value in given.items() if value is not None}
    behaviour = changed(load_scenario(scenario), {**fields, **_fields(change or [])})
    run_plain(lambda screen: _serve(screen, _emulator(behaviour, host, port, replay)), json=json)


def _fields(given: list[str]) -> dict[str, Any]:
    fields = {}
    for item in given:
        name, _, value = item.partition("=")
        try:
            fields[name] = jsonlib.loads(value)
        except ValueError:
            raise UsageError(f"--set {item}: write FIELD=JSON, texts in their quotes") from None
    return fields


def changed(scenario: Scenario, fields: dict[str, Any]) -> Scenario:
    """The scenario with some fields replaced; checked as those of a file are."""
    own = {field.name: getattr(scenario, field.name) for field in attrs.fields(Scenario)}
    try:
        return Scenario.from_dict({**own, **fields})
    except ValueError as error:
        raise UsageError(str(error)) from None


def _emulator(scenario: Scenario, host: str, port: int, replay: Path | None) -> Emulator:
    try:
        return Emulator(scenario, host=host, port=port, replay=replay)
    except ValueError as error:
        raise UsageError(f"--replay: {error}") from None


async def _serve(screen: Screen, emulator: Emulator) -> int:
    as_lines = screen.show.json
    async with screen, emulator:
        screen.result(as_json({"url": emulator.url}, indent=None) if as_lines else emulator.url)
        for line in _directions(emulator.url):
            screen.note(line)
        with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is its normal end
            await asyncio.Event().wait()
    ledger = emulator.ledger
    screen.result(as_json(ledger.as_dict(), indent=None) if as_lines else "\n".join(_sums(ledger)))
    return DONE


def _directions(url: str) -> Iterator[str]:
    """How to point the client at it."""
    yield "It speaks for jimmy, gemini_omni and toapis and takes any key. In another terminal:"
    yield f"  export JIMMYAI_API_KEY=any JIMMYAI_BASE_URL={url} TOAPIS_API_KEY=any TOAPIS_BASE_URL={url}"
    yield '  omni-async generate "a cat in neon rain" --poll 0.2 -o cat.mp4'
    yield f"or in Python: OmniClient(api_key='any', base_url='{url}'). What it counted: {url}/_emulator/ledger"
    yield "Ctrl-C ends it."


def _sums(ledger: Ledger) -> Iterator[str]:
    """What it counted, in a few lines."""
    seconds = sum(charge.seconds for charge in ledger.charges)
    yield f"{len(ledger.charges)} videos charged, {seconds} s in all, {ledger.spent:g} spent"
    yield f"{ledger.requests.total()} requests: {_counted(ledger.requests) or 'none'}"
    yield f"{ledger.refused.total()} refused: {_counted(ledger.refused_by) or 'none'}"
    peak = max((count for _, count in ledger.running), default=0)
    yield f"up to {peak} tasks running at once, up to {ledger.peak_in_flight} requests in flight"


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in counter.most_common())
