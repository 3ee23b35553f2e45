"""What the fields of a request are called and may hold, whatever the gateway; asked by all that takes them."""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from os import PathLike, fspath
from typing import Any, TypedDict

from .errors import Fault

TEXTS = ("model", "resolution", "aspect_ratio", "orientation", "generation_type", "mode", "custom_id")
LINKS = ("image_urls", "images", "video_urls")
Links = str | PathLike[str] | Iterable[str | PathLike[str]] | None
"""References as they are given: URLs or local paths, or one alone."""
_LONGEST_PATH = 4096
_SCHEME = r"(?i)data:|[a-z][a-z0-9+.-]+://"
NOT_UNICODE = "holds half a surrogate pair, which has no UTF-8 form"

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})
_BLANKS = "\u2800\u3164"
"""A sign and a letter that show nothing: braille without a dot, and Hangul's filler."""
_FRAME = "did you mean 'image_urls'? With generation_type='frame' the one image is the first frame"
_WATCH = "client.watch(task) gives each change of status and progress"
_CALLBACK = "extra={'callback_url': …}, where the gateway calls back (toapis)"
_OUTPUT = "generate(output=…) stores the video, and so does client.download"
_LAST = "not offered: no gateway takes a last frame"
_ONE = "one request makes one video; generate_many makes many"
_OTHER_WORDS = {
    **dict.fromkeys(("id", "idempotencykey"), "did you mean 'custom_id'?"),
    **dict.fromkeys(("text", "prompttext"), "did you mean 'prompt'?"),
    **dict.fromkeys(("seconds", "length", "durationseconds"), "did you mean 'duration'?"),
    **dict.fromkeys(("size", "ratio"), "did you mean 'aspect_ratio'?"),
    **dict.fromkeys(("image", "promptimage", "inputreference", "firstframe", "startimage", "startimageurl"), _FRAME),
    **dict.fromkeys(("referenceimages", "referenceimageurls"), "did you mean 'image_urls'?"),
    "video": "did you mean 'video_urls'?",
    **dict.fromkeys(("endframe", "lastframe", "endimage", "lastimage", "endimageurl", "lastimageurl"), _LAST),
    **dict.fromkeys(("onqueueupdate", "onprogress", "onchange"), _WATCH),
    "pollinterval": "OmniClient(poll=PollPolicy(…)) says when to look",
    **dict.fromkeys(("webhook", "webhookurl", "callback", "callbackurl"), _CALLBACK),
    **dict.fromkeys(("outputpath", "filename"), _OUTPUT),
    **dict.fromkeys(("n", "numberofvideos"), _ONE),
}
"""What other SDKs call a field, or what serves instead of one; by its letters alone, in whatever case it is written."""
_NEAR = 0.8
"""How alike a misspelt word is to the field that it means: `ratio` is 0.77 of `duration`, `end_image_url` 0.78 of
`image_urls`."""


class RequestFields(TypedDict, total=False):
    """The fields of a `VideoRequest` beside its prompt, as keywords of the calls that take it; see there for each."""

    model: str | None
    duration: int | None
    resolution: str | None
    aspect_ratio: str | None
    orientation: str | None
    image_urls: Links
    images: Links
    video_urls: Links
    generation_type: str | None
    mode: str | None
    extra: Mapping[str, Any]
    custom_id: str | None
    metadata: Mapping[str, Any]


