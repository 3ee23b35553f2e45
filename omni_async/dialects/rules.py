"""What a model allows, as data, and the checks that read it.

A caller can override a table (gateways change their limits): `Jimmy(models=(ModelSpec(…),))`. What the documents
contradict themselves on is a warning, everything else they say is a fault.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import attrs

from ..errors import Fault
from ..fields import check_mapping, check_values, shown
from ..models import FIELDS, VideoRequest
from .dialect import Checked

TEXT, IMAGE, REFERENCE, EDIT = "text-to-video", "image-to-video", "reference-to-video", "video-edit"
MODES = (TEXT, IMAGE, REFERENCE, EDIT)
ORIENTATIONS: Mapping[str, str] = {"landscape": "16:9", "portrait": "9:16"}
GENERATION_TYPES = ("frame", "reference")
RATIO = r"[1-9][0-9]{0,4}:[1-9][0-9]{0,4}"


@attrs.frozen(kw_only=True)
class ModelSpec:
    """One model of a gateway.

    Args:
        name: As it is sent.
        aliases: Other names for it.
        durations: Seconds it makes.
        doubtful_durations: Seconds that one document shows and another does not list: warned about.
        resolutions: As they are sent; a caller's upper or lower case does not matter.
        aspect_ratios: None allows any `width:height`.
        image_counts: How many reference images it takes; None for any number.
        max_references: Images and videos together at most.
        ignores: Fields the gateway ignores for this model, with what it bills instead.
        ratio_bound: Resolutions that go with certain aspect ratios only.
    """

    name: str
    aliases: tuple[str, ...] = ()
    durations: tuple[int, ...]
    doubtful_durations: tuple[int, ...] = ()
    resolutions: tuple[str, ...]
    aspect_ratios: tuple[str, ...] | None = None
    image_counts: tuple[int, ...] | None = None
    max_references: int | None = None
    ignores: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    ratio_bound: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, hash=False)


ANY_MODEL = ModelSpec(name="any model", durations=(), resolutions=())
"""Stands for a model nobody knows, so that what no model takes is told beside that."""

Finding = tuple[Fault, bool]
"""A fault, and whether it is only doubtful."""
Check = Callable[[VideoRequest, ModelSpec], Iterator[Finding]]


def find_model(models: Iterable[ModelSpec], name: Any) -> ModelSpec | None:
    """The model of that name or alias; None picks the first, the default."""
    for spec in models:
        if name is None or name == spec.name or name in spec.aliases:
            return spec
    return None


def named(value: Any, allowed: Iterable[str]) -> Any:
    """`value` as the gateway spells it, if it differs only by case."""
    if not isinstance(value, str):
        return value
    return next((word for word in allowed if word.lower() == value.lower()), value)


def ratio(request: VideoRequest) -> str | None:
    """The aspect ratio asked for: `aspect_ratio` wins over `orientation` (seed)."""
    return request.aspect_ratio or ORIENTATIONS.get(str(request.orientation))


def modes_of(request: VideoRequest) -> tuple[str, ...]:
    """The modes a request's media can mean, the likeliest first.

    No media is text-to-video, a video is video-edit (or a reference, if the caller says so), one image as first
    frame is image-to-video, other images are reference-to-video.
    """
    if request.video_urls:
        return (EDIT, REFERENCE)
    if not request.reference_images:
        return (TEXT,)
    if request.generation_type == "frame":
        return (IMAGE,)
    single = len(request.reference_images) == 1 and request.generation_type is None
    return (REFERENCE, IMAGE) if single else (REFERENCE,)


def mode_word(mode: Any) -> Any:
    """A mode as this library spells it: `R2V`, underscores and capitals are understood. Another word stays as it is."""
    if not isinstance(mode, str):
        return mode
    word = mode.strip().lower().replace("_", "-").replace(" ", "-")
    word = {"r2v": REFERENCE, "t2v": TEXT, "i2v": IMAGE}.get(word, word)
    return word if word in MODES else mode


def extra_of(request: VideoRequest) -> dict[str, Any]:
    """The fields only a newer gateway knows."""
    return dict(request.extra) if request.extra and isinstance(request.extra, Mapping) else {}


def check_fields(request: VideoRequest, *, known: Iterable[str]) -> Iterator[Fault]:
    """Types, and values every gateway would refuse. `known` are the wire names that `extra` may not override."""
    return check_values(request, taken=chain(known, FIELDS))


def check_extra(extra: Any, known: Iterable[str], *, path: str = "extra") -> Iterator[Fault]:
    """Fields beyond the known ones: JSON, and none of the known ones by the back door, where no rule would see it."""
    return check_mapping(extra, chain(known, FIELDS), path=path)


def check_model(request: VideoRequest, models: tuple[ModelSpec, ...]) -> Checked:
    """Everything the model's table refuses or finds doubtful."""
    spec = find_model(models, request.model)
    if spec is None:
        names = tuple(name for model in models for name in (model.name, *model.aliases))
        unknown = Fault("model", f"{shown(request.model)} is not known", names)
        others = _found(request, ANY_MODEL, (_check_ratio, _check_media, _check_mode))
        return Checked((unknown, *others.faults), others.warnings)
    return _found(request, spec, (_check_duration, _check_resolution, _check_ratio, _check_media, _check_mode))


