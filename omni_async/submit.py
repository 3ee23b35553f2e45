"""The one way a paid POST is made: intent, send in a client-owned task, salvage, record. At most once.

A create is sent again only where it is proved that the gateway made no task: it was never sent, it was refused for
now, or the gateway itself said that it failed. Everything else is uncertain and left to a person.
"""

import asyncio
import contextvars
import logging
import secrets
from collections.abc import Callable
from typing import Any

import anyio
import attrs

from .admission import Kind, Ticket
from .breaker import Breaker
from .dialects import Call, Meaning, Refusal, RefusalKind, Reply, Verdict, error_of, judge_create
from .dialects.verdict import candidate_id
from .errors import (
    AnswerLostError,
    DecodeError,
    GatewayError,
    NotSentError,
    OmniError,
    RateLimitError,
    SubmissionUncertainError,
)
from .events import Retried, Submitted, Uncertain
from .exchange import Exchange, is_unauthorized, unread
from .identity import fingerprint, idempotency_key_of
from .journal import Answer, Book, Intent, Journal
from .lifetime import Waits, to_the_end
from .lookup import find_lost
from .models import Outcome, VideoRequest, VideoTask
from .retry import backoff

logger = logging.getLogger("omni_async")

REMEMBERED = 100_000
"""Task ids remembered to notice one that is given out twice."""


@attrs.frozen(kw_only=True)
class _Attempt:
    """What one POST came to: a task, an error to raise, or an error after which it may be sent again."""

    task: VideoTask | None = None
    error: OmniError | None = None
    again: bool = False
    hopeless: bool = False
    state: str = "PLANNED"
    detail: str = ""


@attrs.frozen
class _Create:
    """One create on its way."""

    request: VideoRequest
    intent: Intent
    call: Call

    @property
    def whose(self) -> dict[str, Any]:
        """What its task and events are about."""
        request = self.request
        return {"gateway": self.intent.gateway, "custom_id": request.custom_id, "metadata": request.metadata}


