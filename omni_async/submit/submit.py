"""The one way a paid POST is made: intent, send in a client-owned task, salvage, record. At most once.

A create is sent again only where it is proved that the gateway made no task: it was never sent, it was refused for
now, or the gateway itself said that it failed. Everything else is uncertain and left to a person.
"""

import functools
from collections.abc import Callable
from typing import Any

import anyio
import attrs

from .. import events
from ..breaker import Breaker
from ..dialects import Meaning, Refusal, RefusalKind, Reply, Verdict, error_of, judge_create
from ..dialects.ids import candidate_id
from ..errors import (
    AnswerLostError,
    AuthenticationError,
    DecodeError,
    GatewayError,
    JournalError,
    NotSentError,
    OmniError,
    RateLimitError,
)
from ..exchange import Exchange, is_unauthorized, unread
from ..journal import GuardedJournal, Journal, NotNow
from ..journal.seam import SAME_ID
from ..lifetime import Waits, is_cancelled, loop_time
from ..limiter import Kind, Ticket
from ..models import VideoRequest, VideoTask
from ..retry import backoff
from .creates import Attempt, Create, Issued, accepted_task, answer_of, keyed, name_of, still_refused, uncertain_error
from .lookup import FOUND, find_lost, is_unknown
from .posts import Posts, Told

NAMES_A_TASK = "refused, and the answer names a task all the same"
GONE = "cancelled before it was sent"


