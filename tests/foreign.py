"""A gateway that nobody here knows, and the dialect a caller would write for it.

It differs wherever gateways of this kind differ: the key in `x-api-key`, the create's `data` an array, the result JSON
text inside JSON, upper-case statuses, ids in the query string, times in milliseconds.
"""

import json
from collections.abc import Mapping
from typing import Any

from omni_async.dialects import (
    Abilities,
    Call,
    CallKind,
    Dialect,
    RefusalKind,
    RefusalRule,
    Reply,
    dig,
    instant,
    structure,
    text,
)
from omni_async.errors import DecodeError
from omni_async.models import TaskStatus, VideoRequest, VideoTask

CREATE, QUERY = "/open/v2/render", "/open/v2/render/state"


class Foreign(Dialect):
    """Seven questions answered; everything else is inherited."""

    name = "foreign"
    base_url = "https://render.example"
    key_variable = "FOREIGN_API_KEY"
    abilities = Abilities(url_lifetime=3600.0, first_look=1.0, min_interval=1.0, max_interval=5.0)
    status_words: Mapping[str, TaskStatus] = {
        "wait": TaskStatus.QUEUED,
        "render": TaskStatus.RUNNING,
        "finish": TaskStatus.SUCCEEDED,
        "broken": TaskStatus.FAILED,
    }
    refusals = (
        RefusalRule(kind=RefusalKind.AUTH, codes=frozenset({"E_KEY"})),
        RefusalRule(kind=RefusalKind.RATE, codes=frozenset({"E_BUSY"})),
    )

    def create(self, request: VideoRequest, *, idempotency_key: str | None = None) -> Call:
        """`POST /open/v2/render`."""
        body = {"text": request.prompt, "seconds": request.duration or 5}
        return Call(kind=CallKind.CREATE, method="POST", path=CREATE, body=body)

    def query(self, task_id: str) -> Call:
        """`GET /open/v2/render/state?render=…`."""
        return Call(kind=CallKind.QUERY, method="GET", path=QUERY, params={"render": task_id})

    def read_create(self, reply: Reply) -> VideoTask:
        """`{"data": [{"task_id", "state"}]}`."""
        return self._task(reply, dig(reply.document, "data", 0))

    def read_query(self, reply: Reply) -> VideoTask:
        """`{"data": {"task_id", "state", "madeAt", "output": "{\\"video\\": …}"}}`."""
        return self._task(reply, dig(reply.document, "data"))

    def auth(self, key: str) -> Mapping[str, str]:
        """The key goes into a header of its own."""
        return {"x-api-key": key}

    def _task(self, reply: Reply, data: Any) -> VideoTask:
        if not isinstance(data, dict):
            raise DecodeError("no task in the answer", path="$.data")
        word = structure(data.get("state"), str, path="$.data.state")
        status = self.status(word) or TaskStatus.RUNNING
        url = _video_in(data.get("output"))
        if status is TaskStatus.SUCCEEDED and url is None:
            raise DecodeError("finished, but without a URL", path="$.data.output", terminal=True)
        return VideoTask(
            task_id=text(data.get("task_id")) or "",
            status=status,
            raw_status=word,
            created_at=instant(data.get("madeAt")),
            video_url=url,
            gateway=self.name,
            request_id=reply.request_id,
            raw=reply.document,
        )


def _video_in(output: Any) -> str | None:
    """The URL in JSON text inside JSON."""
    try:
        return text(dig(json.loads(output), "video"))
    except (TypeError, ValueError, RecursionError):
        return None
