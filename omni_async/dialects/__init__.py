"""The gateways' dialects: attrs requests to wire calls and back, all pure functions."""

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
from .gemini_omni import GeminiOmni, ToApis
from .jimmy import Jimmy
from .rules import ModelSpec
from .verdict import Meaning, Verdict, error_of, explain, judge_create, refusal_of, scrubbed, unreadable
from .wire import Call, CallKind, Glance, Reply

DIALECTS: dict[str, type[Jimmy] | type[GeminiOmni] | type[ToApis]] = {
    "gemini_omni": GeminiOmni,
    "jimmy": Jimmy,
    "toapis": ToApis,
}

__all__ = [
    "DIALECTS",
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
    "error_of",
    "explain",
    "judge_create",
    "refusal_of",
    "scrubbed",
    "unreadable",
]
