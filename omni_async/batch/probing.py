"""Whether videos can be stored at all: what is one file's trouble, and what is that of its folder or the disk."""

import contextlib
import errno
import os
from pathlib import Path
from secrets import token_hex

from ..disk import in_thread, private, reason
from ..errors import OmniError

BROKEN = frozenset({errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN})
"""What a disk says that takes no video, even if it takes a few bytes."""
UNNAMEABLE = frozenset({errno.ENAMETOOLONG, errno.EILSEQ})
"""What is said of a name, and not of the folder: the next video has another."""


async def trouble(folder: Path, error: OmniError | None = None) -> str | None:
    """Why no video can be stored in a folder, and what to do; None if it takes files.

    Args:
        folder: Where one goes; made if need be.
        error: Why that one could not be stored.
    """
    cause = error.__cause__ if error is not None else None
    if not isinstance(cause, OSError) or cause.errno not in BROKEN:
        cause = await in_thread(_refusal, folder)
    if cause is None or (isinstance(cause, OSError) and cause.errno in UNNAMEABLE):
        return None
    return f"{folder} takes no videos ({reason(cause)}): see to that and run again, what is paid is fetched then"


def _refusal(folder: Path) -> OSError | ValueError | None:
    """What the system says to a small file in it, which is removed again."""
    probe = folder / f".omni-async-{token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _write(probe)
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()
    except (OSError, ValueError) as error:
        return error
    return None


def _write(path: Path) -> None:
    descriptor = private(path)
    try:
        os.write(descriptor, b"\0")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
