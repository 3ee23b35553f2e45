"""Object storage as fsspec speaks it: S3, and whatever else it knows. Synchronous; for worker threads.

    begin ──▶ write* ──▶ finish       the object appears whole, in one step, or not at all
      │         │
      └─────────┴──▶ abandon          nothing of it stays

No word of what fsspec raises is passed on: its errors quote signed requests and keys.
"""

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import attrs

from ..disk import NO_SPACE
from ..errors import Fault
from ..models import without_query
from ..uploads import media_type

PART = 8 * 1024**2
"""Bytes sent in one go: S3 takes 5 MiB at least, and 10,000 parts at most."""
HASH = "sha256"
"""Under which name an object's metadata holds its SHA-256, in hex."""

_S3 = frozenset({"s3", "s3a"})
_S3_TRIES = 2
"""Of s3fs, each with botocore's two: with its own five, storage that never answers would be waited for 300 s."""
_S3_CONFIG = {"connect_timeout": 10, "read_timeout": 30, "retries": {"mode": "standard", "total_max_attempts": 2}}
_CODE = re.compile(r"[A-Za-z0-9._]{1,60}", re.ASCII)
_WORDS = {
    "NoCredentialsError": "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile",
    "PartialCredentialsError": "the credentials are incomplete",
    "EndpointConnectionError": "it cannot be reached",
    "ConnectTimeoutError": "it cannot be reached",
    "ReadTimeoutError": "it does not answer in time",
    "FSTimeoutError": "it does not answer in time",
}


class FileSystem(Protocol):
    """What is used of `fsspec.AbstractFileSystem`, which has no types."""

    protocol: str | tuple[str, ...]
    transaction: Any

    def open(self, path: str, mode: str, **options: Any) -> Any:
        """A file."""

    def info(self, path: str) -> dict[str, Any]:
        """Size and type of what is at `path`."""

    def invalidate_cache(self, path: str) -> None:
        """Forget what was seen there."""

    def makedirs(self, path: str, exist_ok: bool) -> None:
        """Make folders, where there are any."""

    def mv(self, path1: str, path2: str) -> None:
        """Give another name."""

    def rm_file(self, path: str) -> None:
        """Remove one file."""


def file_system(url: str, options: Mapping[str, Any]) -> tuple[FileSystem, str] | Fault:
    """What speaks to a URL's storage, and the URL's place there; a Fault if there is none. Nothing is asked of it yet.

    A value, not an error: the frames of that would hold the options, and those can hold a secret.

    Args:
        url: As in `s3://bucket/prefix`.
        options: For fsspec's file system: `endpoint_url`, `key`, `secret`, `profile`, …; the environment serves else.
    """
    shown = without_query(url)
    if problem := _problem(url):
        return Fault("out", f"{shown!r} {problem}")
    is_s3 = urlsplit(url).scheme in _S3
    defaults = {"config_kwargs": _S3_CONFIG} if is_s3 else {}
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped] # it has none

        opened, place = url_to_fs(url, **{**defaults, **options})
    except ImportError:
        return Fault("out", f"{shown!r} needs fsspec and a package for its scheme: pip install 'omni-async[s3]'")
    except Exception as error:  # its own class for each file system; its words can quote the options
        return Fault("out", f"{shown!r} cannot be used ({type(error).__name__})")
    if is_s3:
        opened.retries = _S3_TRIES
    return opened, str(place).rstrip("/")


def _problem(url: str) -> str | None:
    """Why a URL cannot be used."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "is malformed"
    if "@" in parts.netloc:
        return "carries a user name or password: give them in the environment"
    if parts.query or parts.fragment or "::" in url:
        return "is not a plain place: write it like s3://bucket/prefix"
    if any(part in (".", "..") for part in parts.path.split("/")):
        return "has . or .. in it"
    if parts.scheme in _S3 and not parts.netloc:
        return "names no bucket: write it like s3://bucket/prefix"
    return None


@attrs.frozen
class Found:
    """An object that is there: its bytes, and its SHA-256 in hex if its metadata tells."""

    size: int
    sha256: str | None = None


def found(system: FileSystem, path: str) -> Found | None:
    """What is at `path`; None if there is no object."""
    system.invalidate_cache(path)  # somebody else's listing in this process may be old
    try:
        told = system.info(path)
        if told["type"] != "file":
            return None
        metadata = getattr(system, "metadata", None)
        return Found(int(told["size"]), metadata(path).get(HASH) if metadata is not None else None)
    except FileNotFoundError:
        return None


def object_hash(system: FileSystem, path: str) -> Iterator[str | None]:
    """The SHA-256 of an object's content, in hex, at last: None after each part that was read."""
    digest = hashlib.sha256()
    with system.open(path, "rb", block_size=PART) as file:
        while data := file.read(PART):
            digest.update(data)
            yield None
    yield digest.hexdigest()


