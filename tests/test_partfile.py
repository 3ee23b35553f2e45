"""The `.part` of a download on disk."""

import errno
import fcntl
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from omni_async import partfile
from omni_async.errors import DownloadError, TargetExistsError
from omni_async.partfile import PartFile, Tag, _read_tag, source_of

BODY = b"\0\0\0\x18ftypmp42" + bytes(100)


@pytest.fixture
def part(tmp_path: Path) -> Iterator[PartFile]:
    """An open part of `v.mp4`."""
    made = PartFile(tmp_path / "v.mp4")
    made.open()
    yield made
    made.close()


def left(folder: Path) -> set[str]:
    """Names in a folder."""
    return {path.name for path in folder.iterdir()}


def test_written_and_published(part: PartFile, tmp_path: Path) -> None:
    """What was written becomes the target, with the mode of any new file, and nothing else stays."""
    part.restart(Tag('"v1"', len(BODY), "x"))
    part.write(BODY[:50])
    part.write(bytearray(BODY[50:]))
    assert repr(part) == f"<PartFile of {tmp_path / 'v.mp4'}: 112 bytes, open>"
    assert part.head()[4:8] == b"ftyp"
    assert part.publish().read_bytes() == BODY
    mask = os.umask(0)
    os.umask(mask)
    assert part.target.stat().st_mode & 0o777 == 0o666 & ~mask
    assert left(tmp_path) == {"v.mp4"}
    part.close()
    assert repr(part).endswith("closed>")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_and_came_up_meanwhile_is_not_replaced(make: Callable[[Path], None], tmp_path: Path) -> None:
    """Not even where a file may be; the video stays beside it, whole."""
    part = PartFile(tmp_path / "v.mp4", overwrite=True)
    part.open()
    part.write(BODY)
    make(part.target)
    with pytest.raises(TargetExistsError):
        part.publish()
    part.close()
    assert not part.target.is_file()
    assert part.path.read_bytes() == BODY


def test_closed_and_opened_again(part: PartFile, tmp_path: Path) -> None:
    """Another holder finds the bytes and what they are the beginning of."""
    tag = Tag('"v1"', 500, "x")
    part.restart(tag)
    part.write(BODY)
    part.close()
    again = PartFile(tmp_path / "v.mp4")
    again.open()
    assert (again.size, again.tag) == (len(BODY), tag)
    again.close()


def test_empty_part_is_not_left(part: PartFile, tmp_path: Path) -> None:
    """A part without bytes is worth nothing."""
    part.restart(Tag('"v1"'))
    part.close()
    assert left(tmp_path) == set()


def test_closed_part_cannot_be_written(part: PartFile) -> None:
    """Using it after closing is a clear error, not a write into some other file."""
    part.close()
    with pytest.raises(DownloadError, match="not open"):
        part.write(b"x")


def test_resumes_only_what_is_the_same() -> None:
    """An ETag holds for a fresh URL, a date only for the same, nothing without either."""
    assert Tag('"v1"', source="a").resumes("b")
    assert Tag("Sat, 01 Aug 2026 00:00:00 GMT", source="a").resumes("a")
    assert not Tag("Sat, 01 Aug 2026 00:00:00 GMT", source="a").resumes("b")
    assert not Tag(source="a").resumes("a")


def test_source_ignores_the_signature() -> None:
    """A fresh signature is the same source, another path is not."""
    one = source_of(URL("https://cdn.example/v.mp4?sig=1"))
    assert one == source_of(URL("https://cdn.example/v.mp4?sig=2"))
    assert one != source_of(URL("https://cdn.example/w.mp4?sig=1"))


def test_held_by_another_process(tmp_path: Path) -> None:
    """A lock taken by somebody else is respected, and their file is left alone."""
    theirs = tmp_path / "v.mp4.part"
    theirs.write_bytes(b"")
    with theirs.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        part = PartFile(tmp_path / "v.mp4")
        with pytest.raises(DownloadError, match="already"):
            part.open()
        part.close()
    assert left(tmp_path) == {"v.mp4.part"}


def test_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no locks, downloads work all the same."""

    def refuse(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    part = PartFile(tmp_path / "v.mp4")
    part.open()
    part.close()


def test_part_that_is_a_link(tmp_path: Path) -> None:
    """A link in the part's place is never followed."""
    other = tmp_path / "other"
    other.write_bytes(b"mine")
    (tmp_path / "v.mp4.part").symlink_to(other)
    part = PartFile(tmp_path / "v.mp4")
    with pytest.raises(DownloadError, match="is a link"):
        part.open()
    part.close()
    assert other.read_bytes() == b"mine"
    assert left(tmp_path) == {"other", "v.mp4.part"}


