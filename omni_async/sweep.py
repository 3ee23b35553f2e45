"""One video in every combination of settings: what a gateway takes of them, and what it would refuse, before paying."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any, TypedDict, Unpack

import attrs

from .dialects import Dialect
from .errors import Fault, InvalidRequestError, invalid_request
from .fields import Links, check_values, shown
from .identity import canonical
from .models import FIELDS, VideoRequest
from .safety import target_key
from .settings import dialect_of

VARIED = ("model", "duration", "resolution", "aspect_ratio", "orientation", "mode", "generation_type")
"""Fields that take several values, in the order in which an id tells them."""
MOST = 10_000
"""Combinations of one sweep."""
LONGEST_ID = 120
"""Bytes of an id, so that it stays whole as a file's name."""
_ANY = object()
"""In the place of a value that makes no difference."""
CARRIED = "sweep_"
"""How the columns begin that carry a row's settings into the results of a batch."""


class SweepFields(TypedDict, total=False):
    """As `RequestFields`, with several values where a sweep takes them; None among them leaves the field unset."""

    model: str | Iterable[str | None] | None
    duration: int | Iterable[int | None] | None
    resolution: str | Iterable[str | None] | None
    aspect_ratio: str | Iterable[str | None] | None
    orientation: str | Iterable[str | None] | None
    image_urls: Links
    images: Links
    video_urls: Links
    generation_type: str | Iterable[str | None] | None
    mode: str | Iterable[str | None] | None
    extra: Mapping[str, Any]
    custom_id: str | None
    metadata: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Refused:
    """A combination that is not worth sending.

    Args:
        request: The combination; it has no id of its own.
        faults: Why: what the gateway's rules refuse, or that another combination makes the same video.
    """

    request: VideoRequest
    faults: tuple[Fault, ...]


