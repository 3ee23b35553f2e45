"""An emulator and a client of it, as most tests want them."""

import contextlib

from omni_async import OmniClient
from omni_async.emulator import Emulator


@contextlib.asynccontextmanager
async def pair(gateway="jimmy", options=None, **scenario):
    """Both, open; tasks take half a minute unless the scenario says otherwise."""
    async with (
        Emulator(**{"task_seconds": 30, "task_sigma": 0.0, **scenario}) as emulator,
        OmniClient(gateway, api_key="key", base_url=emulator.url, **(options or {})) as client,
    ):
        yield emulator, client


async def outcomes(iterator):
    """All of them."""
    return [one async for one in iterator]


async def collect(iterator, seen):
    """All of them, kept although it raises."""
    async for one in iterator:
        seen.append(one)
