"""Where in a create's answer a task's id can stand that no document puts there: what the money is asked about.

Three ways of finding one, since none sees what the others do. The names of ids are looked for in the bytes: a body that
broke off, JSON within a text and a name that comes twice are no matter there. In decoded JSON an id of any form is
taken where only a task's can stand, and a refusal is searched for whatever may be one. And a Location can lead to it.
"""

import re
from typing import Any
from urllib.parse import urlsplit

from ..wording import spelt
from .dialect import Dialect, chat_shaped
from .wire import Reply, dig, ident, leaves, only
from .words import STATUS_WORDS

_EVIDENCE_BYTES = 64 * 1024
_ANY = "-any-id-"
_ID = r"[A-Za-z0-9._:~-]{1,200}"
_NAMED_IDS = rf'\\?"([tT]ask_?[iI][dD]|id)\\?"\s*:\s*(?:\\?"({_ID})\\?"|([1-9][0-9]{{0,19}})(?=\s*[,}}\]]))'.encode()
"""An id under its name, whole; a number too, and inside a text that is JSON itself."""
_OBJECTS = (("data", "id"), ("task", "id"), ("error", "task", "id"))
"""Where an `id` is that of what was made, and not of the request or the answer."""
_WITHOUT_NAME = (*_OBJECTS[:2], ("data",), ("result",))
_MADE = frozenset(
    "data result results output task taskid video videoid job jobid order orderid orderno generation generationid"
    " prediction predictionid".split()
)
"""Under what names, at the top of an answer, that stands which a create made; in lower case, without `_` and `-`."""
_OTHER_IDS = frozenset(
    "requestid traceid spanid logid errorid sessionid clientbusinessid customid"
    " userid accountid groupid tokenid channelid orgid organizationid projectid modelid".split()
)
"""What else than a task has an id, spelt like those."""
_ALIVE = frozenset(spelt(word) for word, status in STATUS_WORDS.items() if word and not status.finished) | frozenset(
    "accepted created starting waiting scheduled notstart inqueue 已提交 排队中 处理中".split()
)
"""Words for a task that runs, and some that no look has been told yet."""
_SMALL = range(1000)
"""Numbers that are rather seconds or a place in a queue."""
_DEPTH = 7
"""How deep in a refusal a task is looked for."""


def candidate_id(reply: Reply) -> str | None:
    """A task id seen whole in an answer that could not be read as one: believed only after a query confirms it.

    Looked for in JSON, broken or sound (then it stands where nobody expects it), `task_id` before `id` before a `data`
    that is nothing else; and as `task_id` in what is not a page, such as JSON behind a warning of PHP's.
    """
    start = reply.body.lstrip()[:1]
    if chat_shaped(reply.document) or start == b"<":
        return None
    found = _ids(reply)
    named = _task_among(found)
    if named is not None or start not in (b"{", b"["):
        return named
    placed = (_without_name(dig(reply.document, *place)) for place in _WITHOUT_NAME)
    return found[0][1] if found else next(filter(None, placed), None)


def named_task(reply: Reply) -> str | None:
    """A task that a refusal names: an `id` alone is no such word, since refusals have ids of their own."""
    placed = (ident(dig(reply.document, *place)) for place in _OBJECTS)
    return _task_among(_ids(reply)) or next(filter(None, placed), None)


def _ids(reply: Reply) -> list[tuple[str, str]]:
    """Each id that stands whole in a body, with its name; a number is one under a task's name only."""
    found = re.findall(_NAMED_IDS, reply.body[:_EVIDENCE_BYTES])
    told = [(name.decode(), (word or number).decode()) for name, word, number in found if word or name != b"id"]
    return [(name, task_id) for name, task_id in told if ident(task_id)]


def _task_among(ids: list[tuple[str, str]]) -> str | None:
    """The first that bears a task's name."""
    return next((task_id for name, task_id in ids if name != "id"), None)


def _without_name(value: Any) -> str | None:
    """What can be an id, as a text: a word without a digit is rather a state."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if 0 < value < 10**20 else None
    return value if isinstance(value, str) and re.fullmatch(rf"(?=\D*\d){_ID}", value) else None


def tells_of_a_task(reply: Reply, message: str, named: str | None) -> bool:
    """Whether what a refusal carries may be a task: an id under none of the known names, or a state of one that runs.

    Figures of the account's limits are none, nor the refusal's own words once more, nor the task that is `named`.
    """
    document = only(reply.document)
    found = leaves(document, _DEPTH) if isinstance(document, dict) else ()
    return any(
        _is_alive(path, value) or (_is_id(path, value) and value not in (named, message)) for path, value in found
    )


def _is_alive(path: tuple[str, ...], value: Any) -> bool:
    return spelt(path[0]) in _MADE and isinstance(value, str) and spelt(value.strip()) in _ALIVE


def _is_id(path: tuple[str, ...], value: Any) -> bool:
    made, name = spelt(path[0]) in _MADE, spelt(path[-1])
    if name == "taskid" or (made and name.endswith("id") and name not in _OTHER_IDS):
        return bool(ident(value) or _without_name(value))
    return made and name in _MADE and value not in _SMALL and _without_name(value) is not None


def located(dialect: Dialect, reply: Reply) -> str | None:
    """The task that a Location leads to, if that is where the gateway is asked about its tasks."""
    link = reply.headers.get("location") or reply.headers.get("operation-location") or ""
    before, _, after = dialect.query(_ANY).path.partition(_ANY)
    try:
        path = urlsplit(link).path
    except ValueError:
        return None
    found = re.fullmatch(f".*{re.escape(before)}({_ID}){re.escape(after)}/?", path)
    return ident(found[1]) if found else None
