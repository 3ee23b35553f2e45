"""Words that several parts share: how they are put, and how they are compared."""


def counted(count: int, noun: str, ending: str = "s") -> str:
    """So many of something."""
    return f"{count:,} {noun}{'' if count == 1 else ending}"


def doubtful(count: int) -> str:
    """What uncertain rows are, in a few words."""
    one = "1 row may have been paid and has no task id"
    return one if count == 1 else f"{count:,} rows may have been paid and have no task id"


def spelt(name: str) -> str:
    """A name without what its spellings differ in: `Retry-After`, `retry_after` and `retryAfter` are one."""
    return name.lower().replace("_", "").replace("-", "")


def brief(text: str, most: int = 60) -> str:
    """A text in one line, of at most so many letters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
