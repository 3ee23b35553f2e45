"""Headers of calls and their answers: the caller's own are checked, the key goes in, and is taken out of what comes."""

import re
import sys
from collections.abc import Iterator, Mapping

import aiohttp
from multidict import CIMultiDict

from .errors import Fault, invalid_argument
from .keys import Mask
from .version import __version__

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
USER_AGENT = f"omni-async/{__version__} Python/{_PYTHON} aiohttp/{aiohttp.__version__}"
USUAL = {"user-agent": USER_AGENT, "accept": "application/json"}
"""What goes out with every call, unless the caller's own headers say otherwise."""
JSON = {"content-type": "application/json"}
_HEADER = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FRAMING = frozenset({"content-length", "content-type", "transfer-encoding", "expect"})


class RequestHeaders:
    """What goes out with one key, made once: its headers; and what takes the key out of what comes back."""

    __slots__ = ("auth", "headers", "key", "mask", "of_json")

    def __init__(self, key: str, auth: Mapping[str, str], usual: Mapping[str, str]) -> None:
        self.key, self.auth, self.mask = key, auth, Mask(key)
        self.headers, self.of_json = merged(usual, auth), merged(usual, auth, JSON)

    def __repr__(self) -> str:
        return "<RequestHeaders>"


class MaskedHeaders(Mapping[str, str]):
    """An answer's headers, whatever the case of their names, the key taken out when one is read: few ever are."""

    __slots__ = ("_given", "_sent")

    def __init__(self, given: Mapping[str, str], sent: RequestHeaders) -> None:
        self._given, self._sent = given, sent

    def __getitem__(self, name: str) -> str:
        return self._sent.mask.text(self._given[name])

    def __contains__(self, name: object) -> bool:
        return name in self._given

    def went_with(self, key: str) -> bool:
        """Whether the call was sent with this key."""
        return self._sent.key == key

    def __iter__(self) -> Iterator[str]:
        return iter({name.lower(): None for name in self._given})

    def __len__(self) -> int:
        return len({name.lower() for name in self._given})

    def __repr__(self) -> str:
        return f"<MaskedHeaders {sorted(self)}>"


def merged(*layers: Mapping[str, str]) -> CIMultiDict[str]:
    """Headers of which a later layer's win, however their names are spelt: two keys must not go out side by side."""
    return CIMultiDict({name.lower(): value for layer in layers for name, value in layer.items()})


def checked_headers(headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """The caller's own headers, by lower-case name.

    Raises:
        InvalidRequestError: One that cannot be sent, found now: at the first create it would look like a lost answer.
    """
    faults = []
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not re.fullmatch(_HEADER, name) or name.lower() in _FRAMING:
            faults.append(Fault("headers", f"{name!r:.60} cannot be a header of your own"))
        elif not isinstance(value, str) or not value.isprintable():
            faults.append(Fault("headers", f"the value of {name} is not text on one line"))
    if faults:
        raise invalid_argument(*faults)
    return merged(headers or {})
