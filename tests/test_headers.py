"""Headers: what a call carries, what is found wrong with the caller's own, and the key taken out of an answer's."""

import json

import pytest

from omni_async import InvalidRequestError, OmniClient
from omni_async.headers import MaskedHeaders, RequestHeaders, checked_headers, merged
from omni_async.version import __version__
from tests.fault_server import KEY, scene
from tests.warp import WarpLoop

LOOP = WarpLoop


async def test_what_a_create_carries():
    """User-Agent, Accept, the key, JSON, and the caller's own headers; nothing of custom id or metadata."""
    async with scene(headers={"X-Team": "seven", "User-Agent": "mine/1"}, running=1) as here:
        await here.submit()
        (post,) = here.server.posts
        assert post.headers["x-team"] == "seven"
        assert post.headers["user-agent"] == "mine/1"
        assert post.headers["content-type"] == "application/json"
        assert post.headers["accept"] == "application/json"
        assert "mine" not in json.dumps(post.json)
        assert "cookie" not in post.headers
    async with scene(running=1) as here:
        await here.submit()
        assert here.server.posts[0].headers["user-agent"].startswith(f"omni-async/{__version__} Python/")


async def test_the_key_wins_over_a_header_of_ones_own():
    """However that is spelt: two keys side by side would be a gamble."""
    async with scene(headers={"authorization": "Bearer other"}, running=1) as here:
        await here.submit()
        assert here.server.posts[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "headers",
    [{"X Y": "a"}, {"": "a"}, {"X": "a\nb"}, {"X": 5}, {5: "a"}, {"Content-Length": "3"}, {"transfer-encoding": "x"}],
)
def test_headers_that_cannot_be_sent_are_refused_at_once(headers):
    """At the first create they would look like a lost answer."""
    with pytest.raises(InvalidRequestError) as caught:
        OmniClient("jimmy", api_key=KEY, headers=headers)
    assert caught.value.faults[0].field == "headers"
    assert checked_headers(None) == {}


def test_of_two_spellings_the_later_wins():
    """A header's name has no case."""
    assert dict(merged({"X-Team": "a", "b": "c"}, {"x-team": "d"})) == {"x-team": "d", "b": "c"}


def test_an_answers_headers_are_read_without_the_key():
    """In whatever case they are asked for; and what is shown are names alone."""
    sent = RequestHeaders(KEY, {"Authorization": f"Bearer {KEY}"}, {"accept": "x"})
    assert dict(sent.of_json) == {"accept": "x", "authorization": f"Bearer {KEY}", "content-type": "application/json"}
    headers = MaskedHeaders(merged({"X-Echo": f"Bearer {KEY}", "Retry-After": "3"}), sent)
    assert headers["X-ECHO"] == "Bearer ***"
    assert dict(headers) == {"x-echo": "Bearer ***", "retry-after": "3"}
    assert len(headers) == 2
    assert "x-Echo" in headers
    assert "x-other" not in headers
    assert headers.went_with(KEY)
    assert not headers.went_with("another")
    assert KEY not in repr(sent) + repr(headers)
