"""Signed webhooks of the flat shape (docs), sent to this machine only."""

import asyncio
import hashlib
import hmac
import json
import math
import secrets
from urllib.parse import urlsplit

import aiohttp

from .clock import Clock
from .ledger import Delivery, Ledger
from .scenario import Scenario
from .tasks import COMPLETED, Task

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
TRIES = 4
TIMEOUT = aiohttp.ClientTimeout(total=10)


def signature(webhook_secrets: tuple[str, ...], event_id: str, timestamp: str, body: bytes) -> str:
    """`v1=<hex>` per secret: HMAC-SHA256 of id "." timestamp "." body (docs)."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return ",".join("v1=" + hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in webhook_secrets)


class Webhooks:
    """Sends each task's event when it ends; the only thing here that needs a timer."""

    def __init__(self, clock: Clock, ledger: Ledger) -> None:
        self._clock = clock
        self._ledger = ledger
        self._sending: set[asyncio.Task[None]] = set()

    def plan(self, task: Task, scenario: Scenario) -> None:
        """Have the event sent when the task ends; a host that is not this machine is only noted."""
        if _host(task.order.callback_url or "") not in LOOPBACK:
            self._note("", task, "ignored: not a loopback host")
            return
        if task.ends == math.inf:
            return
        sending = asyncio.get_running_loop().create_task(self._send(task, scenario))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def close(self) -> None:
        """Cancel what is not sent yet."""
        for sending in self._sending:
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _send(self, task: Task, scenario: Scenario) -> None:
        await asyncio.sleep(task.ends - self._clock.now())
        event_id = "evt_" + secrets.token_hex(10)
        body = _event(task, event_id)
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            for attempt in range(TRIES):
                if attempt:
                    await asyncio.sleep(scenario.webhook_retry * 2 ** (attempt - 1))
                if await self._try(session, task, scenario, event_id, body):
                    return

    async def _try(
        self, session: aiohttp.ClientSession, task: Task, scenario: Scenario, event_id: str, body: bytes
    ) -> bool:
        keys = scenario.webhook_secret
        timestamp = str(int(self._clock.wall(self._clock.now())))
        headers = {
            "Content-Type": "application/json",
            "X-ToAPIs-Webhook-Id": event_id,
            "X-ToAPIs-Webhook-Timestamp": timestamp,
            "X-ToAPIs-Webhook-Signature": signature(
                (keys,) if isinstance(keys, str) else keys, event_id, timestamp, body
            ),
        }
        try:
            async with session.post(
                task.order.callback_url or "", data=body, headers=headers, allow_redirects=False
            ) as response:
                self._note(event_id, task, response.status)
                return response.status < 300
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self._note(event_id, task, type(error).__name__)
            return False

    def _note(self, event_id: str, task: Task, outcome: int | str) -> None:
        url = task.order.callback_url or ""
        self._ledger.webhooks.append(Delivery(event_id, task.task_id, url, outcome, self._clock.now()))


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # a URL in form only
        return None


def _event(task: Task, event_id: str) -> bytes:
    kind = "generation.completed" if task.outcome == COMPLETED else "generation.failed"
    data = {"task_id": task.task_id, "task_type": "video", "model": task.order.model, "status": task.outcome}
    return json.dumps({"id": event_id, "type": kind, "data": data}, separators=(",", ":")).encode()