@attrs.frozen(kw_only=True)
class Sweep:
    """Every combination of some settings.

    Args:
        requests: Those the gateway takes, each another video; `custom_id` says which it is.
        refused: The others, with their faults.
        varied: The fields that were given, one value or several.
        warnings: What is doubtful about some of `requests`, each once.
    """

    requests: tuple[VideoRequest, ...]
    refused: tuple[Refused, ...]
    varied: tuple[str, ...]
    warnings: tuple[Fault, ...] = ()

    @property
    def combinations(self) -> int:
        """How many there are in all."""
        return len(self.requests) + len(self.refused)

    def settings(self, request: VideoRequest) -> dict[str, Any]:
        """What one of the requests has in the fields that were given."""
        return {name: getattr(request, name) for name in self.varied}

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each request, as `run_batch` takes it and as a line of JSONL; its settings are carried along."""
        for request in self.requests:
            asked = request.to_dict()
            carried = {f"{CARRIED}{name}": value for name, value in self.settings(request).items() if value is not None}
            yield {"id": asked.pop("custom_id"), **asked, **carried}


def sweep_requests(
    request: VideoRequest | str | Mapping[str, Any], *, gateway: str | Dialect = "jimmy", **fields: Unpack[SweepFields]
) -> Sweep:
    """Every combination of the values given, checked by the gateway's rules. Sends nothing and looks at no file.

    A combination that the gateway would make the same video of as of an earlier one, because it ignores what differs,
    counts as refused: nobody should pay for it. The ids follow from the settings and, unless `custom_id` says how they
    begin, from the rest of the request: values that are added later change no id. A setting that the gateway warns it
    ignores is `any` in it.

    Args:
        request: What they have in common: a request, a text or a mapping, as `submit` takes it.
        gateway: As for `OmniClient`.
        fields: Further fields; those of `VARIED` take a list of values, in which None leaves the field unset.

    Returns:
        The combinations that are taken, each with an id of its own, and those that are not, with their faults.

    Raises:
        InvalidRequestError: Faults that concern all of them: no such field, no values, one twice, a wrong type, more
            than 10,000 combinations.
    """
    dialect = dialect_of(gateway)
    given, several = _parted(request, fields)
    base = VideoRequest.of(*given)
    axes = {name: several.get(name, (getattr(base, name),)) for name in VARIED}
    axes = {name: values for name, values in axes.items() if values != (None,)}
    unset: dict[str, Any] = dict.fromkeys(axes)
    faults = [*_check_axes(axes), *check_values(attrs.evolve(base, **unset), taken=FIELDS)]
    if faults:
        raise invalid_request(faults)
    return _sorted_out(base, axes, dialect)


Given = tuple[VideoRequest | str | Mapping[str, Any], Mapping[str, Any]]


def _parted(
    request: VideoRequest | str | Mapping[str, Any], fields: Mapping[str, Any]
) -> tuple[Given, dict[str, tuple[Any, ...]]]:
    """What `VideoRequest.of` takes with a None for what has several values, and these."""
    several: dict[str, tuple[Any, ...]] = {}

    def plain(given: Mapping[str, Any]) -> dict[str, Any]:
        lists = {name: tuple(value) for name, value in given.items() if name in VARIED and _is_several(value)}
        several.update(lists)
        return {**given, **dict.fromkeys(lists)}

    common = plain(request) if isinstance(request, Mapping) else request
    return (common, plain(fields)), several


def _is_several(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _check_axes(axes: Mapping[str, tuple[Any, ...]]) -> Iterator[Fault]:
    for name, values in axes.items():
        if not values:
            yield Fault(name, "no value is given")
        for place, value in enumerate(values):
            if value in values[:place]:
                yield Fault(name, f"{shown(value)} is given twice")
    count = math.prod(map(len, axes.values()))
    if count > MOST:
        yield Fault("combinations", f"there are {count:,} of them, {MOST:,} at most are taken")


def _word(field: str, value: Any) -> str:
    """A setting as a part of an id: letters and digits, the same on every file system."""
    if value is _ANY:
        return "any"
    if value is None:
        return "default"
    said = f"{value}s" if field == "duration" else str(value).replace(":", "x")
    return re.sub(r"[^\w.]+", "-", said).strip("-") or "-"


def _digest(value: Any, digits: int) -> str:
    text = json.dumps(value, sort_keys=True, default=lambda other: "any" if other is _ANY else str(other))
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def _sorted_out(base: VideoRequest, axes: Mapping[str, tuple[Any, ...]], dialect: Dialect) -> Sweep:
    """What is to be sent, and what is not."""
    sound: dict[str, VideoRequest] = {}
    refused: list[Refused] = []
    warnings: dict[Fault, None] = {}
    ids = _Ids(base)
    for values in product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        request = attrs.evolve(base, **chosen)
        checked = dialect.check(request)
        wrong = checked.faults or tuple(check_values(request, taken=FIELDS))  # a caller's own dialect may look at less
        asked, faults = _asked(dialect, request) if not wrong else ("", wrong)
        if not faults and asked in sound:
            faults = tuple(_no_difference(request, sound[asked], axes))
        if faults:
            refused.append(Refused(request=request, faults=faults))
        else:
            doubtful = {warning.field for warning in checked.warnings}
            ignored = [name for name in axes if name in doubtful and _is_ignored(dialect, request, name, asked)]
            sound[asked] = attrs.evolve(request, custom_id=ids.new({**chosen, **dict.fromkeys(ignored, _ANY)}))
            warnings.update(dict.fromkeys(checked.warnings))
    return Sweep(requests=tuple(sound.values()), refused=tuple(refused), varied=tuple(axes), warnings=tuple(warnings))


class _Ids:
    """Ids for the combinations of one request.

    Args:
        base: What they have in common.
    """

    def __init__(self, base: VideoRequest) -> None:
        common = {**base.to_dict(), "metadata": None, **dict.fromkeys(VARIED)}
        self._begin = base.custom_id or _digest(common, 6)
        self._taken: set[str] = set()

    def new(self, chosen: Mapping[str, Any]) -> str:
        """An id that says the settings, short enough for a file's name, and no other one's on any file system."""
        name = "-".join([self._begin, *(_word(*setting) for setting in chosen.items())])
        if target_key(name) in self._taken or len(name.encode()) > LONGEST_ID:
            cut = name.encode()[: LONGEST_ID - 9].decode("utf-8", "ignore")
            name = f"{cut}-{_digest([name, chosen], 8)}"
        self._taken.add(target_key(name))
        return name


def _is_ignored(dialect: Dialect, request: VideoRequest, name: str, asked: str) -> bool:
    """Whether the gateway would be asked for the same without a field."""
    unset: dict[str, Any] = {name: None}
    return _asked(dialect, attrs.evolve(request, **unset))[0] == asked


def _asked(dialect: Dialect, request: VideoRequest) -> tuple[str, tuple[Fault, ...]]:
    """What the gateway is asked for, which is the same text for the same video; or why the dialect cannot say it."""
    meant = attrs.evolve(request, orientation=None) if request.aspect_ratio else request  # the ratio wins over it
    try:
        return canonical(dialect.name, dialect.create(meant)), ()
    except InvalidRequestError as error:
        return "", error.faults or (Fault("request", "is refused by the dialect"),)


def _no_difference(request: VideoRequest, other: VideoRequest, varied: Iterable[str]) -> Iterator[Fault]:
    for name in varied:
        if getattr(request, name) != getattr(other, name):
            yield Fault(name, f"makes no difference here: the same video as {other.custom_id}")
