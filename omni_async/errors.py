"""What can go wrong, sorted by what the caller can do about it.

Every exception that leaves the library is an `OmniError`. Each carries the ids it is about and
`may_have_charged`, which is False only where it is proved that the gateway accepted nothing: never
refund a customer while it is True.

All of them can be pickled and copied; none holds an API key, a prompt or a signed URL.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

if TYPE_CHECKING:  # read only where somebody asks what an error means
    from .explanations import Both
    from .models import VideoTask


class Fault(NamedTuple):
    """One thing wrong with a request: the field, what is wrong, and the values that would do."""

    field: str
    problem: str
    allowed: tuple[Any, ...] = ()

    def __str__(self) -> str:
        """The fault as one line, the allowed values at its end."""
        allowed = f"; allowed: {', '.join(map(str, self.allowed))}" if self.allowed else ""
        return f"{self.field}: {self.problem}{allowed}"


class OmniError(Exception):
    """Root of everything this library raises.

    Args:
        message: What happened and the next step, without key, prompt or signed URL.
        gateway: Name of the gateway concerned.
        custom_id: The caller's own id of the request concerned.
        task_id: The gateway's id of the task concerned.
        request_id: The gateway's id of the HTTP request, to quote to its support.
        may_have_charged: False only if it is proved that nothing was accepted; None takes the class's word.
        metadata: The caller's own data, carried back; empty if there is none.
    """

    may_have_charged: bool = True

    def __init__(
        self,
        message: str,
        *,
        gateway: str | None = None,
        custom_id: str | None = None,
        task_id: str | None = None,
        request_id: str | None = None,
        may_have_charged: bool | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.gateway = gateway
        self.custom_id = custom_id
        self.task_id = task_id
        self.request_id = request_id
        self.metadata: Mapping[str, Any] = metadata or {}
        if may_have_charged is not None:
            self.may_have_charged = may_have_charged

    def about(self, **known: Any) -> Self:
        """Fill in attributes that are still empty, and give the same error back.

        Args:
            known: Attribute names (`gateway`, `custom_id`, `task_id`, `request_id`, `metadata`) and values; an empty
                one tells nothing.
        """
        for name, value in known.items():
            if value and not getattr(self, name):
                setattr(self, name, value)
        return self

    def __str__(self) -> str:
        """The message, then the ids it is about."""
        known = [
            f"{word} {value}"
            for word, value in (
                ("gateway", self.gateway),
                ("custom_id", self.custom_id),
                ("task", self.task_id),
                ("request", self.request_id),
            )
            if value is not None
        ]
        return f"{self.args[0]} ({', '.join(known)})" if known else str(self.args[0])

    def explain(self, language: str = "en") -> str:
        """What it means and what to do next, in English or Chinese.

        What the gateway said is explained as far as it is known, and never guessed; without ids and own words. The
        faults of a request are named, the first ten of them.

        Args:
            language: `en`, or `zh` and what begins with it, such as `zh_CN.UTF-8`.
        """
        from .explanations import explanation

        return explanation(self._meaning(language), self._step(), language)

    def _meaning(self, language: str) -> str:
        """What it says of itself, as far as that is known."""
        from .explanations import meaning

        return meaning(self._said(), language)

    def _said(self) -> str:
        """The gateway's own words."""
        return ""

    def _step(self) -> "Both":
        """What to do next."""
        from .explanations import MODERATION, STEPS

        if getattr(self, "moderated", False):
            return MODERATION
        return next(STEPS[kind.__name__] for kind in type(self).__mro__ if kind.__name__ in STEPS)


class InvalidRequestError(OmniError, ValueError):
    """Refused before any I/O; `faults` names everything that is wrong, with the allowed values."""

    may_have_charged = False

    def __init__(self, message: str, *, faults: tuple[Fault, ...] = (), **about: Any) -> None:
        super().__init__(message, **about)
        self.faults = faults

    def _meaning(self, language: str) -> str:
        from .explanations import problems

        return problems(self.faults, language)


