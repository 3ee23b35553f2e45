"""Uploads: read without ever holding more than the limit, kept for a while so that their URL works."""

import secrets
from collections import OrderedDict
from pathlib import PurePosixPath

import attrs
from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

KEPT_BYTES = 64 * 1024 * 1024

IMAGES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
}
MEDIA = {
    **IMAGES,
    "bmp": "image/bmp",
    "svg": "image/svg+xml",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "avi": "video/x-msvideo",
    "webm": "video/webm",
    "mkv": "video/x-matroska",
    "m4v": "video/x-m4v",
    "flv": "video/x-flv",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "aac": "audio/aac",
    "m4a": "audio/mp4",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
}


@attrs.frozen
class Upload:
    """The part named `file`: its name and content, or None where it is longer than the limit."""

    filename: str
    content: bytes | None

    @property
    def extension(self) -> str:
        """The ending of the name, in lower case and without the dot."""
        return PurePosixPath(self.filename).suffix[1:].lower()


async def read_upload(request: web.Request, limit: int) -> Upload | None:
    """The one part, named `file` (docs); None if the body is not a multipart form or holds anything else."""
    if request.content_type != "multipart/form-data":
        return None
    try:
        parts = await request.multipart()
        part = await parts.next()
        if not isinstance(part, BodyPartReader) or part.name != "file":
            return None
        upload = Upload(part.filename or "", await _read_part(part, limit))
        return upload if await parts.next() is None else None
    except (ValueError, AssertionError, HttpProcessingError, web.RequestPayloadError):  # aiohttp's, of a broken form
        return None


async def _read_part(part: BodyPartReader, limit: int) -> bytes | None:
    content = bytearray()
    too_long = False
    while chunk := await part.read_chunk():
        too_long = too_long or len(content) + len(chunk) > limit
        if not too_long:
            content += chunk
    return None if too_long else bytes(content)


class UploadShelf:
    """The newest uploads, by the name in their URL."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[bytes, str]] = OrderedDict()
        self._size = 0

    def put(self, content: bytes, extension: str) -> str:
        """Keep the content, dropping the oldest, and give the path it is served at."""
        name = f"{secrets.token_hex(10)}.{extension}"
        self._kept[name] = (content, MEDIA[extension])
        self._size += len(content)
        while self._size > KEPT_BYTES and len(self._kept) > 1:
            self._size -= len(self._kept.popitem(last=False)[1][0])
        return "/files/uploads/" + name

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Content and type of what is kept under this name."""
        return self._kept.get(name)
