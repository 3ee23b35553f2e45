"""What an answer says of a task: where it stands and, once it has ended, where its video is, or why there is none.

How most looks end, with a task that runs, it has no part in: `Dialect.glance` spares it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

from ..errors import DecodeError
from ..explanations import meaning
from ..models import TaskStatus, VideoTask
from .dialect import WORDS_READ, Dialect, Refusal, RefusalKind, refusal_by
from .wire import WHOLE_LINK, Reply, code_text, decoded, dig, excerpt, instant, link, only, percent, text


def task_of(dialect: Dialect, reply: Reply, body: Any, *, task_id: str, word: str, path: str) -> VideoTask:
    """The task that an answer tells of.

    Args:
        dialect: Whose answer it is.
        reply: The answer.
        body: The object in it that tells of the task.
        task_id: The task's id; empty if the answer does not name it.
        word: Its status, in the gateway's own word.
        path: Where the video of one that has succeeded should be, for the error.

    Raises:
        DecodeError: It has succeeded without a URL, or what failed is not told of a task.
    """
    status = dialect.status(word) or _unheard_of(reply, body)
    failure = _failure_of(status, body, named=bool(task_id))
    told: Mapping[str, Any] = body if isinstance(body, dict) else {}
    return VideoTask(
        task_id=task_id,
        status=status,
        raw_status=word,
        progress=percent(told.get("progress")),
        model=text(told.get("model")),
        mode=text(told.get("mode")),
        created_at=instant(told.get("created_at")),
        completed_at=instant(told.get("completed_at")),
        expires_at=instant(told.get("expires_at")),
        video_url=_video_link(reply, body, path=path) if status is TaskStatus.SUCCEEDED else None,
        error_message=failure.message,
        error_code=failure.code,
        gateway=dialect.name,
        request_id=reply.request_id,
        raw=reply.document,
    )


_HOLDERS: tuple[tuple[str, ...], ...] = (("result", "data"), ("result",), (), ("output",), ("data",))
_LINKS = ("video_url", "video_urls", "url")
"""What names a video, the most telling first, in whichever holder (docs: `result.data[0].url`, `result.video_url`,
`url`; seen: the rest). No other key is read: it can be that of a cover or of the last frame."""
_BARE: tuple[tuple[str, ...], ...] = (("result",), ("output",))
"""What can be nothing but a URL (seen)."""
_IMAGE = r"(?i)[^?#]*\.(jpe?g|png|webp|gif|bmp|svg|avif|heic)([?#]|\Z)"


def _video_link(reply: Reply, body: Any, *, path: str) -> str:
    """The first usable URL of a video, for a task that has succeeded; `path` is where it should be.

    Lists, and JSON in texts, are looked into: it is paid for.

    Raises:
        DecodeError: There is none.
    """
    found = next(_videos(reply, body), None) or next(_whole(_at(body, ("fail_reason",))), None)  # seen: new-api
    if found is None:
        raise DecodeError("finished, but without a URL", path=path, excerpt=excerpt(body), terminal=True)
    return found


def _unheard_of(reply: Reply, body: Any) -> TaskStatus:
    """What a word that nobody knows stands for: success if 100 % is done and the video is there, else still running."""
    done = percent(dig(body, "progress")) == 100 and next(_videos(reply, body), None)
    return TaskStatus.SUCCEEDED if done else TaskStatus.RUNNING


def _videos(reply: Reply, body: Any) -> Iterator[str]:
    for name, holder in product(_LINKS, _HOLDERS):
        yield from _of_videos(link(reply.url, value) for value in _at(body, (*holder, name)))
    for place in _BARE:
        yield from _whole(_at(body, place))


def _whole(values: Iterable[Any]) -> Iterator[str]:
    """Those that are URLs as they stand: no other text there is one."""
    return _of_videos(value for value in values if isinstance(value, str) and re.fullmatch(WHOLE_LINK, value))


def _of_videos(links: Iterable[str | None]) -> Iterator[str]:
    return (url for url in links if url and not re.match(_IMAGE, url))


def _at(body: Any, place: tuple[str, ...]) -> list[Any]:
    """Every value at a place, out of whatever lists and JSON texts it and what is around it come in."""
    found = _items(body)
    for step in place:
        found = [item for value in found if isinstance(value, dict) for item in _items(value.get(step))]
    return found


def _items(value: Any) -> list[Any]:
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and text(value):
        value = decoded(value.encode())
    return value if isinstance(value, list) else [value]


class _Failure(NamedTuple):
    """Why a task has no video, in the gateway's words; None for what it does not say."""

    message: str | None = None
    code: str | None = None