def invalid_request(faults: Iterable[Fault], **about: Any) -> InvalidRequestError:
    """One error that names every fault of a request or a sheet, a line each."""
    found = tuple(faults)
    noun = "fault" if len(found) == 1 else "faults"
    lines = "".join(f"\n  - {fault}" for fault in found)
    return InvalidRequestError(f"nothing was sent, the request has {len(found)} {noun}:{lines}", faults=found, **about)


def invalid_argument(*faults: Fault, **about: Any) -> InvalidRequestError:
    """One error that names every fault of an argument or a setting, in one line."""
    return InvalidRequestError("; ".join(map(str, faults)), faults=faults, **about)


class TransportError(OmniError):
    """No usable answer came back."""


class NotSentError(TransportError):
    """Surely never sent: nothing was charged, and it is safe to send again.

    `configuration` is True where trying again cannot help before something is set right, such as a
    certificate that does not match.
    """

    may_have_charged = False

    def __init__(self, message: str, *, configuration: bool = False, **about: Any) -> None:
        super().__init__(message, **about)
        self.configuration = configuration

    def _step(self) -> "Both":
        from .explanations import UNSET

        return UNSET if self.configuration else super()._step()


class AnswerLostError(TransportError):
    """It was sent, and the outcome is unknown; `timed_out` if for want of an answer in time."""

    def __init__(self, message: str, *, timed_out: bool = False, **about: Any) -> None:
        super().__init__(message, **about)
        self.timed_out = timed_out


class SubmissionUncertainError(OmniError):
    """A create that may have been charged: never sent again by itself.

    `evidence` holds what is known: `reason`, `status`, the `body` as received (at most 64 KiB), a `candidate` task
    id if one was seen, `sent_before` if an earlier call sent it. Look the task up in the gateway's console or bill,
    then adopt its id or write it off.
    """

    def __init__(self, message: str, *, evidence: Mapping[str, Any] | None = None, **about: Any) -> None:
        super().__init__(message, **about)
        self.evidence: Mapping[str, Any] = evidence or {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles and copies leave the body out: it can quote a prompt or a signed URL. The journal keeps it."""
        evidence = {name: value for name, value in self.evidence.items() if name != "body"}
        return type(self), self.args, {**self.__dict__, "evidence": evidence}


class ApiError(OmniError):
    """The gateway refused, in its own words or by an HTTP status.

    `by_page` if by its status alone, with no JSON object: that may have been a proxy or a firewall in between.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        code: str | None = None,
        message_text: str = "",
        by_page: bool = False,
        **about: Any,
    ) -> None:
        super().__init__(message, **about)
        self.status_code = status_code
        self.code = code
        self.message = message_text or message
        self.by_page = by_page

    def _said(self) -> str:
        return f"{self.code or ''} {self.message}"


class AuthenticationError(ApiError):
    """The key is missing, wrong, expired or not allowed to do this."""


class QuotaError(ApiError):
    """The account's balance or quota is used up."""


class RejectedError(ApiError):
    """The request itself was refused; `moderated` if for its content. Sending it unchanged cannot help."""

    def __init__(self, message: str, *, moderated: bool = False, **about: Any) -> None:
        super().__init__(message, **about)
        self.moderated = moderated


class NotFoundError(ApiError):
    """The gateway knows no such task or route."""


class RateLimitError(ApiError):
    """Refused for now: too many requests, too many running tasks, or a quota. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float | None = None, **about: Any) -> None:
        super().__init__(message, **about)
        self.retry_after = retry_after


class GatewayError(ApiError):
    """The gateway failed: a 5xx, or its envelope's equivalent."""


class DecodeError(OmniError):
    """The answer is not in the dialect's shape; `path` says where (`$.data.task_id`), `excerpt` what stood there.

    `terminal` is True if the answer does say that the task is finished, and only its result is missing; or that
    something failed, and not what.
    """

    def __init__(
        self, message: str, *, path: str = "$", excerpt: str = "", terminal: bool = False, **about: Any
    ) -> None:
        super().__init__(message, **about)
        self.path = path
        self.excerpt = excerpt
        self.terminal = terminal


