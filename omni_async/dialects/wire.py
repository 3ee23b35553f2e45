"""What goes out and what comes back, and reading the latter without believing it.

`Call` and `Reply` are plain data: the transport turns the one into the other. The converter here is
strict: cattrs' own turns `null` into `'None'`, `0.9` into `0` and `True` into `1`.
"""

import enum
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import attrs

from ..errors import DecodeError, Fault, invalid_argument
from ..fields import encodable
from ..models import TaskStatus

if TYPE_CHECKING:
    import cattrs

T = TypeVar("T")

MISSING: Any = object()
"""What a body that is not JSON decodes to."""

REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-oneapi-request-id", "x-trace-id", "cf-ray")


class CallKind(enum.StrEnum):
    """What a call is for: it decides its timeout, its place in the limiter, and whether it may be repeated."""

    CREATE = "create"
    """Paid; sent once."""
    QUERY = "query"
    UPLOAD = "upload"
    BALANCE = "balance"


_NOTHING: Mapping[str, str] = MappingProxyType({})


@attrs.define(kw_only=True)
class Call:
    """One HTTP request, without key or host.

    Args:
        kind: What it is for.
        method: `GET` or `POST`.
        path: Below the base URL, ids already percent-encoded.
        params: Query parameters.
        body: JSON body, or None.
        headers: Headers beyond the key.
        part: For an upload, the name of the multipart part the file goes into.
    """

    kind: CallKind
    method: str
    path: str
    params: Mapping[str, str] = attrs.field(default=_NOTHING, repr=False)
    body: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    headers: Mapping[str, str] = attrs.field(default=_NOTHING, repr=False)
    part: str | None = None


QUERY = CallKind.QUERY
"""Under a name of its own: Python 3.11 finds a member of an enum ten times as slowly, and this is for each look."""


class Glance(NamedTuple):
    """What an answer says of a task that runs: all that most looks find."""

    status: TaskStatus
    raw_status: str
    progress: int | None


@attrs.define(kw_only=True)
class Reply:
    """What came back: status, lower-case headers and the body, cut off at the transport's cap.

    `complete` is False if the body broke off or was cut; `url` is where it was asked, for relative links.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes = attrs.field(default=b"", repr=lambda body: f"<{len(body)}>")
    complete: bool = True
    url: str = attrs.field(default="", repr=False)
    _document: Any = attrs.field(default=None, init=False, repr=False, eq=False)

    @property
    def document(self) -> Any:
        """The decoded JSON, or `MISSING` if the body is none. Decoded once."""
        if self._document is None:
            self._document = decoded(self.body)
            if self._document is MISSING and (charset := _charset(self.headers.get("content-type"))):
                self._document = decoded(self.body.decode(charset, "replace").encode())
        return self._document

    @property
    def request_id(self) -> str | None:
        """The gateway's id of this request, to quote to its support."""
        for name in REQUEST_ID_HEADERS:
            if name in self.headers and (told := self.headers[name]):
                return told[:200].encode("utf-8", "replace").decode()  # bytes of no text come as surrogates
        return None


def decoded(body: bytes) -> Any:
    """The JSON value in `body`; MISSING for anything that is not sound JSON, deep nesting and huge numbers included."""
    for loads in (_fast_loads, json.loads):  # orjson refuses some numbers that json reads: an id must not hang on that
        try:
            value = loads(body)
        except (ValueError, RecursionError):
            continue
        return MISSING if value is None else value
    return MISSING


_CHARSETS = {"gbk": "gb18030", "gb2312": "gb18030", "gb18030": "gb18030", "big5": "big5", "iso-8859-1": "latin-1"}
"""Those in which servers that hold to no RFC 8259 send JSON. No others: some of Python's take minutes for a body."""
_CHARSET = r"""(?i);\s*charset\s*=\s*["']?([\w-]{1,20})"""


def _charset(content_type: str | None) -> str | None:
    """The codec of the charset that a content type names, if it is one to be read."""
    found = re.search(_CHARSET, content_type or "")
    return _CHARSETS.get(found[1].lower()) if found else None


_fast_loads: Callable[[bytes], Any]
try:  # the [speed] extra: a good deal faster on the answers of a poll
    from orjson import loads as _fast_loads
