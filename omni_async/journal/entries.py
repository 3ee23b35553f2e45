"""A journal's row as an object, and a task as the text that a row keeps."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

import attrs

from ..errors import JournalError, SubmissionUncertainError
from ..models import TaskStatus, VideoRequest, VideoTask
from .seam import NotNow
from .states import OF_STATUS, UNPAID, State

T = TypeVar("T")

PAY_AGAIN = "settled by a person: pay again"
ADOPTED = "settled by a person: it is this task"
SIGHTED = f"{ADOPTED}, and the gateway knows it"
UNFOLLOWED = "cannot be followed: "
"""How the detail of a row begins whose task the gateway no longer shows, or never in a form that can be read."""
SENT_AGAIN = 2
"""Of a rejected row: the next run sends it again, for what was refused was not the row."""
WAIT = 0.25
"""Seconds after which to ask again about a create that somebody else is sending."""


@attrs.frozen(kw_only=True)
class Entry:
    """One row. Times are seconds since 1970.

    Args:
        key: The caller's `custom_id`, or one made for it.
        gateway: Name of the gateway.
        fingerprint: Hash of gateway, model and inputs.
        state: Where it stands.
        custom_id: The caller's own id, if he gave one.
        owner: Which client instance follows it.
        task_id: The gateway's id.
        candidate: An id that may be the task's.
        again: Whether a rejected row may be sent again: 2 with the next run, 1 if that is asked for, 0 not unchanged.
        kind: What it is in a few words, for counting and prices.
        round: How often a person has had it paid anew: part of the key by which a gateway knows a create.
        attempts: Creates that came to an end other than a refusal for now.
        notify: Whether `on_finished` is still to be told.
        inputs: The request as JSON text.
        metadata: The caller's own data as JSON text.
        planned_at: When it was entered.
        sent_at: When its create was last sent.
        finished_at: When its task was seen finished.
        detail: Why it stands so, in a few words.
        task: The finished task as JSON text, with its URL.
        expires_at: When that URL dies.
        target: File to make, under the videos' folder.
        size: Bytes of the stored file.
        sha256: Its hash.
        carried: Columns of the sheet that are only carried, as JSON text.
        position: Place in the sheet.
        run: The number of the last run whose sheet had it.
    """

    key: str
    gateway: str
    fingerprint: str
    state: State = attrs.field(converter=State)
    custom_id: str | None = None
    owner: str | None = None
    task_id: str | None = None
    candidate: str | None = None
    again: int = 0
    kind: str | None = None
    round: int = 0
    attempts: int = 0
    notify: bool = attrs.field(default=False, converter=bool)
    inputs: str | None = attrs.field(default=None, repr=False)
    metadata: str | None = attrs.field(default=None, repr=False)
    planned_at: float | None = None
    sent_at: float | None = None
    finished_at: float | None = None
    detail: str | None = attrs.field(default=None, repr=False)
    task: str | None = attrs.field(default=None, repr=False)
    expires_at: float | None = None
    target: str | None = None
    size: int | None = None
    sha256: str | None = None
    carried: str | None = attrs.field(default=None, repr=False)
    position: int | None = None
    run: int | None = None

    @property
    def data(self) -> Mapping[str, Any]:
        """The caller's own data; JournalError if the row is damaged."""
        return _read(self, "metadata", lambda: dict(json.loads(self.metadata)) if self.metadata else {})

    @property
    def file(self) -> str:
        """Where under the videos' folder its video goes."""
        return file_of(self.key, self.target)

    @property
    def seconds(self) -> float | None:
        """Seconds from its create to the moment it was seen finished; None if the clock was set back meanwhile."""
        if self.sent_at is None or self.finished_at is None or self.finished_at < self.sent_at:
            return None
        return round(self.finished_at - self.sent_at, 1)

    @property
    def unproved(self) -> bool:
        """Whether a person alone says that this is its task: the gateway neither gave that id nor has shown it yet."""
        return self.state is State.SUBMITTED and self.detail == ADOPTED

    @property
    def unfollowed(self) -> bool:
        """Whether nothing is to be seen of its task, by the gateway's own word: then a person may say what to do."""
        return self.state is State.SUBMITTED and (self.detail or "").startswith(UNFOLLOWED)

    @property
    def video_task(self) -> VideoTask | None:
        """The task as last known; None without a task id, JournalError if the row is damaged."""
        if self.task_id is None:
            return None
        own = {"gateway": self.gateway, "custom_id": self.custom_id, "metadata": self.data}
        known = _read(self, "task", lambda: read_task(self.task or "")) if self.task else {}
        status = _STATUS.get(self.state, TaskStatus.QUEUED)
        return VideoTask(**{"status": status, **known, "task_id": self.task_id, **own})


@attrs.frozen(kw_only=True)
class Record:
    """One thing that happened to a row. `at` is seconds since 1970, `body` at most 64 KiB of an answer."""

    at: float
    what: str
    state: str
    detail: str | None = None
    task_id: str | None = None
    status: int | None = None
    request_id: str | None = None
    body: bytes | None = attrs.field(default=None, repr=False)


def file_of(key: str, target: str | None) -> str:
    """Where under the videos' folder a row's video goes: where its sheet says, else by its id."""
    return target or f"{key}.mp4"


COLUMNS: tuple[str, ...] = tuple(field.name for field in attrs.fields(Entry))


def _kinds(kind: Any) -> frozenset[type]:
    """What a database may give for a field of this type."""
    stored = {State: str, bool: int}
    return frozenset(
        {stored.get(one, one) for one in get_args(kind) or (kind,)} | ({int} if kind == float | None else set())
    )


_KINDS = tuple(_kinds(field.type) for field in attrs.fields(Entry))


