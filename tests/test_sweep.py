"""One video in every combination of settings: what is sent, what is left out, and how each is called."""

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_async import GeminiOmni, InvalidRequestError, Jimmy, ModelSpec, ToApis, VideoRequest, sweep_requests
from omni_async.batch import dry_plan
from omni_async.batch.record import SheetRecord
from omni_async.batch.rows import Checker
from omni_async.dialects import Call, CallKind
from omni_async.sweep import LONGEST_ID, VARIED
from tests.foreign import Foreign

DIALECTS = [Jimmy(), GeminiOmni(), ToApis(), Foreign()]
WORDS = st.sampled_from([None, "omni-10s", "gemini-omni", "Gemini-Omini", "gemini_omni", "gemini_omni_flash", "720p"])
VALUES = {
    "model": WORDS,
    "duration": st.sampled_from([None, 4, 5, 6, 7, 10, "6", -1]),
    "resolution": st.sampled_from([None, "720p", "720P", "1080p", "4k", ""]),
    "aspect_ratio": st.sampled_from([None, "16:9", "9:16", "1:1", "wide"]),
    "orientation": st.sampled_from([None, "landscape", "portrait", "upright"]),
    "mode": st.sampled_from([None, "text-to-video", "T2V", "video-edit", "dance"]),
    "generation_type": st.sampled_from([None, "frame", "reference", "no"]),
}
AXES = st.fixed_dictionaries(
    {}, optional={name: st.lists(values, min_size=1, max_size=2, unique=True) for name, values in VALUES.items()}
)


def faults_of(found):
    """What was left out, by what it asked for."""
    return {
        tuple(found.settings(refused.request).values()): [str(fault) for fault in refused.faults]
        for refused in found.refused
    }


def test_every_combination():
    """The product of what is given, in its order, with the rest of the request as it is."""
    found = sweep_requests("a cat", duration=[4, 6], resolution=["720p", "1080p"], metadata={"chat": 4})
    assert [(one.duration, one.resolution) for one in found.requests] == [
        (4, "720p"), (4, "1080p"), (6, "720p"), (6, "1080p"),
    ]  # fmt: skip
    assert {(one.prompt, one.metadata["chat"]) for one in found.requests} == {("a cat", 4)}
    assert (found.combinations, found.refused, found.varied) == (4, (), ("duration", "resolution"))


def test_what_the_gateway_refuses_is_left_out_with_its_reason():
    """By the gateway's own rules: every fault, and the values that would do."""
    found = sweep_requests("a cat", gateway="toapis", duration=(4, 6), model=("gemini_omni", "gemini_omni_flash"))
    assert [(one.model, one.duration) for one in found.requests] == [
        ("gemini_omni", 6), ("gemini_omni_flash", 4), ("gemini_omni_flash", 6),
    ]  # fmt: skip
    assert faults_of(found) == {
        ("gemini_omni", 4): ["duration: 4 is not possible with gemini_omni; allowed: 6, 10"],
    }


def test_nobody_pays_twice_for_the_same_video():
    """An ignored field, another name of a model and another case of a word make no other video."""
    found = sweep_requests("a cat", model=["omni-10s"], duration=[4, 6], resolution=["720p", "4k"])
    assert [one.custom_id.partition("-")[2] for one in found.requests] == ["omni-10s-any-any"]
    same = f"makes no difference here: the same video as {found.requests[0].custom_id}"
    assert faults_of(found)["omni-10s", 6, "4k"] == [f"duration: {same}", f"resolution: {same}"]
    assert [str(warning) for warning in found.warnings][:1] == ["duration: omni-10s ignores it and bills 10 s"]
    assert len(sweep_requests("a cat", model=["gemini-omni", "Omni-Flash-Ext"]).requests) == 1
    assert len(sweep_requests("a cat", resolution=["4k", "4K"]).requests) == 1
    assert len(sweep_requests("a cat", aspect_ratio="16:9", orientation=["landscape", "portrait"]).requests) == 1


def test_ids_say_the_settings_and_stay_when_values_are_added():
    """What was paid for is found again by a wider sweep; another prompt is another sweep."""
    few = sweep_requests("a cat", duration=[4], aspect_ratio="16:9")
    more = sweep_requests("a cat", duration=[8, 4], aspect_ratio=["16:9", "9:16"])
    other = sweep_requests("a dog", duration=[4], aspect_ratio="16:9")
    assert few.requests[0].custom_id.endswith("-4s-16x9")
    assert few.requests[0] in more.requests
    assert few.requests[0].custom_id != other.requests[0].custom_id
    assert "cat" not in few.requests[0].custom_id
    named = sweep_requests("a cat", custom_id="EP01", duration=[4, None])
    assert [one.custom_id for one in named.requests] == ["EP01-4s", "EP01-default"]


