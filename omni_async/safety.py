"""Where a download may go and what it may be called: pure functions over URLs, addresses and names.

A video's URL comes from a server, so it is not believed. A URL is judged before it is asked for
(`check_url`), and so is every address that is then dialled (`is_public`): a name can be made to mean any
address. The name a server gives a file is never used at all (`file_name` makes one from an id).
"""

import ipaddress
import re
import unicodedata
import urllib.request
from collections.abc import Iterable
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from yarl import URL

from .errors import Fault, UnsafeURLError, invalid_argument
from .models import without_query

TARGET_ENDINGS = frozenset({".mp4", ".mov", ".m4v", ".webm"})
"""What a file made by this library may end in."""

NAME_BYTES = 200
"""Length of a file name before its ending: with `.mp4.part.tag` it stays under the 255 of common file systems."""

_PORTS = {"https": 443, "http": 80}
_HOST = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\.?"
_AS_SENT = r"[!-~]+"

# IANA special-purpose address registries. Written out, because `ipaddress` judges several of them differently from
# one Python to the next. 168.63.129.16 is Azure's platform address, which answers only from inside.
_V4_REFUSED = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 "
    "192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
)
_V6_GLOBAL = IPv6Network("2000::/3")  # the only block IANA allocates for use on the Internet
_V6_REFUSED = tuple(IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "3fff::/20"))  # 2001::/32 is Teredo
_FAKE_IP = IPv4Network("198.18.0.0/15")
_MAPPED = (IPv6Network("::ffff:0:0/96"), IPv6Network("::/96"), IPv6Network("64:ff9b::/96"))
_SIX_TO_FOUR = IPv6Network("2002::/16")


class Origin(NamedTuple):
    """Scheme, host in lower case and port: what must match exactly for an exception to hold."""

    scheme: str
    host: str
    port: int


def origins(base_url: str, allow_hosts: Iterable[str] = ()) -> frozenset[Origin]:
    """The origins a download may go to whatever their address is.

    Args:
        base_url: The gateway's own.
        allow_hosts: `http://127.0.0.1:8080`, `https://cdn.internal`, or `cdn.internal[:port]`, which means https.

    Raises:
        InvalidRequestError: One of them is not an origin.
    """
    hosts = (allow_hosts,) if isinstance(allow_hosts, str) else tuple(allow_hosts)
    return frozenset([_origin("base_url", base_url), *(_origin("allow_hosts", text) for text in hosts)])


def _origin(field: str, text: object) -> Origin:
    url = _parsed(f"https://{text}" if isinstance(text, str) and "://" not in text else text)
    bare = field == "base_url" or (url is not None and url.raw_path in ("", "/") and not url.query_string)
    if url is None or not bare or url.raw_user is not None or url.raw_password is not None:
        shown = without_query(str(text))
        told = f"{shown!r} is not an origin; write it like https://cdn.internal or http://127.0.0.1:8080"
        raise invalid_argument(Fault(field, told))
    return origin_of(url)


def origin_of(url: URL) -> Origin:
    """The origin of an http or https URL that `check_url` let pass."""
    return Origin(url.scheme, _host(url), url.port or _PORTS[url.scheme])


def _host(url: URL) -> str:
    return (url.raw_host or "").lower().removesuffix(".")


def _parsed(text: object) -> URL | None:
    """An absolute http(s) URL with a host and a port, its host in ASCII; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        url = URL(text)
        usable = url.scheme in _PORTS and bool(_host(url)) and bool(url.port)
    except (ValueError, UnicodeError):
        return None
    named = usable and (":" in _host(url) or re.fullmatch(_HOST, _host(url)) is not None)
    return url if named else None


def check_url(url: str | URL, allowed: frozenset[Origin]) -> URL:
    """The URL as it may be asked for: https to a public place, or any of the allowed origins.

    Its path and query stay exactly as they were given: a signature can depend on their spelling.

    Raises:
        UnsafeURLError: It may not. The message holds no query.
    """
    judged = judge_url(str(url), allowed)
    del url  # a traceback shown with locals must not show a signature
    if isinstance(judged, UnsafeURLError):
        raise judged
    return judged


def judge_url(text: str, allowed: frozenset[Origin]) -> URL | UnsafeURLError:
    """`check_url` with its refusal as a value, for frames that hold a signed URL."""
    parsed = _parsed(text)
    problem = "is not an http or https URL" if parsed is None else _problem(parsed, allowed)
    if parsed is None or problem:
        return UnsafeURLError(f"the download URL {without_query(text)!r} {problem}: it was not asked for")
    return _as_given(text, parsed)


def _problem(url: URL, allowed: frozenset[Origin]) -> str | None:
    """Why a URL may not be asked for."""
    host = _host(url)
    if url.raw_user is not None or url.raw_password is not None:
        return "carries a user name or password"
    if origin_of(url) in allowed:
        return None
    if url.scheme != "https":
        return "is not https (allow_hosts= excepts exact origins)"
    if _address(host) is not None:
        return None if is_public(host) else "leads to a non-public address (allow_hosts= excepts exact origins)"
    if ":" in host or re.fullmatch(r"\d+|0x[0-9a-f]*", host.rpartition(".")[2]):
        # 127.1, 0x7f000001, 2130706433: no name ends so, but the system resolver reads them as addresses
        return "leads to an address in an odd spelling"
    return None


def _as_given(text: str, parsed: URL) -> URL:
    """The parsed URL's origin with the path and query as they were spelled, where that can be sent."""
    tail = URL(text, encoded=True).raw_path_qs if re.fullmatch(_AS_SENT, text) else parsed.raw_path_qs
    return URL(f"{parsed.scheme}://{parsed.raw_authority}{tail}", encoded=True)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_public(address: str | IPv4Address | IPv6Address, *, dialled: bool = False) -> bool:
    """Whether an address is one of the Internet; mapped, compatible, 6to4 and NAT64 forms of IPv4 are unwrapped first.

    Teredo and the local-use NAT64 block (RFC 8215) are not public: what they lead to depends on the network.

    Args:
        address: The address; what is not an address is not public.
        dialled: A name led to it. Then 198.18.0.0/15 will do: proxy tools answer every name with one of those.
    """
    found = _address(address) if isinstance(address, str) else address
    if isinstance(found, IPv6Address):
        inner = None if found.scope_id else _unwrapped(found)
        if inner is None:
            return found.scope_id is None and found in _V6_GLOBAL and not any(found in net for net in _V6_REFUSED)
        found = inner
    if found is None:
        return False
    return (dialled and found in _FAKE_IP) or not any(found in net for net in _refused_v4())


