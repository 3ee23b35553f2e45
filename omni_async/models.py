"""What is asked for and what comes of it: requests, tasks, balances, outcomes."""

import enum
import json
from collections.abc import Mapping, Sized
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import attrs

from .errors import DecodeError, Fault, InvalidRequestError, OmniError, invalid_request
from .fields import LINKS, as_texts, check_values, local_references, no_list, unknown

HANDLE_VERSION = 1


class TaskStatus(enum.StrEnum):
    """Where a task stands, the same for every gateway."""

    QUEUED = "queued"
    """Accepted, not started."""
    RUNNING = "running"
    """Being made; also any word that no dialect knows."""
    SUCCEEDED = "succeeded"
    """Done, with a video."""
    FAILED = "failed"
    """Ended without a video."""
    CANCELED = "canceled"
    """Ended without a video because somebody ended it."""

    @property
    def finished(self) -> bool:
        """Whether the task can no longer change."""
        return self in _FINISHED


_FINISHED = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELED})


def without_query(url: str | None) -> str:
    """A URL as it may be shown: its signed query cut off."""
    if url is None:
        return "None"
    try:
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else parts.path
    except ValueError:
        return "<malformed URL>"
    return f"{shown}?…" if parts.query else shown


def _length(value: Any) -> str:
    """What a repr shows of something private: only how long it is."""
    return f"<{len(value)}>" if isinstance(value, Sized) else f"<{type(value).__name__}>"


def _given(value: Any) -> Any:
    """An empty text counts as not given."""
    return None if value == "" else value


_OWN = "is a local path; from_dict(…, local_files=True) takes them, for data of your own"
_hidden: Any = {"repr": _length}


