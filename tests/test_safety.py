"""Where a download may go, and what it may be called."""

import ipaddress
import unicodedata
import urllib.request

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from omni_async.errors import InvalidRequestError, OmniError, UnsafeURLError
from omni_async.safety import (
    NAME_BYTES,
    TARGET_ENDINGS,
    Origin,
    check_url,
    file_name,
    is_public,
    judge_url,
    origins,
    proxy_for,
)

NOWHERE: frozenset[Origin] = frozenset()


# --- origins


def test_origins_are_scheme_host_and_port() -> None:
    """A base URL keeps only its origin; a bare host means https, and default ports are filled in."""
    found = origins(
        "https://API.example/prefix/", ["http://127.0.0.1:8080", "cdn.internal", "cdn.internal:8443/", "[::1]:9"]
    )
    assert found == {
        Origin("https", "api.example", 443),
        Origin("http", "127.0.0.1", 8080),
        Origin("https", "cdn.internal", 443),
        Origin("https", "cdn.internal", 8443),
        Origin("https", "::1", 9),
    }


def test_one_allow_host_may_be_a_text() -> None:
    """A single text is one host, not a list of letters."""
    assert Origin("https", "cdn.internal", 443) in origins("https://a.example", "cdn.internal")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ftp://x",
        "https://",
        "https://u:p@h",
        "https://h/path",
        "https://h?q=1",
        "h:0",
        "h:99999",
        "a b",
        "https://h\\x",
        "https://[::1",
    ],
)
def test_malformed_origin_is_named(text: str) -> None:
    """What is not an origin is refused before any I/O, by its field."""
    with pytest.raises(InvalidRequestError) as caught:
        origins("https://a.example", [text])
    assert caught.value.faults[0].field == "allow_hosts"
    assert "p@" not in str(caught.value)


@pytest.mark.parametrize("item", [None, 5, b"https://x"])
def test_origin_that_is_no_text_is_named(item: object) -> None:
    """Another type is a fault, not a host named after its repr."""
    with pytest.raises(InvalidRequestError, match="allow_hosts"):
        origins("https://a.example", [item])  # type: ignore[list-item]


def test_malformed_base_url_is_named() -> None:
    """The base URL is judged by the same rule, but may have a path."""
    with pytest.raises(InvalidRequestError, match="base_url"):
        origins("nonsense://x", [])


# --- check_url


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.example/v.mp4",
        "ftp://cdn.example/v.mp4",
        "file:///etc/passwd",
        "//cdn.example/v.mp4",
        "/v.mp4",
        "",
        "https:///v.mp4",
        "https://user:secret@cdn.example/v.mp4",
        "https://user@cdn.example/v.mp4",
        "https://127.0.0.1/v.mp4",
        "https://[::1]/v.mp4",
        "https://[::ffff:127.0.0.1]/v.mp4",
        "https://[64:ff9b::a00:1]/v.mp4",
        "https://[2002:a00:1::]/v.mp4",
        "https://[fe80::1%25eth0]/v.mp4",
        "https://[2606:4700::1%eth0]/v.mp4",
        "https://169.254.169.254/latest/meta-data",
        "https://198.18.0.1/v.mp4",
        "https://127.1/v.mp4",
        "https://0x7f000001/v.mp4",
        "https://2130706433/v.mp4",
        "https://１２７.0.0.1/v.mp4",
        "https://127。0。0。1/v.mp4",
        "https://①②⑦.0.0.1/v.mp4",
        "https://cdn example/v.mp4",
        "https://cdn.example:0/v.mp4",
        "https://cdn.example:99999/v.mp4",
        "https://[1.2.3.4]/v.mp4",
        "https://a..b/v.mp4",
    ],
)
def test_row_53_unsafe_urls_are_refused(url: str) -> None:
    """Row 53: plain http, user names, non-public literals in any spelling, and what is not a URL."""
    with pytest.raises(UnsafeURLError) as caught:
        check_url(f"{url}?sig=CANARY", NOWHERE)
    assert "CANARY" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["https://cdn.example/v.mp4", "https://8.8.8.8/v", "https://[2606:4700::1111]:8443/v", "https://cdn.example./v"],
)
def test_public_https_is_allowed(url: str) -> None:
    """https to a name or a public address will do; where a name leads is judged when it is dialled."""
    assert str(check_url(url, NOWHERE)) == url


def test_row_53_only_exact_origins_are_excepted() -> None:
    """Row 53: scheme, host and port must all match."""
    allowed = origins("http://127.0.0.1:8080")
    assert str(check_url("http://127.0.0.1:8080/v", allowed)) == "http://127.0.0.1:8080/v"
    for other in (
        "http://127.0.0.1:8081/v",
        "https://127.0.0.1:8080/v",
        "http://localhost:8080/v",
        "http://u@127.0.0.1:8080/v",
    ):
        with pytest.raises(UnsafeURLError):
            check_url(other, allowed)


