"""A question on the terminal, asked without keeping the event loop from its work."""

import asyncio
import contextlib
import os
import sys
import threading

TERMINAL = "/dev/tty"


def asks(*, taken: bool) -> bool:
    """Whether there is somebody to ask.

    Args:
        taken: Whether stdin has something else to give.
    """
    if not sys.stderr.isatty():
        return False
    if taken:
        file = _terminal()
        if file is not None:
            os.close(file)
        return file is not None
    return at_terminal()


def at_terminal() -> bool:
    """Whether what a person types is what stdin gives."""
    return sys.stdin is not None and sys.stdin.isatty()


def _terminal() -> int | None:
    """The terminal itself, where stdin is something else."""
    try:
        return os.open(TERMINAL, os.O_RDONLY)
    except OSError:
        return None


async def confirmed(question: str) -> bool:
    """Whether the user says yes; no answer is a no."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    def read() -> None:
        # Not through sys.stdin: whoever leaves meanwhile would leave its lock held, and Python cannot end then.
        try:
            said = os.read(0 if at_terminal() else _terminal() or 0, 1024)
        except OSError:
            said = b""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_answered, answer, said)

    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    threading.Thread(target=read, name="omni_async question", daemon=True).start()
    said = b""
    try:
        said = await answer
    finally:
        if not said.endswith(b"\n"):
            sys.stderr.write("\n")
    return said.strip().lower() in (b"y", b"yes")


def _answered(answer: "asyncio.Future[bytes]", said: bytes) -> None:
    if not answer.done():
        answer.set_result(said)
