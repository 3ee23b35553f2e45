"""Which storage an address means."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import Fault, invalid_argument
from .folder import FolderStorage
from .kept import Storage
from .objects import ObjectStorage
from .objectstore import file_system


def storage_of(
    out: str | os.PathLike[str],
    *,
    scratch: Path,
    options: Mapping[str, Any] | None = None,
    patience: float | None = 0.0,
) -> Storage:
    """Where `out` says that videos are kept. Asks nothing of it yet; see `Storage.check`.

    For a URL it imports what speaks to it, which takes a moment: call it once, at the start.

    Args:
        out: A folder, or the URL of one in anything that fsspec speaks to: `s3://bucket/prefix`. Credentials, region
            and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, …).
        scratch: A folder on a disk of this machine: what goes to object storage is whole there first. A video that
            could not be kept stays there for the next attempt.
        patience: Seconds for which a video's server that cannot be reached, or fails, is tried at least, beside the
            policy's attempts; None to be told of its first failure, and try again later.
        options: For fsspec's file system, over the environment: `endpoint_url`, `key`, `secret`, `profile`, ….

    Raises:
        InvalidRequestError: The URL cannot be used, or fsspec is not installed.
    """
    text = os.fspath(out)
    if "://" not in text:
        return FolderStorage(Path(text), scratch, patience)
    if urlsplit(text).scheme == "file":
        return FolderStorage(_local(text), scratch, patience)
    opened = file_system(text, options or {})
    del options  # a traceback shown with locals must not show a secret
    if isinstance(opened, Fault):
        raise invalid_argument(opened)
    system, place = opened
    return ObjectStorage(text if text.endswith("://") else text.rstrip("/"), system, place, scratch, patience)


def _local(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not parts.path.strip("/"):
        raise invalid_argument(
            Fault("out", f"{url!r} is not a folder on this machine: write it like file:///srv/videos")
        )
    return Path(url2pathname(parts.path))