class Submitter:
    """Makes creates of one client, and owns the POSTs in flight.

    Args:
        exchange: What calls go through.
        journal: Where they are written down.
        submitted: Told of each accepted task.
    """

    def __init__(self, exchange: Exchange, journal: Journal, submitted: Callable[[VideoTask], None]) -> None:
        self._exchange = exchange
        self._journal = Book(journal)
        self._submitted = submitted
        self._posts: set[asyncio.Task[_Attempt]] = set()
        self._issued: dict[str, str] = {}
        self._waits = Waits()
        self.unclaimed: list[Outcome] = []
        self.uncertain = 0

    async def submit(
        self,
        request: VideoRequest,
        *,
        max_wait: float | None = None,
        patience: float = 0.0,
        breaker: Breaker | None = None,
    ) -> VideoTask:
        """Send one create, at most once.

        Args:
            request: Checked, and with public references only.
            max_wait: Seconds to wait at most for leave to send; None for as long as it takes.
            patience: Seconds to go on trying although the account seems to allow nothing at all.
            breaker: Of the run this is a row of.

        Raises:
            OmniError: As the error tree says; `may_have_charged` tells whether money may have gone.
        """
        create = self._intend(request)
        try:
            return await self._until_settled(create, max_wait, patience, breaker)
        except OmniError as error:
            failure = error.about(
                gateway=self._exchange.dialect.name, custom_id=request.custom_id, metadata=request.metadata or None
            )
        raise failure

    def _intend(self, request: VideoRequest) -> _Create:
        """The row to write and the call to send; the idempotency key is derived from custom id and inputs."""
        dialect = self._exchange.dialect
        print_ = fingerprint(dialect.name, dialect.create(request))
        key = request.custom_id or f"anonymous-{secrets.token_hex(16)}"
        field = dialect.abilities.idempotency_field
        call = dialect.create(request, idempotency_key=idempotency_key_of(key, print_) if field else None)
        intent = Intent(key=key, fingerprint=print_, gateway=dialect.name, custom_id=request.custom_id)
        return _Create(request, intent, call)

    async def _leave(self, left: float | None, breaker: Breaker | None) -> Ticket:
        """Leave to send one create: the limiter's, and that of the run's breaker."""
        limiter = self._exchange.limiter
        while True:
            if breaker is not None:
                await self._waits.until(breaker.wait)
            ticket = await self._waits.until(limiter.acquire, Kind.CREATE, max_wait=left)
            if breaker is None or breaker.lets_go():
                return ticket
            limiter.unused(ticket)

    async def _until_settled(
        self, create: _Create, max_wait: float | None, patience: float, breaker: Breaker | None
    ) -> VideoTask:
        exchange, began = self._exchange, anyio.current_time()
        failures, renewed = 0, False
        exchange.budget.first()
        while True:
            waited = anyio.current_time() - began
            left = None if max_wait is None else max(max_wait - waited, 0.0)
            attempt = await self._owned(await self._leave(left, breaker), create)
            if breaker is not None:
                breaker.ended(uncertain=attempt.error is not None and attempt.error.may_have_charged)
            if attempt.task is not None:
                return attempt.task
            error = attempt.error or OmniError("the create ended without a result")
            if isinstance(error, RateLimitError) and attempt.again:
                if attempt.hopeless and anyio.current_time() - began >= patience:
                    raise error
                continue  # the limiter says when
            if attempt.again and is_unauthorized(error) and not renewed:
                renewed = True
                continue
            failures += 1
            if not attempt.again or is_unauthorized(error) or failures >= exchange.retry.attempts:
                raise error
            if not exchange.budget.spend():
                raise error
            await self._back_off(error, failures, create)

    async def _back_off(self, error: OmniError, failures: int, create: _Create) -> None:
        delay = backoff(failures - 1, self._exchange.rng)
        self._exchange.report(
            Retried(**create.whose, kind=Kind.CREATE, reason=type(error).__name__, attempt=failures, delay=delay)
        )
        await self._waits.until(anyio.sleep, delay)

    # --- the client-owned task -----------------------------------------------------------------------------

    async def _owned(self, ticket: Ticket, create: _Create) -> _Attempt:
        """Run one POST in a task of the client's: it goes on when its caller is cancelled."""
        post = asyncio.get_running_loop().create_task(self._post(ticket, create), context=contextvars.Context())
        self._posts.add(post)
        post.add_done_callback(self._posts.discard)
        try:
            return await asyncio.shield(post)
        except asyncio.CancelledError:
            if not post.cancelled():
                post.add_done_callback(lambda done: self._orphaned(done, create.request))
            raise

    def _orphaned(self, post: "asyncio.Task[_Attempt]", request: VideoRequest) -> None:
        """A POST ended whose caller had gone: kept for `unclaimed()`, and logged with its task id."""
        if post.cancelled():
            return
        failure = post.exception()
        attempt = post.result() if failure is None else _Attempt(error=_as_omni(failure))
        if attempt.task is None and attempt.error is not None and not attempt.error.may_have_charged:
            return
        self.unclaimed.append(Outcome(request=request, task=attempt.task, error=attempt.error))
        what = f"task {attempt.task.task_id} runs" if attempt.task else "it may have been charged"
        logger.warning("a create finished after its caller had gone: %s; see client.unclaimed()", what)

    async def drain(self) -> None:
        """Begin no more, and wait until every POST in flight has its recorded end.

        Cancelled meanwhile, it goes on, and raises then.
        """
        self._waits.end()
        while running := [post for post in self._posts if not post.done()]:
            await to_the_end(*running)

    async def _post(self, ticket: Ticket, create: _Create) -> _Attempt:
        """Intent, POST, record. Whatever happens after the first byte ends in a recorded state."""
        limiter, began = self._exchange.limiter, anyio.current_time()
        try:
            known = await self._journal.intend(create.intent)
        except BaseException:
            limiter.unused(ticket)
            raise
        if known is not None:
            limiter.unused(ticket)
            return _Attempt(task=known)
        reply: Reply | None = None
        refused: _Attempt | None = None
        try:
            reply = await self._exchange.transport.send(create.call)
        except AnswerLostError as error:
            limiter.failed(ticket, timeout=error.timed_out)
            verdict = Verdict(meaning=Meaning.UNCERTAIN, reason=str(error.args[0]))
        except OmniError as error:
            verdict, refused = Verdict(meaning=Meaning.REFUSED), self._unsent(ticket, error)
        except BaseException:
            limiter.failed(ticket)
            raise
        else:
            verdict = self._judged(reply)
            refused = self._give_back(ticket, create, reply, verdict)
        return await self._recorded(ticket, create, reply, verdict, refused, anyio.current_time() - began)

    def _unsent(self, ticket: Ticket, error: OmniError) -> _Attempt:
        """Proved not to be sent, or the key could not be had."""
        if not isinstance(error, NotSentError):
            self._exchange.limiter.unused(ticket)
            return _Attempt(error=error)
        self._exchange.limiter.failed(ticket, sent=False)
        return _Attempt(error=error, again=not error.configuration)

    def _judged(self, reply: Reply) -> Verdict:
        """What the answer means; a caller's own dialect that trips over it leaves it uncertain, not lost."""
        try:
            verdict = judge_create(self._exchange.dialect, reply)
        except Exception as error:
            reason = str(unread(error).args[0])
            return Verdict(meaning=Meaning.UNCERTAIN, candidate=candidate_id(reply), reason=reason)
        failed = verdict.refusal is not None and verdict.refusal.kind is RefusalKind.TRANSIENT
        if failed and not self._exchange.retry.create_on_internal_error:
            reason = "the gateway says that it failed, and create_on_internal_error is off"
            return attrs.evolve(verdict, meaning=Meaning.UNCERTAIN, reason=reason)
        return verdict

    def _give_back(self, ticket: Ticket, create: _Create, reply: Reply, verdict: Verdict) -> _Attempt | None:
        """Give the ticket back with what was learnt; a refusal is what the attempt came to."""
        limiter = self._exchange.limiter
        if verdict.meaning is Meaning.REFUSED:
            return self._refused(ticket, create, reply, verdict.refusal or Refusal(RefusalKind.BAD_REQUEST))
        if verdict.task_id is not None:
            limiter.accepted(ticket, verdict.task_id)
        else:
            limiter.failed(ticket)
        return None

    def _refused(self, ticket: Ticket, create: _Create, reply: Reply, refusal: Refusal) -> _Attempt:
        exchange, prompt = self._exchange, create.request.prompt
        error = error_of(refusal, reply, private=(prompt,), gateway=create.intent.gateway, may_have_charged=False)
        if isinstance(error, RateLimitError):
            decision = exchange.slow_down(ticket, reply, refusal)
            error.retry_after = decision.pause or exchange.limiter.estimate()
            return _Attempt(error=error, again=True, hopeless=decision.hopeless, detail="refused for now")
        if isinstance(error, GatewayError):
            exchange.limiter.failed(ticket, sent=False)
            return _Attempt(error=error, again=True, detail="the gateway failed")
        exchange.limiter.declined(ticket)
        renewable = is_unauthorized(error) and exchange.transport.key.renewable
        if renewable:
            exchange.transport.key.renew()
        return _Attempt(error=error, again=renewable, state="REJECTED", detail=str(error.args[0]))

    async def _recorded(
        self,
        ticket: Ticket,
        create: _Create,
        reply: Reply | None,
        verdict: Verdict,
        refused: _Attempt | None,
        seconds: float,
    ) -> _Attempt:
        """Write down what came back before it is decoded strictly, then what it means. The ticket is back already."""
        if reply is not None or refused is None:
            answer = Answer(task_id=verdict.task_id or verdict.candidate)
            if reply is not None:
                answer = attrs.evolve(answer, status=reply.status, request_id=reply.request_id, body=reply.body)
            await self._journal.answered(create.intent, answer)
        if refused is not None:
            await self._journal.settle(create.intent, refused.state, refused.detail)
            return refused
        if verdict.task_id is not None:
            return await self._accepted(create, reply, verdict.task_id, seconds)
        return await self._uncertain(create, ticket, reply, verdict)

    async def _accepted(self, create: _Create, reply: Reply | None, task_id: str, seconds: float) -> _Attempt:
        task = attrs.evolve(self._decoded(reply, task_id), **create.whose)
        if not self._is_own(create, task_id):
            return await self._same_id(create, task_id)
        await self._journal.settle(create.intent, "SUBMITTED", task_id, task_id=task_id)
        self._submitted(task)
        self._exchange.report(
            Submitted(**create.whose, task_id=task_id, model=task.model, request_id=task.request_id, seconds=seconds)
        )
        return _Attempt(task=task)

    def _is_own(self, create: _Create, task_id: str) -> bool:
        """Whether no other create was given this id. What goes by one idempotency key is the same create."""
        field = self._exchange.dialect.abilities.idempotency_field
        name = str((create.call.body or {}).get(field or "") or create.intent.key)
        owner = self._issued.setdefault(task_id, name)
        if len(self._issued) > REMEMBERED:
            del self._issued[next(iter(self._issued))]
        return owner == name

    def _decoded(self, reply: Reply | None, task_id: str) -> VideoTask:
        """The task as the answer tells it; at the least its id, which must not hang on the rest being well-formed."""
        if reply is None:
            return VideoTask(task_id=task_id)
        try:
            task = attrs.evolve(self._exchange.dialect.read_create(reply), task_id=task_id)
            coded = self._exchange.dialect.refused(reply) is not None
        except Exception:
            logger.warning("a create's answer has a task id (%s) and is odd otherwise; the id is kept", task_id)
            return VideoTask(task_id=task_id, request_id=reply.request_id, raw=reply.document)
        if coded:
            logger.warning("a create's answer has a task id (%s) and an error code; the id is kept", task_id)
        return task

    async def _same_id(self, create: _Create, task_id: str) -> _Attempt:
        """Two creates were answered with one id (FAULTS row 26): the second has no task that is surely its own."""
        await self._journal.settle(create.intent, "UNCERTAIN", "another create's task id", task_id=task_id)
        self._tell_uncertain(create, "answered with the task id of another create", task_id, None)
        error = DecodeError(
            "the gateway answered with the task id of another create; look this one up in its console or bill",
            task_id=task_id,
        )
        return _Attempt(error=error)

    async def _uncertain(self, create: _Create, ticket: Ticket, reply: Reply | None, verdict: Verdict) -> _Attempt:
        """Nobody knows whether it was accepted: find out where that can be found out, else say so with the evidence."""
        candidate, reason = verdict.candidate, verdict.reason
        found = await find_lost(self._exchange, candidate, create.call)
        if found is not None:
            self._exchange.limiter.adopt(ticket, found)
            return await self._accepted(create, reply if candidate == found else None, found, 0.0)
        await self._journal.settle(create.intent, "UNCERTAIN", reason, task_id=candidate)
        request_id = reply.request_id if reply else None
        self._tell_uncertain(create, reason, candidate, request_id)
        evidence: dict[str, Any] = {"reason": reason, "candidate": candidate}
        if reply is not None:
            evidence |= {"status": reply.status, "body": reply.body}
        error = SubmissionUncertainError(
            f"the create may have been charged and was not sent again: {reason}. Look in the gateway's console or "
            "bill: if the task is there, wait for its id; if it surely is not, submit again",
            evidence=evidence,
            request_id=request_id,
            task_id=candidate,
        )
        return _Attempt(error=error)

    def _tell_uncertain(self, create: _Create, reason: str, candidate: str | None, request_id: str | None) -> None:
        self.uncertain += 1
        self._exchange.report(Uncertain(**create.whose, reason=reason, candidate=candidate, request_id=request_id))


def _as_omni(error: BaseException) -> OmniError:
    return error if isinstance(error, OmniError) else OmniError(f"the create ended in {type(error).__name__}")
