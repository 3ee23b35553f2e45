"""What the library reports to `on_event`: small frozen facts, never a prompt, a key or a URL.

The library prints nothing. Logging, progress bars and telemetry are consumers of these. A consumer is called in the
client's event loop, synchronously, so it must be quick. What it raises is logged once and swallowed.

The kinds are loaded with the first event, or with the first of their names: nobody may be listening.
"""

from typing import TYPE_CHECKING

from ..lazy import lazily
from .event import Event, OnEvent, OnFinished, fan_out

if TYPE_CHECKING:
    from .kinds import Downloaded, Finished, Polled, Retried, Submitted, Throttled, Uncertain

__all__ = [
    "Downloaded",
    "Event",
    "Finished",
    "OnEvent",
    "OnFinished",
    "Polled",
    "Retried",
    "Submitted",
    "Throttled",
    "Uncertain",
    "fan_out",
]

_KINDS = "Downloaded Finished Polled Retried Submitted Throttled Uncertain"
__getattr__ = lazily(__name__, dict.fromkeys(_KINDS.split(), ".kinds"))