class Submitter:
    """Makes creates of one client, and owns the POSTs in flight.

    Args:
        exchange: What calls go through.
        journal: Where they are written down.
        submitted: Told of each accepted task, with its request.
    """

    def __init__(
        self, exchange: Exchange, journal: Journal, submitted: Callable[[VideoTask, VideoRequest], None]
    ) -> None:
        self._exchange = exchange
        self._journal = GuardedJournal(journal)
        self._submitted = submitted
        self._issued = Issued()
        self.waits, self.posts = Waits(), Posts()
        self.uncertain = 0
        self._heard = False  # has the gateway ever answered a create: if not, its address may be wrong

    @property
    def tells_apart(self) -> bool:
        """Whether anybody asks what makes a create the same again: the journal does, and a gateway that takes a key."""
        return self._journal.keeps or self._exchange.dialect.abilities.idempotency_field is not None

    async def submit(
        self,
        create: Create,
        *,
        max_wait: float | None = None,
        patience: float = 0.0,
        breaker: Breaker | None = None,
        on_leave: Callable[[], None] = lambda: None,
    ) -> VideoTask:
        """Send one create, at most once.

        Args:
            create: Checked, and with public references only.
            max_wait: Seconds to wait at most for leave to send; None for as long as it takes.
            patience: Seconds to go on trying although the account seems to allow nothing at all, or, once the gateway
                has answered, although it cannot be reached.
            breaker: Of the run this is a row of.
            on_leave: Called whenever there is leave to send it.

        Raises:
            NotNow: Somebody else is sending it: what came of that is soon in the journal.
            OmniError: As the error tree says; `may_have_charged` tells whether money may have gone.
        """
        create = keyed(self._exchange.dialect, create)
        try:
            return await self._until_settled(create, max_wait, patience, breaker, on_leave)
        except OmniError as error:
            failure = error.about(**create.whose)
        raise failure

    async def _leave(
        self, left: float | None, breaker: Breaker | None, refused: RateLimitError | None = None
    ) -> Ticket:
        """Leave to send one create, `refused` the last time if so: the limiter's, and that of the run's breaker."""
        limiter = self._exchange.limiter
        while True:
            if breaker is not None and breaker.holds:
                await self.waits.until(breaker.wait)
            ticket = limiter.try_acquire(Kind.CREATE)
            if ticket is None:
                try:
                    ticket = await self.waits.until(limiter.acquire, Kind.CREATE, max_wait=left)
                except RateLimitError as over:
                    raise (over if refused is None else still_refused(refused, over)) from None
            if breaker is None or breaker.lets_go():
                return ticket
            limiter.unused(ticket)

    async def _until_settled(
        self,
        create: Create,
        max_wait: float | None,
        patience: float,
        breaker: Breaker | None,
        on_leave: Callable[[], None],
    ) -> VideoTask:
        began, failures, unsent, renewed = loop_time(), 0, 0.0, False
        refused: RateLimitError | None = None
        self._exchange.budget.first()
        while True:
            left = None if max_wait is None else max(began + max_wait - loop_time(), 0.0)
            ticket = await self._leave(left, breaker, refused)
            on_leave()
            attempt = await self._owned(ticket, create)
            if attempt.hold is not None:
                create = await self._held(attempt.hold, create, left)
                continue
            if breaker is not None:
                breaker.ended(uncertain=attempt.error is not None and attempt.error.may_have_charged)
            if attempt.task is not None:
                return attempt.task
            error = attempt.error or OmniError("the create ended without a result")
            if isinstance(error, RateLimitError) and attempt.again:
                if attempt.hopeless and loop_time() - began >= patience:
                    raise error
                refused = error
                continue  # the limiter says when
            if attempt.again and is_unauthorized(error) and not renewed:
                renewed = True
                continue
            failures += 1
            unsent = unsent or loop_time()
            patient = loop_time() - unsent < patience
            in_time = left is None or attempt.pause <= left
            if not (attempt.again and in_time and self._may_go_on(error, failures, breaker, patient=patient)):
                raise error
            await self._back_off(error, failures, create, attempt.pause)

    def _may_go_on(self, error: OmniError, failures: int, breaker: Breaker | None, *, patient: bool) -> bool:
        """Whether one more try of a create that failed is left, and is this row's to make.

        One that did not leave the machine, for a resolver, a route, costs the gateway nothing: it is outlasted.
        """
        exchange, unsent = self._exchange, isinstance(error, NotSentError)
        appointed = breaker is not None and breaker.appoints
        if is_unauthorized(error) or (unsent and appointed and exchange.limiter.out):
            return False
        if unsent and patient and self._heard and not appointed and exchange.retry.attempts > 1:
            return True
        return failures < exchange.retry.attempts and exchange.budget.spend()

    async def _held(self, hold: NotNow, create: Create, left: float | None) -> Create:
        """Somebody else is sending it, as many tasks run as may, or the row is to be paid anew.

        Gives the create to try again with, which is another if its row is to be paid anew.
        """
        if hold.sent:
            raise hold
        if left is not None and hold.seconds > left:
            raise RateLimitError(
                f"nothing was sent: {hold.why}, and max_wait is over", retry_after=hold.seconds, may_have_charged=False
            )
        await self.waits.until(anyio.sleep, hold.seconds)
        if hold.round is None:
            return create
        return keyed(self._exchange.dialect, attrs.evolve(create, intent=attrs.evolve(create.intent, round=hold.round)))

    async def _back_off(self, error: OmniError, failures: int, create: Create, pause: float) -> None:
        delay = max(backoff(failures - 1, self._exchange.rng), pause)
        if self._exchange.report.wanted:
            told = {**create.whose, "reason": type(error).__name__, "attempt": failures, "delay": delay}
            self._exchange.report(events.Retried(kind=Kind.CREATE, **told))
        await self.waits.until(anyio.sleep, delay)

    # --- the client-owned task -----------------------------------------------------------------------------

    async def _owned(self, ticket: Ticket, create: Create) -> Attempt:
        """Run one POST in a task of the client's: it goes on when its caller is cancelled."""
        if self.waits.ended:
            self._exchange.limiter.unused(ticket)
            raise OmniError("the client was closed: nothing was sent", may_have_charged=False)
        never = functools.partial(self._exchange.limiter.unused, ticket)
        return await self.posts.own(lambda told: self._post(ticket, create, told), create.request, never=never)

    async def drain(self) -> None:
        """Begin no more, and wait until every POST in flight has its recorded end.

        Cancelled meanwhile, it goes on, and raises then.
        """
        self.waits.end()
        await self.posts.drain()

    async def _post(self, ticket: Ticket, create: Create, told: Told) -> Attempt:
        """Intent, POST, record. Whatever happens after the first byte ends in a recorded state.

        An answer that is no longer waited for, because somebody cancels every task that he finds, is a lost one.
        """
        limiter, known = self._exchange.limiter, None
        try:
            if self._journal.keeps:
                known = await self._journal.intend(create.intent)
        except NotNow as hold:
            limiter.unused(ticket)
            return Attempt(hold=hold)
        except BaseException:
            limiter.unused(ticket)
            raise
        if known is not None:
            limiter.unused(ticket)
            return Attempt(task=known)
        if told.cancelled() or is_cancelled():  # its caller went before its intent was durable (FAULTS row 27)
            limiter.unused(ticket)
            await self._journal.settle(create.intent, "PLANNED", GONE)
            return Attempt(error=OmniError(GONE, may_have_charged=False))
        reply: Reply | None = None
        refused: Attempt | None = None
        try:
            reply = await self._exchange.transport.send(create.call, last=True)
        except AnswerLostError as error:
            limiter.failed(ticket, timeout=error.timed_out)
            verdict = Verdict(meaning=Meaning.UNCERTAIN, reason=str(error.args[0]))
        except OmniError as error:
            verdict, refused = Verdict(meaning=Meaning.REFUSED), self._unsent(ticket, error)
        except BaseException:
            limiter.failed(ticket)
            raise
        else:
            self._heard = True
            verdict, refused = await self._weighed(ticket, create, reply)
        return await self._recorded(ticket, create, reply, verdict, refused)

    def _unsent(self, ticket: Ticket, error: OmniError) -> Attempt:
        """Proved not to be sent, or the key could not be had."""
        if not isinstance(error, NotSentError):
            self._exchange.limiter.unused(ticket)
            return Attempt(error=error)
        self._exchange.limiter.failed(ticket, sent=False)
        return Attempt(error=error, again=not error.configuration)

    async def _weighed(self, ticket: Ticket, create: Create, reply: Reply) -> tuple[Verdict, Attempt | None]:
        """What the answer means, and what a refusal came to: it is none where a task is there all the same."""
        verdict = self._judged(reply)
        refused = self._give_back(ticket, create, reply, verdict)
        if refused is None or not verdict.candidate:
            return verdict, refused
        doubtful = verdict._replace(meaning=Meaning.UNCERTAIN, reason=NAMES_A_TASK)
        if self._journal.keeps:  # before the look-ups take their time
            answer = answer_of(create, reply, doubtful, None)
            await self._journal.answered(create.intent, attrs.evolve(answer, state="SUBMITTING"))
        key_refused = isinstance(refused.error, AuthenticationError)
        unknown = await is_unknown(self._exchange, verdict.candidate, key_refused=key_refused)
        return (verdict, refused) if unknown else (doubtful, None)

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
            return verdict._replace(meaning=Meaning.UNCERTAIN, reason=reason)
        return verdict

    def _give_back(self, ticket: Ticket, create: Create, reply: Reply, verdict: Verdict) -> Attempt | None:
        """Give the ticket back with what was learnt; a refusal is what the attempt came to."""
        limiter = self._exchange.limiter
        if verdict.meaning is Meaning.REFUSED:
            return self._refused(ticket, create, reply, verdict.refusal or Refusal(RefusalKind.BAD_REQUEST))
        if verdict.task_id is not None:
            limiter.accepted(ticket, verdict.task_id)
        elif verdict.refusal is not None and verdict.refusal.kind is RefusalKind.RATE:
            self._exchange.slow_down(ticket, reply, verdict.refusal)
        else:
            self._exchange.failed(ticket, reply)
        return None

    def _refused(self, ticket: Ticket, create: Create, reply: Reply, refusal: Refusal) -> Attempt:
        exchange, prompt = self._exchange, create.request.prompt
        error = error_of(refusal, reply, private=(prompt,), gateway=create.intent.gateway, may_have_charged=False)
        if isinstance(error, RateLimitError):
            decision = exchange.slow_down(ticket, reply, refusal)
            error.retry_after = decision.pause or exchange.limiter.estimate()
            return Attempt(error=error, again=True, hopeless=decision.hopeless, detail="refused for now")
        if isinstance(error, GatewayError):
            exchange.failed(ticket, reply, sent=False)
            return Attempt(error=error, again=True, pause=exchange.asked_for(reply) or 0.0, detail="the gateway failed")
        exchange.limiter.declined(ticket)
        renewable = is_unauthorized(error) and exchange.transport.key.renewable
        if renewable:
            exchange.transport.renew_key(reply)
        return Attempt(error=error, again=renewable, state="REJECTED", detail=str(error.args[0]))

    async def _recorded(
        self, ticket: Ticket, create: Create, reply: Reply | None, verdict: Verdict, refused: Attempt | None
    ) -> Attempt:
        """Write down what came back and means before it is decoded strictly. The ticket is back already."""
        if reply is None and refused is not None:
            await self._journal.settle(create.intent, refused.state, refused.detail)
            return refused
        seconds = loop_time() - ticket.sent_at
        own = verdict.task_id is not None and self._is_own(create, verdict.task_id)
        if self._journal.keeps:
            answer = answer_of(create, reply, verdict, refused)
            if answer.task_id is not None and not own:
                answer = attrs.evolve(answer, state="UNCERTAIN", task_id=None, candidate=answer.task_id, detail=SAME_ID)
            own = await self._journal.answered(create.intent, answer) != "UNCERTAIN"
        if refused is not None:
            return refused
        if verdict.task_id is None:
            return await self._uncertain(create, ticket, reply, verdict, seconds)
        if not own:
            return self._same_id(create, verdict.task_id, seconds)
        return self._accepted(create, reply, verdict.task_id, seconds)

    def _accepted(self, create: Create, reply: Reply | None, task_id: str, seconds: float) -> Attempt:
        task = accepted_task(self._exchange.dialect, create, reply, task_id)
        self._exchange.prompts.remember(task_id, create.request.prompt)
        self._submitted(task, create.request)
        if self._exchange.report.wanted:
            told = {**create.whose, "task_id": task_id, "model": task.model, "request_id": task.request_id}
            try:
                create.context.run(self._exchange.report, events.Submitted(**told, seconds=seconds))
            except BaseException:  # such as KeyboardInterrupt: it ends the program, and the id must not end with it
                self.posts.keep(Attempt(task=task), create.request)
                raise
        return Attempt(task=task)

    def _is_own(self, create: Create, task_id: str) -> bool:
        """Whether no other create was given this id. What goes by one idempotency key is the same create."""
        return self._issued.own(task_id, name_of(self._exchange.dialect, create) or create.intent.key)

    def _same_id(self, create: Create, task_id: str, seconds: float) -> Attempt:
        """Two creates were answered with one id (FAULTS row 26): the second has no task that is surely its own."""
        self._tell_uncertain(create, reason=SAME_ID, candidate=task_id, seconds=seconds)
        error = DecodeError(
            "the gateway answered with the task id of another create; look this one up in its console or bill",
            task_id=task_id,
        )
        return Attempt(error=error)

    async def _uncertain(
        self, create: Create, ticket: Ticket, reply: Reply | None, verdict: Verdict, seconds: float
    ) -> Attempt:
        """Nobody knows whether it was accepted: find out where that can be found out, else say so with the evidence."""
        candidate, reason = verdict.candidate, verdict.reason
        found = await find_lost(self._exchange, candidate=candidate, name=name_of(self._exchange.dialect, create))
        if found is not None and await self._found(create, found):
            self._exchange.limiter.adopt(ticket, found)
            return self._accepted(create, reply if candidate == found else None, found, 0.0)
        request_id = reply.request_id if reply else None
        self._tell_uncertain(create, reason=reason, candidate=candidate, request_id=request_id, seconds=seconds)
        return Attempt(error=uncertain_error(create, reply, verdict))

    async def _found(self, create: Create, task_id: str) -> bool:
        """Record whose task was found; False if it is another create's."""
        if not self._is_own(create, task_id):
            return False
        try:
            await self._journal.settle(create.intent, "SUBMITTED", FOUND, task_id=task_id)
        except JournalError as error:
            if error.kind != "conflict":
                raise
            return False
        return True

    def _tell_uncertain(self, create: Create, **told: Any) -> None:
        self.uncertain += 1
        if self._exchange.report.wanted:
            create.context.run(self._exchange.report, events.Uncertain(**create.whose, **told))