_REASONS = (
    "error_message",
    "error",
    "fail_reason",
    "failure_reason",
    "error_msg",
    "reason",
    "detail",
    "message",
    "msg",
)
"""Texts, or objects with a text of such a name (docs: the first two; seen: the rest)."""
_REASONS_IN: tuple[tuple[str, ...], ...] = ((), ("result",), ("data",))
_OF_A_TASK = ("task_id", "progress", "created_at", "completed_at", "expires_at", "model", "mode", "video_url")
"""Fields that an answer about a task has (docs), and one about a request has not: reasons are in both."""


def _failure_of(status: TaskStatus, body: Any, *, named: bool) -> _Failure:
    """Why a task failed or was canceled; nothing of it is read for any other.

    Args:
        status: Its status.
        body: The object that tells of it.
        named: Whether the answer names the task.

    Raises:
        DecodeError: Nothing in the answer is about a task: what failed can be the look itself (seen).
    """
    if status not in FAILED:
        return _Failure()
    reason = _reason(body)
    if not (named or _is_of_a_task(body)):
        advice = meaning(reason.message or "")  # in our words: the gateway's own can quote a prompt
        told = "the gateway says that something failed, and nothing of a task" + (f": {advice}" if advice else "")
        raise DecodeError(told, path="$.task_id", excerpt=excerpt(body), terminal=True)
    return reason


FAILED = (TaskStatus.FAILED, TaskStatus.CANCELED)


def _is_of_a_task(body: Any) -> bool:
    return any(dig(body, name) not in (None, "") for name in _OF_A_TASK)


def _reason(body: Any) -> _Failure:
    """The first text, and the first code, of all the places where reasons are told."""
    told = [only(dig(body, *holder, name)) for holder, name in product(_REASONS_IN, _REASONS)]
    codes = (code_text(dig(value, "code")) for value in told)
    message = next(filter(None, map(_words, told)), None)
    return _Failure(message, next(filter(None, codes), None) or code_text(dig(body, "error_code")))


def _words(value: Any) -> str | None:
    inner = (text(only(dig(value, name))) for name in ("message", *_REASONS))
    return text(value) or next(filter(None, inner), None)


BUSY_WORDS = r"(?i)\bbusy\b|overload|try again later|繁忙|稍后"
"""Only for looks, which are free to repeat: a create that is told so may have been taken."""


def refused_look(dialect: Dialect, reply: Reply) -> Refusal | None:
    """The refusal in an answer that says "failed" and nothing of a task, by its words; None if it is no such answer.

    By the dialect's table, as if it had the form of a refusal; an answer about a create must not be read by this.
    """
    body = reply.document
    for place in (body, only(dig(body, "data"))):
        word = dig(place, "status")
        if isinstance(word, str) and dialect.status(word) in FAILED and not _is_of_a_task(place):
            message, code = _reason(place)
            return _by_words(dialect, reply.status, () if code is None else (code,), message or "")
    return None


def _by_words(dialect: Dialect, status: int, codes: tuple[str, ...], message: str) -> Refusal | None:
    known = refusal_by(dialect.refusals, status, codes, message)
    if known is None and re.search(BUSY_WORDS, message[:WORDS_READ]):
        return Refusal(RefusalKind.TRANSIENT, next(iter(codes), None), message)
    return known
