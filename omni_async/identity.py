"""What makes two creates the same: a hash of who is asked for what, and the key that a gateway knows it by."""

import hashlib
import json
from collections.abc import Mapping

from .dialects import Call, Dialect
from .models import VideoRequest, relinked


def fingerprint(gateway: str, call: Call) -> str:
    """A hash of what is asked of whom; the same for the same inputs."""
    return hashlib.sha256(canonical(gateway, call).encode("utf-8", "surrogatepass")).hexdigest()


def canonical(gateway: str, call: Call) -> str:
    """What is asked of whom as one JSON text, the same for the same inputs: what a fingerprint is the hash of."""
    return _to_json([gateway, call.method, call.path, call.body])


_to_json = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str).encode


def fingerprint_of(dialect: Dialect, request: VideoRequest, hashes: Mapping[str, str]) -> str:
    """A hash of what is asked of a gateway, local references by content: the same after a file was moved or renamed.

    Args:
        dialect: The gateway's.
        request: What is asked. References that `hashes` does not know count as they are written.
        hashes: SHA-256 of each local file in hex, by the path as it stands in the request.
    """
    return fingerprint(dialect.name, dialect.create(by_content(request, hashes)))


def by_content(request: VideoRequest, hashes: Mapping[str, str]) -> VideoRequest:
    """The request with `sha256:<hex>` in place of each path in `hashes`. To be compared, never to be sent."""
    return relinked(request, {path: f"sha256:{digest}" for path, digest in hashes.items()}) if hashes else request


def idempotency_key_of(
    dialect: Dialect,
    key: str,
    row_fingerprint: str,
    *,
    round: int = 0,  # noqa: A002 - the row's field
) -> str | None:
    """The idempotency key of the create with this row key and fingerprint; None if its gateway takes none.

    Args:
        dialect: The gateway's.
        key: The row's key.
        row_fingerprint: Its fingerprint.
        round: How often a person has had it paid anew: the gateway would answer with the old task otherwise.
    """
    if dialect.abilities.idempotency_field is None:
        return None
    key = f"{key}|{round}" if round else key
    return f"omni-{hashlib.sha256(f'{key}|{row_fingerprint}'.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"
