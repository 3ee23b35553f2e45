"""Webhooks of `toapis`: is one genuine, and what does it tell. Plain functions; whoever receives it passes the time in.

An event is a hint, never the truth: it makes the poller look, and the look says where the task stands. So a lost
webhook costs time, a forged one a GET.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from .bounded import Bounded
from .dialects.wire import decoded, ident, text
from .dialects.words import STATUS_WORDS
from .errors import Fault, InvalidRequestError, WebhookError, invalid_argument
from .models import TaskStatus

TOLERANCE = 300.0
"""Seconds that a webhook's time may be off, either way (docs)."""

ID, TIMESTAMP, SIGNATURE = "x-toapis-webhook-id", "x-toapis-webhook-timestamp", "x-toapis-webhook-signature"

_EVENT_ID = r"[!-~]{1,255}"
_SECONDS = r"[0-9]{1,12}"
_V1 = r"v1=([0-9a-f]{64})"
_ENDS: Mapping[str, TaskStatus] = {
    "generation.completed": TaskStatus.SUCCEEDED,
    "generation.failed": TaskStatus.FAILED,
}


@attrs.frozen(kw_only=True)
class WebhookEvent:
    """What a webhook says of a task. The gateway may send one event several times: `id` tells.

    Args:
        id: The event's own id.
        type: `generation.completed` or `generation.failed`; others may come.
        task_id: The task it is about.
        task_type: `video`, or what the gateway calls it; None if it does not say.
        model: The task's model; None if it does not say.
        status: Where it says the task stands. Only a look makes sure.
        raw: The decoded body.
    """

    id: str
    type: str
    task_id: str
    task_type: str | None = None
    model: str | None = None
    status: TaskStatus = TaskStatus.RUNNING
    raw: Any = attrs.field(default=None, hash=False, repr=False, eq=False)


def verify_webhook(
    headers: Mapping[str, str], body: bytes, *, secrets: str | Iterable[str], now: float, tolerance: float = TOLERANCE
) -> WebhookEvent:
    """The event of a webhook that is genuine and fresh (docs).

    Args:
        headers: As received; upper or lower case.
        body: The bytes as received: decoded and encoded anew, the signature no longer fits.
        secrets: The endpoint's secret; while it is being changed, the old one and the new.
        now: Wall time in seconds, as `time.time()` gives it.
        tolerance: Seconds that the webhook's time may be off, either way.

    Raises:
        WebhookError: Not signed with one of the secrets, too old, or malformed; answer it with 400.
        InvalidRequestError: There is no secret: an empty one would let anybody sign.
    """
    keys = _keys(secrets)
    found = _judged(headers, body, keys, now, tolerance) if keys else None
    # What a traceback with locals shows must hold neither secret nor body.
    del headers, body, secrets, keys
    if found is None:
        fault = Fault("secrets", "none is given, or one is empty; the gateway's console shows the webhook's")
        raise InvalidRequestError(f"no webhook can be verified: {fault}", faults=(fault,), gateway="toapis")
    if isinstance(found, str):
        raise WebhookError(f"the webhook is refused: {found}", gateway="toapis")
    return found


class SeenEvents:
    """Ids of events that were dealt with, for what must be done once for each; `notify` may be called again.

    A gateway sends an event again when it had no answer in time. In memory, so each process knows its own only.

    Args:
        age: Seconds for which an id is kept; shorter than twice the tolerance, one webhook can be played back.
        most: Ids kept at most; the oldest go first.

    Raises:
        InvalidRequestError: One of the two is not above zero: nothing would ever have been seen.
    """

    def __init__(self, *, age: float = 86_400.0, most: int = 10_000) -> None:
        given = {"age": age, "most": most}
        faults = tuple(Fault(name, "must be above zero") for name, value in given.items() if not value > 0)
        if faults:
            raise invalid_argument(*faults)
        self._age, self._most = age, most
        self._since: Bounded[str, float] = Bounded(most)

    def add(self, event_id: str, *, now: float) -> bool:
        """Note an event; True if it is new. `now` is in seconds, of a clock that is always the same."""
        self._forget(now)
        if event_id in self._since:
            return False
        self._since[event_id] = now
        return True

    def discard(self, event_id: str) -> None:
        """It could not be dealt with: when it comes again, it is new."""
        self._since.pop(event_id, None)

    def _forget(self, now: float) -> None:
        while self._since:
            oldest = next(iter(self._since))
            if now - self._since[oldest] <= self._age:
                break
            del self._since[oldest]

    def __len__(self) -> int:
        """Ids kept."""
        return len(self._since)

    def __repr__(self) -> str:
        return f"<SeenEvents {len(self)} of at most {self._most}, kept {self._age:g} s>"


