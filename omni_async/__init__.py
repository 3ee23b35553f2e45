"""asyncio-native client for Gemini Omni video generation: nothing paid is lost, nothing is paid twice.

    async with OmniClient(gateway="jimmy") as client:  # the key from JIMMYAI_API_KEY, or api_key=…
        task = await client.generate("a cat in neon rain", duration=6, output="cat.mp4")
        print(task.task_id, task.status)

`help(OmniClient)` tells of each call, `run_batch` makes the videos of a whole sheet.

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
    from .batch import Plan, Prices, Summary, run_batch
    from .client import OmniClient
    from .dialects import Checked, Dialect, GeminiOmni, Jimmy, ModelSpec, ToApis
    from .events import Downloaded, Event, Finished, Polled, Retried, Submitted, Throttled, Uncertain
    from .fields import RequestFields
    from .journal import Journal
    from .limiter import Limiter
    from .many import Many
    from .models import Balance, Outcome, Stats, TaskStatus, VideoRequest, VideoTask
    from .policies import Limits, PollPolicy, Recording, RetryPolicy, Timeouts
    from .poller import Completed, Resumed, Watch
    from .sweep import Refused, Sweep, SweepFields, sweep_requests
    from .webhooks import SeenEvents, WebhookEvent, verify_webhook

__all__ = [
    "AnswerLostError",
    "ApiError",
    "AuthenticationError",
    "Balance",
    "Checked",
    "Completed",
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
    "Journal",
    "JournalError",
    "Limiter",
    "Limits",
    "Many",
    "ModelSpec",
    "NotFoundError",
    "NotSentError",
    "OmniClient",
    "OmniError",
    "Outcome",
    "Plan",
    "PollPolicy",
    "Polled",
    "Prices",
    "QuotaError",
    "RateLimitError",
    "Recording",
    "Refused",
    "RejectedError",
    "RequestFields",
    "ResultExpiredError",
    "Resumed",
    "Retried",
    "RetryPolicy",
    "SeenEvents",
    "Stats",
    "SubmissionUncertainError",
    "Submitted",
    "Summary",
    "Sweep",
    "SweepFields",
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
    "Watch",
    "WebhookError",
    "WebhookEvent",
    "__version__",
    "run_batch",
    "sweep_requests",
    "verify_webhook",
]

_HOMES = {
    ".batch": "Plan Prices Summary run_batch",
    ".client": "OmniClient",
    ".dialects": "Checked Dialect GeminiOmni Jimmy ModelSpec ToApis",
    ".events": "Downloaded Event Finished Polled Retried Submitted Throttled Uncertain",
    ".fields": "RequestFields",
    ".journal": "Journal",
    ".limiter": "Limiter",
    ".many": "Many",
    ".models": "Balance Outcome Stats TaskStatus VideoRequest VideoTask",
    ".policies": "Limits PollPolicy Recording RetryPolicy Timeouts",
    ".poller": "Completed Resumed Watch",
    ".sweep": "Refused Sweep SweepFields sweep_requests",
    ".webhooks": "SeenEvents WebhookEvent verify_webhook",
}
__getattr__ = lazily(__name__, {name: home for home, names in _HOMES.items() for name in names.split()})


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
