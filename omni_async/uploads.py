"""Streams up: a local file as one part of a form, read while it is sent; or what is in memory under a file's name."""

import asyncio
import hashlib
import io
import logging
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from .arguments import OnProgress
from .dialects import UploadRules
from .disk import in_thread, reason
from .errors import Fault, invalid_argument

CHUNK = 256 * 1024

_log = logging.getLogger("omni_async")

# Not `mimetypes`: what that says depends on the machine's registry.
_TYPES = {
    **{ending: f"image/{ending}" for ending in ("jpeg", "png", "gif", "webp", "bmp")},
    **{ending: f"video/{ending}" for ending in ("mp4", "webm")},
    **{ending: f"audio/{ending}" for ending in ("wav", "aac", "flac", "ogg")},
    "jpg": "image/jpeg",
    "svg": "image/svg+xml",
    "mov": "video/quicktime",
    "avi": "video/x-msvideo",
    "mkv": "video/x-matroska",
    "m4v": "video/x-m4v",
    "flv": "video/x-flv",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
}


def heard(on_progress: OnProgress | None, transfer: str) -> OnProgress:
    """Reports to the caller until his function raises: that is his, and no reason to lose a transfer."""

    def tell(done: int, total: int | None) -> None:
        nonlocal on_progress
        if on_progress is None:
            return
        try:
            on_progress(done, total)
        except (Exception, asyncio.CancelledError):  # the latter of a future that it asked: nobody cancels in here
            _log.exception("on_progress raised and is not called again for this %s", transfer)
            on_progress = None

    return tell


def media_type(path: Path | str) -> str:
    """What a file is, by its ending."""
    return _TYPES.get(_ending(Path(path)), "application/octet-stream")


def named(file: Path | bytes, name: str | None) -> tuple[Path, bytes | None]:
    """The path of a file, or the name and the content of what is in memory.

    Raises:
        InvalidRequestError: Bytes without a name, or a file with another.
    """
    if isinstance(file, Path) and name is not None:
        raise invalid_argument(Fault("name", "is for bytes; a file goes by its own"))
    if isinstance(file, Path):
        return file, None
    if not isinstance(name, str) or not name:
        raise invalid_argument(Fault("name", "bytes need one, such as photo.png: its ending tells what they are"))
    return Path(name), file


def check_upload(
    path: Path, rules: UploadRules | None, *, field: str = "file", content: bytes | None = None
) -> Fault | None:
    """What keeps a file from being uploaded, found without sending anything; None if nothing does. Looks at the disk.

    Args:
        path: The file.
        rules: What the gateway takes; None if it takes nothing.
        field: The request's field that names the file.
        content: What is in memory, of which the path is only the name.
    """
    if rules is None:
        return Fault(field, f"{path} is a local file, and this gateway takes no uploads: give a public URL")
    ending = _ending(path)
    if ending not in rules.endings:
        return Fault(field, f"{path} has an ending this gateway does not take", tuple(sorted(rules.endings)))
    size = len(content) if content is not None else _size_of(path, field)
    if isinstance(size, Fault):
        return size
    if size == 0:
        return Fault(field, f"{path} is empty")
    if size > rules.max_bytes:
        return Fault(field, f"{path} has {size} bytes; at most {rules.max_bytes} are taken")
    return None


def _size_of(path: Path, field: str) -> int | Fault:
    """How large a file is that can be read."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return Fault(field, f"{path} is not a file")
        path.open("rb").close()  # permission is not told by what it is
    except (OSError, ValueError) as error:
        return unreadable_file(path, error, field=field)
    return found.st_size


def _ending(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


async def content_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hex: what makes two references the same.

    Raises:
        InvalidRequestError: It cannot be read.
    """
    try:
        return await in_thread(file_hash, path)
    except (OSError, ValueError) as error:
        raise invalid_argument(unreadable_file(path, error)) from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hex. Reads all of it; an OSError is the caller's."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unreadable_file(path: Path | str, error: OSError | ValueError, *, field: str = "file") -> Fault:
    """The fault of a file that cannot be read."""
    return Fault(field, f"{path} cannot be read ({reason(error)})")


def upload_form(
    path: Path,
    part: str,
    *,
    content: bytes | None = None,
    on_progress: OnProgress | None = None,
    moved: Callable[[], None] | None = None,
) -> aiohttp.MultipartWriter:
    """The body of an upload. Made anew for each attempt; the file is open only while it is sent.

    Args:
        path: The file.
        part: Name of the form's one part.
        content: What is in memory, of which the path is only the name.
        on_progress: Called with the bytes sent and the file's size.
        moved: Called with each piece that was sent, at most `CHUNK` bytes.

    Raises:
        InvalidRequestError: The file cannot be read.
    """
    try:
        size = path.stat().st_size if content is None else len(content)
    except (OSError, ValueError) as error:
        raise invalid_argument(unreadable_file(path, error)) from error
    form = aiohttp.MultipartWriter("form-data")
    payload = _FilePayload(path, content, size, on_progress, moved)
    payload.set_content_disposition("form-data", name=part, filename=_sent_name(path))
    form.append_payload(payload)
    return form


def _sent_name(path: Path) -> str:
    """An ASCII name that needs no quoting anywhere: servers disagree on how to read any other."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem).strip("_")[:100]
    ending = re.sub(r"[^a-z0-9]", "", _ending(path))
    return f"{stem or 'file'}.{ending}" if ending else stem or "file"


class _FilePayload(Payload):
    """A file with a known length, so that no gateway sees a chunked upload, which some refuse."""

    _autoclose = True  # holds nothing between two sends

    def __init__(
        self,
        path: Path,
        content: bytes | None,
        size: int,
        on_progress: OnProgress | None,
        moved: Callable[[], None] | None,
    ) -> None:
        super().__init__(path, content_type=media_type(path))
        self._content = content
        self._size: int = size
        self._tell, self._moved = heard(on_progress, "upload"), moved

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Not offered: aiohttp asks for it only to show a body."""
        raise TypeError("a file is streamed, not shown")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send just as many bytes as were announced."""
        file = await in_thread(self._value.open, "rb") if self._content is None else io.BytesIO(self._content)
        try:
            await self._send(file, writer)
        finally:
            file.close()  # read-only: nothing is flushed

    async def _send(self, file: BinaryIO, writer: AbstractStreamWriter) -> None:
        sent = 0
        while sent < self._size:
            data = await in_thread(file.read, min(CHUNK, self._size - sent))
            if not data:
                raise OSError(f"{self._value} became shorter while it was sent")
            await writer.write(data)
            sent += len(data)
            if self._moved is not None:
                self._moved()
            self._tell(sent, self._size)
