"""What the emulator's tests share: a client that speaks raw HTTP, since the library is not to be trusted here."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from omni_async.emulator import Emulator

JIMMY_CREATE = "/api/open-api/v1/gemini/omni/videos"
JIMMY_QUERY = "/api/open-api/v1/videos/"
CREATE = "/v1/videos/generations"
QUERY = CREATE + "/"
JIMMY = {"model": "Gemini-Omini", "prompt": "a cat"}
FLAT = {"model": "gemini_omni", "prompt": "a cat"}
GUIDE = {"model": "gemini_omni", "mode": "text-to-video", "input": {"prompt": "a cat", "duration": 5}}
BODIES = {"jimmy": (JIMMY_CREATE, JIMMY), "gemini_omni": (CREATE, GUIDE), "toapis": (CREATE, FLAT)}


class Client:
    """One account's raw HTTP; `emulator` is what it talks to."""

    def __init__(self, emulator: Emulator, session: aiohttp.ClientSession) -> None:
        self.emulator = emulator
        self.session = session

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.get(path, **options) as response:
            return response.status, await response.json()

    async def post(self, path: str, body: Any, **options: Any) -> tuple[int, Any]:
        async with self.session.post(path, json=body, **options) as response:
            return response.status, await response.json()

    async def create(self, gateway: str = "jimmy", **fields: Any) -> str:
        path, body = BODIES[gateway]
        inner = {"input": {**GUIDE["input"], **fields}} if gateway == "gemini_omni" else fields
        status, answer = await self.post(path, {**body, **inner})
        assert status == 200
        answer = answer.get("data", answer)
        return answer.get("task_id") or answer["id"]

    async def query(self, task_id: str, gateway: str = "jimmy") -> Any:
        status, answer = await self.get((JIMMY_QUERY if gateway == "jimmy" else QUERY) + task_id)
        assert status == 200
        return answer["data"] if gateway == "jimmy" else answer

    async def url(self, task_id: str, gateway: str = "jimmy") -> str:
        result = (await self.query(task_id, gateway))["result"]
        return result["video_url"] if gateway == "jimmy" else result["data"][0]["url"]

    async def fetch(self, url: str, **headers: str) -> tuple[int, bytes, Any]:
        async with self.session.get(url, headers=headers) as response:
            return response.status, await response.read(), response.headers


Talk = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def talk() -> Talk:
    """`async with talk(**scenario_fields) as client`: an emulator whose tasks take no time, and its client."""

    @asynccontextmanager
    async def opened(**fields: Any):
        fields = {"task_seconds": 0.0, **fields}
        async with (
            Emulator(**fields) as emulator,
            aiohttp.ClientSession(emulator.url, headers={"Authorization": "Bearer sk-test"}) as session,
        ):
            yield Client(emulator, session)

    return opened
