"""Whether videos can be stored at all: what is one file's trouble, and what is that of its folder or the disk."""

import errno
from pathlib import Path

from ..disk import in_thread, reason, refusal
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
        cause = await in_thread(refusal, folder)
    if cause is None or (isinstance(cause, OSError) and cause.errno in UNNAMEABLE):
        return None
    return f"{folder} takes no videos ({reason(cause)}): see to that and run again, what is paid is fetched then"
