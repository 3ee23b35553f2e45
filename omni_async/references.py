"""Local files given as references: checked before anything is paid, uploaded first, once each.

What reads and sends files is loaded with the first: most requests name none.
"""

import asyncio
import copy
from pathlib import Path

import anyio

from .arguments import OnProgress
from .dialects import Checked, Dialect
from .dialects.rules import check_fields
from .errors import Fault, OmniError, invalid_argument
from .exchange import Exchange
from .fields import local_references
from .lifetime import background, is_cancelled
from .models import VideoRequest, relinked

FRESH = 3600.0
"""Seconds for which an uploaded file's URL is used again: nobody says how long a gateway keeps it."""


def check_references(request: VideoRequest, dialect: Dialect) -> list[Fault]:
    """Everything that keeps local references from being uploaded; looks at the files, sends nothing."""
    local = tuple(local_references(request))
    if not local:
        return []
    from .uploads import check_upload

    found = (check_upload(Path(path), dialect.uploads, field=field) for field, path in local)
    return [fault for fault in found if fault is not None]


async def contents(request: VideoRequest) -> dict[str, str]:
    """What each of its local files holds, as a hash.

    Raises:
        InvalidRequestError: One of them cannot be read.
    """
    local = tuple(local_references(request))
    if not local:
        return {}
    from .uploads import content_hash

    return {path: await content_hash(Path(path)) for _, path in local}


def check_request(request: VideoRequest, dialect: Dialect, *, strict: bool) -> Checked:
    """Everything that is wrong with a request, or doubtful, by the gateway's rules and the disk; sends nothing.

    Unless it is `strict`, only what no gateway could make sense of is wrong, and the rest is doubtful.
    """
    checked, local = dialect.check(request), check_references(request, dialect)
    if strict:
        return Checked((*checked.faults, *local), tuple(checked.warnings))
    broken = (*check_fields(request, known=()), *local)
    return Checked(broken, (*checked.warnings, *(fault for fault in checked.faults if fault not in broken)))


class References:
    """Uploads of one client.

    Args:
        exchange: What calls go through.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._known: dict[str, tuple[float, asyncio.Task[str]]] = {}

    async def published(self, request: VideoRequest) -> VideoRequest:
        """The request with a public URL in place of each local path.

        Raises:
            OmniError: An upload failed; nothing was paid.
        """
        paths = dict.fromkeys(path for _, path in local_references(request))
        try:
            urls = {path: await self._once(Path(path)) for path in paths}
        except OmniError as error:
            failure = copy.copy(error)  # who shares an upload shares its error, and each has an id of his own
        else:
            return relinked(request, urls)
        raise failure.about(gateway=self._exchange.dialect.name, custom_id=request.custom_id, metadata=request.metadata)

    async def _once(self, path: Path) -> str:
        """The URL of a file's content; callers that want the same content share one upload."""
        from .uploads import content_hash

        digest, now = await content_hash(path), anyio.current_time()
        since, upload = self._known.get(digest, (-FRESH, None))
        spoiled = upload is not None and upload.done() and (upload.cancelled() or upload.exception() is not None)
        if upload is None or spoiled or now - since > FRESH:
            self._forget(now)
            upload = background(self.upload(path))
            self._known[digest] = (now, upload)
        try:
            return await asyncio.shield(upload)
        except asyncio.CancelledError:
            if upload.cancelled() and not is_cancelled():
                closed = "the client was closed while a reference was uploaded; nothing was paid"
                raise OmniError(closed, may_have_charged=False) from None
            upload.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to see it
            raise

    def _forget(self, now: float) -> None:
        """What would be uploaded anew: a client that runs for weeks meets ever new files."""
        for digest in [one for one, (since, upload) in self._known.items() if now - since > FRESH and upload.done()]:
            del self._known[digest]

    async def upload(
        self, file: Path | bytes, *, name: str | None = None, on_progress: OnProgress | None = None
    ) -> str:
        """Upload one file, or bytes by the name that is given, and give its public URL.

        Raises:
            InvalidRequestError: Not there, too large, or of a kind the gateway does not take; nothing was sent.
            OmniError: The upload failed.
        """
        from .uploads import check_upload, named, upload_form

        exchange, (path, content) = self._exchange, named(file, name)
        field = "path" if content is None else "name"
        fault = check_upload(path, exchange.dialect.uploads, field=field, content=content)
        if fault is not None:
            raise invalid_argument(fault, gateway=exchange.dialect.name)
        call = exchange.dialect.upload()
        try:
            async with exchange.transfer():
                return await exchange.ask(
                    call,
                    exchange.dialect.read_upload,
                    data=lambda moved: upload_form(
                        path, call.part or "file", content=content, on_progress=on_progress, moved=moved
                    ),
                )
        except OmniError as error:
            error.may_have_charged = False  # uploads are free, and nothing is paid before they are done
            raise

    async def aclose(self) -> None:
        """End uploads that are still under way: nothing is paid for them."""
        uploads = [upload for _, upload in self._known.values() if not upload.done()]
        for upload in uploads:
            upload.cancel()
        if uploads:
            await asyncio.wait(uploads)