class Upload(Protocol):
    """One object on its way."""

    def begin(self) -> None:
        """Make ready."""

    def write(self, data: bytes) -> None:
        """Append all of `data`, `PART` bytes but for the last."""

    def flush(self) -> None:
        """Send what is not sent yet; nothing can be appended afterwards."""

    def finish(self) -> None:
        """Let it appear; FileExistsError if something is there."""

    def abandon(self) -> None:
        """Leave nothing of it; more than once does no harm."""


def upload_to(system: FileSystem, path: str, *, sha256: str) -> Upload:
    """A way to make the object `path`, never seen before it is whole.

    Args:
        system: Where.
        path: Its place there.
        sha256: Of its content, in hex; goes into its metadata where there is any.
    """
    protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
    return _Multipart(system, path, sha256) if protocols & _S3 else _Renamed(system, path)


@attrs.define(eq=False)
class _Multipart:
    """As S3 does it: parts nobody sees, until one request makes an object of them unless there is one (RFC 9110 §13).
    A storage that knows no such condition is looked into just before.

    If this process dies they stay, unseen, and cost storage until the bucket's rule for incomplete uploads ends them.
    """

    system: FileSystem = attrs.field(repr=False)
    path: str
    sha256: str
    file: Any = attrs.field(default=None, repr=False)

    def begin(self) -> None:
        self.file = self.system.open(
            self.path,
            "xb",
            block_size=PART,
            autocommit=False,
            Metadata={HASH: self.sha256},
            ContentType=media_type(self.path),
        )
        with contextlib.suppress(ValueError):  # fsspec would keep it for ever, for a transaction that nobody began
            self.system.transaction.files.remove(self.file)

    def write(self, data: bytes) -> None:
        self.file.write(data)

    def flush(self) -> None:
        self.file.flush(force=True)

    def finish(self) -> None:
        self.flush()
        try:
            self.file.commit()
        except OSError as error:
            if error.errno != errno.ENOSYS or found(self.system, self.path) is not None:
                raise
            self.file.mode = "wb"  # Backblaze B2 and others answer 501 to the condition
            self.file.commit()

    def abandon(self) -> None:
        file, self.file = self.file, None
        if file is not None:
            file.closed = True  # or its destructor would upload what is left
            with contextlib.suppress(FileNotFoundError):  # it was finished, and the answer to that was lost
                file.discard()


@attrs.define(eq=False)
class _Renamed:
    """Where names can be changed: written beside its place, and moved there if nothing came up meanwhile."""

    system: FileSystem = attrs.field(repr=False)
    path: str
    file: Any = attrs.field(default=None, repr=False)

    @property
    def part(self) -> str:
        """Where it is meanwhile."""
        return f"{self.path}.part"

    def begin(self) -> None:
        self.system.makedirs(self.path.rpartition("/")[0], exist_ok=True)
        self.file = self.system.open(self.part, "wb")

    def write(self, data: bytes) -> None:
        self.file.write(data)

    def flush(self) -> None:
        self.file.close()

    def finish(self) -> None:
        self.flush()
        if found(self.system, self.path) is not None:
            raise FileExistsError(self.path)
        self.system.mv(self.part, self.path)
        self.file = None

    def abandon(self) -> None:
        file, self.file = self.file, None
        if file is not None:
            with contextlib.suppress(Exception):  # what it still held is not wanted
                file.close()
            with contextlib.suppress(FileNotFoundError):
                self.system.rm_file(self.part)


def storage_reason(error: BaseException) -> str:
    """Why object storage refused, in our words and with its own code."""
    code = _code(error)
    told = _WORDS.get(type(error).__name__)
    if told is None and isinstance(error, OSError):
        told = _reason(error)
    told = told or "it failed"
    return f"{told}: {code or type(error).__name__}"


def _reason(error: OSError) -> str | None:
    if error.errno in NO_SPACE:
        return "no space is left there"
    if isinstance(error, PermissionError):
        return "access is denied"
    if isinstance(error, FileNotFoundError):
        return "there is no such bucket or place"
    if isinstance(error, FileExistsError):
        return "something is there already"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return os.strerror(error.errno) if isinstance(error.errno, int) else None


def _code(error: BaseException) -> str | None:
    """The storage's own code for an error, as in `NoSuchBucket`."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        told = response.get("Error") if isinstance(response, dict) else None
        code = told.get("Code") if isinstance(told, dict) else None
        if isinstance(code, str) and _CODE.fullmatch(code):
            return code
    return None
