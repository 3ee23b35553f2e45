"""The checks by themselves: models found, words spelled, faults yielded."""

import attrs
import pytest

from omni_async.dialects.rules import (
    MODES,
    ModelSpec,
    check_extra,
    check_fields,
    check_model,
    extra_of,
    find_model,
    mode_word,
    modes_of,
    named,
    ratio,
)
from omni_async.errors import Fault
from omni_async.models import VideoRequest

PLAIN = ModelSpec(name="plain", aliases=("simple",), durations=(6,), resolutions=("720p",))
OTHER = ModelSpec(name="other", durations=(8,), resolutions=("4k",))


def test_a_model_is_found_by_name_or_alias_and_the_first_is_the_default():
    """None is the first model; a name is compared as it is; what is unknown is None."""
    models = (PLAIN, OTHER)
    assert find_model(models, None) is PLAIN
    assert find_model(models, "simple") is PLAIN
    assert find_model(models, "other") is OTHER
    for unknown in ("Plain", "", 5, [], {"a": 1}):
        assert find_model(models, unknown) is None
    assert find_model((), None) is None


def test_a_value_is_spelled_as_the_gateway_does():
    """Case does not matter, an unknown value stays as it is, and another type too."""
    assert named("4K", ("720p", "4k")) == "4k"
    assert named("8K", ("720p", "4k")) == "8K"
    assert named(5, ("720p",)) == 5
    assert named(None, ("720p",)) is None


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("text-to-video", "text-to-video"),
        ("Text_To_Video", "text-to-video"),
        (" image to video ", "image-to-video"),
        ("R2V", "reference-to-video"),
        ("t2v", "text-to-video"),
        ("I2V", "image-to-video"),
        ("Video Edit", "video-edit"),
        ("Remix", "Remix"),
        (5, 5),
        (None, None),
    ],
)
def test_a_mode_is_understood_however_it_is_written(said, word):
    """Capitals, underscores, spaces and the short names mean the four modes; another word stays as it is."""
    assert mode_word(said) == word


def test_the_ratio_follows_from_orientation_only_without_one():
    """`aspect_ratio` wins over `orientation`; an unknown orientation gives none."""
    assert ratio(VideoRequest(prompt="c", aspect_ratio="1:1", orientation="portrait")) == "1:1"
    assert ratio(VideoRequest(prompt="c", orientation="portrait")) == "9:16"
    assert ratio(VideoRequest(prompt="c", orientation="up")) is None
    assert ratio(VideoRequest(prompt="c", orientation=["up"])) is None
    assert ratio(VideoRequest(prompt="c")) is None


def test_the_modes_a_single_image_can_mean():
    """One image without generation_type is a reference or a first frame; more images are references."""
    assert modes_of(VideoRequest(prompt="c", image_urls=["a"])) == ("reference-to-video", "image-to-video")
    assert modes_of(VideoRequest(prompt="c", image_urls=["a", "b"])) == ("reference-to-video",)
    assert modes_of(VideoRequest(prompt="c", image_urls=["a"], generation_type="frame")) == ("image-to-video",)
    assert set(MODES) == {"text-to-video", "image-to-video", "reference-to-video", "video-edit"}


def test_extra_is_a_copy_or_nothing():
    """What is not a mapping has no fields."""
    extra = {"seed": 1}
    found = extra_of(VideoRequest(prompt="c", extra=extra))
    assert found == extra
    assert found is not extra
    assert extra_of(VideoRequest(prompt="c", extra=None)) == {}


def test_extra_may_not_set_a_known_field():
    """Wire names and request fields are refused in extra: no rule would see them there."""
    assert list(check_extra({"seed": 1, "prompt": 1, "wire": 1}, {"wire"})) == [
        Fault("extra.prompt", "is a field of its own; set it there"),
        Fault("extra.wire", "is a field of its own; set it there"),
    ]
    deep: list = []
    for _ in range(200_000):
        deep = [deep]
    assert list(check_extra({"deep": deep}, ())) == [Fault("extra", "cannot be written as JSON")]


@pytest.mark.parametrize("extra", [{1: 2}, {True: 1, "a": 2}, {"a": {1: 2, "b": 3}}, {"a": [{None: 1, "x": 2}]}])
def test_a_name_in_extra_that_is_no_text_is_refused_by_the_check(extra):
    """Found only with the fingerprint, it would end a run of many; without one it would be sent as another name."""
    assert {fault.field for fault in check_extra(extra, ())} == {"extra"}


def test_a_sound_request_has_no_faults():
    """Nothing is found where nothing is wrong."""
    request = VideoRequest(prompt="c", duration=6, resolution="720P", extra={"seed": 1}, metadata={"a": object()})
    assert list(check_fields(request, known=())) == []
    assert check_model(request, (PLAIN,)).faults == ()
    assert check_model(request, (PLAIN,)).warnings == ()


def test_a_shown_value_is_short_and_of_a_plain_type():
    """A fault quotes at most 40 characters of a value, and of other types only their name."""
    faults = list(check_fields(VideoRequest(prompt="c", model=[1], duration="9" * 100), known=()))
    assert [str(fault) for fault in faults] == [
        "model: a list is not text",
        f"duration: '{'9' * 39} is not a whole number of seconds",
    ]
    assert "a list is not known" in str(check_model(VideoRequest(prompt="c", model=[1]), (PLAIN,)).faults[0])


@pytest.mark.parametrize(
    ("wrong", "others"),
    [
        (
            {"model": "omni"},
            {"video_urls": ["a", "b"], "orientation": "up", "aspect_ratio": "x"},
        ),
        ({"model": "omni"}, {"generation_type": "first"}),
        ({"generation_type": "first"}, {"image_urls": ["a", "b"]}),
    ],
)
def test_one_fault_hides_no_other(wrong, others):
    """What no model takes is told beside a model nobody knows, and too many images beside an unknown kind of them."""
    model = attrs.evolve(PLAIN, image_counts=(0, 1, 3))
    found = check_model(VideoRequest(prompt="c", **wrong, **others), (model,))
    assert {fault.field for fault in found.faults} == {*wrong, *others}


@pytest.mark.parametrize("asked", ["0:1", "1:0", "16x9", "16:9:1", "١:٢", "123456:1", " 16:9"])
def test_any_ratio_must_still_be_width_to_height(asked):
    """A model that takes any ratio takes width:height in ASCII digits without leading zeros."""
    found = check_model(VideoRequest(prompt="c", aspect_ratio=asked), (PLAIN,))
    assert [fault.field for fault in found.faults] == ["aspect_ratio"]
    assert check_model(VideoRequest(prompt="c", aspect_ratio="21:9"), (PLAIN,)).faults == ()
