"""Videos in a folder of this machine."""

import os
from pathlib import Path

import attrs

from ..client import OmniClient
from ..disk import on_disk
from ..models import VideoTask
from ..partfile import PartFile
from .kept import OnStore, Stored, fetched, is_file, kept_name, measured, part_of, removed, taken, writable


@attrs.frozen
class FolderStorage:
    """Videos in a folder of this machine.

    Args:
        folder: Made when it is checked or first used.
        scratch: Where a video is compared with one that has its name.
        patience: See `storage_of`.
    """

    folder: Path
    scratch: Path
    patience: float | None = 0.0

    async def check(self) -> None:
        """See `Storage.check`."""
        await writable(self.folder)

    async def size(self, name: str) -> int | None:
        """See `Storage.size`."""
        target = self.folder / kept_name(name)
        return await on_disk(target, _size, target)

    async def store(
        self,
        client: OmniClient,
        task: VideoTask,
        name: str,
        *,
        sha256: str | None = None,
        on_whole: OnStore | None = None,
    ) -> Stored:
        """See `Storage.store`."""
        target = self.folder / kept_name(name)
        if await on_disk(target, os.path.lexists, target):
            return await self._same(client, task, target, sha256)

        stored: Stored | None = None

        async def whole(part: Path) -> None:
            nonlocal stored
            stored = await measured(part, str(target))
            if on_whole is not None:
                await on_whole(stored)

        await client.studio.download(task, target, overwrite=False, on_whole=whole, patience=self.patience)
        return stored or await measured(target, str(target))

    async def _same(self, client: OmniClient, task: VideoTask, target: Path, sha256: str | None) -> Stored:
        """What is there, if it is this task's video."""
        there = await on_disk(target, is_file, target)
        if there and sha256 is None:
            part = part_of(task, self.scratch)
            await fetched(client, task, part, patience=self.patience)
            sha256 = (await measured(part, "")).sha256
            await on_disk(part, removed, part)
        stored = await measured(target, str(target)) if there else None
        if stored is None or stored.sha256 != sha256:
            raise taken(str(target)).about(task_id=task.task_id, custom_id=task.custom_id)
        await on_disk(target, PartFile(target, overwrite=False).discard)  # left by a crash after it got its name
        return stored


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
