"""Whether bytes are Chinese in GB18030: of valid UTF-8 told by odd letters in that reading, of others by common ones.

Two thirds of a thousand common Chinese characters are, as GB18030 pairs, also a valid UTF-8 pair: 一只猫 reads `һֻè`.
What gives such a reading away is not one letter but the company it keeps, so a cell is judged as a whole: letters that
no living language writes, several scripts in one word, vowel points without their letters.
"""

import re
import unicodedata
from collections.abc import Iterator

_CELLS = re.compile(r'"[^"]*"|(?:[^,;|\t\r\n"{}\[\]]|[,;] )+')
_WORDS = re.compile(r"[^\s\x00-\x2f:-@\[-`{-~\u00a0-\u00bf\u00d7\u00f7\u2000-\u206f\u3000-\u303f\uff00-\uff0f]+")


def _set(ranges: str) -> str:
    return "".join(f"{low}-{high or low}" for low, _, high in (part.partition("-") for part in _letters(ranges)))


def _letters(ranges: str) -> Iterator[str]:
    for part in ranges.split():
        yield "-".join(rf"\u{int(end, 16):04x}" for end in part.split("-"))


# What living languages write between U+00C0 and U+07FF, where the GB18030 pairs of common characters fall.
_LATIN = _set("c0-d6 d8-f6 f8-17f 181 18a 18f 190 198-199 186 19d 1a0-1a1 1af-1b0 1b3-1b4 1cd-1dc 1e6-1e7 1ea-1eb")
_LATIN += _set("218-21b 232-233 253-254 257 259 25b 263 272 2bb-2bc")
_ACCENTS = _set("300-314 31b 323-328 32d-331")
_GREEK = _set("386 388-38a 38c 38e-3a1 3a3-3ce")
_CYRILLIC = _set("400-45f")
_CYRILLIC_MORE = _set("490-493 496-497 49a-49d 4a2-4a3 4aa-4ab 4ae-4b3 4b6-4bb 4d8-4d9 4e2-4e3 4e8-4e9 4ee-4ef")
_ARMENIAN = _set("531-556 559-587 589-58a")
_HEBREW = _set("5d0-5ea 5f0-5f4")
_HEBREW_POINTS = _set("591-5c7")
_ARABIC = _set("60c 61b 61f-63a 640-64a 660-66d 670-671 674 679-6d5 6f0-6f9 6fd-6fe")
_ARABIC_POINTS = _set("64b-655 670")
_RARE = _set("700-74f 780-7bf 7c0-7ff")

_FOREIGN = re.compile(  # a letter of the two-byte range that is of none of these
    rf"[\u00c0-\u07ff](?<![{_LATIN}{_ACCENTS}{_GREEK}{_CYRILLIC}{_CYRILLIC_MORE}{_ARMENIAN}{_HEBREW}{_HEBREW_POINTS}"
    rf"{_ARABIC}{_ARABIC_POINTS}{_RARE}\u00d7\u00f7\u0385\u0387\u037e])"
)
_LOOSE = re.compile(  # a point or accent without the letter it belongs to
    rf"(?<![{_HEBREW}{_HEBREW_POINTS}])[{_HEBREW_POINTS}]|(?<![{_ARABIC}{_ARABIC_POINTS}])[{_ARABIC_POINTS}]"
    rf"|(?<![A-Za-z{_LATIN}{_ACCENTS}{_GREEK}{_CYRILLIC}{_CYRILLIC_MORE}\u1e00-\u1fff])[{_ACCENTS}]"
)
_SCRIPTS = tuple(
    re.compile(f"[{letters}]")
    for letters in (
        _LATIN,
        _GREEK,
        _CYRILLIC + _CYRILLIC_MORE,
        _ARMENIAN,
        _HEBREW,
        _ARABIC,
        *map(_set, ("700-74f", "780-7bf", "7c0-7ff")),
    )
)
_TWO_BYTES = re.compile(r"[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u07ff]")
_EAST = re.compile(r"[\u0800-\u1dff\u2e80-\u2fff\u3040-\ud7ff\uf900-\ufaff]")
_RARE_LETTER = re.compile(f"[{_RARE}]")
_CYRILLIC_LETTER, _CYRILLIC_ADDED = re.compile(f"[{_CYRILLIC}]"), re.compile(f"[{_CYRILLIC_MORE}]")
_OTHER_SCRIPT = re.compile(rf"[A-Za-z{_RARE}{_GREEK}{_CYRILLIC}{_ARMENIAN}{_HEBREW}{_ARABIC}\u0800-\uffff]")
_NOT_BESIDE_EAST = re.compile(f"[{_CYRILLIC}{_CYRILLIC_MORE}{_ARMENIAN}{_HEBREW}{_ARABIC}{_RARE}]")
RARE_LETTERS = 4
"""Syriac, Thaana and N'Ko are believed from this many letters on."""
_NOBODY = frozenset({"Cn", "Co"})
"""Categories of what is not assigned, or only by private agreement."""


