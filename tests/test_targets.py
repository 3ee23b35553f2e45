"""Where videos go."""

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_async.errors import Fault
from omni_async.safety import NAME_BYTES, file_name, target_key
from omni_async.targets import default_target, target_of


@pytest.mark.parametrize(
    ("file", "target"),
    [
        ("a", "a.mp4"),
        ("EP01/SC03.mp4", "EP01/SC03.mp4"),
        ("A.MOV", "A.mov"),
        ("第一集/猫", "第一集/猫.mp4"),
        ("v1.2", "v1.2.mp4"),
        ("Dr. No", "Dr. No.mp4"),
        ("what?", "what_.mp4"),
        ("e\u0301", "é.mp4"),
        ("猫" * 100, "猫" * 66 + ".mp4"),
        ("console/connect", "console/connect.mp4"),
    ],
)
def test_a_name_is_made_safe(file, target):
    """Letters stay, unsafe signs are replaced, an ending is added, long names are cut."""
    assert target_of(file) == target


@pytest.mark.parametrize(
    "file",
    [
        *r"../a a/../b /etc/x C:x C:\x a\b CON nul.mp4 EP/com1.mp4 a//b a/ ./a LPT¹ ~/../x a.avi .. aux.x".split(),
        *("a.jpeg", "aux .mp4", " /a", "a/" * 600 + "b"),
    ],
)
def test_what_cannot_be_had_is_refused(file):
    """Names that escape, that Windows reserves, or that are not video's: before anything is paid."""
    assert isinstance(target_of(file), Fault)


@given(st.text(max_size=40))
def test_no_target_leaves_its_folder(file):
    """Whatever a name is, its target is relative, has no part that climbs, and every part fits."""
    target = target_of(file)
    if not isinstance(target, Fault):
        parts = target.split("/")
        assert not PurePosixPath(target).is_absolute()
        assert not PureWindowsPath(target).anchor
        assert not {"", ".", ".."} & set(parts)
        assert all(len(part.encode()) <= NAME_BYTES + 5 for part in parts)
        assert unicodedata.normalize("NFC", target) == target
        assert not set(target) & set('\\:*?"<>|\0\n')


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
    | st.from_regex(r"[A-Za-z0-9_.-]{1,120}", fullmatch=True)
)
def test_the_default_is_the_id_as_a_file_name(custom_id):
    """The short way for plain ids gives what the long one gives."""
    assert default_target(custom_id) == file_name(custom_id)


def test_names_that_some_file_system_takes_for_one_share_a_key():
    """Upper and lower case, composed and decomposed."""
    assert target_key("EP/Straße.mp4") == target_key("ep/STRASSE.mp4")
    assert target_key("é.mp4") == target_key("E\u0301.mp4")
    assert target_key("a.mp4") != target_key("b.mp4")
