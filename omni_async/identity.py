"""What makes two creates the same: a hash of who is asked for what, and the key that a gateway knows it by."""

import hashlib
import json

from .dialects import Call


def fingerprint(gateway: str, call: Call) -> str:
    """A hash of what is asked of whom; the same for the same inputs."""
    text = json.dumps([gateway, call.method, call.path, call.body], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def idempotency_key_of(key: str, print_: str) -> str:
    """The idempotency key of the create with this row key and fingerprint."""
    return f"omni-{hashlib.sha256(f'{key}|{print_}'.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"
