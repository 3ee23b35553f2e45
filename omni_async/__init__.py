"""asyncio-native client for Gemini Omni video generation: nothing paid is lost, nothing is paid twice.

PYTEST_DONT_REWRITE: nothing here asserts, and a pytest that is started by a program which uses the package, as
notebooks do, would warn that it comes too late to rewrite it.
"""

from typing import TYPE_CHECKING

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
    WebhookError,
)
from .lazy import lazily
from .version import __version__

if TYPE_CHECKING:
    from .batch import run_batch
    from .client import OmniClient
    from .dialects import Dialect, GeminiOmni, Jimmy, ModelSpec, ToApis
    from .events import Downloaded, Event, Finished, Polled, Retried, Submitted, Throttled, Uncertain
    from .fields import RequestFields
    from .limiter import Limiter
    from .models import Balance, Outcome, Stats, TaskStatus, VideoRequest, VideoTask
    from .policies import Limits, PollPolicy, Recording, RetryPolicy, Timeouts
    from .sweep import Sweep, sweep_requests
    from .webhooks import SeenEvents, WebhookEvent, verify_webhook

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
    "Recording",
    "RejectedError",
    "RequestFields",
    "ResultExpiredError",
    "Retried",
    "RetryPolicy",
    "SeenEvents",
    "Stats",
    "SubmissionUncertainError",
    "Submitted",
    "Sweep",
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
    "WebhookError",
    "WebhookEvent",
    "__version__",
    "run_batch",
    "sweep_requests",
    "verify_webhook",
]

_HOMES = {
    ".batch": "run_batch",
    ".client": "OmniClient",
    ".dialects": "Dialect GeminiOmni Jimmy ModelSpec ToApis",
    ".events": "Downloaded Event Finished Polled Retried Submitted Throttled Uncertain",
    ".limiter": "Limiter",
    ".fields": "RequestFields",
    ".models": "Balance Outcome Stats TaskStatus VideoRequest VideoTask",
    ".policies": "Limits PollPolicy Recording RetryPolicy Timeouts",
    ".sweep": "Sweep sweep_requests",
    ".webhooks": "SeenEvents WebhookEvent verify_webhook",
}
__getattr__ = lazily(__name__, {name: home for home, names in _HOMES.items() for name in names.split()})


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