class TaskFailedError(OmniError):
    """The gateway finished the task without a video.

    `task` is the finished task, which all that the library raises have; `moderated` whether its content was refused,
    `retryable` whether a new attempt (a new payment) has a chance.
    """

    if TYPE_CHECKING:
        task: VideoTask

    def __init__(
        self, message: str, *, task: Any = None, moderated: bool = False, retryable: bool = True, **about: Any
    ) -> None:
        super().__init__(message, **about)
        self.task = task
        self.moderated = moderated
        self.retryable = retryable

    def _said(self) -> str:
        return f"{self.task.error_code or ''} {self.task.error_message or ''}" if self.task is not None else ""

    def _step(self) -> "Both":
        from .explanations import WRONG_ROUTE, chat_was_called

        return WRONG_ROUTE if chat_was_called("", self.task.raw if self.task is not None else None) else super()._step()


class WaitTimeoutError(OmniError, TimeoutError):
    """No end was seen when the wait ended: not a failure. `task` is its last known state, `waited` is in seconds.

    `__cause__` is why the last look at it told nothing, where that is so: then nobody knows whether it still runs.
    """

    if TYPE_CHECKING:
        task: VideoTask | None

    def __init__(self, message: str, *, task: Any = None, waited: float = 0.0, **about: Any) -> None:
        super().__init__(message, **about)
        self.task = task
        self.waited = waited

    def _meaning(self, language: str) -> str:
        why = self.__cause__
        return why._meaning(language) if isinstance(why, OmniError) else ""  # noqa: SLF001 - one of ours

    def _step(self) -> "Both":
        from .explanations import UNSEEN

        return UNSEEN if self.__cause__ is not None or self.task is None else super()._step()


class DownloadError(OmniError):
    """The video is paid for and was not stored; downloading again costs nothing.

    `temporary` is True where later it can be had: the video's server could not be reached, failed, broke off or was too
    slow; or something is `still` to end first, the task (`running`) or another download of the file (`storing`).
    `retry_after` is in seconds, if the server told that.
    """

    def __init__(
        self,
        message: str,
        *,
        temporary: bool = False,
        still: Literal["running", "storing"] | None = None,
        retry_after: float | None = None,
        **about: Any,
    ) -> None:
        super().__init__(message, **about)
        self.temporary = temporary
        self.still = still
        self.retry_after = retry_after

    def _step(self) -> "Both":
        from .explanations import STILL

        return super()._step() if self.still is None else STILL[self.still]


class UnsafeURLError(DownloadError):
    """The URL leads where a download must not go: a private address, plain http, or too many redirects."""


class ResultExpiredError(DownloadError):
    """The URL no longer works, and a fresh one was not to be had."""


class IntegrityError(DownloadError):
    """What arrived is not the whole video, or no video."""


class TargetExistsError(DownloadError, FileExistsError):
    """There is a file of that name already; `overwrite=True` replaces it."""


JournalTrouble = Literal["locked", "conflict", "damaged", "newer", "full", "setup", "noted", "failed"]
"""Why a journal cannot be used."""


class JournalError(OmniError):
    """The journal cannot be used.

    `kind` says why: `locked` by another process, in `conflict` with what it knows, `damaged`, `newer` than this
    library, the disk is `full`, its tables or rights need a `setup`, it has gone and what it could not take is `noted`
    elsewhere, or something else `failed`.
    """

    def __init__(self, message: str, *, kind: JournalTrouble = "failed", **about: Any) -> None:
        super().__init__(message, **about)
        self.kind = kind


class WebhookError(OmniError):
    """A webhook that is not genuine, not fresh, or malformed: answer it with 400 and do nothing.

    It holds neither the secret nor what came. Nothing is paid by it, whoever sent it.
    """

    may_have_charged = False