def test_path_and_query_keep_their_spelling() -> None:
    """A signature can depend on every percent sign, so nothing is normalised but the host."""
    text = "https://CDN.example/a%2Fb/%7Ec?X-Sig=%2B+a%7E%2f&e="
    assert str(check_url(text, NOWHERE)) == "https://cdn.example/a%2Fb/%7Ec?X-Sig=%2B+a%7E%2f&e="


def test_what_cannot_be_sent_is_encoded() -> None:
    """Unicode in a URL is encoded as a browser would."""
    assert str(check_url("https://猫.example/é?q=猫", NOWHERE)) == "https://xn--z7x.example/%C3%A9?q=%E7%8C%AB"


def test_refusal_as_a_value() -> None:
    """`judge_url` gives the refusal back instead of raising it."""
    assert isinstance(judge_url("http://x.example/", NOWHERE), UnsafeURLError)


def test_refusal_leaves_no_query_in_the_frames() -> None:
    """Row 62: a traceback shown with its locals shows no signature."""
    url = "https://10.0.0.1/v?sig=CANARY"
    with pytest.raises(UnsafeURLError) as caught:
        check_url(url, NOWHERE)
    frame = caught.value.__traceback__
    shown = []
    while frame is not None:
        if frame.tb_frame.f_code.co_filename.endswith("omni_async/safety.py"):
            shown.append(repr(frame.tb_frame.f_locals))
        frame = frame.tb_next
    assert shown
    assert "CANARY" not in "".join(shown)


_URLS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["https://", "http://", "HTTPS:", "//", "", "ftp://", "https:/\\"]),
    st.one_of(st.text(max_size=30), st.ip_addresses().map(str), st.ip_addresses(v=6).map(lambda ip: f"[{ip}]")),
    st.sampled_from(["", ":80", ":443", ":-1", ":x", "@h"]),
    st.text(max_size=30),
)


@given(st.one_of(st.text(), _URLS))
@example("https://[")
@example("https://\ud800/\udfff")
def test_fuzz_only_omni_errors_escape_check_url(url: str) -> None:
    """Row 53, fuzz: whatever a server says, the answer is a checked URL or an OmniError."""
    try:
        checked = check_url(url, NOWHERE)
    except OmniError:
        return
    assert checked.scheme == "https"
    assert checked.raw_user is None
    host = (checked.raw_host or "").removesuffix(".")
    assert host
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return
    assert is_public(literal)


# --- is_public


@pytest.mark.parametrize(
    "address",
    """0.0.0.0 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 168.63.129.16 169.254.169.254 172.16.0.1
    192.0.0.1 192.0.2.1 192.88.99.1 192.168.1.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250
    240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1
    64:ff9b::a9fe:a9fe 64:ff9b:1::8.8.8.8 100::1 2001::1 2001:0:7f00:1:: 2001:db8::1 2002:7f00:1:: 2002:c0a8:101::1
    3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0
    2606:4700::1%eth0 fec0::1 ff02::1 nonsense 1.2.3 1.2.3.4/8""".split(),
)
@pytest.mark.parametrize("dialled", [False, True])
def test_row_53_addresses_that_are_not_public(address: str, dialled: bool) -> None:
    """Row 53: private, loopback, link-local, multicast, reserved, documentation, and their wrapped forms."""
    assert not is_public(address, dialled=dialled)


@pytest.mark.parametrize(
    "address",
    """8.8.8.8 1.1.1.1 172.32.0.1 100.128.0.1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808:: 2606:4700::1111
    2400:3200::1""".split(),
)
def test_public_addresses(address: str) -> None:
    """Addresses of the Internet, also in the forms that IPv6-only networks give them."""
    assert is_public(address)
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["198.18.0.1", "198.19.255.254", "::ffff:198.18.0.1"])
def test_row_53_fake_ips_are_allowed_when_dialled(address: str) -> None:
    """Row 53: a name may resolve into 198.18.0.0/15, as proxy tools do; as a literal it is refused."""
    assert not is_public(address)
    assert is_public(address, dialled=True)


@given(st.ip_addresses(v=4))
def test_fuzz_wrapping_changes_nothing(address: ipaddress.IPv4Address) -> None:
    """An IPv4 address is as public in its wrapped forms as by itself."""
    wrapped = [
        f"::ffff:{address}",
        f"64:ff9b::{address}",
        str(ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80))),
    ]
    assert {is_public(form) for form in wrapped} == {is_public(address)}


@given(st.one_of(st.text(), st.ip_addresses().map(str)))
def test_fuzz_is_public_never_raises(text: str) -> None:
    """Any text is public or not, and the standard library's own judgement is never looser for plain IPv4."""
    assert is_public(text) in (True, False)


