"""A create: its row in the journal, its call, and what sending it came to."""

import contextvars
import json
import logging
import os
import re
from typing import Any, NamedTuple

import attrs

from ..bounded import Bounded
from ..dialects import Call, Dialect, Reply, Verdict
from ..dialects.verdict import SHORTEST
from ..errors import AuthenticationError, OmniError, QuotaError, RateLimitError, RejectedError, SubmissionUncertainError
from ..identity import idempotency_key_of
from ..journal import Answer, Intent, NotNow
from ..journal.seam import write_request
from ..limiter import UNSENT
from ..models import VideoRequest, VideoTask

logger = logging.getLogger("omni_async")

REMEMBERED = 100_000
"""Task ids remembered."""


class Attempt(NamedTuple):
    """What one POST came to: a task, an error to raise, an error after which it may be sent again, or a hold.

    `pause` is how many seconds the gateway asks to wait before that, where the limiter does not see to it.
    """

    task: VideoTask | None = None
    error: OmniError | None = None
    again: bool = False
    pause: float = 0.0
    hopeless: bool = False
    state: str = "PLANNED"
    detail: str = ""
    hold: NotNow | None = None


@attrs.frozen(eq=False, repr=False)
class Create:
    """One create on its way, and the context of whoever asked for it: events about it are told in that."""

    request: VideoRequest
    intent: Intent
    call: Call
    context: contextvars.Context = attrs.field(factory=contextvars.copy_context)

    @property
    def whose(self) -> dict[str, Any]:
        """What its task and events are about."""
        request = self.request
        return {"gateway": self.intent.gateway, "custom_id": request.custom_id, "metadata": request.metadata}


def keyed(dialect: Dialect, create: Create) -> Create:
    """The create with its idempotency key in the call, which is derived from its row; as it is if there is no such."""
    intent = create.intent
    key = idempotency_key_of(dialect, intent.key, intent.fingerprint, round=intent.round)
    if key is None:
        return create
    return Create(create.request, intent, dialect.create(create.request, idempotency_key=key))


def name_of(dialect: Dialect, create: Create) -> str | None:
    """What the gateway knows a create by before it has a task id."""
    field = dialect.abilities.idempotency_field
    name = (create.call.body or {}).get(field) if field else None
    return name if isinstance(name, str) else None


class Issued:
    """Whose each task id is, to notice one that is given out twice."""

    def __init__(self) -> None:
        self._owners: Bounded[str, str] = Bounded(REMEMBERED)

    def own(self, task_id: str, name: str) -> bool:
        """Whether a task id is new, or was given out under this name."""
        return self._owners.setdefault(task_id, name) == name


def row_key(asked: VideoRequest) -> str:
    """What a create's row goes by: the caller's own id, or one made for it."""
    return asked.custom_id or f"anonymous-{os.urandom(16).hex()}"


def intent_of(dialect: Dialect, asked: VideoRequest, fingerprint: str, *, keep: bool) -> Intent:
    """The row of a create.

    Args:
        dialect: The gateway's.
        asked: What the caller asked for, local references as they are.
        fingerprint: Its fingerprint.
        keep: Whether its inputs are kept; the fingerprint always is.
    """
    return Intent(
        key=row_key(asked),
        fingerprint=fingerprint,
        gateway=dialect.name,
        custom_id=asked.custom_id,
        inputs=write_request(asked) if keep else None,
        metadata=asked.metadata,
    )


def answer_of(create: Create, reply: Reply | None, verdict: Verdict, refused: Attempt | None) -> Answer:
    """What is kept of an answer: where inputs are not kept, without the prompt that it may quote."""
    told: dict[str, Any] = {}
    if reply is not None:
        body = reply.body if create.intent.inputs is not None else _unquoted(reply.body, create.request.prompt)
        told = {"status": reply.status, "request_id": reply.request_id, "body": body}
    if refused is not None:
        return Answer(state=refused.state, detail=refused.detail, again=_again(refused.error), **told)
    if verdict.task_id is not None:
        return Answer(state="SUBMITTED", task_id=verdict.task_id, **told)
    return Answer(state="UNCERTAIN", candidate=verdict.candidate, detail=verdict.reason, **told)


def accepted_task(dialect: Dialect, create: Create, reply: Reply | None, task_id: str) -> VideoTask:
    """The task as the answer tells it; at the least its id, which must not hang on the rest being well-formed."""
    if reply is None:
        return VideoTask(task_id=task_id, **create.whose)
    try:
        task = dialect.read_create(reply)
        own = {"task_id": task_id, **create.whose}
        if any(getattr(task, name) != value for name, value in own.items()):
            task = attrs.evolve(task, **own)
        coded = dialect.refused(reply) is not None
    except Exception:
        logger.warning("a create's answer has a task id (%s) and is odd otherwise; the id is kept", task_id)
        return VideoTask(task_id=task_id, request_id=reply.request_id, raw=reply.document, **create.whose)
    if coded:
        logger.warning("a create's answer has a task id (%s) and an error code; the id is kept", task_id)
    return task


def uncertain_error(create: Create, reply: Reply | None, verdict: Verdict) -> SubmissionUncertainError:
    """The error of a create of which nobody knows whether it was accepted, with the evidence."""
    reason, candidate = verdict.reason, verdict.candidate
    evidence: dict[str, Any] = {"reason": reason, "candidate": candidate, "key": create.intent.key}
    if reply is not None:
        evidence |= {"status": reply.status, "body": reply.body}
    return SubmissionUncertainError(
        f"the create may have been charged and was not sent again: {reason}. Look in the gateway's console or "
        "bill: if the task is there, wait for its id; if it surely is not, submit again (with a journal, settle)",
        evidence=evidence,
        request_id=reply.request_id if reply else None,
        task_id=candidate,
    )


def still_refused(refused: RateLimitError, over: RateLimitError) -> RateLimitError:
    """The end of `max_wait` for a create that was sent and refused: in the gateway's words, and when to come again."""
    return RateLimitError(
        f"{refused.args[0]}; {str(over.args[0]).removeprefix(UNSENT)}",
        status_code=refused.status_code,
        code=refused.code,
        message_text=refused.message,
        by_page=refused.by_page,
        request_id=refused.request_id,
        retry_after=over.retry_after,
        may_have_charged=False,
    )


_SPELT_ALIKE = r"[A-Za-z0-9 ]{4,}"
"""What every spelling of JSON leaves as it is."""


def _unquoted(body: bytes, prompt: str) -> bytes:
    """An answer without a prompt, however JSON spells it; one of three letters stands in any answer by chance."""
    if len(prompt) < SHORTEST:
        return body
    plain_part = re.search(_SPELT_ALIKE, prompt)
    if plain_part is not None and plain_part[0].encode() not in body:  # spares spelling it in all ways for nothing
        return body
    plain, ascii_ = (json.dumps(prompt, ensure_ascii=only)[1:-1] for only in (False, True))
    spellings = {prompt, plain, ascii_, plain.replace("/", "\\/"), ascii_.replace("/", "\\/")}
    for spelling in sorted(spellings, key=len, reverse=True):
        body = body.replace(spelling.encode("utf-8", "surrogatepass"), "…".encode())
    return body


def _again(error: OmniError | None) -> int:
    """Whether a refused create may be sent again unchanged: 2 by itself, 1 when that is asked for, 0 never."""
    if isinstance(error, AuthenticationError | QuotaError):
        return 2
    return 0 if isinstance(error, RejectedError) and error.moderated else 1
