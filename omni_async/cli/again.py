"""The command line that asks once more for a video of the user's own journal."""

from collections.abc import Iterator

from ..journal import Entry
from ..journal.entries import request_of
from ..models import VideoRequest
from ..report.rows import in_shell
from .connect import words_for
from .ledgers import BASE, OUTPUT
from .output import as_json

PLAIN = ("model", "duration", "resolution", "aspect_ratio", "orientation", "generation_type", "mode")
"""Fields whose option has their name."""


def generate_line(entry: Entry) -> str | None:
    """The `generate` that sends a row of the user's own journal; None if its inputs are not kept.

    Raises:
        JournalError: The row is damaged.
    """
    request = request_of(entry)
    if request is None:
        return None
    words = [*_options(request), "--custom-id", entry.key, *words_for(entry.gateway, entry.data.get(BASE))]
    if output := entry.data.get(OUTPUT):
        words += ["--output", output]
    prompt = ["--", request.prompt] if request.prompt.startswith("-") else [request.prompt]
    return " ".join(map(in_shell, ["omni-async", "generate", *words, *prompt]))


def _options(request: VideoRequest) -> Iterator[str]:
    for name in PLAIN:
        if (value := getattr(request, name)) is not None:
            yield from (f"--{name.replace('_', '-')}", str(value))
    for option, links in (("--image", request.image_urls), ("--video", request.video_urls)):
        for link in links:
            yield from (option, link)
    for name, value in request.extra.items():
        yield from ("--extra", f"{name}={as_json(value, indent=None)}")
