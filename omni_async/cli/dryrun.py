"""What a create would send, shown instead of sent: as a request, and as a curl line to paste."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

import anyio
import attrs

from ..client import OmniClient
from ..dialects import Call
from ..fields import local_references
from ..headers import USER_AGENT
from ..identity import idempotency_key_of
from ..models import VideoRequest, relinked
from ..settings import base_url_of
from ..submit import row_key
from ..transport import checked_base_url
from .output import as_json


@attrs.frozen(kw_only=True)
class Preview:
    """A create that is not sent.

    Args:
        call: As the gateway's dialect builds it.
        url: The whole URL.
        headers: With a stand-in for the key.
        uploads: Local files that would go up first.
        warnings: What is doubtful about the request.
    """

    call: Call
    url: str
    headers: dict[str, str]
    uploads: tuple[str, ...]
    warnings: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """It as plain JSON data."""
        return {
            "method": self.call.method,
            "url": self.url,
            "headers": self.headers,
            "body": self.call.body,
            "curl": self.curl(),
            "uploads_first": list(self.uploads),
            "warnings": list(self.warnings),
        }

    def curl(self) -> str:
        """The same request for a shell; the shell fills in the key."""
        lines = [f"curl -X {self.call.method} {shlex.quote(self.url)}"]
        for name, value in self.headers.items():
            lines.append(f'-H "{name}: {value}"' if "$" in value else f"-H {shlex.quote(f'{name}: {value}')}")
        lines.append(f"--data-raw {shlex.quote(json.dumps(self.call.body, ensure_ascii=False))}")
        return " \\\n  ".join(lines)

    def lines(self) -> Iterator[str]:
        """It for a person."""
        for path in self.uploads:
            yield f"# {path} would be uploaded first; its URL takes the place of {_stand_in(path)}"
        yield f"{self.call.method} {self.url}"
        for name, value in self.headers.items():
            yield f"{name}: {value}"
        yield ""
        yield as_json(self.call.body)
        yield ""
        yield self.curl()
        for warning in self.warnings:
            yield f"# warning: {warning}"
        yield "# dry run: nothing was sent, nothing was charged"


def preview(request: VideoRequest, *, gateway: str, base_url: str | None) -> Preview:
    """Check a request and work out what would be sent.

    Raises:
        InvalidRequestError: With every fault, as a real run would.
    """
    client = OmniClient(gateway, api_key="not-needed", base_url=base_url)
    checked, dialect = client.check(request), client.dialect
    uploads = tuple(dict.fromkeys(path for _, path in local_references(request)))
    key = _idempotency_key(client, request) if dialect.abilities.idempotency_field else None
    call = dialect.create(relinked(request, {path: _stand_in(path) for path in uploads}), idempotency_key=key)
    where = checked_base_url(base_url_of(dialect, base_url))
    headers = {"User-Agent": USER_AGENT, "Accept": "application/json", "Content-Type": "application/json"}
    return Preview(
        call=call,
        url=where + call.path,
        headers={**headers, **call.headers, **dialect.auth(f"${dialect.key_variable}")},
        uploads=uploads,
        warnings=tuple(map(str, checked.warnings)),
    )


def _idempotency_key(client: OmniClient, request: VideoRequest) -> str | None:
    """It follows from the custom id and the content of local files; without a custom id it is new each time."""
    return idempotency_key_of(client.dialect, row_key(request), anyio.run(client.studio.fingerprint, request))


def _stand_in(path: str) -> str:
    return f"<URL of {path}>"