@given(st.ip_addresses())
def test_fuzz_nothing_private_is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Whatever the standard library calls private, loopback or link-local is not public, wrapped forms aside."""
    wrapped = isinstance(address, ipaddress.IPv6Address) and any(
        address in ipaddress.IPv6Network(net) for net in ("::ffff:0:0/96", "::/96", "64:ff9b::/96", "2002::/16")
    )
    if not wrapped and (address.is_private or address.is_loopback or address.is_link_local or address.is_multicast):
        special = {ipaddress.ip_address(text) for text in ("192.0.0.9", "192.0.0.10")}
        assert address in special or not is_public(address)


# --- file_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("task_123", "task_123.mp4"),
        ("猫が走る", "猫が走る.mp4"),
        ("e\u0301", "\u00e9.mp4"),
        ("../../etc/passwd", "_.._etc_passwd.mp4"),
        ("/abs", "_abs.mp4"),
        ("C:\\x", "C__x.mp4"),
        ("a\0b", "a_b.mp4"),
        ("evil\u202e4pm.exe", "evil_4pm.exe.mp4"),
        ("CON", "_CON.mp4"),
        ("con.txt", "_con.txt.mp4"),
        ("NUL .x", "_NUL .x.mp4"),
        ("com¹", "_com¹.mp4"),
        ("COM10", "COM10.mp4"),
        ("..", "video.mp4"),
        ("", "video.mp4"),
        (" x. .", "x.mp4"),
        ("\ud800", "_.mp4"),
        ("x" * 300, "x" * 200 + ".mp4"),
        ("猫" * 100, "猫" * 66 + ".mp4"),
    ],
)
def test_row_56_file_names(text: str, name: str) -> None:
    """Row 56: traversal, NUL, reserved names, 300 letters, direction marks."""
    assert file_name(text) == name


def test_row_56_only_known_endings() -> None:
    """Row 56: an ending from the list stays, any other becomes .mp4."""
    assert file_name("x", ".webm") == "x.webm"
    assert file_name("x", ".exe") == "x.mp4"
    assert ".mp4" in TARGET_ENDINGS


@given(st.text(alphabet=st.characters(), max_size=300))
@example("CON" + " " * 300)
@example("." * 250 + "x")
def test_fuzz_file_names_are_safe(text: str) -> None:
    """Row 56, fuzz: whatever the id, the name is one path component that every common system takes."""
    name = file_name(text)
    stem = name.removesuffix(".mp4")
    assert stem
    assert name.endswith(".mp4")
    assert len(stem.encode()) <= NAME_BYTES
    assert not set(name) & set('/\\:*?"<>|\0\u202e')
    assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") for letter in name)
    assert stem[0] not in ". "
    assert stem[-1] not in ". "
    assert unicodedata.is_normalized("NFC", name)
    assert stem.partition(".")[0].rstrip().upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}
    assert file_name(stem) == name


# --- proxy_for


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without proxies, on any system."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(urllib.request, "getproxies", urllib.request.getproxies_environment)
    monkeypatch.setattr(urllib.request, "proxy_bypass", urllib.request.proxy_bypass_environment)
    return monkeypatch


def test_proxy_of_the_environment(environment: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY and HTTP_PROXY by scheme, ALL_PROXY for the rest, NO_PROXY goes direct."""
    assert proxy_for("https://a.example/", "env") is None
    environment.setenv("ALL_PROXY", "http://all:1")
    assert proxy_for("https://a.example/", "env") == "http://all:1"
    environment.setenv("HTTPS_PROXY", "127.0.0.1:7890")
    assert proxy_for("https://a.example/", "env") == "http://127.0.0.1:7890"
    assert proxy_for("http://a.example/", "env") == "http://all:1"
    environment.setenv("NO_PROXY", ".example,b.other:8443")
    assert proxy_for("https://a.example/", "env") is None
    assert proxy_for("https://b.other:8443/", "env") is None
    assert proxy_for("https://b.other/", "env") == "http://127.0.0.1:7890"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "localhost", "x.localhost", "localhost.", "[::1]:8", "[::ffff:127.0.0.1]"]
)
def test_loopback_goes_direct(host: str) -> None:
    """No proxy is asked for this machine, whatever is set."""
    assert proxy_for(f"http://{host}/", "http://proxy:1") is None


def test_proxy_given_or_none(environment: pytest.MonkeyPatch) -> None:
    """None goes direct in spite of the environment; a URL is taken as it is."""
    environment.setenv("HTTPS_PROXY", "http://env:1")
    assert proxy_for("https://a.example/", None) is None
    assert proxy_for("https://a.example/", "http://user:pw@mine:2") == "http://user:pw@mine:2"


@pytest.mark.parametrize("proxy", ["socks5://user:CANARY@127.0.0.1:7890", "CANARY", "http://"])
def test_proxy_that_cannot_be_used_is_named(environment: pytest.MonkeyPatch, proxy: str) -> None:
    """A proxy of another kind is a clear error that shows no password, not a silent way around it."""
    with pytest.raises(InvalidRequestError, match="proxy") as caught:
        proxy_for("https://a.example/", proxy)
    assert "CANARY" not in str(caught.value)
