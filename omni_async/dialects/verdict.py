"""What a create's answer means: one total table, first match wins. And the same refusals as errors.

| # | answer | means |
|---|---|---|
| 1 | a task id where the dialect knows it, whatever status or code | SUBMITTED |
| 2 | a refusal that the dialect's table knows | REFUSED, of that kind |
| 3 | HTTP 429, any body | REFUSED for the rate |
| 4 | HTTP 400, 401, 402, 403, 404, 405, 411, 413, 414, 415, 421, 422, 431 with any other body | REFUSED by status |
| 5 | everything else | UNCERTAIN, with a candidate id if one can be seen in a broken body or a Location |

What is refused for now is sent again, and what the key or the balance was refused for, with the next run. Where such
an answer names a task all the same, that is a candidate too: it is sent again only if the gateway does not know that
task. Where one that is refused for now tells of a task in a form that no document has (a number, a bare text, another
name), it is UNCERTAIN.
"""

import enum
import re
from collections.abc import Mapping
from itertools import takewhile
from typing import Any
from urllib.parse import urlsplit

import attrs

from ..errors import (
    ApiError,
    AuthenticationError,
    GatewayError,
    NotFoundError,
    QuotaError,
    RateLimitError,
    RejectedError,
)
from ..explanations import MODERATION, STEPS, WRONG_ROUTE, chat_was_called, glossed, meaning
from ..wording import spelt
from .dialect import (
    CLEAN_REFUSALS,
    SENT_AGAIN,
    WORDS_READ,
    Dialect,
    Refusal,
    RefusalKind,
    is_chat,
    named_cause,
)
from .wire import MISSING, Reply, dig, ident, only, text
from .words import plain_words

EVIDENCE_BYTES = 64 * 1024


class Meaning(enum.StrEnum):
    """What a create's answer means for the money."""

    SUBMITTED = "submitted"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"


@attrs.frozen(kw_only=True)
class Verdict:
    """The meaning of a create's answer and what goes with it; an uncertain one can be refused in words, too."""

    meaning: Meaning
    task_id: str | None = None
    refusal: Refusal | None = None
    candidate: str | None = None
    reason: str = ""


def judge_create(dialect: Dialect, reply: Reply) -> Verdict:
    """Read a create's answer by the total table."""
    task_id = dialect.find_task_id(reply.document)
    if task_id:
        return Verdict(meaning=Meaning.SUBMITTED, task_id=task_id)
    refusal = refusal_of(dialect, reply)
    if refusal is not None and not _nonsense(refusal, reply):
        named = _named_task(reply) or _located(dialect, reply) if refusal.kind in _EVER_SENT_AGAIN else None
        if refusal.kind in SENT_AGAIN and _tells_of_a_task(reply, refusal.message, named):
            found = named or candidate_id(reply)
            return Verdict(meaning=Meaning.UNCERTAIN, refusal=refusal, candidate=found, reason=TELLS_OF_A_TASK)
        return Verdict(meaning=Meaning.REFUSED, refusal=refusal, candidate=named)
    candidate = candidate_id(reply) or _located(dialect, reply)
    return Verdict(meaning=Meaning.UNCERTAIN, candidate=candidate, reason=_why(dialect, reply))


def _nonsense(refusal: Refusal, reply: Reply) -> bool:
    """Whether a create is told that there is no such task: that proves nothing, unless the status itself refuses."""
    return refusal.kind is RefusalKind.NOT_FOUND and reply.status not in CLEAN_REFUSALS


def refusal_of(dialect: Dialect, reply: Reply) -> Refusal | None:
    """Rows 2 to 4: the refusal in an answer, in the gateway's words or by its status; None if it is none."""
    known = dialect.classify(reply)
    if known is not None:
        return known
    codes, message = dialect.refused(reply) or ((), plain_words(reply))
    code = next(iter(codes), None)
    if reply.status == 429:
        return Refusal(RefusalKind.RATE, code, message, named_cause(message[:WORDS_READ]))
    if reply.status in CLEAN_REFUSALS:
        return Refusal(_KIND_OF_STATUS.get(reply.status, RefusalKind.BAD_REQUEST), code, message)
    return None


