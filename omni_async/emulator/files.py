"""The videos served: real MP4s shipped with the package, and the rules of Range requests (RFC 9110)."""

import functools
import hashlib
import math
import re
from collections.abc import Mapping
from importlib import resources

from .response import Response

RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9")
SECONDS = (4, 5, 6, 8, 10)
SMALLEST_BOX = 8

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

# As the storage behind such gateways words it.
DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
)
MISSING = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
)


@functools.cache
def video(ratio: str, seconds: int, size: int | None) -> bytes:
    """A playable MP4 of about this aspect ratio and length, padded with a `free` box up to `size` bytes."""
    shape = min(RATIOS, key=lambda known: abs(math.log(_quotient(known) / _quotient(ratio))))
    length = min(SECONDS, key=lambda known: (abs(known - seconds), -known))
    name = f"{shape.replace(':', 'x')}_{length}s.mp4"
    data = resources.files(__package__).joinpath("videos", name).read_bytes()
    missing = 0 if size is None else size - len(data)
    if missing < SMALLEST_BOX:
        return data
    return data + missing.to_bytes(4, "big") + b"free" + bytes(missing - SMALLEST_BOX)


@functools.cache
def etag(data: bytes) -> str:
    """A strong entity tag of the bytes."""
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def denied() -> Response:
    """The signature is wrong or past its time."""
    return Response(403, DENIED, content_type="application/xml")


def missing() -> Response:
    """No such file."""
    return Response(404, MISSING, content_type="application/xml")


def ranged(data: bytes, content_type: str, asked: Mapping[str, str]) -> Response:
    """The file, or the single range the request's headers ask for."""
    tag = etag(data)
    headers = {"ETag": tag, "Accept-Ranges": "bytes", "Cache-Control": "private"}
    wanted = _wanted(asked, tag, len(data))
    if wanted is None:
        return Response(200, data, headers, content_type)
    start, stop = wanted
    if start >= stop:
        return Response(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"}, content_type)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
    return Response(206, data[start:stop], headers, content_type)


def _wanted(asked: Mapping[str, str], tag: str, size: int) -> tuple[int, int] | None:
    """First byte and the one past the last; an empty span cannot be satisfied; None is the whole file."""
    match = _RANGE.fullmatch(asked.get("Range", "").strip())
    if match is None or not size or asked.get("If-Range", tag) != tag:
        return None  # several ranges, none that can be read, or nothing to cut: the whole file is right, too
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _quotient(ratio: str) -> float:
    width, _, height = ratio.partition(":")
    return int(width) / int(height)