@cache
def _refused_v4() -> tuple[IPv4Network, ...]:
    return tuple(map(IPv4Network, _V4_REFUSED.split()))


def _unwrapped(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, if it stands for one."""
    if any(address in net for net in _MAPPED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return IPv4Address(int(address) >> 80 & 0xFFFFFFFF) if address in _SIX_TO_FOUR else None


_PORT_NAMES = (f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³")
_RESERVED = frozenset(["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *_PORT_NAMES])
_UNSAFE = frozenset('/\\:*?"<>|')
_KEPT = frozenset("LMNPS")


def file_name(text: str, ending: str = ".mp4") -> str:
    """A safe file name for an id: letters of any script stay, what a file system or a reader could trip over does not.

    Args:
        text: The id.
        ending: One of `TARGET_ENDINGS`; any other becomes `.mp4`.
    """
    composed = unicodedata.normalize("NFC", text)
    safe = "".join(letter if _keeps(letter) else "_" for letter in composed).lstrip(". ")
    if is_reserved(safe.partition(".")[0].rstrip(" ")):
        safe = f"_{safe}"
    short = safe.encode()[:NAME_BYTES].decode(errors="ignore").rstrip(". ")
    return (short or "video") + (ending if ending in TARGET_ENDINGS else ".mp4")


def is_reserved(stem: str) -> bool:
    """Whether Windows keeps a name for a device, which it does with any ending."""
    return stem.upper() in _RESERVED


def target_key(target: str) -> str:
    """What is the same for targets that some file system takes for one: letters of either case, either Unicode form."""
    if target.isascii():
        return target.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", target).casefold())


def _keeps(letter: str) -> bool:
    """Letters, marks, numbers, signs and the plain space; no control, direction mark, surrogate or other space."""
    return letter == " " or (letter not in _UNSAFE and unicodedata.category(letter)[0] in _KEPT)


def proxy_for(url: str | URL, proxy: str | None) -> str | None:
    """The proxy a request to `url` goes through, or None if it goes direct, as loopback always does.

    Args:
        url: Where the request goes.
        proxy: `"env"` (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, or the system's settings), None, or a proxy's URL.

    Raises:
        InvalidRequestError: It is not an http or https proxy.
    """
    target = _parsed(str(url))
    if proxy is None or target is None or _is_loopback(_host(target)):
        return None
    return _checked_proxy(_system_proxy(target) if proxy == "env" else proxy)


def check_proxy(proxy: str | None) -> None:
    """Refuse a proxy that cannot be used, before anything is paid; what the environment says is read later.

    Raises:
        InvalidRequestError: It is not an http or https proxy.
    """
    if proxy != "env":
        proxy_for("https://cdn.example", proxy)


def _is_loopback(host: str) -> bool:
    address = _address(host)
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback)


def _system_proxy(target: URL) -> str | None:
    proxies = urllib.request.getproxies()
    found = proxies.get(target.scheme) or proxies.get("all")
    if not found or urllib.request.proxy_bypass(f"{_host(target)}:{target.port}"):
        return None
    return found if "://" in found else f"http://{found}"


def _checked_proxy(proxy: str | None) -> str | None:
    if proxy is None:
        return None
    if _parsed(proxy) is None:  # never shown: it can hold a password
        scheme = proxy.partition("://")[0] if "://" in proxy else "no scheme"
        told = f"a proxy with {scheme[:20]!r} cannot be used; proxy=None goes direct"
        raise invalid_argument(Fault("proxy", told, ("http://…", "https://…")))
    return proxy
