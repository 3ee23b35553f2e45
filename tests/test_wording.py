"""Words that the report, the batch and the command line share."""

import pytest

from omni_async.wording import counted, doubtful


@pytest.mark.parametrize(("count", "told"), [(0, "0 videos"), (1, "1 video"), (4812, "4,812 videos")])
def test_one_is_singular(count, told):
    """And thousands are set apart."""
    assert counted(count, "video") == told


def test_another_plural_is_given():
    """As its ending."""
    assert [counted(count, "stretch", "es") for count in (1, 2)] == ["1 stretch", "2 stretches"]


@pytest.mark.parametrize(
    ("count", "told"),
    [(1, "1 row may have been paid and has no task id"), (2000, "2,000 rows may have been paid and have no task id")],
)
def test_uncertain_rows_are_told_as_what_they_are(count, told):
    """Whether it is one or many."""
    assert doubtful(count) == told
