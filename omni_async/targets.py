"""Where in the folder of videos one goes: names that every file system takes, found before paying."""

import re
import unicodedata

from .errors import Fault
from .safety import TARGET_ENDINGS, file_name, is_reserved

LONGEST = 1000
"""Bytes of a relative path: with the folder before it, it stays under what systems take."""

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", re.ASCII)  # nothing in it to replace
_DRIVE = re.compile(r"[A-Za-z]:")
_ENDING = re.compile(r"\.(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{3,4}", re.ASCII)


def default_target(custom_id: str) -> str:
    """The name of the video of a row that names none: its id, made safe."""
    if _PLAIN.fullmatch(custom_id) and not is_reserved(custom_id):
        return custom_id + ".mp4"
    return file_name(custom_id)


def target_of(file: str) -> str | Fault:
    """The target a `file` column asks for, made safe; a Fault if it cannot be had.

    Subfolders are allowed. Signs that some file system refuses are replaced; a name that would leave the folder, or
    that Windows reserves, is refused, because what was meant cannot be guessed.

    Args:
        file: A relative path with forward slashes; `.mp4` is added if it has no ending.
    """
    parts = unicodedata.normalize("NFC", file).split("/")
    problem = _problem(file, parts)
    if problem:
        return Fault("file", problem)
    stem, dot, ending = parts[-1].rpartition(".")
    ending = (dot + ending).lower()
    if ending not in TARGET_ENDINGS or not stem:
        if stem and _ENDING.fullmatch(ending):
            told = f"ends in {ending}, and this is a video"
            return Fault("file", told, tuple(sorted(TARGET_ENDINGS)))
        stem, ending = parts[-1], ".mp4"
    folders = [file_name(part).removesuffix(".mp4") for part in parts[:-1]]
    target = "/".join([*folders, file_name(stem, ending)])
    return target if len(target.encode()) <= LONGEST else Fault("file", f"is longer than {LONGEST} bytes")


def _problem(file: str, parts: list[str]) -> str | None:
    """Why a path cannot be had."""
    if "\\" in file:
        return "holds a backslash; write subfolders with /"
    if file.startswith("/") or _DRIVE.match(file):
        return "is not a relative path; it is put into the folder of videos"
    if any(part.strip() in ("", ".", "..") for part in parts):
        return "has an empty part, . or .. in it"
    if any(is_reserved(part.partition(".")[0].strip()) for part in parts):
        return "is a name that Windows keeps for a device"
    return None
