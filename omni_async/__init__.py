"""asyncio-native client for Gemini Omni video generation: nothing paid is lost, nothing is paid twice."""

from typing import TYPE_CHECKING, Any

from .client import OmniClient
from .dialects import Dialect, GeminiOmni, Jimmy, ModelSpec, ToApis
from .errors import (
    AnswerLostError,
    ApiError,
    AuthenticationError,
    DecodeError,
    DownloadError,
    Fault,
    GatewayError,
    IntegrityError,
    InvalidRequestError,
    JournalError,
    NotFoundError,
    NotSentError,
    OmniError,
    QuotaError,
    RateLimitError,
    RejectedError,
    ResultExpiredError,
    SubmissionUncertainError,
    TargetExistsError,
    TaskFailedError,
    TransportError,
    UnsafeURLError,
    WaitTimeoutError,
)
from .events import Downloaded, Event, Finished, Polled, Retried, Submitted, Throttled, Uncertain
from .limiter import Limiter
from .models import Balance, Outcome, Stats, TaskStatus, VideoRequest, VideoTask
from .policies import Limits, PollPolicy, RetryPolicy, Timeouts
from .version import __version__

if TYPE_CHECKING:
    from .batch import run_batch

__all__ = [
    "AnswerLostError",
    "ApiError",
    "AuthenticationError",
    "Balance",
    "DecodeError",
    "Dialect",
    "DownloadError",
    "Downloaded",
    "Event",
    "Fault",
    "Finished",
    "GatewayError",
    "GeminiOmni",
    "IntegrityError",
    "InvalidRequestError",
    "Jimmy",
    "JournalError",
    "Limiter",
    "Limits",
    "ModelSpec",
    "NotFoundError",
    "NotSentError",
    "OmniClient",
    "OmniError",
    "Outcome",
    "PollPolicy",
    "Polled",
    "QuotaError",
    "RateLimitError",
    "RejectedError",
    "ResultExpiredError",
    "Retried",
    "RetryPolicy",
    "Stats",
    "SubmissionUncertainError",
    "Submitted",
    "TargetExistsError",
    "TaskFailedError",
    "TaskStatus",
    "Throttled",
    "Timeouts",
    "ToApis",
    "TransportError",
    "Uncertain",
    "UnsafeURLError",
    "VideoRequest",
    "VideoTask",
    "WaitTimeoutError",
    "__version__",
    "run_batch",
]


def __getattr__(name: str) -> Any:
    """`run_batch`, imported when it is first asked for: an app that submits one by one does not pay for it."""
    if name == "run_batch":
        from .batch import run_batch

        return run_batch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