_KIND_OF_STATUS: Mapping[int, RefusalKind] = {
    401: RefusalKind.AUTH,
    402: RefusalKind.QUOTA,
    403: RefusalKind.AUTH,
    404: RefusalKind.NOT_FOUND,
}

_ANY = "-any-id-"
_EVER_SENT_AGAIN = SENT_AGAIN | {RefusalKind.AUTH, RefusalKind.QUOTA}
"""By the client or the next run."""
TELLS_OF_A_TASK = "refused for now, and the answer tells of something that may be a task all the same"
_ID = r"[A-Za-z0-9._:~-]{1,200}"
_ID_IN_PIECES = re.compile(
    rf'\\?"([tT]ask_?[iI][dD]|id)\\?"\s*:\s*(?:\\?"({_ID})\\?"|([1-9][0-9]{{0,19}})(?=\s*[,}}\]]))'.encode()
)
"""An id under its name, whole; a number too, and inside a text that is JSON itself."""
_OBJECTS = (("data", "id"), ("task", "id"), ("error", "task", "id"))
"""Where an `id` is that of what was made, and not of the request or the answer."""
_BARE = (*_OBJECTS[:2], ("data",), ("result",))
_MADE = frozenset("data result results output task taskid video videoid job jobid".split())
"""Under what names, at the top of an answer, that stands which a create made; in lower case, without `_` and `-`."""
_OTHER_IDS = frozenset(
    "requestid traceid spanid logid errorid sessionid clientbusinessid customid"
    " userid accountid groupid tokenid channelid orgid organizationid projectid modelid".split()
)
"""What else than a task has an id, spelt like those."""
_ALIVE = frozenset(
    "queued pending submitted accepted created processing running inprogress 已提交 排队中 处理中".split()
)
_SMALL = range(1000)
"""Numbers that are rather seconds or a place in a queue."""
_DEEP = 6


def candidate_id(reply: Reply) -> str | None:
    """A task id seen whole in an answer that could not be read as one: believed only after a query confirms it.

    Looked for in JSON, broken or sound (then it stands where nobody expects it), `task_id` before `id` before a `data`
    that is nothing else; and as `task_id` in what is no page, such as JSON behind a warning of PHP's.
    """
    start = reply.body.lstrip()[:1]
    if is_chat(reply.document) or start == b"<":
        return None
    found = _ids(reply)
    named = next((task_id for name, task_id in found if name != "id"), None)
    if named is not None or start not in (b"{", b"["):
        return named
    return found[0][1] if found else next((told for at in _BARE if (told := _bare(dig(reply.document, *at)))), None)


def _ids(reply: Reply) -> list[tuple[str, str]]:
    """Each id that stands whole in a body, with its name; a number is one under a task's name only."""
    found = [match.groups() for match in _ID_IN_PIECES.finditer(reply.body[:EVIDENCE_BYTES])]
    told = [(name.decode(), (word or number).decode()) for name, word, number in found if word or name != b"id"]
    return [(name, task_id) for name, task_id in told if task_id not in (".", "..")]


