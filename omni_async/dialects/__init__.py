"""The gateways' dialects: attrs requests to wire calls and back, all pure functions.

What a gateway that is not the default needs is loaded with the first client of it.
"""

from typing import TYPE_CHECKING

from ..lazy import lazily
from .dialect import (
    Abilities,
    Cause,
    Checked,
    Dialect,
    Refusal,
    RefusalKind,
    RefusalRule,
    UploadRules,
)
from .jimmy import Jimmy
from .outcome import refused_look
from .rules import ModelSpec
from .verdict import Meaning, Verdict, error_of, judge_create, refusal_of, scrubbed, unreadable
from .wire import Call, CallKind, Glance, Reply, dig, instant, structure, text

if TYPE_CHECKING:
    from .gemini_omni import GeminiOmni, ToApis

GATEWAYS = {"gemini_omni": "GeminiOmni", "jimmy": "Jimmy", "toapis": "ToApis"}
"""Each known gateway's name, and the name of its dialect's class."""

__all__ = [
    "GATEWAYS",
    "Abilities",
    "Call",
    "CallKind",
    "Cause",
    "Checked",
    "Dialect",
    "GeminiOmni",
    "Glance",
    "Jimmy",
    "Meaning",
    "ModelSpec",
    "Refusal",
    "RefusalKind",
    "RefusalRule",
    "Reply",
    "ToApis",
    "UploadRules",
    "Verdict",
    "dialect_named",
    "dig",
    "error_of",
    "instant",
    "judge_create",
    "refusal_of",
    "refused_look",
    "scrubbed",
    "structure",
    "text",
    "unreadable",
]

__getattr__ = lazily(__name__, {"GeminiOmni": ".gemini_omni", "ToApis": ".gemini_omni"})


def dialect_named(gateway: str) -> Dialect:
    """A new dialect of a known gateway.

    Raises:
        KeyError: It is not in `GATEWAYS`.
    """
    kind: type[Dialect] = Jimmy if gateway == "jimmy" else __getattr__(GATEWAYS[gateway])
    return kind()