except ImportError:
    from json import loads as _fast_loads


def dig(document: Any, *path: str | int) -> Any:
    """The value at a path of keys and indexes, or None where the path ends early.

    Args:
        document: Decoded JSON.
        path: A key for each object on the way, an index for each list; a negative one counts from its end.
    """
    for step in path:
        if isinstance(step, int):
            document = document[step] if isinstance(document, list) and -len(document) <= step < len(document) else None
        else:
            document = document.get(step) if isinstance(document, dict) else None
    return document


def leaves(value: Any, depth: int, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What stands in a document, as far down as one looks, each under the names that lead to it.

    A list's items bear the list's name. Objects and lists are none of it, only what stands in them.
    """
    if not isinstance(value, dict | list):
        yield path, value
    elif depth:
        inside = value.items() if isinstance(value, dict) else ((None, each) for each in value)
        for name, each in inside:
            yield from leaves(each, depth - 1, path if name is None else (*path, name))


def only(value: Any) -> Any:
    """What a list of one holds, else the value itself: a single object or text may come like that (inferred)."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def text(value: Any) -> str | None:
    """A text that says something, else None: never another type turned into one.

    Args:
        value: Anything that JSON can hold.
    """
    return value if isinstance(value, str) and value.strip() and encodable(value) else None


def ident(value: Any) -> str | None:
    """A text that can be a task's id, else None: `.` and `..` are other paths."""
    return None if value in (".", "..") else text(value)


_PLAIN = re.compile(r"(?!\.\.?$)[A-Za-z0-9_.~-]+")


def segment(task_id: str) -> str:
    """An id as one segment of a path, percent-encoded.

    Raises:
        InvalidRequestError: It would ask for another path than its own (empty, `.`, `..`), or has no UTF-8 form.
    """
    if isinstance(task_id, str) and _PLAIN.fullmatch(task_id):  # nearly all are: quoting costs five times as much
        return task_id
    if not ident(task_id):
        raise invalid_argument(Fault("task_id", "is not a task id"))
    return quote(task_id, safe="")


WHOLE_LINK = r"https?://[A-Za-z0-9.-]+(:[0-9]+)?/[!-~]*"


def link(base: str, value: Any) -> str | None:
    """A URL as the gateway meant it, which can be relative to where it was asked (seen); a malformed one is none."""
    if isinstance(value, str) and re.fullmatch(WHOLE_LINK, value):  # nearly all are: joining costs ten times as much
        return value
    try:
        return urljoin(base, found) if (found := text(value)) else None
    except ValueError:
        return None


def number_code(value: Any) -> str | None:
    """A numeric code as text: an int or a text of ASCII digits, with or without a minus. A float or a bool is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**12 else None
    if isinstance(value, str) and value.isascii() and len(value) <= 12 and value.removeprefix("-").isdigit():
        return value
    return None


def code_text(value: Any) -> str | None:
    """An error's code as text, at most 100 characters; None for anything but a text or a whole number."""
    if type(value) is int:
        return str(value) if abs(value) < 10**12 else None
    found = text(value)
    return found[:100] if found else None


def percent(value: Any) -> int | None:
    """A progress of 0-100, else None. Informational: an odd one must not spoil a paid task's answer."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100:
        return value
    if isinstance(value, str) and (found := _NUMBER.fullmatch(value)):
        return percent(int(found[1])) if found[2] is None or found[3] else _of_fraction(float(found[1] + found[2]))
    return _of_fraction(value) if isinstance(value, float) else None


_NUMBER = re.compile(r"([0-9]{1,4})(\.[0-9]{1,20})?(%)?")


def _of_fraction(value: float) -> int | None:
    """A progress with a fraction, which is left out; up to 1 nobody says whether it is of 1 or of 100."""
    return int(value) if 1 < value <= 100 else None


def instant(value: Any) -> datetime | None:
    """A time as the gateways give it: Unix seconds, milliseconds from 10^11 on (inferred), or ISO 8601 text.

    Args:
        value: Anything that JSON can hold; what is not a time, or none that can be, gives None.
    """
    if value is None:
        return None
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) < 20):
        return _from_iso(value)
    seconds = amount(int(value) if isinstance(value, str) else value)
    if seconds is None or seconds <= 0:
        return None
    try:
        return datetime.fromtimestamp(seconds / 1000 if seconds >= 1e11 else seconds, tz=UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _from_iso(value: str) -> datetime | None:
    """A time from ISO 8601 text, UTC unless it says otherwise. The zero time of some servers (year 1) is not a time."""
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return aware if aware.timestamp() > 0 else None


_DECIMAL = r"-?[0-9]{1,30}(\.[0-9]{1,30})?"


def amount(value: Any) -> float | None:
    """A finite number, also as a text of nothing but that (seen), else None: a bool is none."""
    if isinstance(value, str) and re.fullmatch(_DECIMAL, value.strip()):
        return float(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an int too large for a float
        return None


def flag(value: Any) -> bool:
    """Whether something is said to be true, also as a text (seen)."""
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def _strict(kind: type) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if type(value) is not kind or (isinstance(value, str) and not encodable(value)):
            raise ValueError(f"expected {kind.__name__}, got {type(value).__name__}")
        return value

    return hook


@cache
def converter() -> "cattrs.Converter":
    """A cattrs converter that converts nothing: text is text, int is int, bool is bool; unknown keys are allowed.

    It leaves fields that stand at their default out when it unstructures: the gateways read absence, not null.
    It is made, and cattrs loaded, with the first body or answer: most answers to a look need no more than a glance.
    """
    import cattrs

    made = cattrs.Converter(detailed_validation=True, forbid_extra_keys=False, omit_if_default=True)
    for kind in (str, int, bool):
        made.register_structure_hook(kind, _strict(kind))
    return made


def structure(value: Any, cls: type[T], *, path: str = "$") -> T:
    """`value` as a plain type or an attrs class of the wire, strictly: null is not text, and 0.9 is not a whole number.

    Args:
        value: Decoded JSON; keys that the class does not have are passed over.
        cls: What it should be.
        path: Where it stood in the answer, for the error.

    Raises:
        DecodeError: It does not fit; with the path of the first misfit.
    """
    try:
        return converter().structure(value, cls)
    except Exception as error:
        problem, place = _misfit(error, path)
    raise DecodeError(
        f"the answer is not in the expected shape: {problem} at {place}", path=place or path, excerpt=excerpt(value)
    )


def _misfit(error: Exception, path: str) -> tuple[str, str]:
    """What did not fit first, and where."""
    from cattrs.errors import BaseValidationError
    from cattrs.v import transform_error

    if isinstance(error, BaseValidationError):
        problem, _, place = transform_error(error, path=path)[0].rpartition(" @ ")
        return problem, place
    return type(error).__name__, path  # a hook met a shape nobody thought of: the answer is at fault, not the caller


@attrs.frozen(eq=False, repr=False)
class _Uploaded:
    url: str


def uploaded_link(reply: Reply, data: Any) -> str:
    """The URL in the `data` of an upload's answer, in whole and in ASCII: a paid create names it to others.

    It can be relative to the gateway's host (seen), which whoever fetches it does not know.

    Raises:
        DecodeError: There is none, or it is not an http(s) URL.
    """
    told = structure(data, _Uploaded, path="$.data").url
    try:
        parts = urlsplit((link(reply.url, told) if "://" in told or told.startswith("/") else None) or "")
        usable = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        usable = None
    if not usable:
        raise DecodeError("the uploaded file's link is not an http(s) URL", path="$.data.url", excerpt=excerpt(data))
    return parts._replace(path=quote(parts.path, safe=_OF_URLS), query=quote(parts.query, safe=_OF_URLS)).geturl()


_OF_URLS = "%:/?#[]@!$&'()*+,;="
"""What stands for something in a URL, or is quoted already (RFC 3986 §2.2)."""


def excerpt(value: Any) -> str:
    """At most 200 letters of a decoded value's keys and types: never its texts, which can hold signed URLs, prompts."""
    return json.dumps(_shape(value, 3), ensure_ascii=True)[:200]


def _shape(value: Any, depth: int) -> Any:
    if isinstance(value, dict) and depth:
        return {str(key)[:40]: _shape(item, depth - 1) for key, item in list(value.items())[:20]}
    if isinstance(value, list) and depth:
        return [_shape(item, depth - 1) for item in value[:3]]
    return "no JSON" if value is MISSING else type(value).__name__
