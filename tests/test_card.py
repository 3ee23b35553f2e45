"""A task in a notebook: a table that tells what may be shared, and runs nothing."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import attrs
import pytest

from omni_async import TaskStatus, VideoTask

NOW = datetime(2026, 4, 15, 12, 0, tzinfo=UTC)
DONE = VideoTask(
    task_id="task_1",
    status=TaskStatus.SUCCEEDED,
    progress=100,
    model="omni-10s",
    mode="text-to-video",
    created_at=NOW,
    completed_at=NOW + timedelta(seconds=83.4),
    expires_at=NOW + timedelta(days=3),
    video_url="https://cdn.example/CANARY.mp4?sig=CANARY",
    custom_id="order-17",
    gateway="jimmy",
    metadata={"note": "CANARY"},
    raw={"prompt": "CANARY"},
)


class Cells(HTMLParser):
    """The tags and the texts of a card."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = set(), []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        """A tag; ours have no attributes, so that nothing can hide in one."""
        assert not attributes
        self.tags.add(tag)

    def handle_data(self, data):
        """A text."""
        self.texts.append(data)


def test_a_finished_task_tells_what_may_be_shared():
    """Id, model, time taken, and how long it can be fetched; neither its URL nor what is the caller's own."""
    html = DONE._repr_html_()
    assert Cells(html).texts == [
        "succeeded",
        *("task", "task_1"),
        *("custom_id", "order-17"),
        *("gateway", "jimmy · omni-10s · text-to-video"),
        *("created", "2026-04-15 12:00:00 UTC"),
        *("took", "83 s"),
        *("can be downloaded until", "2026-04-18 12:00:00 UTC"),
    ]
    assert "CANARY" not in html


def test_a_running_task_tells_its_progress():
    """And nothing that is not known yet."""
    texts = Cells(VideoTask(task_id="t", status=TaskStatus.RUNNING, progress=40)._repr_html_()).texts
    assert texts == ["running", "task", "t", "progress", "40 %"]


def test_a_failed_task_says_why_in_our_words():
    """The gateway's own could quote the prompt; those nobody knows are left out."""
    failed = VideoTask(task_id="t", status=TaskStatus.FAILED, error_message="内容审核未通过: CANARY")
    html = failed._repr_html_()
    assert Cells(html).texts[-2:] == ["why", "the content did not pass moderation"]
    assert "CANARY" not in html
    assert "why" not in attrs.evolve(failed, error_message="CANARY")._repr_html_()


@pytest.mark.parametrize("field", ["task_id", "custom_id", "gateway", "model", "mode", "error_message", "error_code"])
def test_nothing_in_a_card_is_run(field):
    """Whatever a gateway or a caller puts in, it is text."""
    html = attrs.evolve(DONE, **{field: "<img src=x onerror=alert(1)><script>\"'&"})._repr_html_()
    assert Cells(html).tags == {"table", "caption", "tr", "th", "td"}