def test_part_that_is_a_pipe(tmp_path: Path) -> None:
    """Something that is not a file in the part's place is named, does not hang, and stays."""
    os.mkfifo(tmp_path / "v.mp4.part")
    part = PartFile(tmp_path / "v.mp4")
    with pytest.raises(DownloadError, match="is not an ordinary file"):
        part.open()
    part.close()
    assert left(tmp_path) == {"v.mp4.part"}


def test_target_that_is_a_pipe(tmp_path: Path) -> None:
    """What is not a file is not replaced, even where a file may be: it could be a device that all others use."""
    os.mkfifo(tmp_path / "v.mp4")
    part = PartFile(tmp_path / "v.mp4", overwrite=True)
    with pytest.raises(TargetExistsError, match="is not an ordinary file"):
        part.open()
    part.close()
    assert left(tmp_path) == {"v.mp4"}
    assert (tmp_path / "v.mp4").is_fifo()


def test_part_with_a_second_name(tmp_path: Path) -> None:
    """A crash between naming and un-naming leaves two names of one file: writing on must not change the video."""
    target = tmp_path / "v.mp4"
    target.write_bytes(BODY)
    os.link(target, tmp_path / "v.mp4.part")
    part = PartFile(target, overwrite=True)
    part.open()
    assert part.size == 0
    part.restart(Tag())
    part.close()
    assert target.read_bytes() == BODY


def test_part_that_is_replaced_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever published and removed it between our open and our lock: we begin with a new one."""
    path = tmp_path / "v.mp4.part"
    path.write_bytes(BODY)
    real, calls = fcntl.flock, 0

    def late(fd: int, how: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            path.unlink()
        if calls == 2:
            path.unlink()
            path.write_bytes(b"other")
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    part = PartFile(tmp_path / "v.mp4")
    part.open()
    assert (calls, part.size) == (3, 5)
    part.close()


def test_target_that_comes_up_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target is looked at again under the lock, so that nobody downloads what is there."""
    real = fcntl.flock

    def late(fd: int, how: int) -> None:
        (tmp_path / "v.mp4").write_bytes(b"mine")
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    part = PartFile(tmp_path / "v.mp4")
    with pytest.raises(TargetExistsError):
        part.open()
    part.close()
    assert left(tmp_path) == {"v.mp4"}


def refuse_links(code: int) -> object:
    """An `os.link` of a file system that has none."""

    def link(source: Path, target: Path) -> None:
        raise OSError(code, "refused")

    return link