@attrs.frozen(kw_only=True)
class VideoRequest:
    """One video, described; the same class for every gateway. Checked against the gateway's model table on submit.

    Args:
        prompt: What the video shows.
        model: Name or alias; None takes the gateway's default.
        duration: Seconds.
        resolution: `720p`, `1080p`, `4k` as the model allows, upper or lower case.
        aspect_ratio: `16:9`, `9:16`; wins over `orientation`.
        orientation: `landscape` (16:9) or `portrait` (9:16).
        image_urls: Reference images: URLs, or local paths, which are uploaded first.
        images: The older name of `image_urls`, used when that is empty.
        video_urls: Reference videos, at most one.
        generation_type: `frame` (the one image is the first frame) or `reference`.
        mode: `text-to-video`, `image-to-video`, `reference-to-video`, `video-edit`; None follows from the rest.
        extra: Fields that a newer gateway knows and this library does not.
        custom_id: The caller's own id. Never sent.
        metadata: The caller's own data, carried back with tasks, outcomes, events and errors; plain JSON data where a
            journal is kept. Never sent.
    """

    prompt: str = attrs.field(**_hidden)
    model: str | None = None
    duration: int | None = None
    resolution: str | None = None
    aspect_ratio: str | None = attrs.field(default=None, converter=_given)  # seed: orientation counts when it is empty
    orientation: str | None = None
    image_urls: tuple[str, ...] = attrs.field(default=(), converter=as_texts, **_hidden)
    images: tuple[str, ...] = attrs.field(default=(), converter=as_texts, **_hidden)
    video_urls: tuple[str, ...] = attrs.field(default=(), converter=as_texts, **_hidden)
    generation_type: str | None = None
    mode: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False, **_hidden)
    custom_id: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict, hash=False, repr=False)

    @classmethod
    def of(cls, request: "VideoRequest | str | Mapping[str, Any]", fields: Mapping[str, Any], *keywords: str) -> Self:
        """A request from what `submit` takes: a request, a text or a mapping, and keywords that add to it.

        `keywords` are the call's own, which a field that does not exist may have meant.

        Raises:
            InvalidRequestError: A field that does not exist (with the nearest that does), or one given twice.
        """
        own: Mapping[str, Any] = {}
        if isinstance(request, cls) and not fields:
            return request
        if isinstance(request, VideoRequest):
            given: Mapping[str, Any] = attrs.asdict(request, recurse=False)
        else:
            given = own = request if isinstance(request, Mapping) else {"prompt": request}
        faults = [unknown(name, FIELDS) for name in own if name not in FIELDS]
        faults += [unknown(name, {*FIELDS, *keywords}) for name in fields if name not in FIELDS]
        faults += [Fault(name, "given twice") for name in fields if name in own]
        if faults:
            raise invalid_request(faults)
        return cls(**{"prompt": None, **given, **fields})

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], *, local_files: bool = False) -> Self:
        """A request from plain data, such as decoded JSON of a web form or a file; a None counts as not given.

        Looks at names and types. Whether a gateway takes the values is checked on submit, as always.

        Args:
            fields: By name, as `VideoRequest` has them; of lists, a single reference may stand alone.
            local_files: Whether a reference may be a local path, whose file is uploaded on submit: for data of one's
                own. Who sends a form could have the server's files, so without it paths are refused unseen.

        Raises:
            InvalidRequestError: With every fault: names that are not fields, each with the nearest that is one,
                values of a wrong type, and local paths.
        """
        if not isinstance(fields, Mapping):
            raise invalid_request([Fault("request", f"a {type(fields).__name__} is not a mapping of fields to values")])
        given = {name: value for name, value in fields.items() if value is not None and name in FIELDS}
        faults = [unknown(name, FIELDS) for name in fields if name not in FIELDS]
        mixed = [found for name in LINKS if name in given and (found := no_list(name, given[name])) is not None]
        request = cls(**{"prompt": None, **given, **{fault.field: () for fault in mixed}})
        faults += [*mixed, *check_values(request, taken=FIELDS)]
        faults += [Fault(field, _OWN) for field, _ in local_references(request) if not local_files]
        if faults:
            raise invalid_request(faults)
        return request

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set as plain data, references as lists: what `from_dict` and a batch's row take.

        It can be written as JSON if `metadata` can: nothing else in a sound request keeps it from that. Where there are
        local paths in it, `from_dict` needs `local_files=True`.
        """
        found = {name: getattr(self, name) for name in FIELDS}
        return {
            name: list(value) if name in LINKS else dict(value) if isinstance(value, Mapping) else value
            for name, value in found.items()
            if value is not None and value not in ((), {})
        }

    @property
    def reference_images(self) -> tuple[str, ...]:
        """The images that count, `image_urls`, or `images` when those are empty (seed)."""
        return self.image_urls or self.images


def relinked(request: VideoRequest, names: Mapping[str, str]) -> VideoRequest:
    """The request with another name for each of its references that has one in `names`."""
    changed: dict[str, Any] = {
        field: tuple(names.get(link, link) for link in getattr(request, field)) for field in LINKS
    }
    return attrs.evolve(request, **changed)


FIELDS: tuple[str, ...] = tuple(field.name for field in attrs.fields(VideoRequest))


@attrs.frozen(kw_only=True)
class VideoTask:
    """A task as the gateway last told it. Its pickle, like its handle, leaves out `raw` and the URL, for signatures.

    Args:
        task_id: The gateway's id: what is waited for and downloaded.
        status: Where it stands, the same for every gateway.
        raw_status: The gateway's own word for that.
        progress: 0-100, as the gateway tells; None if it does not.
        model: The model the gateway names.
        mode: Such as `text-to-video`, from a gateway that tells it (the guide's shape).
        created_at: When it was accepted, by the gateway's clock, as all times here: aware datetimes.
        completed_at: When it ended.
        expires_at: When the URL dies, if told; after 3 days (jimmy) or a day (docs).
        video_url: Once it has succeeded; it may be signed, so no repr shows its query.
        error_message: Why it failed, in the gateway's words.
        error_code: The same as a code.
        custom_id: The request's.
        metadata: The request's.
        gateway: Who told it.
        request_id: The gateway's id of the HTTP call that told it, to quote to its support.
        raw: The decoded answer.
    """

    task_id: str
    status: TaskStatus = TaskStatus.QUEUED
    raw_status: str = ""
    progress: int | None = None
    model: str | None = None
    mode: str | None = None
    created_at: datetime | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None
    video_url: str | None = attrs.field(default=None, repr=without_query)
    error_message: str | None = attrs.field(default=None, repr=False)
    error_code: str | None = None
    custom_id: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict, hash=False, repr=False)
    gateway: str = ""
    request_id: str | None = None
    raw: Any = attrs.field(default=None, hash=False, repr=False, eq=False)

    def to_json(self) -> str:
        """A versioned handle, plain JSON text, with which another process can go on waiting.

        It holds the gateway, task id, model, mode, times, `custom_id` and `metadata`; never the answer or the URL.

        Raises:
            InvalidRequestError: `metadata` holds something JSON has no form for.
        """
        handle: dict[str, Any] = {"omni_async": HANDLE_VERSION}
        for name in _HANDLE:
            value = getattr(self, name)
            handle[name] = value.isoformat() if isinstance(value, datetime) else value
        handle["metadata"] = dict(self.metadata)
        try:
            return json.dumps(handle, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            fault = Fault("metadata", "cannot be written as JSON; use texts, numbers, lists and plain dicts")
        told = f"the task is paid for, and only its handle cannot be written; keep its id: {fault}"
        raise InvalidRequestError(told, faults=(fault,), task_id=self.task_id, may_have_charged=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "VideoTask":
        """The task behind a handle; its status is not in it, so look or wait.

        Raises:
            DecodeError: Not a handle, or one of a newer version.
        """
        handle = _load_handle(text)
        known: dict[str, Any] = {name: handle.get(name) for name in _HANDLE if handle.get(name) is not None}
        for name, value in known.items():
            if not isinstance(value, str):
                raise DecodeError(f"the handle's {name} is not text", path=f"$.{name}")
        try:
            times = {name: datetime.fromisoformat(known[name]) for name in _TIMES if name in known}
        except ValueError:
            times = None
        metadata = handle.get("metadata") or {}
        if times is None or not isinstance(metadata, dict) or any(t.tzinfo is None for t in times.values()):
            raise DecodeError("the handle's times or metadata are damaged")
        return _rebuild({**known, **times, "metadata": metadata})

    def _repr_html_(self) -> str:
        """What a notebook shows; see `card`."""
        from .card import card_of

        return card_of(self)

    def __copy__(self) -> Self:
        """Frozen: the same one."""
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        """Frozen: the same one."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what the handle holds, and the status."""
        kept = ("status", "raw_status", "progress", "error_code", "request_id", *_HANDLE)
        return _rebuild, ({name: getattr(self, name) for name in kept} | {"metadata": dict(self.metadata)},)


_TIMES = ("created_at", "completed_at", "expires_at")
_HANDLE = ("gateway", "task_id", "model", "mode", *_TIMES, "custom_id")


def _rebuild(fields: dict[str, Any]) -> VideoTask:
    return VideoTask(**fields)


def _load_handle(text: str | bytes) -> dict[str, Any]:
    """The handle's JSON object, its version checked."""
    handle: dict[str, Any] | None
    try:
        handle = json.loads(text)
    except (ValueError, RecursionError, TypeError):
        handle = None
    version = handle.get("omni_async") if isinstance(handle, dict) else None
    if handle is None or type(version) is not int:
        raise DecodeError("this is not a task handle: VideoTask.to_json() makes one")
    if version != HANDLE_VERSION:
        raise DecodeError(f"this handle has version {version}, this library reads {HANDLE_VERSION}: upgrade it")
    if not isinstance(handle.get("task_id"), str) or not handle["task_id"].strip():
        raise DecodeError("the handle's task_id is missing", path="$.task_id")
    return handle


@attrs.frozen(kw_only=True)
class Balance:
    """What an account or key has left, in the gateway's own unit.

    Args:
        available: What can still be spent; None if the gateway did not say or `unlimited`.
        used: What was spent.
        total: What there was in all, where the gateway tells.
        unlimited: Whether there is no cap.
        name: The key's name, where the gateway tells.
        gateway: Who told it.
        raw: The decoded answer.
    """

    available: float | None = None
    used: float | None = None
    total: float | None = None
    unlimited: bool = False
    name: str | None = None
    gateway: str = ""
    raw: Any = attrs.field(default=None, repr=False, eq=False, hash=False)


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of one request of many: a task, an error, or both (a task that was followed into an error).

    Args:
        request: What was asked for; None in `OmniClient.resume()` if the journal keeps no inputs.
        task: The task, as last seen.
        error: Why there is no video, or no file.
        path: The stored file; None if no `output` was asked for.
    """

    request: VideoRequest | None
    task: VideoTask | None = None
    error: OmniError | None = None
    path: Path | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a video, stored if that was asked for."""
        return self.error is None and self.task is not None and self.task.status is TaskStatus.SUCCEEDED

    def result(self) -> VideoTask:
        """The task, with a video if it is `ok`; raises the error if there is one, as a Future's `result` does."""
        if self.error is not None or self.task is None:
            raise self.error or OmniError("nothing is known of what came of it")
        return self.task


@attrs.frozen(kw_only=True)
class Stats:
    """Where a client stands. Rates are per second; None is not known or no limit met.

    Args:
        gateway: Its name.
        in_flight: HTTP requests in flight.
        window: HTTP requests that may be in flight.
        running: Tasks of this client's limiter that run, creates in flight included.
        slots: Tasks the account is known to run at once.
        pace: Requests per second.
        create_pace: Creates per second.
        paused_until: When sending goes on, if it is paused.
        following: Ids being looked at.
        waiting_creates: Creates that wait for leave.
        uncertain: Creates that may have been charged and have no task id.
        unclaimed: Creates that ended after their caller had gone.
    """

    gateway: str
    in_flight: int
    window: int
    running: int
    slots: int | None
    pace: float | None
    create_pace: float | None
    paused_until: datetime | None
    following: int
    waiting_creates: int
    uncertain: int
    unclaimed: int
