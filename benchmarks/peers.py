"""The peers' SDKs as contenders: their own calls for creating and waiting, at a server that speaks their shape.

Each looks as often as it is told (`interval`, once a second), by what it offers for that, or with `usual` as often as
it does by itself:

- openai: `poll_interval_ms=1000`, an option (and what it does when its server says nothing else);
- runwayml: there is no option; its module's constants are set, `POLL_TIME = 1`, `POLL_JITTER = 0` (as installed 6, 3);
- fal-client: `interval=1` (as installed 0.1). Its addresses are `https://` in its code: the module's
  `QUEUE_URL_FORMAT` is set to the loopback server's;
- replicate: `poll_interval = 1` (as installed 0.5).

With `-aiohttp`, openai and runwayml go over the aiohttp transport they offer. Everything else is as installed: pools,
retries, timeouts (one second for a create that is never answered, where that can be set).
"""

import asyncio
import importlib
from collections.abc import Awaitable
from typing import Any, Protocol

from runs import KEY, Run

PROMPT = "a paper boat"
PACKAGES = {"openai": "openai", "runway": "runwayml", "fal": "fal_client", "replicate": "replicate"}
NAMES = ("openai", "openai-aiohttp", "runway", "runway-aiohttp", "fal", "replicate")


class Peer(Protocol):
    """A client's own calls; each gives the task's id."""

    async def make(self) -> str:
        """Create and wait."""

    async def create(self) -> str:
        """Create."""

    async def follow(self, task_id: str) -> None:
        """Wait for an id to finish."""


class OpenAI:
    """`videos.create_and_poll`, `create`, `poll`."""

    def __init__(self, run: Run, *, aiohttp: bool) -> None:
        module = importlib.import_module("openai")
        more = {"http_client": module.DefaultAioHttpClient()} if aiohttp else {}
        if run.creates == "mute":
            more["timeout"] = 1.0
        self.videos = module.AsyncOpenAI(api_key=KEY, base_url=f"{run.gateway}/openai/v1", **more).videos
        self.every: dict[str, Any] = {} if run.usual else {"poll_interval_ms": round(1000 * (run.interval or 1.0))}

    async def make(self) -> str:
        """`create_and_poll`."""
        video = await self.videos.create_and_poll(prompt=PROMPT, model="sora-2", **self.every)
        return str(video.id)

    async def create(self) -> str:
        """`create`."""
        return str((await self.videos.create(prompt=PROMPT, model="sora-2")).id)

    async def follow(self, task_id: str) -> None:
        """`poll`."""
        await self.videos.poll(task_id, **self.every)


class Runway:
    """`text_to_video.create`, `wait_for_task_output`, `tasks.retrieve`."""

    def __init__(self, run: Run, *, aiohttp: bool) -> None:
        module = importlib.import_module("runwayml")
        polling: Any = importlib.import_module("runwayml.lib.polling")
        if not run.usual:
            polling.POLL_TIME, polling.POLL_JITTER = run.interval or 1.0, 0
        more = {"http_client": module.DefaultAioHttpClient()} if aiohttp else {}
        if run.creates == "mute":
            more["timeout"] = 1.0
        self.client = module.AsyncRunwayML(api_key=KEY, base_url=f"{run.gateway}/runway", **more)
        self.asked = {"model": "gen4.5", "prompt_text": PROMPT, "ratio": "1280:720", "duration": 5}

    async def make(self) -> str:
        """`create(…).wait_for_task_output()`."""
        created = await self.client.text_to_video.create(**self.asked)
        return str((await created.wait_for_task_output()).id)

    async def create(self) -> str:
        """`create`."""
        return str((await self.client.text_to_video.create(**self.asked)).id)

    async def follow(self, task_id: str) -> None:
        """`retrieve(…)`, and `wait_for_task_output` of what still runs."""
        task = await self.client.tasks.retrieve(task_id)
        if task.status != "SUCCEEDED":
            await task.wait_for_task_output()


class Fal:
    """`submit`, `handle.get`, `get_handle`."""

    def __init__(self, run: Run) -> None:
        module = importlib.import_module("fal_client")
        inside: Any = importlib.import_module("fal_client.client")
        inside.QUEUE_URL_FORMAT = f"{run.gateway}/fal/"
        self.client = module.AsyncClient(key=KEY, default_timeout=1.0 if run.creates == "mute" else 120.0)
        self.every: dict[str, Any] = {} if run.usual else {"interval": run.interval or 1.0}

    async def make(self) -> str:
        """`submit`, then `get` of its handle, which looks at the status and fetches the result."""
        handle = await self.client.submit("omni/video", {"prompt": PROMPT})
        await handle.get(**self.every)
        return str(handle.request_id)

    async def create(self) -> str:
        """`submit`."""
        return str((await self.client.submit("omni/video", {"prompt": PROMPT})).request_id)

    async def follow(self, task_id: str) -> None:
        """`get` of a handle made from the id."""
        handle = await self.client.get_handle("omni/video", task_id)
        await handle.get(**self.every)


class Replicate:
    """`predictions.async_create`, `async_wait`, `async_get`."""

    def __init__(self, run: Run) -> None:
        module = importlib.import_module("replicate")
        more = {}
        if run.creates == "mute":
            more["timeout"] = importlib.import_module("httpx").Timeout(1.0)
        self.client = module.Client(api_token=KEY, base_url=f"{run.gateway}/replicate", **more)
        if not run.usual:
            self.client.poll_interval = run.interval or 1.0

    async def make(self) -> str:
        """`async_create`, then `async_wait`."""
        prediction = await self.client.predictions.async_create(version="1", input={"prompt": PROMPT})
        await prediction.async_wait()
        return str(prediction.id)

    async def create(self) -> str:
        """`async_create`."""
        return str((await self.client.predictions.async_create(version="1", input={"prompt": PROMPT})).id)

    async def follow(self, task_id: str) -> None:
        """`async_get`, then `async_wait`."""
        await (await self.client.predictions.async_get(task_id)).async_wait()


def peer_of(name: str, run: Run) -> Peer:
    """A peer by its name in `NAMES`."""
    kind, _, transport = name.partition("-")
    if kind in ("openai", "runway"):
        return (OpenAI if kind == "openai" else Runway)(run, aiohttp=bool(transport))
    return Fal(run) if kind == "fal" else Replicate(run)


async def counted(run: Run, step: Awaitable[str]) -> None:
    """A waiter's error is counted, and ends only that waiter."""
    try:
        run.finished(await step)
    except Exception as error:
        run.failed(error)


async def create(run: Run, peer: Peer) -> None:
    """Create all and wait for all, a coroutine for each, as the peers' documents show it."""
    await asyncio.gather(*(counted(run, peer.make()) for _ in range(run.tasks)))


async def share(run: Run, peer: Peer) -> None:
    """So many wait for one task."""
    task_id = await peer.create()

    async def one() -> str:
        await peer.follow(task_id)
        return task_id

    await asyncio.gather(*(counted(run, one()) for _ in range(run.waiters)))


async def submit(run: Run, peer: Peer) -> None:
    """Creates alone, so many in flight."""
    numbers = iter(range(run.tasks))

    async def work() -> None:
        for _ in numbers:
            await counted(run, peer.create())

    await asyncio.gather(*(work() for _ in range(min(run.connections, run.tasks))))