def test_file_system_without_links(part: PartFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file has one name, it is renamed, and what is there is still not replaced."""
    monkeypatch.setattr(os, "link", refuse_links(errno.EPERM))
    part.write(BODY)
    assert part.publish().read_bytes() == BODY
    part.close()
    monkeypatch.setattr(os, "link", refuse_links(errno.EIO))
    (tmp_path / "v.mp4").unlink()
    broken = PartFile(tmp_path / "v.mp4")
    broken.open()
    broken.write(BODY)
    with pytest.raises(OSError, match="refused"):
        broken.publish()
    broken.close()
    assert left(tmp_path) == {"v.mp4.part"}


def test_name_that_comes_up_at_the_last_moment(part: PartFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linking itself refuses to replace a file."""
    monkeypatch.setattr(os, "link", refuse_links(errno.EEXIST))
    part.write(BODY)
    with pytest.raises(TargetExistsError) as caught:
        part.publish()
    assert caught.value.__cause__ is None


def test_full_disk_at_fsync(part: PartFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 58: some file systems find out only when asked to sync."""

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    part.restart(Tag('"v1"'))
    part.write(BODY)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        part.publish()
    assert left(tmp_path) == set()


def test_other_errors_keep_the_part(part: PartFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a full disk costs the part."""

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    part.write(BODY)
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input"):
        part.publish()
    assert left(tmp_path) == {"v.mp4.part"}


MOOV, MDAT = b"\0\0\0\x08moov", b"\0\0\0\x08mdat"


@pytest.mark.parametrize(
    ("boxes", "whole"),
    [
        (MOOV + MDAT, True),
        (MDAT + MOOV + b"\0\0\0\x08free" * 3, True),
        (MDAT + b"\0\0\0\x0cmoov", False),
        (MOOV + MDAT + b"\0\0", False),
        (MOOV + b"\0\0\0\0mdat" + bytes(9), True),
        (MOOV + b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x10", True),
        (MOOV + b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x11", False),
        (MOOV + b"\0\0\0\x03mdat", True),
        (MOOV, False),
        (MDAT, False),
        (b"\0\0\0\0mdat" + bytes(9), False),
        (b"\0\0\0\x08free", False),
    ],
)
def test_what_is_a_whole_file(part: PartFile, boxes: bytes, whole: bool) -> None:
    """MP4 boxes tell where it ends, in all three ways of giving a length, and what it needs; nonsense does not loop."""
    part.write(boxes)
    assert part.is_whole() is whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "[" * 100_000,
        '{"validator": 5, "total": 1, "source": ""}',
        '{"validator": "a\\nb", "total": 1, "source": ""}',
        '{"validator": "\\"x\\"", "total": true, "source": ""}',
        '{"validator": "\\"x\\"", "total": 1, "source": null}',
        '{"validator": "' + "x" * 5000 + '", "total": 1, "source": ""}',
    ],
)
def test_damaged_tags_mean_nothing(tmp_path: Path, text: str) -> None:
    """Whatever stands in a tag, it resumes the right video or none."""
    path = tmp_path / "tag"
    path.write_text(text)
    assert _read_tag(path) == Tag()


@given(st.binary(max_size=200))
def test_fuzz_tags(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Any bytes are a tag or no tag, never an exception."""
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(data)
    assert isinstance(_read_tag(path), Tag)


def test_tag_that_is_a_link(tmp_path: Path) -> None:
    """A link in the tag's place is not read."""
    (tmp_path / "real").write_text('{"validator": "\\"x\\"", "total": 1, "source": ""}')
    (tmp_path / "tag").symlink_to(tmp_path / "real")
    assert _read_tag(tmp_path / "tag") == Tag()
    assert _read_tag(tmp_path / "real") == Tag('"x"', 1, "")


# --- elsewhere -------------------------------------------------------------------------------------------------------


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as Windows has it, on what stands in for the system: its locks, and that open files stay."""
    locked: dict[int, tuple[int, int]] = {}  # descriptor: file, place
    opened, close, unlink = os.open, os.close, Path.unlink
    files: dict[int, int] = {}

    def locking(file: int, mode: str, count: int) -> None:
        assert (mode, count) == ("try", 1)
        wanted = os.fstat(file).st_ino, os.lseek(file, 0, os.SEEK_CUR)
        if wanted in locked.values():
            raise PermissionError(errno.EACCES, "Permission denied")
        locked[file] = wanted

    def opening(*arguments: object) -> int:
        file = opened(*arguments)  # type: ignore[arg-type]
        files[file] = os.fstat(file).st_ino
        return file

    def closing(file: int) -> None:
        locked.pop(file, None)
        files.pop(file, None)
        close(file)

    def unlinking(path: Path, missing_ok: bool = False) -> None:
        if path.exists() and path.stat().st_ino in files.values():
            raise PermissionError(errno.EACCES, "The process cannot access the file")
        unlink(path, missing_ok)

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK="try"))
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.spec_from_file_location("omni_async.elsewhere", partfile.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "omni_async.elsewhere", module)
    monkeypatch.setattr(sys, "platform", "win32")
    spec.loader.exec_module(module)
    for name, stand_in in {"open": opening, "close": closing}.items():
        monkeypatch.setattr(os, name, stand_in)
    monkeypatch.setattr(Path, "unlink", unlinking)
    return module


def test_on_windows_two_processes_do_not_write_one_part(
    windows: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The byte that is locked lies behind the video: while it is written, others can read it."""
    one, two = windows.PartFile(tmp_path / "v.mp4"), windows.PartFile(tmp_path / "v.mp4")
    one.open()
    one.write(BODY)
    with monkeypatch.context() as patched:
        patched.setattr(windows, "_busy", {})
        with pytest.raises(DownloadError, match="is being downloaded already"):
            two.open()
        two.close()
    assert one.path.read_bytes() == BODY
    assert one.publish().read_bytes() == BODY
    one.close()


def test_on_windows_a_second_name_that_a_crash_left_is_taken_away(windows: ModuleType, tmp_path: Path) -> None:
    """It is closed first."""
    video, part = tmp_path / "published.mp4", windows.PartFile(tmp_path / "v.mp4")
    video.write_bytes(BODY)
    os.link(video, part.path)
    part.open()
    part.write(b"new")
    part.close()
    assert video.read_bytes() == BODY
    assert part.path.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["aux.mp4", "Con", "com1.old.mp4", "nul .mp4", "take 12:30.mp4"])
def test_on_windows_a_name_that_is_no_files_is_refused_before_paying(
    windows: ModuleType, tmp_path: Path, name: str
) -> None:
    """A device would be written to, or a hidden part of the file `take 12`; elsewhere they are names as any other."""
    with pytest.raises(ValueError, match="Windows takes such a name"):
        windows.refuse_existing(tmp_path / name, overwrite=False)
    windows.refuse_existing(tmp_path / "auxiliary.mp4", overwrite=False)


def test_elsewhere_a_name_that_windows_keeps_is_as_any_other(tmp_path: Path) -> None:
    """As is a colon."""
    for name in ("aux.mp4", "take 12:30.mp4"):
        partfile.refuse_existing(tmp_path / name, overwrite=False)
