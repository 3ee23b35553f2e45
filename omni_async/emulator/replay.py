"""Recorded samples played back: the same answers in the same order, whatever the client's pace."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs

from . import files
from .desk import Call
from .ledger import Charge, Ledger
from .response import Response

TIMES = frozenset({"created_at", "completed_at", "expires_at"})
LINKS = frozenset({"video_url", "url"})
MILLISECONDS = 10**11
"""From here on a number of seconds since 1970 is one of milliseconds."""
STAND_INS = frozenset({"prompt", "image_urls", "images", "video_urls", "client_business_id"})
"""Fields of a create that need not be what they were: recordings hold stand-ins of them."""


@attrs.frozen
class Sample:
    """One recorded exchange. `status` is None where the answer was lost."""

    gateway: str
    kind: str
    path: str
    body: Any
    status: int | None
    headers: dict[str, str]
    answer: Any
    at: datetime

    @property
    def task_id(self) -> str | None:
        """The task that a create's answer tells of."""
        data = self.answer.get("data", self.answer) if isinstance(self.answer, dict) else None
        found = (data.get("task_id") or data.get("id")) if isinstance(data, dict) else None
        return found if isinstance(found, str) else None


def load(folder: Path) -> list[Sample]:
    """The samples of a folder that `OmniClient(record=…)` wrote, in order; ValueError names what is no sample."""
    found = []
    for file in sorted(folder.glob("*/*.json"), key=lambda file: file.name):
        try:
            document = json.loads(file.read_text("utf-8"))
            meta, call = document["meta"], document["call"]
            found.append(
                Sample(
                    gateway=file.parent.name,
                    kind=meta["kind"],
                    path=call["path"],
                    body=call.get("body"),
                    status=meta["status"],
                    headers=dict(meta.get("headers", {})),
                    answer=document["answer"],
                    at=datetime.fromisoformat(meta["at"]),
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{file} is not a recorded sample") from None
    if not found:
        raise ValueError(f"{folder} holds no recorded samples (GATEWAY/NUMBER-KIND.json)")
    return found


class Replay:
    """What was recorded, given out again.

    A create takes the first recorded one with its settings that is left, else the first that is left of its gateway;
    a query, upload or balance the next answer recorded for its path, the last one again and again.

    Args:
        samples: what was recorded.
        ledger: where accepted creates are charged.
        price: of a video.
    """

    def __init__(self, samples: list[Sample], ledger: Ledger, price: float) -> None:
        self._ledger, self._price = ledger, price
        self._creates = [sample for sample in samples if sample.kind == "create"]
        self._others: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            if sample.kind != "create":
                self._others[sample.path].append(sample)

    def serve(self, call: Call) -> Response:
        """The recorded answer to a request; the gateway's refusal where nothing of it was recorded."""
        if call.kind == "file":
            return files.ranged(files.video("16:9", 6, None), "video/mp4", call.request.headers)
        sample = self._create(call) if call.kind == "create" else self._other(call.request.raw_path)
        if sample is None:
            return self._unknown(call)
        if sample.kind == "create":
            self._charge(sample, call)
        return _answer(sample, call)

    def _unknown(self, call: Call) -> Response:
        query = call.kind == "query"
        return call.gateway.unknown_task() if query else call.gateway.invalid("nothing more of it was recorded")

    def _create(self, call: Call) -> Sample | None:
        left = [sample for sample in self._creates if sample.gateway == call.gateway.name]
        alike = (sample for sample in left if _settings(sample.body) == _settings(call.body))
        found = next(alike, left[0] if left else None)
        if found is not None:
            self._creates.remove(found)
        return found

    def _other(self, path: str) -> Sample | None:
        left = self._others.get(path.partition("?")[0], [])
        return left.pop(0) if len(left) > 1 else left[0] if left else None

    def _charge(self, sample: Sample, call: Call) -> None:
        if sample.task_id is None:
            return
        told = dict(_settings(call.body))
        seconds = told.get("duration")
        charge = Charge(
            task_id=sample.task_id,
            gateway=sample.gateway,
            model=str(told.get("model", "")),
            seconds=seconds if isinstance(seconds, int) else 6,
            at=call.now,
            price=self._price,
            resolution=str(told.get("resolution", "720p")),
            prompt=call.prompt or "",
        )
        self._ledger.charge(charge, call.now)


def _settings(body: Any) -> dict[str, Any]:
    """What a create asks for beside its prompt and references, the guide's `input` opened."""
    given = body if isinstance(body, dict) else {}
    inner = given.get("input")
    fields = {**given, **inner} if isinstance(inner, dict) else given
    return {name: value for name, value in fields.items() if name not in STAND_INS and name != "input"}


def _answer(sample: Sample, call: Call) -> Response:
    if sample.status is None:
        return Response(0, drop=True)
    headers = {name: value for name, value in sample.headers.items() if name != "content-type"}
    if sample.answer is None:  # no JSON, and not kept
        kind = sample.headers.get("content-type", "text/html").partition(";")[0]
        return Response(sample.status, b"<html>not kept</html>", headers, content_type=kind)
    age = call.site.wall(call.now) - sample.at.timestamp()
    document = dict(_renewed(sample.answer, age, call)) if isinstance(sample.answer, dict) else sample.answer
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(sample.status, body, headers, task_id=sample.task_id if sample.kind == "create" else None)


def _renewed(answer: Mapping[str, Any], age: float, call: Call) -> Iterator[tuple[str, Any]]:
    """An answer whose times are as far from now as they were, and whose videos are the emulator's."""
    for name, value in answer.items():
        if name in TIMES:
            yield name, _later(value, age)
        elif name in LINKS and isinstance(value, str) and call.kind == "query":
            yield name, f"{call.site.base}/files/recorded.mp4"
        elif isinstance(value, dict):
            yield name, dict(_renewed(value, age, call))
        elif isinstance(value, list):
            yield name, [dict(_renewed(part, age, call)) if isinstance(part, dict) else part for part in value]
        else:
            yield name, value


def _later(time: Any, age: float) -> Any:
    """A time moved by so many seconds, in the form it has."""
    if isinstance(time, int | float) and not isinstance(time, bool) and math.isfinite(time):
        return type(time)(time + age * (1000 if time >= MILLISECONDS else 1))
    if isinstance(time, str):
        try:
            return (datetime.fromisoformat(time) + timedelta(seconds=age)).isoformat().replace("+00:00", "Z")
        except (ValueError, OverflowError):
            return time
    return time