def _bare(value: Any) -> str | None:
    """What can be an id, as a text: a word without a digit is rather a state."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if 0 < value < 10**20 else None
    return value if isinstance(value, str) and re.fullmatch(rf"(?=\D*\d){_ID}", value) else None


def _tells_of_a_task(reply: Reply, message: str, named: str | None) -> bool:
    """Whether what a refusal carries may be a task: an id under none of the known names, or a state of one that runs.

    Figures of the account's limits are none, nor the refusal's own words once more, nor the task that is `named`.
    """
    document, told = only(reply.document), (named, message)
    parts = document.items() if isinstance(document, dict) else ()
    return any(_is_task(value, spelt(name), told, _DEEP, made=spelt(name) in _MADE) for name, value in parts)


def _is_task(value: Any, name: str, told: tuple[str | None, ...], depth: int, *, made: bool) -> bool:
    if isinstance(value, dict | list):
        inside = value.items() if isinstance(value, dict) else ((name, each) for each in value)
        return depth > 0 and any(_is_task(each, spelt(inner), told, depth - 1, made=made) for inner, each in inside)
    if made and isinstance(value, str) and spelt(value.strip()) in _ALIVE:
        return True
    if name == "taskid" or (made and name.endswith("id") and name not in _OTHER_IDS):
        found = ident(value) or _bare(value)
    else:
        found = _bare(value) if made and name in _MADE and value not in _SMALL else None
    return found is not None and value not in told


def _named_task(reply: Reply) -> str | None:
    """A task that a refusal names: an `id` alone is no such word, since refusals have ids of their own."""
    named = next((task_id for name, task_id in _ids(reply) if name != "id"), None)
    return named or next((found for place in _OBJECTS if (found := ident(dig(reply.document, *place)))), None)


def _located(dialect: Dialect, reply: Reply) -> str | None:
    """The task that a Location leads to, if that is where the gateway is asked about its tasks."""
    link = reply.headers.get("location") or reply.headers.get("operation-location") or ""
    before, _, after = dialect.query(_ANY).path.partition(_ANY)
    try:
        path = urlsplit(link).path
    except ValueError:
        return None
    found = re.fullmatch(f".*{re.escape(before)}([A-Za-z0-9._:~-]{{1,200}}){re.escape(after)}/?", path)
    return ident(found[1]) if found else None


def _why(dialect: Dialect, reply: Reply) -> str:
    """Row 5 in a few words for the person who has to settle it."""
    document = reply.document
    if is_chat(document):
        return "the answer is a chat answer: " + CHAT_ROUTE
    if 300 <= reply.status < 400:
        return f"HTTP {reply.status}, {_redirect(reply)}"
    if document is MISSING:
        kind = "broke off" if not reply.complete else "is no JSON"
        return f"HTTP {reply.status}, and the body {kind}"
    codes, message = dialect.refused(reply) or ((), plain_words(reply))
    advice = meaning(message)  # in our words: the gateway's own can quote a prompt
    what = f"with the unknown code {codes[0][:60]}" if codes else "without a task id"
    return f"HTTP {reply.status} {what}" + (f": {advice}" if advice else "")


def _redirect(reply: Reply) -> str:
    return f"a redirect to {_host(reply)}, which was not followed: check the base URL"


def _host(reply: Reply) -> str:
    """Where a redirect leads, host only: the rest of the link can be signed."""
    try:
        link = reply.headers.get("location", "").encode("utf-8", "replace").decode()
        host = urlsplit(link).hostname
    except ValueError:
        host = None
    return host[:100] if host else "its own host"


_ERRORS: Mapping[RefusalKind, type[ApiError]] = {
    RefusalKind.AUTH: AuthenticationError,
    RefusalKind.QUOTA: QuotaError,
    RefusalKind.BAD_REQUEST: RejectedError,
    RefusalKind.MODERATION: RejectedError,
    RefusalKind.NOT_FOUND: NotFoundError,
    RefusalKind.RATE: RateLimitError,
    RefusalKind.TRANSIENT: GatewayError,
}


CHAT_ROUTE = WRONG_ROUTE.en

ADVICE: Mapping[RefusalKind, str] = {
    **{kind: STEPS[error.__name__].en for kind, error in _ERRORS.items()},
    RefusalKind.MODERATION: MODERATION.en,
}


def explain(message: str, document: Any = None) -> str:
    """What the seed's FAQ says about a gateway's message or its answer, such as a failed task's `raw`, or nothing."""
    return CHAT_ROUTE if chat_was_called(message, document) else ""


