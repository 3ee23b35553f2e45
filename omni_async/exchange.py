"""One call from leave to meaning: send it, tell the limiter how it went, read it by the dialect, or say why not."""

import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import anyio
import attrs

from . import events
from .dialects import (
    Call,
    Cause,
    Dialect,
    Glance,
    Refusal,
    RefusalKind,
    Reply,
    error_of,
    refusal_of,
    refused_look,
    unreadable,
)
from .errors import (
    AnswerLostError,
    ApiError,
    AuthenticationError,
    DecodeError,
    GatewayError,
    NotSentError,
    OmniError,
    RateLimitError,
    RejectedError,
    TransportError,
)
from .lifetime import Waits
from .limiter import Controller, Decision, Kind, Limiter, Ticket
from .models import VideoTask
from .place import Place
from .policies import RetryPolicy
from .remembered import Namesakes, Prompts, mixed_up
from .reporter import Reporter
from .retry import RetryBudget, backoff, pause_told, retry_after
from .transport import Moved, Transport

TOO_BUSY = frozenset({503, 529})
"""HTTP statuses of a gateway that has too much to do (RFC 9110 §15.6.4): proxies limit rates with the first."""
SPAN = datetime.fromtimestamp(1e9, UTC)
"""Fewer seconds since 1970 than this (in 2001) are not a point in time, but seconds from now."""
T = TypeVar("T")
logger = logging.getLogger("omni_async")


