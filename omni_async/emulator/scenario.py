"""What the emulated gateways shall do, as data: how long tasks take, what is refused, what goes wrong."""

import difflib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Self

import attrs

LIMIT_STYLES = ("token_bucket", "fixed_window", "sliding_window")
LIMIT_WORDS = ("vague", "precise")
GATEWAYS = ("jimmy", "gemini_omni", "toapis")
MODES = ("text-to-video", "image-to-video", "reference-to-video", "video-edit")

API = ("create", "query", "upload", "balance")
ANY = (*API, "file")

# Kind of fault -> the requests it can concern, the usual one first.
FAULT_KINDS: dict[str, tuple[str, ...]] = {
    "drop_after_accept": ("create",),
    "drop": ANY,
    "hang": ANY,
    "rate_limited": API,
    "html_502": ANY,
    "html_200": API,
    "internal_error": API,
    "truncated_json": API,
    "drop_mid_answer": ANY,
    "slow": ANY,
    "no_id": ("create",),
    "refuse_moderation": ("create",),
    "fail": ("create",),
    "moderation": ("create",),
    "cancel": ("create",),
    "never_ends": ("create",),
    "unknown_status": ("query",),
    "flapping": ("query",),
    "missing_url": ("query",),
    "not_found_at_first": ("query",),
    "truncated_video": ("file",),
    "html_video": ("file",),
    "expired_url": ("file",),
}

# Creates that are accepted and charged although their answer goes wrong.
CHARGED_KINDS = frozenset(
    {"drop_after_accept", "hang", "html_200", "truncated_json", "drop_mid_answer", "slow", "no_id"}
)

_Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _refuse(owner: object, attribute: "attrs.Attribute[Any]", wanted: str, value: object) -> None:
    raise ValueError(f"{type(owner).__name__}.{attribute.name} must be {wanted}, not {value!r}")