def encodable(value: str) -> bool:
    """Whether a text has a UTF-8 form. JSON can hold half a surrogate pair, which no URL, file or database takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def unknown(name: object, fields: Collection[str]) -> Fault:
    """The fault of a name that is none of the fields, with the one that is meant or what serves instead."""
    import difflib  # rarely needed, and not cheap to load

    word = str(name)[:80]
    hint = _OTHER_WORDS.get("".join(filter(str.isalpha, word)).lower())
    if hint is None:
        near = difflib.get_close_matches(word, fields, n=1, cutoff=_NEAR)
        hint = f"did you mean {near[0]!r}?" if near else "put what only a newer gateway knows into extra={…}"
    return Fault(word, f"no such field; {hint}")


def as_texts(value: Links) -> tuple[str, ...]:
    """A list of texts or paths as a tuple of texts; one alone becomes a tuple of one; None an empty one."""
    if value is None or (type(value) is tuple and not value):
        return ()
    if isinstance(value, str | bytes | PathLike) or not isinstance(value, Iterable):
        value = (value,)
    return tuple(fspath(item) if isinstance(item, PathLike) else item for item in value)


def local_references(request: Any) -> Iterator[tuple[str, str]]:
    """The field and the path of every reference of a request that is not a URL."""
    for field in LINKS:
        links = getattr(request, field)
        for place, link in enumerate(links) if links and isinstance(links, tuple) else ():
            if isinstance(link, str) and link.strip() and is_local(link):
                yield f"{field}[{place}]", link


def no_list(name: str, value: Any) -> Fault | None:
    """The fault of what should be one reference or a list of them, and is neither."""
    return None if isinstance(value, str | PathLike | list | tuple) else Fault(name, "is not a list of URLs or paths")


def check_values(request: Any, *, taken: Iterable[str]) -> Iterator[Fault]:
    """Types, and values every gateway would refuse.

    Args:
        request: What has the fields of a `VideoRequest`.
        taken: Names that `extra` may not have.
    """
    yield from check_prompt(request.prompt)
    yield from _check_texts(request)
    if request.duration is not None and type(request.duration) is not int:
        yield Fault("duration", f"{shown(request.duration)} is not a whole number of seconds")
    for name in LINKS:
        if links := getattr(request, name):
            yield from _check_links(name, links)
    yield from check_mapping(request.extra, taken)
    if not isinstance(request.metadata, Mapping):
        yield Fault("metadata", "is not a mapping")


def check_prompt(prompt: Any) -> Iterator[Fault]:
    """What every gateway would refuse a prompt for."""
    if prompt is not None and not isinstance(prompt, str):
        yield Fault("prompt", f"{shown(prompt)} is not text")
    elif prompt is not None and not encodable(prompt):
        yield Fault("prompt", NOT_UNICODE)
    elif prompt is None or is_blank(prompt):
        yield Fault("prompt", "required text")


def is_blank(text: str) -> bool:
    """Whether nothing in a text is to be seen: spaces, controls and format marks, however many, are no prompt."""
    return all(unicodedata.category(letter) in _UNSEEN or letter in _BLANKS for letter in text)


def _check_texts(request: Any) -> Iterator[Fault]:
    for name in TEXTS:
        value = getattr(request, name)
        if value is None:
            continue
        if not isinstance(value, str):
            yield Fault(name, f"{shown(value)} is not text")
        elif not value.strip():
            yield Fault(name, "is blank; leave it out, or give a text")
        elif not encodable(value):
            yield Fault(name, NOT_UNICODE)


def shown(value: Any) -> str:
    """A value as a fault shows it: short, and of what is not a plain value its type only."""
    if isinstance(value, str | int | float | bool | None):
        return repr(value)[:40]
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeioAEIO' else 'a'} {kind}"


def _check_links(name: str, links: Iterable[Any]) -> Iterator[Fault]:
    for place, link in enumerate(links):
        if not isinstance(link, str):
            yield Fault(
                f"{name}[{place}]", f"{shown(link)} is not a URL or path; client.upload(bytes, name=…) gives one"
            )
        elif not link.strip():
            yield Fault(f"{name}[{place}]", "is blank; give a URL or path")
        elif not encodable(link):
            yield Fault(f"{name}[{place}]", NOT_UNICODE)


def check_mapping(extra: Any, taken: Iterable[str], *, path: str = "extra") -> Iterator[Fault]:
    """Fields beyond the known ones: JSON, and none of the known ones by the back door, where no rule would see it."""
    if not isinstance(extra, Mapping):
        yield Fault(path, "is not a mapping")
        return
    if not extra:
        return
    names = frozenset(taken)
    for name in extra:
        if not isinstance(name, str):
            yield Fault(path, f"{shown(name)} is not the name of a field")
        elif name in names:
            yield Fault(f"{path}.{name}", "is a field of its own; set it there")
    try:  # sorted, as for the fingerprint: names of several types have no order
        json.dumps(dict(extra), allow_nan=False, ensure_ascii=False, sort_keys=True).encode()
    except (TypeError, ValueError, RecursionError):
        yield Fault(path, "cannot be written as JSON")


def is_local(reference: str) -> bool:
    """Whether a reference means a file of this machine, not a URL of any scheme or `data:`."""
    long = len(reference) > _LONGEST_PATH or "\n" in reference  # bare base64
    return bool(reference) and not long and not re.match(_SCHEME, reference)