class Exchange:
    """What every call to one gateway goes through.

    Args:
        dialect: Speaks.
        transport: Sends.
        limiter: Gives leave, and learns.
        retry: How often what may be repeated is repeated.
        report: Takes events.
        budget: Bounds repeats over all calls.
        rng: Source of jitter.
        wall: Wall time, for Retry-After dates.

    Attributes:
        prompts: What no error about a task may quote.
        namesakes: Tells answers about other tasks.
        waits: Of free calls for leave; ended with the client.
    """

    def __init__(
        self,
        *,
        dialect: Dialect,
        transport: Transport,
        limiter: Limiter,
        retry: RetryPolicy,
        report: Reporter,
        budget: RetryBudget | None = None,
        rng: random.Random | None = None,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.dialect, self.transport, self.limiter = dialect, transport, limiter
        self.retry, self.report, self.rng, self.wall = retry, report, rng or random.Random(), wall
        self.budget, self.prompts = budget or RetryBudget(), Prompts()
        self.waits, self.namesakes = Waits(dialect.name), Namesakes(limiter.holds)
        self._glances = self._agrees()

    @property
    def place(self) -> tuple[str, str]:
        """Where its tasks run: another client of the same place can look at them."""
        return self.dialect.name, self.transport.base_url

    def _agrees(self) -> bool:
        """Whether the dialect's glance knows its `read_query`: one that a subclass inherits does not know its own.

        No ability that a dialect declares: that would be inherited along with the glance.
        """
        kinds = type(self.dialect).__mro__
        of = {name: next((kind for kind in kinds if name in vars(kind)), object) for name in ("glance", "read_query")}
        return issubclass(of["glance"], of["read_query"])

    def __repr__(self) -> str:
        return f"<Exchange with {self.dialect.name}>"

    async def look(self, ticket: Ticket, task_id: str) -> VideoTask:
        """One GET for one task, with leave already given.

        Raises:
            TransportError: No answer.
            RateLimitError: Refused for now; `retry_after` is when the limiter lets go on.
            ApiError: Refused.
            DecodeError: An answer in no known shape.
        """
        reply = await self._sent(ticket, self._query(ticket, task_id))
        return await self._seen(ticket, task_id, reply)

    async def glance(self, ticket: Ticket, task_id: str) -> VideoTask | Glance:
        """As `look`, for whom a glance at a task that runs is enough."""
        reply = await self._sent(ticket, self._query(ticket, task_id))
        try:
            glance = self.dialect.glance(reply) if self._glances and 200 <= reply.status < 300 else None
        except Exception:  # a caller's own dialect: `read_query` has its say
            glance = None
        if glance is None or glance.status.finished:
            return await self._seen(ticket, task_id, reply)
        self.limiter.passed(ticket)
        self.namesakes.runs(task_id)
        return glance

    def _query(self, ticket: Ticket, task_id: str) -> Call:
        self.budget.first()
        ticket.about = task_id
        try:
            return self.dialect.query(task_id)
        except BaseException:  # no id of a task
            self.limiter.unused(ticket)
            raise

    async def _seen(self, ticket: Ticket, task_id: str, reply: Reply) -> VideoTask:
        reply = self._legible(reply)
        task = self._read(ticket, reply, self.dialect.read_query)
        namesakes, named = self.namesakes, task.task_id
        doubt = namesakes.doubt(task_id, task, reply.document)
        if doubt is None and namesakes.kept and namesakes.names_another(task_id, task, reply.document):
            doubt = mixed_up(named) if await namesakes.kept(named) else None
        if doubt is not None:
            raise DecodeError(doubt, gateway=self.dialect.name, request_id=reply.request_id)
        # The id that was asked for stays the id: an answer may name another of the task's ids, or none.
        task = task if task.task_id == task_id else attrs.evolve(task, task_id=task_id)
        return attrs.evolve(task, expires_at=None) if _expires_too_soon(task) else task

    def _legible(self, reply: Reply) -> Reply:
        """The answer with its broken letters replaced, if it tells of a task then: some cut messages at a byte.

        No other: of a refusal each word counts, and no create may be sent again for one that was not understood.
        """
        if isinstance(reply.document, dict) or not 200 <= reply.status < 300:
            return reply
        legible = attrs.evolve(reply, body=reply.body.decode(errors="replace").encode())
        try:
            self.dialect.read_query(legible)
        except Exception:  # of a caller's own dialect, too
            return reply
        return legible

    async def query(self, task_id: str) -> VideoTask:
        """Wait for leave, then one GET for one task, and one more with a new key. Raises as `look`, with the id."""
        for again in (self.transport.key.renewable, False):
            try:
                ticket = await self.waits.until(self.limiter.acquire, Kind.QUERY)
                task = await self.look(ticket, task_id)
            except OmniError as error:
                failure = error.about(task_id=task_id)
            else:
                if task.status.finished:
                    self.limiter.finished(task_id)
                return task
            if not (again and is_unauthorized(failure)):
                break
        failure.may_have_charged = True  # somebody's task may run under this id
        raise failure

    @contextlib.asynccontextmanager
    async def transfer(self, *, closed: Callable[[], OmniError] | None = None) -> AsyncIterator[Place]:
        """One of the places for files up or down; `closed` makes the error below, if that is not to be `Waits`' own.

        Raises:
            OmniError: The client was closed first.
        """
        place = Place(self.limiter, self.waits, closed)
        try:
            await place.take()
            yield place
        finally:
            place.give_back()

    async def ask(
        self,
        call: Call,
        read: Callable[[Reply], T],
        *,
        data: Callable[[Moved], Any] | None = None,
        waits: Waits | None = None,
    ) -> T:
        """A free call, repeated within the retry policy and the shared budget.

        Args:
            call: What to send.
            read: Reads the answer.
            data: Makes the body of an upload; see `Transport.send`.
            waits: What ends its waits, if that is not the client's end.

        Raises:
            OmniError: As `look`; the last one after all attempts; the client was closed first.
        """
        waits, attempt = waits or self.waits, 0
        self.budget.first()
        while True:
            attempt += 1
            ticket = await waits.until(self.limiter.acquire, Kind.QUERY)
            try:
                reply = await self._sent(ticket, call, data=data)
                return self._read(ticket, reply, read)
            except OmniError as error:
                failure = error
            delay = self._again(failure, attempt)
            if delay is None:
                raise failure
            if self.report.wanted:
                told: dict[str, Any] = {"reason": type(failure).__name__, "attempt": attempt, "delay": delay}
                self.report(events.Retried(gateway=self.dialect.name, kind=call.kind, **told))
            await waits.until(anyio.sleep, delay)

    def _again(self, error: OmniError, attempt: int) -> float | None:
        """Seconds until a free call is repeated; None if it is not."""
        if attempt >= self.retry.attempts:
            return None
        if isinstance(error, RateLimitError):
            return max(error.retry_after or 0.0, backoff(attempt - 1, self.rng))
        if is_unauthorized(error) and self.transport.key.renewable and attempt == 1:
            return 0.0
        fleeting = isinstance(error, AnswerLostError | GatewayError) or (
            isinstance(error, NotSentError) and not error.configuration
        )
        return backoff(attempt - 1, self.rng) if fleeting and self.budget.spend() else None

    async def _sent(self, ticket: Ticket, call: Call, *, data: Callable[[Moved], Any] | None = None) -> Reply:
        """The reply to a free call; the ticket goes back if there is none."""
        try:
            return await self.transport.send(call, data=data, resend=self.budget.spend)
        except TransportError as error:
            late = isinstance(error, AnswerLostError) and error.timed_out
            self.limiter.failed(ticket, timeout=late, sent=not isinstance(error, NotSentError))
            failure = error.about(gateway=self.dialect.name)
        except BaseException:
            self.limiter.unused(ticket)
            raise
        raise failure

    def _read(self, ticket: Ticket, reply: Reply, read: Callable[[Reply], T]) -> T:
        """What a free call's answer says. A good one is read first: a failed task is not a refusal of the query."""
        trouble: DecodeError | None = None
        if 200 <= reply.status < 300:
            try:
                value = read(reply)
            except DecodeError as error:
                trouble = error.with_traceback(None)  # its frames hold the document, with what may be signed in it
            except Exception as error:  # a caller's own dialect may trip over an answer it did not expect
                trouble = unread(error)
            else:
                self.limiter.passed(ticket)
                return value
            trouble.about(gateway=self.dialect.name, request_id=reply.request_id)
        raise self._refused(ticket, reply, trouble)

    def _refused(self, ticket: Ticket, reply: Reply, trouble: DecodeError | None) -> OmniError:
        try:
            refusal = refusal_of(self.dialect, reply)
            if refusal is None and trouble is not None:
                refusal = refused_look(self.dialect, reply)
            said = self.dialect.refused(reply) if refusal is None else None
        except Exception as failure:  # again the caller's own dialect
            refusal, said, trouble = None, None, trouble or unread(failure)
        about: dict[str, Any] = {"private": self.prompts.of(ticket.about), "gateway": self.dialect.name}
        if refusal is not None and refusal.kind is RefusalKind.RATE:
            decision = self.slow_down(ticket, reply, refusal)
            error = error_of(refusal, reply, **about)
            if isinstance(error, RateLimitError):
                error.retry_after = decision.pause
            return error
        if refusal is not None and refusal.kind is not RefusalKind.TRANSIENT:
            error = error_of(refusal, reply, **about)
            if is_by_a_firewall(error):
                self.failed(ticket, reply)
            else:
                self.limiter.passed(ticket)
            if refusal.kind is RefusalKind.AUTH:
                self.transport.renew_key(reply)
            return error
        if trouble is not None and refusal is None and isinstance(reply.document, dict):
            self.limiter.passed(ticket)
            return unreadable(reply, said, **about) if said is not None and not trouble.terminal else trouble
        self.failed(ticket, reply)
        if refusal is not None:
            return error_of(refusal, reply, **about)
        return trouble or unreadable(reply, said, **about)

    def failed(self, ticket: Ticket, reply: Reply, *, sent: bool = True) -> None:
        """Tell the limiter of an answer that is of no use, and may say that the gateway is too busy."""
        self.limiter.failed(ticket, sent=sent, busy=reply.status in TOO_BUSY, wait=self.asked_for(reply))

    def asked_for(self, reply: Reply) -> float | None:
        """Seconds that the gateway asks to wait, in a header or else in the body, if it does."""
        asked = retry_after(reply.headers, now=self.wall(), max_wait=self.retry.max_wait)
        return pause_told(reply.document, max_wait=self.retry.max_wait) if asked is None else asked

    def slow_down(self, ticket: Ticket, reply: Reply, refusal: Refusal) -> Decision:
        """Tell the limiter of a refusal for now, and the caller what came of it."""
        create = ticket.kind is Kind.CREATE
        named = _NAMED.get((refusal.cause, create)) if refusal.cause else None
        decision = self.limiter.refused(ticket, wait=self.asked_for(reply), named=named)
        if self.report.wanted:
            load = self.limiter.load()
            self.report(
                events.Throttled(
                    gateway=self.dialect.name,
                    kind=ticket.kind,
                    cause=decision.cause,
                    pause=decision.pause,
                    window=load.window,
                    pace=load.create_pace if create else load.pace,
                    slots=load.slots,
                )
            )
        return decision


def _expires_too_soon(task: VideoTask) -> bool:
    """Whether a URL's end cannot be true: a video that is there would be taken for one that has gone."""
    try:
        earliest = max(SPAN, task.created_at or SPAN, task.completed_at or SPAN)
        return task.expires_at is not None and task.expires_at <= earliest
    except TypeError:  # times without a zone, from a caller's own dialect
        return False


def is_too_busy(error: OmniError) -> bool:
    """Refused or failed since the gateway has too much to do, which the limiter slows for."""
    return isinstance(error, RateLimitError) or (isinstance(error, GatewayError) and error.status_code in TOO_BUSY)


def is_by_a_firewall(error: OmniError) -> bool:
    """Refused by something in between, as far as can be told: it knows of no task, and nothing got through."""
    refused = isinstance(error, RejectedError) or is_unauthorized(error)
    return refused and isinstance(error, ApiError) and error.by_page and error.status_code != 401


def is_unauthorized(error: OmniError) -> bool:
    """Refused for the key, as opposed to a key that could not be had."""
    return isinstance(error, AuthenticationError) and error.status_code is not None


def unread(error: Exception) -> DecodeError:
    """What a dialect raised over an answer; its name only, since its text can quote what it tripped over."""
    return DecodeError(f"the dialect could not read the answer ({type(error).__name__})")


_NAMED = {
    (Cause.REQUESTS, True): Controller.PACE,
    (Cause.REQUESTS, False): Controller.PACE,
    (Cause.CONCURRENCY, True): Controller.SLOTS,
    (Cause.CONCURRENCY, False): Controller.WINDOW,
}
