"""Names of columns."""

import pytest

from omni_async.batch.columns import NAMES, check_header, distance, field_of, slip
from omni_async.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("name", "field"),
    [("Prompt", "prompt"), ("Image URLs", "image_urls"), ("aspect-ratio", "aspect_ratio"), (" ID ", "id")],
)
def test_case_spaces_and_hyphens_do_not_matter(name, field):
    """A column is a field however its name is spelled."""
    assert field_of(name) == field
    assert slip(name) is None


CARRIED = """no idea time name title mood note notes file_size model_note film code tile node uid idx vid key scene shot
customer_id pages stages status action location narration direction style seed 备注 镜号 a x 场景编号 profile comments
video filename duration_seconds prompt_en negative_prompt text mode_of image_note ratio url output camera tag""".split()


@pytest.mark.parametrize("name", CARRIED)
def test_other_words_are_carried(name):
    """What people call their own columns is no slip."""
    assert field_of(name) is None
    assert slip(name) is None


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("promt", "prompt"),
        ("propmt", "prompt"),
        ("Prompts", "prompt"),
        ("image_url", "image_urls"),
        ("ImageUrls", "image_urls"),
        ("video_url", "video_urls"),
        ("durration", "duration"),
        ("resoltion", "resolution"),
        ("aspectratio", "aspect_ratio"),
        ("orientaton", "orientation"),
        ("customid", "custom_id"),
        ("modle", "model"),
        ("meta_data", "metadata"),
        ("image", "images"),
        ("flie", "file"),
        ("files", "file"),
        ("mdoe", "mode"),
        ("modee", "mode"),
        ("mod", "mode"),
        ("di", "id"),
        ("ids", "id"),
    ],
)
def test_a_slip_is_told_with_the_field_that_was_meant(name, field):
    """Up to two letters off; for short names only what is no other word."""
    assert f"did you mean {field!r}" in slip(name).problem


def test_distance_counts_an_exchange_as_one():
    """Neighbours exchanged are one step, as is a letter put in, taken out or replaced."""
    assert [distance("prompt", word) for word in ("prompt", "propmt", "promt", "prompts", "pramqt", "")] == [
        0,
        1,
        1,
        1,
        2,
        6,
    ]


def test_every_field_is_known_by_its_name():
    """No field is taken for a slip of another."""
    assert all(field_of(name) == name and slip(name) is None for name in NAMES)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (["id", "file"], "prompt: no such column"),
        (
            ["id", "Beschreibung"],
            "prompt: no such column: the first line must name the columns, "
            "this one among them; found: 'id', 'Beschreibung'",
        ),
        (["prompt", "Prompt "], "Prompt : stands in the header twice"),
        (["prompt", "scene", "Scene"], "Scene: stands in the header twice"),
        (["promt", "durration"], "durration: no such column"),
    ],
)
def test_a_bad_header_is_refused(header, problem):
    """Without a prompt, with a name twice, or with slips there is nothing to read."""
    with pytest.raises(InvalidRequestError) as caught:
        check_header(header)
    assert f"line 1: {problem}" in str(caught.value)


def test_id_and_custom_id_may_both_be_there():
    """Whether they agree is seen row by row."""
    check_header(["id", "custom_id", "prompt"])
