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
name), says in words that the order was taken, or has a code that elsewhere means success, it is UNCERTAIN.
"""

import enum
import re
from collections.abc import Mapping
from itertools import takewhile
from typing import Any, NamedTuple
from urllib.parse import urlsplit

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
from .dialect import (
    CLEAN_REFUSALS,
    SENT_AGAIN,
    WORDS_READ,
    Dialect,
    Refusal,
    RefusalKind,
    chat_shaped,
    named_cause,
)
from .ids import candidate_id, located, named_task, tells_of_a_task
from .wire import MISSING, Reply, text
from .words import plain_words, says_taken

Said = tuple[tuple[str, ...], str]
"""The codes and the message of a refusal."""


class Meaning(enum.StrEnum):
    """What a create's answer means for the money."""

    SUBMITTED = "submitted"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"


class Verdict(NamedTuple):
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
        named = named_task(reply) or located(dialect, reply) if refusal.kind in _EVER_SENT_AGAIN else None
        if refusal.kind in SENT_AGAIN and _may_be_taken(refusal, reply, named):
            found = named or candidate_id(reply)
            return Verdict(meaning=Meaning.UNCERTAIN, refusal=refusal, candidate=found, reason=TELLS_OF_A_TASK)
        return Verdict(meaning=Meaning.REFUSED, refusal=refusal, candidate=named)
    candidate = candidate_id(reply) or located(dialect, reply)
    return Verdict(meaning=Meaning.UNCERTAIN, candidate=candidate, reason=_why(dialect, reply))


def _may_be_taken(refusal: Refusal, reply: Reply, named: str | None) -> bool:
    """Whether a refusal for now may tell of an order that was taken: sent again, it could be paid twice."""
    if says_taken(refusal.message[:WORDS_READ]) or (reply.status < 300 and refusal.code in _OF_SUCCESS):
        return True
    return tells_of_a_task(reply, refusal.message, named)


def _nonsense(refusal: Refusal, reply: Reply) -> bool:
    """Whether a create is told that there is no such task: that proves nothing, unless the status itself refuses."""
    return refusal.kind is RefusalKind.NOT_FOUND and reply.status not in CLEAN_REFUSALS


def refusal_of(dialect: Dialect, reply: Reply) -> Refusal | None:
    """Rows 2 to 4: the refusal in an answer, in the gateway's words or by its status; None if it is none."""
    known = dialect.classify(reply)
    if known is not None:
        return known
    codes, message = _said(reply, dialect.refused(reply))
    code = next(iter(codes), None)
    if reply.status == 429:
        return Refusal(RefusalKind.RATE, code, message, named_cause(message[:WORDS_READ]))
    if reply.status in CLEAN_REFUSALS:
        return Refusal(_KIND_OF_STATUS.get(reply.status, RefusalKind.BAD_REQUEST), code, message)
    return None


def _said(reply: Reply, refused: Said | None) -> Said:
    """The codes and the message of a refusal in the gateway's own form, or the words of any other."""
    return refused or ((), plain_words(reply))


_KIND_OF_STATUS: Mapping[int, RefusalKind] = {
    401: RefusalKind.AUTH,
    402: RefusalKind.QUOTA,
    403: RefusalKind.AUTH,
    404: RefusalKind.NOT_FOUND,
}

_EVER_SENT_AGAIN = SENT_AGAIN | {RefusalKind.AUTH, RefusalKind.QUOTA}
"""By the client or the next run."""
_OF_SUCCESS = frozenset({"0", "200", "201", "202"})
"""Codes that mean success to many programs, whatever is said beside them."""
TELLS_OF_A_TASK = "refused for now, and the answer tells of something that may be a task all the same"


def _why(dialect: Dialect, reply: Reply) -> str:
    """Row 5 in a few words for the person who has to settle it."""
    document = reply.document
    if chat_shaped(document):
        return "the answer is a chat answer: " + WRONG_ROUTE.en
    if 300 <= reply.status < 400:
        return f"HTTP {reply.status}, {_redirect(reply)}"
    if document is MISSING:
        kind = "broke off" if not reply.complete else "is not JSON"
        return f"HTTP {reply.status}, and the body {kind}"
    codes, message = _said(reply, dialect.refused(reply))
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


ADVICE: Mapping[RefusalKind, str] = {
    **{kind: STEPS[error.__name__].en for kind, error in _ERRORS.items()},
    RefusalKind.MODERATION: MODERATION.en,
}


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
    head = f"HTTP {reply.status}" + (f", code {refusal.code}" if refusal.code else "")
    return _ERRORS[refusal.kind](
        _sentence(f"{refusal.kind.value} ({head})", said, ADVICE[refusal.kind]),
        status_code=reply.status,
        code=refusal.code,
        message_text=said,
        by_page=not isinstance(reply.document, dict),
        request_id=reply.request_id,
        **extra,
        **about,
    )


def _sentence(what: str, said: str, advice: str) -> str:
    """What came, what the gateway said of it, and what to do about it."""
    advice = WRONG_ROUTE.en if chat_was_called(said) else advice
    return what + (f": {glossed(said)}" if said else "") + (f" — {advice}" if advice else "")


SHORTEST, QUOTED = 4, 8
"""Letters of a private text that is looked for, since shorter ones stand in every text; and of a beginning that is
taken for a quotation of it."""
_KEY = r"(?i)\bBearer\s+\S{4,}|\bsk[-_][\w*.-]{4,}"
_QUERY_OF_URL = r"(?i)(https?://[^\s?#\"'<>]{1,300})[?#][^\s\"'<>]*"


def scrubbed(message: str, private: tuple[str, ...] = ()) -> str:
    """At most 500 characters of what a gateway said, such as a failed task's `error_message`, fit to be shown.

    Private texts, the queries of URLs (often signed) and what looks like a key are taken out.
    """
    message = message[:5000]
    for secret in private:
        if len(secret) >= SHORTEST:
            message = without(message, secret, "…")
    return re.sub(_KEY, "…", re.sub(_QUERY_OF_URL, r"\1?…", message))[:500]


def without(said: str, secret: str, stand_in: str) -> str:
    """A text without another, nor a beginning of that: gateways cut what they quote."""
    start = 0
    while (start := said.find(secret[:QUOTED], start)) >= 0:
        quoted = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(said[start:], secret, strict=False)))
        said = said[:start] + stand_in + said[start + quoted :]
        start += len(stand_in)
    return said


def unreadable(reply: Reply, said: Said | None = None, *, private: tuple[str, ...] = (), **about: Any) -> ApiError:
    """The error for an answer that is neither a result nor a known refusal.

    Args:
        reply: The answer.
        said: The codes and the message of a refusal that the dialect's table does not know, if it is one.
        private: As in `error_of`.
        about: Ids for the error.
    """
    codes, message = _said(reply, said)
    code, told = next(iter(codes), None), scrubbed(message, private)
    what = _redirect(reply) if 300 <= reply.status < 400 else f"{len(reply.body)} bytes of {_kind(reply)}"
    head = f"HTTP {reply.status}, " + (f"code {code}" if code else what)
    advice = ADVICE[RefusalKind.TRANSIENT] if code and reply.status >= 500 else ""
    kind = ApiError if code and reply.status < 300 else GatewayError
    return kind(
        _sentence(f"no usable answer ({head})", told, advice),
        status_code=reply.status,
        code=code,
        message_text=told,
        request_id=reply.request_id,
        **about,
    )


def _kind(reply: Reply) -> str:
    return (text(reply.headers.get("content-type")) or "unknown type").split(";")[0][:60]
