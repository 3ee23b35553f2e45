"""Starts a server and a contender, each in a process and, where there is more than one, on a core of its own."""

import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LABELS = {
    "ours": "omni_async",
    "ours-told": "omni_async, rate told",
    "ours-schedule": "omni_async, rate told, own schedule",
    "ours-equal": "omni_async, rate told, own schedule, equal lag",
    "ours-journal": "omni_async, rate told, journal",
    "protocol": "floor: hand-written protocol",
    "bare": "floor: aiohttp, one heap",
    "attrs": "floor: aiohttp, one heap, cattrs",
    "lean": "floor: the same, no total timeout",
    "coroutines": "aiohttp, a coroutine per task",
    "openai": "openai, as installed",
    "openai-aiohttp": "openai, its aiohttp transport",
    "runway": "runwayml, as installed",
    "runway-aiohttp": "runwayml, its aiohttp transport",
    "fal": "fal-client, as installed",
    "replicate": "replicate, as installed",
}
NEEDS = {
    "openai": ("openai",),
    "openai-aiohttp": ("openai", "aiohttp"),
    "runway": ("runwayml",),
    "runway-aiohttp": ("runwayml", "httpx_aiohttp"),
    "fal": ("fal_client",),
    "replicate": ("replicate",),
}
DISTRIBUTIONS = (
    "omni-async aiohttp attrs cattrs anyio orjson uvloop openai runwayml fal-client replicate httpx httpx-aiohttp"
).split()

BRIEF = 0.01
"""Seconds that the task takes with which a contender is warmed."""

Figures = dict[str, Any]


def label(client: str) -> str:
    """What a contender is called in a table."""
    name, plus, _ = client.partition("+")
    return LABELS[name] + (", uvloop" if plus else "")


def missing(client: str) -> str | None:
    """What must be installed before this contender can run; None if it can."""
    name, plus, _ = client.partition("+")
    needed = (*NEEDS.get(name, ()), *(("uvloop",) if plus else ()))
    absent = [module for module in needed if importlib.util.find_spec(module) is None]
    return f"not installed: {', '.join(absent)} (extra: bench)" if absent else None


def machine() -> Figures:
    """What the figures were taken on."""
    versions = {}
    for name in DISTRIBUTIONS:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "versions": versions,
    }


def _pin(process: "subprocess.Popen[str]", core: int) -> None:
    """Keep a process to one core, counted from the last of those we may use, if there is one for each."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            os.sched_setaffinity(process.pid, {cores[-1 - core]})


class Server:
    """`server.py` while the block lasts; `counts` are there after it."""

    def __init__(self, options: Mapping[str, object] | None = None) -> None:
        words = [word for name, value in (options or {}).items() for word in (f"--{name}", str(value))]
        self.command = [sys.executable, str(HERE / "server.py"), *words]
        self.counts: Figures = {}

    def __enter__(self) -> "Server":
        self._process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        _pin(self._process, 1)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        told = self._process.communicate()[0]
        self.counts = json.loads(told) if told.strip() else {}


def child(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> tuple[str, str]:
    """What a pinned process prints, on stdout and on stderr.

    Raises:
        RuntimeError: It failed; with what it said.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    _pin(process, 0)
    out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command} failed:\n{err}")
    return out, err


def contest(
    client: str,
    task: str,
    *,
    server: Mapping[str, object] | None = None,
    under: Sequence[str] = (),
    warmed: bool = False,
    **options: object,
) -> Figures:
    """One run of one contender against a fresh server.

    Args:
        client: A key of `LABELS`, with `+uvloop` for that event loop.
        task: What it does: create, follow, each, share or submit.
        server: Options of `server.py`.
        under: A command that the contender's process runs under; what that says is given back as `said`.
        warmed: Whether it does the same with one task first, at a server of its own: what it loads late is no part of
            what is measured then, as imports are not.
        options: Fields of `runs.Run`.

    Returns:
        The contender's figures and the server's counts, and of both together: `requests`, `us` (microseconds of the
        client's CPU for each), `busy` (the share of the run in which the server's core was busy).
    """
    with Server(server) as gateway, Server({"median": BRIEF}) if warmed else nullcontext() as other:
        given = {"client": client, "task": task, "port": gateway.port, "warmed": other and other.port, **options}
        command = [*under, sys.executable, str(HERE / "contender.py"), json.dumps(given)]
        out, said = child(command, environment={"PYTHONHASHSEED": "0"})
    figures: Figures = {"client": client, **json.loads(out), **gateway.counts}
    figures["requests"] = requests = figures["gets"] + figures["posts"]
    figures["us"] = 1e6 * figures["cpu"] / requests if requests else None
    figures["busy"] = figures["server_cpu"] / figures["wall"] if figures["wall"] else None
    return {**figures, "said": said} if under else figures