def entry_of(row: Sequence[Any]) -> Entry:
    """The row of a database, asked for by `COLUMNS`.

    Raises:
        JournalError: It holds what this library does not write.
    """
    known = dict(zip(COLUMNS, row, strict=True))
    if not all(map(frozenset.__contains__, _KINDS, map(type, row))):
        odd = next(name for name, kinds in zip(COLUMNS, _KINDS, strict=True) if type(known[name]) not in kinds)
        raise _damaged(str(known["key"]), odd)
    known["state"] = state_named(known["state"], known["key"])
    return Entry(**known)


def state_named(word: str, key: str = "") -> State:
    """A row's state; JournalError for a word that is not one."""
    try:
        return State(word)
    except ValueError:
        raise _damaged(key, f"state {word!r:.40}") from None


def _damaged(key: str, what: str) -> JournalError:
    return JournalError(
        f"row {key!r} of the journal is damaged (its {what}): it is left as it is, and may have been paid",
        kind="damaged",
    )


def _read(entry: Entry, what: str, read: Callable[[], T]) -> T:
    """A text that only a hand can have spoilt: which it is is told, not what a parser makes of it, who quotes it."""
    try:
        return read()
    except (ValueError, TypeError, LookupError, RecursionError):
        failure = _damaged(entry.key, what).about(gateway=entry.gateway, custom_id=entry.custom_id)
    raise failure


def sent_again(entry: Entry) -> bool:
    """Whether a row was refused for what concerns all rows, the key or the balance: the next run sends it again."""
    return entry.state is State.REJECTED and entry.again == SENT_AGAIN


def known_task(entry: Entry, fingerprint: str | None) -> VideoTask | None:
    """What is known of an id that is to be sent: its task, or None if it was not paid and may be.

    Without a fingerprint whatever its inputs were.

    Raises:
        NotNow: It is being sent.
        SubmissionUncertainError: It was sent before, and nobody knows what came of it.
        JournalError: It is known with other inputs, or damaged.
    """
    if entry.state in UNPAID:
        return None
    if fingerprint is not None and entry.fingerprint != fingerprint:
        raise JournalError(
            f"the journal knows {entry.key!r} with other inputs: give the changed request an id of its own",
            kind="conflict",
            gateway=entry.gateway,
            custom_id=entry.custom_id,
            task_id=entry.task_id,
        )
    if entry.state is State.SUBMITTING:
        raise NotNow("a create of this id is on its way", WAIT, sent=True)
    if entry.state is State.UNCERTAIN:
        raise uncertain_error(entry)
    task = entry.video_task
    if task is None:  # for the caller that would mean that it may be sent
        raise _damaged(entry.key, "task_id").about(gateway=entry.gateway, custom_id=entry.custom_id)
    return task


_STATUS: Mapping[State, TaskStatus] = {
    **{state: status for status, state in OF_STATUS.items()},
    State.DONE: TaskStatus.SUCCEEDED,
    State.EXPIRED: TaskStatus.SUCCEEDED,
}
_TIMES = ("created_at", "completed_at", "expires_at")
_KEPT = ("status", "raw_status", "progress", "model", "mode", "video_url", "error_message", "error_code", "request_id")


def request_of(entry: Entry) -> VideoRequest | None:
    """What was asked, as it was written; None if inputs are not kept, JournalError if the row is damaged."""
    if entry.inputs is None:
        return None
    data, inputs = entry.data, entry.inputs
    own: dict[str, Any] = {"custom_id": entry.custom_id, "metadata": data}
    return _read(entry, "inputs", lambda: VideoRequest(**json.loads(inputs), **own))


def write_task(task: VideoTask) -> str:
    """A finished task as JSON text, with its URL and without the gateway's answer."""
    kept = {name: getattr(task, name) for name in _KEPT}
    times = {name: getattr(task, name) for name in _TIMES}
    kept |= {name: time.isoformat() for name, time in times.items() if time is not None}
    told = json.dumps({name: value for name, value in kept.items() if value not in (None, "")}, ensure_ascii=False)
    return told.encode("utf-8", "replace").decode()


def read_task(text: str) -> dict[str, Any]:
    """The fields of a task that `write_task` wrote."""
    told = json.loads(text)
    known: dict[str, Any] = {name: told[name] for name in (*_KEPT, *_TIMES) if name in told}
    known |= {name: datetime.fromisoformat(known[name]) for name in _TIMES if name in known}
    return known | {"status": TaskStatus(known["status"])}


def seconds_of(time: datetime | None) -> float | None:
    """A time as the seconds since 1970 that a row keeps."""
    return None if time is None else time.timestamp()


def shown_time(seconds: float | None) -> str | None:
    """A row's time for people and programs: ISO 8601, UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def uncertain_error(entry: Entry) -> SubmissionUncertainError:
    """The error for a create that was sent before, and of which nobody knows what came."""
    return SubmissionUncertainError(
        f"a create of this id was sent before and may have been charged: {entry.detail or 'no answer is known'}. "
        "Look in the gateway's console or bill, then settle it: with its task id, as not charged, or to pay again",
        evidence={"reason": entry.detail, "candidate": entry.candidate, "sent_before": True},
        gateway=entry.gateway,
        custom_id=entry.custom_id,
        task_id=entry.candidate,
        metadata=entry.data,
    )


def unanswered_error(entry: Entry) -> SubmissionUncertainError:
    """The error for a row that may be sent, and of which an earlier create may have been charged all the same."""
    return SubmissionUncertainError(
        "an earlier create of this id may have been charged, which nobody could tell: it was settled as pay_again, and"
        " submitting it sends it once more",
        evidence={"reason": PAY_AGAIN, "sent_before": True},
        gateway=entry.gateway,
        custom_id=entry.custom_id,
        metadata=entry.data,
    )