def _number(*, above: float | None = None, most: float = math.inf, optional: bool = False) -> _Validator:
    """A finite number >= 0, or > `above`, and <= `most`."""
    wanted = "a number >= 0" if above is None else f"a number > {above:g}"
    wanted += f" and <= {most:g}" if most < math.inf else ""
    wanted += " or null" if optional else ""

    def check(owner: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if optional and value is None:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or value > most or (value < 0 if above is None else value <= above):
            _refuse(owner, attribute, wanted, value)

    return check


def _count(*, least: int = 0, optional: bool = True) -> _Validator:
    """A whole number >= `least`."""
    wanted = f"a whole number >= {least}" + (" or null" if optional else "")

    def check(owner: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if optional and value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            _refuse(owner, attribute, wanted, value)

    return check


def _one_of(*allowed: object) -> _Validator:
    wanted = "one of " + ", ".join(map(repr, allowed))

    def check(owner: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not any(value is item or (value == item and type(value) is type(item)) for item in allowed):
            _refuse(owner, attribute, wanted, value)

    return check


def _texts(owner: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    """Non-empty texts; None only where it is the default."""
    items = value if isinstance(value, tuple) else (value,)
    good = bool(items) and all(isinstance(item, str) and item for item in items)
    if not good and (value is not None or attribute.default is not None):
        _refuse(owner, attribute, "non-empty texts", value)


def _retry_after(owner: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, str):
        _number(optional=True)(owner, attribute, value)


def _tuple(value: Any) -> Any:
    """JSON has lists only; one text alone means a tuple of it."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _tuple_or_text(value: Any) -> Any:
    return value if isinstance(value, str) else _tuple(value)


def known_fields(cls: type[attrs.AttrsInstance], values: object) -> dict[str, Any]:
    """The mapping itself if every key is a field of `cls`; else ValueError with the nearest name."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{cls.__name__} must be a JSON object, not {type(values).__name__}")
    names = [field.name for field in attrs.fields(cls)]
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1)
            hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(names)
            raise ValueError(f"{cls.__name__} has no field {key!r}; {hint}")
    return dict(values)


def _usual_request(fault: "InjectedFault") -> str:
    return FAULT_KINDS.get(fault.kind, ("create",))[0]


def _possible_request(fault: "InjectedFault", attribute: "attrs.Attribute[str]", value: str) -> None:
    _one_of(*FAULT_KINDS[fault.kind])(fault, attribute, value)


def _usually_charged(fault: "InjectedFault") -> bool:
    return fault.kind in CHARGED_KINDS


@attrs.frozen
class InjectedFault:
    """One thing that goes wrong.

    Args:
        kind: what happens, one of `FAULT_KINDS`.
        on: the requests concerned ("create", "query", "file", "upload", "balance"); the kind's usual one
            unless set.
        first: only the first so many matching requests (of each task, for `not_found_at_first`).
        every: only each so manieth matching request.
        probability: chance per matching request, drawn from the scenario's seed.
        prompt: only tasks whose prompt contains this text.
        gateway: only this gateway.
        seconds: how long, where the kind has a duration: `hang` (then it answers), `slow`,
            `not_found_at_first`; the Retry-After of `rate_limited`.
        charged: whether a create is accepted and charged all the same; the kind's usual unless set.
    """

    kind: str = attrs.field(validator=_one_of(*FAULT_KINDS))
    on: str = attrs.field(
        default=attrs.Factory(_usual_request, takes_self=True), kw_only=True, validator=_possible_request
    )
    first: int | None = attrs.field(default=None, kw_only=True, validator=_count())
    every: int | None = attrs.field(default=None, kw_only=True, validator=_count(least=1))
    probability: float | None = attrs.field(default=None, kw_only=True, validator=_number(most=1, optional=True))
    prompt: str | None = attrs.field(default=None, kw_only=True)
    gateway: str | None = attrs.field(default=None, kw_only=True, validator=_one_of(None, *GATEWAYS))
    seconds: float | None = attrs.field(default=None, kw_only=True, validator=_number(optional=True))
    charged: bool = attrs.field(
        default=attrs.Factory(_usually_charged, takes_self=True), kw_only=True, validator=_one_of(True, False)
    )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain JSON data; ValueError names the field that is wrong."""
        known = known_fields(cls, values)
        if "kind" not in known:
            raise ValueError("InjectedFault needs a kind, one of " + ", ".join(FAULT_KINDS))
        return cls(**known)


def _faults(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    return tuple(item if isinstance(item, InjectedFault) else InjectedFault.from_dict(item) for item in value)


def _all_faults(owner: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, tuple):
        _refuse(owner, attribute, "a list of faults", value)


@attrs.frozen(kw_only=True)
class Scenario:
    """How the emulator behaves. All times are seconds, sizes bytes; every field has a harmless default.

    Tasks: `task_seconds` is the median run time and `task_sigma` its lognormal spread (0: exact), drawn from
    `seed`; `queue_seconds` of it (at most half) are spent queued; `time_scale` multiplies them all.
    `progress` True grows while running, "stuck" stops at 30, False leaves it out.

    Limits, hidden from the client: `requests_per_second`, `creates_per_second` (both after `limit_style`;
    `burst` tokens for the bucket, one second's worth unless set), `http_concurrency` requests in flight,
    `running_tasks` unfinished. A refusal is a 429 with `retry_after` as its header (a number of seconds or any
    text; None: none), or hidden in a 200 (`limits_in_200`). Its words name the limit only when `limit_words`
    is "precise". `latency` is added to each API answer, after accepting and charging.

    Account: `balance` (None: no cap) and `price` per video; `keys` accepted (None: any non-empty one).

    Videos: `url_seconds` is the life of a signed URL (None: 3 days on jimmy, 24 h elsewhere); `renew_urls`
    False: a query after that gives the same dead URL; `relative_urls`: jimmy leaves out scheme and host;
    `video_bytes` pads the served file up to that size. `upload_bytes` replaces the gateways' upload limits.

    `webhook_secret` signs toapis webhooks, several while a key rotates; one that fails is sent again three
    times, `webhook_retry` seconds later and doubling. `modes` are those the guide's shape knows. `closed`: None
    refuses unknown fields except on jimmy, whose schema is open; True refuses them everywhere, False nowhere.
    """

    task_seconds: float = attrs.field(default=3.0, validator=_number())
    task_sigma: float = attrs.field(default=0.35, validator=_number())
    queue_seconds: float = attrs.field(default=0.2, validator=_number())
    time_scale: float = attrs.field(default=1.0, validator=_number())
    seed: int = attrs.field(default=0, validator=_count(optional=False))
    progress: bool | str = attrs.field(default=True, validator=_one_of(True, False, "stuck"))

    latency: float = attrs.field(default=0.0, validator=_number())
    requests_per_second: float | None = attrs.field(default=None, validator=_number(above=0, optional=True))
    creates_per_second: float | None = attrs.field(default=None, validator=_number(above=0, optional=True))
    limit_style: str = attrs.field(default="token_bucket", validator=_one_of(*LIMIT_STYLES))
    burst: float | None = attrs.field(default=None, validator=_number(above=0, optional=True))
    http_concurrency: int | None = attrs.field(default=None, validator=_count())
    running_tasks: int | None = attrs.field(default=None, validator=_count())
    retry_after: float | str | None = attrs.field(default=None, validator=_retry_after)
    limits_in_200: bool = attrs.field(default=False, validator=_one_of(True, False))
    limit_words: str = attrs.field(default="vague", validator=_one_of(*LIMIT_WORDS))

    balance: float | None = attrs.field(default=None, validator=_number(optional=True))
    price: float = attrs.field(default=1.0, validator=_number())
    keys: tuple[str, ...] | None = attrs.field(default=None, converter=_tuple, validator=_texts)

    url_seconds: float | None = attrs.field(default=None, validator=_number(optional=True))
    renew_urls: bool = attrs.field(default=True, validator=_one_of(True, False))
    relative_urls: bool = attrs.field(default=False, validator=_one_of(True, False))
    video_bytes: int | None = attrs.field(default=None, validator=_count())
    upload_bytes: int | None = attrs.field(default=None, validator=_count())

    webhook_secret: str | tuple[str, ...] = attrs.field(
        default="emulator-webhook-secret", converter=_tuple_or_text, validator=_texts
    )
    webhook_retry: float = attrs.field(default=1.0, validator=_number())
    modes: tuple[str, ...] = attrs.field(default=MODES, converter=_tuple, validator=_texts)
    closed: bool | None = attrs.field(default=None, validator=_one_of(None, True, False))
    faults: tuple[InjectedFault, ...] = attrs.field(default=(), converter=_faults, validator=_all_faults)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain JSON data; ValueError names the field that is wrong and what it may be."""
        return cls(**known_fields(cls, values))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Build from JSON text; ValueError as `from_dict`, or where the text is not JSON."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ValueError(f"the scenario is not JSON: {error}") from None
        return cls.from_dict(values)