def error_of(refusal: Refusal, reply: Reply, *, private: tuple[str, ...] = (), **about: Any) -> ApiError:
    """A refusal as the error it is raised as.

    Args:
        refusal: What was refused.
        reply: The answer it came in.
        private: Texts, such as the prompt, that a gateway may quote and no message may show; no answer has the key.
        about: Ids and `may_have_charged` for the error.
    """
    said = scrubbed(refusal.message, private)
    extra = {"moderated": True} if refusal.kind is RefusalKind.MODERATION else {}
    advice = explain(said) or ADVICE[refusal.kind]
    head = f"HTTP {reply.status}" + (f", code {refusal.code}" if refusal.code else "")
    return _ERRORS[refusal.kind](
        f"{refusal.kind.value} ({head})" + (f": {glossed(said)}" if said else "") + f" — {advice}",
        status_code=reply.status,
        code=refusal.code,
        message_text=said,
        by_page=not isinstance(reply.document, dict),
        request_id=reply.request_id,
        **extra,
        **about,
    )


SHORTEST, QUOTED = 4, 8
"""Letters of a private text that is looked for, since shorter ones stand in every text; and of a beginning that is
taken for a quotation of it."""
_KEY = re.compile(r"\bBearer\s+\S{4,}|\bsk[-_][\w*.-]{4,}", re.IGNORECASE)
_QUERY_OF_URL = re.compile(r"(https?://[^\s?#\"'<>]{1,300})[?#][^\s\"'<>]*", re.IGNORECASE)


def scrubbed(message: str, private: tuple[str, ...] = ()) -> str:
    """At most 500 characters of what a gateway said, such as a failed task's `error_message`, fit to be shown.

    Private texts, the queries of URLs (often signed) and what looks like a key are taken out.
    """
    message = message[:5000]
    for secret in private:
        if len(secret) >= SHORTEST:
            message = without(message, secret, "…")
    return _KEY.sub("…", _QUERY_OF_URL.sub(r"\1?…", message))[:500]


def without(said: str, secret: str, stand_in: str) -> str:
    """A text without another, nor a beginning of that: gateways cut what they quote."""
    start = 0
    while (start := said.find(secret[:QUOTED], start)) >= 0:
        quoted = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(said[start:], secret, strict=False)))
        said = said[:start] + stand_in + said[start + quoted :]
        start += len(stand_in)
    return said


def unreadable(
    reply: Reply, said: tuple[tuple[str, ...], str] | None = None, *, private: tuple[str, ...] = (), **about: Any
) -> ApiError:
    """The error for an answer that is neither a result nor a known refusal.

    Args:
        reply: The answer.
        said: The codes and the message of a refusal that the dialect's table does not know, if it is one.
        private: As in `error_of`.
        about: Ids for the error.
    """
    codes, message = said or ((), plain_words(reply))
    code, told = next(iter(codes), None), scrubbed(message, private)
    what = _redirect(reply) if 300 <= reply.status < 400 else f"{len(reply.body)} bytes of {_kind(reply)}"
    head = f"HTTP {reply.status}, " + (f"code {code}" if code else what)
    advice = explain(told) or (ADVICE[RefusalKind.TRANSIENT] if code and reply.status >= 500 else "")
    kind = ApiError if code and 200 <= reply.status < 300 else GatewayError
    return kind(
        f"no usable answer ({head})" + (f": {glossed(told)}" if told else "") + (f" — {advice}" if advice else ""),
        status_code=reply.status,
        code=code,
        message_text=told,
        request_id=reply.request_id,
        **about,
    )


def _kind(reply: Reply) -> str:
    return (text(reply.headers.get("content-type")) or "unknown type").split(";")[0][:60]


__all__ = [
    "Meaning",
    "Verdict",
    "candidate_id",
    "error_of",
    "explain",
    "judge_create",
    "refusal_of",
    "scrubbed",
    "unreadable",
    "without",
]