def test_an_ignored_setting_is_no_part_of_an_id():
    """Whichever of its values stands first, it is the same video, and a batch pays for it once."""
    one, other = (sweep_requests("a cat", model=["omni-10s"], duration=values) for values in ([6, 8], [4, 6]))
    assert one.requests[0].custom_id == other.requests[0].custom_id
    checker = Checker(Jimmy(), folder=Path())
    rows = [checker.check(SheetRecord(1, next(found.rows()))) for found in (one, other)]
    assert rows[0].fingerprint == rows[1].fingerprint


def test_ids_that_would_be_one_file_are_told_apart():
    """Models whose names differ by case, or by signs that no file can have."""
    names = ("A/b", "a b", "A:b")
    dialect = Jimmy(models=tuple(ModelSpec(name=name, durations=(4,), resolutions=("720p",)) for name in names))
    found = sweep_requests("a cat", gateway=dialect, model=names)
    ids = [one.custom_id for one in found.requests]
    assert len({name.casefold() for name in ids}) == 3
    assert dry_plan(found.rows(), out="nowhere", gateway=dialect).to_pay == 3


def test_a_long_id_is_cut_and_stays_its_own():
    """However a caller calls them, ids fit into a file's name."""
    found = sweep_requests("a cat", custom_id="夜" * 60, duration=[4, 6])
    ids = [one.custom_id for one in found.requests]
    assert len(set(ids)) == 2
    assert all(len(name.encode()) <= LONGEST_ID for name in ids)


def test_what_is_in_common_comes_in_any_form():
    """A request, a text or a mapping, and what they already say is one value."""
    wanted = sweep_requests("a cat", duration=[4, 6], resolution="720p", image_urls=["https://a.example/1.png"])
    common = {"prompt": "a cat", "resolution": "720p", "image_urls": "https://a.example/1.png"}
    assert sweep_requests(common, duration=[4, 6]) == wanted
    assert sweep_requests({**common, "duration": range(4, 7, 2)}) == wanted
    assert sweep_requests(VideoRequest(**common), duration=[4, 6]) == wanted
    assert sweep_requests("a cat").combinations == 1


@pytest.mark.parametrize(
    ("request_", "fields", "faults"),
    [
        ("a cat", {"duration": []}, ["duration: no value is given"]),
        ("a cat", {"duration": [4, 4]}, ["duration: 4 is given twice"]),
        ({"prompt": "a cat", "mode": ["a"]}, {"mode": ["b"]}, ["mode: given twice"]),
        ("a cat", {"durations": [4]}, ["durations: no such field; did you mean 'duration'?"]),
        (" ", {"duration": [4, 4], "extra": 5},
         ["duration: 4 is given twice", "prompt: required text", "extra: is not a mapping"]),
        ("a cat", {"duration": range(2, 103), "model": [str(n) for n in range(100)]},
         ["combinations: there are 10,100 of them, 10,000 at most are taken"]),
        (["a cat", "a dog"], {}, ["prompt: a list is not text"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_all_of_them_is_told_once(request_, fields, faults):
    """Not with each combination, and before any is worked out."""
    with pytest.raises(InvalidRequestError) as caught:
        sweep_requests(request_, **fields)
    assert [str(fault) for fault in caught.value.faults] == faults


def test_what_a_dialect_of_the_callers_own_cannot_say_is_left_out():
    """A refusal by the building of the call counts like one by the check."""

    class Picky(Foreign):
        def create(self, request, *, idempotency_key=None):
            if request.duration == 6:
                raise InvalidRequestError("no")
            return Call(kind=CallKind.CREATE, method="POST", path="/", body={"seconds": request.duration})

    found = sweep_requests("a cat", gateway=Picky(), duration=[4, 6])
    assert faults_of(found) == {(6,): ["request: is refused by the dialect"]}


@settings(deadline=None)
@given(st.sampled_from(DIALECTS), AXES)
def test_all_that_is_given_is_sound_and_nothing_is_lost(dialect, axes):
    """Each request passes the dialect's check, what is left out has a reason, and together they are the product."""
    found = sweep_requests("a cat", gateway=dialect, **axes)
    assert all(dialect.check(request).faults == () for request in found.requests)
    assert all(refused.faults for refused in found.refused)
    assert found.combinations == math.prod(map(len, axes.values()))
    everything = [*found.requests, *(refused.request for refused in found.refused)]
    asked = {tuple(getattr(one, name) for name in VARIED) for one in everything}
    assert asked == set(itertools.product(*(axes.get(name, [None]) for name in VARIED)))
    assert len({one.custom_id for one in found.requests}) == len(found.requests)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(DIALECTS), AXES)
def test_a_batch_takes_every_row(dialect, axes):
    """The rows are the requests: as many videos to pay for, none refused, none for another one's file."""
    found = sweep_requests("a cat", gateway=dialect, custom_id="it/s", **axes)
    for request, row in zip(found.requests, found.rows(), strict=True):
        asked = {name: value for name, value in row.items() if name != "id" and not name.startswith("sweep_")}
        assert VideoRequest.from_dict({**asked, "custom_id": row["id"]}, local_files=True) == request
    if found.requests:
        assert dry_plan(list(found.rows()), out="nowhere", gateway=dialect).to_pay == len(found.requests)