def _keys(secrets: str | Iterable[str]) -> tuple[bytes, ...]:
    """Each secret's bytes; nothing if one of them is not a secret."""
    given = (secrets,) if isinstance(secrets, str) else tuple(secrets or ())
    good = all(isinstance(secret, str) and secret.strip() for secret in given)
    return tuple(secret.encode("utf-8", "surrogatepass") for secret in given) if good else ()


def _judged(
    headers: Mapping[str, str], body: bytes, keys: tuple[bytes, ...], now: float, tolerance: float
) -> WebhookEvent | str:
    """The event, or why there is none."""
    if not isinstance(body, bytes | bytearray | memoryview):
        return "its body must be given as the bytes received, not as text and not decoded"
    told = _told(headers)
    event_id, timestamp, signature = told[ID], told[TIMESTAMP], told[SIGNATURE]
    if not re.fullmatch(_EVENT_ID, event_id) or not re.fullmatch(_SECONDS, timestamp):
        return "its id or its time is missing or malformed"
    if not _is_signed(f"{event_id}.{timestamp}.".encode(), body, signature, keys):
        return "it is not signed with a secret that is known here"
    if not abs(now - int(timestamp)) <= tolerance:  # nothing at all is within a tolerance of NaN
        return f"its time is more than {tolerance:g} s off: old, played back, or a clock is wrong"
    return _event(bytes(body))


def _told(headers: Mapping[str, str]) -> dict[str, str]:
    """The three headers; a list may have come in several lines (RFC 9110), and then an id or a time fits no more."""
    lines: dict[str, list[str]] = {ID: [], TIMESTAMP: [], SIGNATURE: []}
    for name, value in headers.items():
        if isinstance(name, str) and isinstance(value, str) and name.lower() in lines:
            lines[name.lower()].append(value)
    return {name: ", ".join(values) for name, values in lines.items()}


def _is_signed(head: bytes, body: bytes, signature: str, keys: tuple[bytes, ...]) -> bool:
    """Whether a signature is by one of our keys; other versions than `v1` are passed over."""
    import hmac  # who is told by no webhook does without

    given = [found[1] for item in signature.split(",") if (found := re.fullmatch(_V1, item.strip(" \t")))]
    signings = [hmac.new(key, head, hashlib.sha256) for key in keys]
    for signing in signings:
        signing.update(body)
    return any(hmac.compare_digest(one, signing.hexdigest()) for one in given for signing in signings)


def _event(body: bytes) -> WebhookEvent | str:
    """What the signed body says. Only what names event and task must be there: a look tells the rest."""
    document = decoded(body)
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(data, dict):
        return "its body is not a JSON object with `data`"
    event_id, kind, task_id = text(document.get("id")), text(document.get("type")), ident(data.get("task_id"))
    if event_id is None or kind is None or task_id is None:
        return "its body names no event (`id`, `type`) or no task (`data.task_id`)"
    word = (text(data.get("status")) or kind).lower()
    return WebhookEvent(
        id=event_id,
        type=kind,
        task_id=task_id,
        task_type=text(data.get("task_type")),
        model=text(data.get("model")),
        status=STATUS_WORDS.get(word) or _ENDS.get(kind, TaskStatus.RUNNING),
        raw=document,
    )
