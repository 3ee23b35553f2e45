"""What makes two creates the same."""

import pytest

from omni_async.dialects import GeminiOmni, Jimmy, ToApis
from omni_async.identity import fingerprint, fingerprint_of
from omni_async.models import VideoRequest


@pytest.mark.parametrize("dialect", [Jimmy(), GeminiOmni(), ToApis()], ids=lambda dialect: dialect.name)
def test_without_local_files_it_is_the_fingerprint_of_the_create_call(dialect):
    """A request of URLs alone is known by its create call, as `submit` knows it."""
    request = VideoRequest(prompt="a cat", image_urls=["https://a.example/1.png"], duration=6)
    assert fingerprint_of(dialect, request, {}) == fingerprint(dialect.name, dialect.create(request))


@pytest.mark.parametrize("field", ["image_urls", "images", "video_urls"])
def test_a_local_file_counts_by_its_content(field):
    """Moved or renamed it is the same, changed it is another, and a URL beside it still counts as written."""

    def of(path, digest, url="https://a.example/1.png"):
        request = VideoRequest(prompt="a cat", **{field: [path, url]})
        return fingerprint_of(Jimmy(), request, {path: digest})

    assert of("/a/1.png", "ab") == of("/b/2.png", "ab")
    assert of("/a/1.png", "ab") != of("/a/1.png", "cd")
    assert of("/a/1.png", "ab") != of("/a/1.png", "ab", url="https://a.example/2.png")