def _found(request: VideoRequest, spec: ModelSpec, checks: Iterable[Check]) -> Checked:
    faults: list[Fault] = []
    warnings: list[Fault] = []
    for check in checks:
        for fault, doubtful in check(request, spec):
            (warnings if doubtful else faults).append(fault)
    return Checked(tuple(faults), tuple(warnings))


def _check_duration(request: VideoRequest, spec: ModelSpec) -> Iterator[Finding]:
    seconds = request.duration
    if type(seconds) is not int:
        return
    if "duration" in spec.ignores:
        yield Fault("duration", f"{spec.name} ignores it and bills {spec.ignores['duration']}"), True
    elif seconds in spec.doubtful_durations:
        told = f"the documents disagree on {seconds}: an example sends it, the table omits it"
        yield Fault("duration", told, spec.durations), True
    elif seconds not in spec.durations:
        yield Fault("duration", f"{seconds} is not possible with {spec.name}", spec.durations), False


def _check_resolution(request: VideoRequest, spec: ModelSpec) -> Iterator[Finding]:
    if not isinstance(request.resolution, str):
        return
    word = named(request.resolution, spec.resolutions)
    if "resolution" in spec.ignores:
        yield Fault("resolution", f"{spec.name} ignores it and bills {spec.ignores['resolution']}"), True
    elif word not in spec.resolutions:
        told = f"{shown(request.resolution)} is not possible with {spec.name}"
        yield Fault("resolution", told, spec.resolutions), False
    elif word in spec.ratio_bound and (ratio(request) or "16:9") not in spec.ratio_bound[word]:
        yield Fault("resolution", f"{word} goes with certain aspect ratios only", spec.ratio_bound[word]), False


def _check_ratio(request: VideoRequest, spec: ModelSpec) -> Iterator[Finding]:
    asked = request.aspect_ratio
    if isinstance(request.orientation, str) and request.orientation not in ORIENTATIONS:
        yield Fault("orientation", f"{shown(request.orientation)} is not known", tuple(ORIENTATIONS)), False
    if not isinstance(asked, str):
        return
    if spec.aspect_ratios is None and not re.fullmatch(RATIO, asked):
        yield Fault("aspect_ratio", f"{shown(asked)} is not width:height", ("16:9", "9:16")), False
    elif spec.aspect_ratios is not None and asked not in spec.aspect_ratios:
        yield Fault("aspect_ratio", f"{shown(asked)} is not possible with {spec.name}", spec.aspect_ratios), False
    elif asked != ORIENTATIONS.get(str(request.orientation), asked):
        yield Fault("orientation", f"ignored, aspect_ratio {asked} wins over it"), True


def _check_media(request: VideoRequest, spec: ModelSpec) -> Iterator[Finding]:
    images, videos = len(request.reference_images), len(request.video_urls)
    if request.image_urls and request.images and request.image_urls != request.images:
        yield Fault("images", "ignored, image_urls wins over it"), True
    if videos > 1:
        yield Fault("video_urls", f"{videos} videos, at most 1 is possible"), False
    kind = request.generation_type
    if isinstance(kind, str) and kind not in GENERATION_TYPES:
        yield Fault("generation_type", f"{shown(kind)} is not known", GENERATION_TYPES), False
    if kind == "frame" and images != 1:
        yield Fault("image_urls", f"{images} images; frame takes exactly 1, the first frame", (1,)), False
    elif spec.image_counts is not None and images not in spec.image_counts:
        yield Fault("image_urls", f"{images} images are not possible with {spec.name}", spec.image_counts), False
    if spec.max_references is not None and images + videos > spec.max_references:
        told = f"{images + videos} references, {spec.name} takes at most {spec.max_references}"
        yield Fault("image_urls", told), False


def _check_mode(request: VideoRequest, _: ModelSpec) -> Iterator[Finding]:
    if not isinstance(request.mode, str):
        return
    word, possible = mode_word(request.mode), modes_of(request)
    if word not in MODES:
        yield Fault("mode", f"{shown(request.mode)} stands in no document", MODES), True
    elif word not in possible:
        yield Fault("mode", f"{word} does not go with the images and videos given", possible), False