def suspicious_cell(text: str) -> tuple[str, str] | None:
    """The first cell of a line that is more likely GB18030 than UTF-8, in both readings; None if there is none.

    Args:
        text: The line, read as UTF-8.
    """
    for cell in _CELLS.findall(text):
        if not cell.isascii() and is_odd(cell):
            chinese = as_chinese(cell.encode())
            if chinese:
                return cell.strip(' "'), chinese.strip(' "')
    return None


def as_chinese(raw: bytes) -> str | None:
    """The bytes read as GB18030, if that gives mostly common characters."""
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError:
        return None
    beyond = [letter for letter in text if not letter.isascii()]
    common = sum(1 for letter in beyond if _is_common(letter))
    return text if beyond and common * 2 >= len(beyond) else None


def _is_common(letter: str) -> bool:
    """Whether GB2312 has the character: the 6,763 that cover all but rare names and traditional forms."""
    try:
        return bool("\u4e00" <= letter <= "\u9fff" and letter.encode("gb2312"))
    except UnicodeEncodeError:
        return False


def is_chinese(text: str) -> bool:
    """Whether what was read as GB18030 is Chinese that people write, and not another encoding's text misread.

    GB2312 orders its 3,755 commonest characters by sound, from lead byte B0 to D7. Half of Chinese text has its lead in
    C9 to D7 (伞 to 座); common Big5 characters, hangul in EUC-KR and most of Shift-JIS never have. Of the prompts in
    tests/batch/languages.py none in another encoding passes, and every Chinese one of seven characters or more does.

    Args:
        text: Its letters beyond ASCII.
    """
    leads = [letter.encode("gb2312", "replace")[0] for letter in text if letter <= "\uffff"]  # `?` for what it lacks
    leads = [lead for lead in leads if not 0xA1 <= lead <= 0xA3]  # signs, which most encodings have there
    first = sum(1 for lead in leads if 0xB0 <= lead <= 0xD7)
    later = sum(1 for lead in leads if 0xC9 <= lead <= 0xD7)
    return first * 4 >= len(leads) * 3 and later * 16 >= len(leads)


def is_odd(cell: str) -> bool:
    """Whether a text is none that anybody writes.

    Args:
        cell: A text that holds letters beyond ASCII.
    """
    if _FOREIGN.search(cell) or _LOOSE.search(cell) or any(unicodedata.category(letter) in _NOBODY for letter in cell):
        return True
    if any(_mixed(word) for word in _WORDS.findall(cell) if not word.isascii()):
        return True
    if 0 < len(_RARE_LETTER.findall(cell)) < RARE_LETTERS:
        return True
    if _CYRILLIC_ADDED.search(cell) and not _CYRILLIC_LETTER.search(cell):
        return True
    # `è` alone, without any plain letter: no sentence, but 猫.
    return _TWO_BYTES.search(cell) is not None and not _OTHER_SCRIPT.search(cell)


def _mixed(word: str) -> bool:
    """Whether one word holds letters of several scripts; µm, T恤 and the like are no such words."""
    found = sum(1 for script in _SCRIPTS if script.search(word))
    return found > 1 or (_NOT_BESIDE_EAST.search(word) is not None and _EAST.search(word) is not None)
