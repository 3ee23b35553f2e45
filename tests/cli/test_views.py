"""Progress: the board by events, plain lines, and pictures for terminals of all sizes."""

import asyncio
import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from omni_async import Downloaded, Finished, Polled, Submitted, TaskStatus, Throttled, Uncertain
from omni_async.cli import plain
from omni_async.cli import screen as screens
from omni_async.cli.board import ROW, Board, BoardRow, BoardState, clock_text, summary
from omni_async.cli.live import LiveView, picture
from omni_async.cli.plain import PlainView, SilentView
from omni_async.cli.screen import Screen, Show

from .conftest import PATIENCE, command, environment


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def board(clock):
    return Board(clock)


def throttled(pause=2.0):
    return Throttled(gateway="jimmy", kind="create", cause="slots", pause=pause, window=1, pace=None, slots=5)


def polled(task_id, status=TaskStatus.RUNNING, progress=None):
    return Polled(gateway="jimmy", task_id=task_id, status=status, progress=progress)


def drawn(board, width=100, height=30, title="", **options):
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, **options)
    console.print(picture(board, console, title))
    return console.file.getvalue()


def plain_text(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


class TestBoard:
    """Rows follow the library's events."""

    def test_a_row_through_its_life(self, board, clock):
        """Named by its metadata until its id is known, then by that."""
        row = board.add("1", BoardRow(label="cat", wants_file=True))
        board.on_event(Submitted(gateway="jimmy", task_id="t1", model="m", metadata={ROW: "1"}))
        assert (row.state, row.task_id, row.detail) == (BoardState.QUEUED, "t1", "m")
        clock.now += 5
        board.on_event(polled("t1", progress=40))
        board.on_event(polled("t1"))
        assert (row.state, row.progress, row.seconds(clock())) == (BoardState.RUNNING, 40, 5)
        assert board.unfinished() == [row]
        board.on_event(Finished(gateway="jimmy", task_id="t1", status=TaskStatus.SUCCEEDED))
        assert row.state is BoardState.DOWNLOADING
        board.on_event(Downloaded(gateway="jimmy", task_id="t1", path=Path("cat.mp4"), size=1))
        clock.now += 5
        assert (row.state, row.file, row.seconds(clock())) == (BoardState.DONE, "cat.mp4", 5)
        assert board.all_ended

    @pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.CANCELED])
    def test_a_task_without_video_fails(self, board, status):
        """A finished look does not end a row, the end does; afterwards nothing moves it."""
        row = board.add("t1", BoardRow(label="t1", task_id="t1"))
        board.on_event(polled("t1", status))
        assert row.state is BoardState.WAITING
        board.on_event(Finished(gateway="jimmy", task_id="t1", status=status))
        board.on_event(polled("t1"))
        assert row.state is BoardState.FAILED

    def test_without_a_file_wanted_success_is_the_end(self, board):
        """A row that wants only a URL is done when its task is."""
        row = board.add("t1", BoardRow(label="t1", task_id="t1"))
        board.on_event(Finished(gateway="jimmy", task_id="t1", status=TaskStatus.SUCCEEDED))
        assert row.state is BoardState.DONE

    def test_an_uncertain_create_keeps_its_candidate(self, board):
        """The candidate id is kept for whoever looks it up, and the row waits for nobody."""
        row = board.add("1", BoardRow(label="cat"))
        board.on_event(Uncertain(gateway="jimmy", reason="lost", candidate="t9", metadata={ROW: "1"}))
        assert (row.state, row.task_id, board.unfinished()) == (BoardState.UNCERTAIN, "t9", [])

    def test_events_of_others_change_nothing(self, board):
        """Tasks and events it does not know leave it as it is."""
        row = board.add("1", BoardRow(label="cat"))
        for event in (
            Submitted(gateway="jimmy", task_id="x"),
            polled("x"),
            Finished(gateway="jimmy", task_id="x", status=TaskStatus.FAILED),
            Downloaded(gateway="jimmy", task_id=None, path=Path("p"), size=1),
            Uncertain(gateway="jimmy", reason="lost"),
        ):
            board.on_event(event)
        assert row.state is BoardState.WAITING

    def test_a_pause_is_told_once(self, board, clock):
        """Refusals within a pause make no new one; one without pause makes none."""
        told = []
        board.on_pause = told.append
        board.on_event(throttled(0.0))
        assert (told, board.pause_shown()) == ([], "")
        board.on_event(throttled())
        board.on_event(throttled())
        assert told == ["the gateway refused a create for now (slots): pausing 2.0 s"]
        assert board.pause_shown()
        clock.now += 3
        assert board.pause_shown() == ""
        board.on_event(throttled())
        assert len(told) == 2

    def test_summary_and_times(self, board, clock):
        """One line for any number of rows."""
        for number in range(3):
            board.add(str(number), BoardRow(label=str(number)))
        board.set(board.rows["0"], BoardState.DONE)
        clock.now += 3725
        assert summary(board) == "1 of 3 ended in 1:02:05: 2 waiting, 1 done"
        assert [clock_text(seconds) for seconds in (None, 0, 59.9, 60)] == ["", "0:00", "0:59", "1:00"]


class CountedView(PlainView):
    """Tells of each look."""

    def __init__(self, board, *, every):
        super().__init__(board, every=every)
        self.looks = asyncio.Queue()

    def look(self):
        super().look()
        self.looks.put_nowait(None)


class TestPlain:
    """Without a terminal: lines."""

    def test_few_rows_have_a_line_per_change(self, board, clock, capsys):
        """What passes in a moment is left out, and so is what is private."""
        PlainView(board)
        row = board.add("1", BoardRow(label="", private="a secret prompt"))
        board.on_event(Submitted(gateway="jimmy", task_id="t1", metadata={ROW: "1"}))
        board.on_event(polled("t1"))
        clock.now += 7
        board.set(row, BoardState.DONE)
        board.on_event(throttled())
        assert capsys.readouterr().err == (
            "t1: running\nt1: done after 7 s\nthe gateway refused a create for now (slots): pausing 2.0 s\n"
        )

    def test_many_rows_have_a_summary_now_and_then(self, board, capsys):
        """Changes of many rows have no lines of their own; summaries end when all has ended."""

        async def watch():
            view = CountedView(board, every=0.001)
            for number in range(plain.FEW + 1):
                board.add(str(number), BoardRow(label=str(number)))
            view.start()
            board.set(board.rows["0"], BoardState.RUNNING)
            await view.looks.get()
            for row in board.rows.values():
                board.set(row, BoardState.DONE)
            await view.looks.get()
            view.stop()
            view.stop()

        asyncio.run(watch())
        assert capsys.readouterr().err == "0 of 21 ended in 0:00: 20 waiting, 1 running\n"

    def test_silence(self, capsys):
        """The silent view shows notes and nothing else."""
        view = SilentView()
        view.start()
        view.note("note")
        assert view.result("x") is False
        view.stop()
        assert capsys.readouterr() == ("", "note\n")


class TestPicture:
    """What is drawn fits the terminal."""

    def rows(self, board, count=3):
        for number in range(count):
            row = BoardRow(
                label=f"row {number}", private="千盏孔明灯\n从湖面升起" * 9, gateway="jimmy", detail="omni-10s"
            )
            board.add(str(number), row)
        board.set(board.rows["0"], BoardState.DONE)

    @pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
    def test_no_line_is_wider_than_the_terminal(self, board, width):
        """Long and wide letters are cut, not wrapped."""
        from rich.cells import cell_len

        self.rows(board)
        lines = plain_text(drawn(board, width, title="a title that is rather long for a narrow terminal")).splitlines()
        assert len(lines) == 5
        assert all(cell_len(line) <= width for line in lines)

    def test_wide_terminals_show_more(self, board):
        """Gateway and model from 90 columns on, state and bar from 60 on."""
        self.rows(board)
        assert "jimmy omni-10s" in drawn(board, 100)
        assert "jimmy" not in drawn(board, 80)
        assert "waiting" in drawn(board, 80)
        assert "waiting" not in drawn(board, 50)

    @pytest.mark.parametrize(("count", "height"), [(21, 50), (12, 15), (5000, 30)])
    def test_too_many_rows_become_counts(self, board, count, height):
        """Beyond 20 rows, or more than the screen has, there is a line per state."""
        self.rows(board, count)
        lines = plain_text(drawn(board, 80, height)).splitlines()
        assert len(lines) == 3
        assert f"{count - 1:,}" in lines[0]
        assert f"1 of {count:,} done" in lines[2]

    def test_the_footer_tells_of_failures_and_pauses(self, board):
        """What is done, what is not, and why nothing moves."""
        self.rows(board)
        board.set(board.rows["1"], BoardState.FAILED)
        board.on_event(throttled())
        assert "1 of 3 done · 1 not · 0:00 · the gateway refused" in plain_text(drawn(board))

    def test_one_row_needs_no_footer(self, board):
        """A single video is one line."""
        self.rows(board, 1)
        assert len(plain_text(drawn(board)).splitlines()) == 1

    def test_no_color(self, board, monkeypatch):
        """With NO_COLOR there is none."""
        self.rows(board)
        monkeypatch.setenv("NO_COLOR", "1")
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", drawn(board))

    def test_control_characters_are_not_obeyed(self, board):
        """A prompt cannot steer the terminal."""
        board.add("1", BoardRow(label="", private="a\x1b[2Jb\rc"))
        assert "a\N{REPLACEMENT CHARACTER}[2Jb" in plain_text(drawn(board))


class TestLive:
    """The drawing view."""

    def test_it_draws_notes_and_results(self, board, monkeypatch):
        """Notes stand above the picture; a result only if stdout is the terminal, too."""
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)

        async def watch():
            console = Console(file=io.StringIO(), width=60, height=20, force_terminal=True)
            board.add("1", BoardRow(label="cat"))
            frames = asyncio.Queue()

            def drawn():
                frames.put_nowait(None)
                return picture(board, console)

            view = LiveView(console, drawn, frame=0.001)
            assert view.result("too early") is False
            view.start()
            view.note("a [b]note[/b]")
            assert view.result("cat.mp4") is True
            while not frames.empty():
                frames.get_nowait()
            await frames.get()  # one that the timer drew
            view.stop()
            view.stop()
            return console.file.getvalue()

        text = asyncio.run(watch())
        assert "a [b]note[/b]" in text
        assert "cat.mp4" in text
        assert text.endswith("\x1b[?25h")

    @pytest.mark.parametrize(
        ("show", "tty", "kind"),
        [
            (Show(), True, LiveView),
            (Show(), False, PlainView),
            (Show(progress="live"), False, LiveView),
            (Show(progress="plain"), True, PlainView),
            (Show(progress="none"), True, SilentView),
            (Show(quiet=True), True, SilentView),
        ],
    )
    def test_the_view_fits(self, monkeypatch, show, tty, kind):
        """A terminal gets pictures, a pipe lines, unless the user says otherwise."""
        monkeypatch.setattr(sys.stderr, "isatty", lambda: tty, raising=False)
        assert type(Screen(show)._view) is kind

    def test_a_dumb_terminal_gets_lines(self, monkeypatch):
        """TERM=dumb can move no cursor."""
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("TERM", "dumb")
        assert type(screens._view(Show(), Board(), "")) is PlainView


def on_a_terminal(*words, size=(24, 80), until=bool, interrupt=False, **more):
    """Run the program on a pseudo terminal; its exit code and everything it drew."""
    import fcntl
    import struct
    import termios

    primary, replica = pty.openpty()
    fcntl.ioctl(replica, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    env = environment(TERM="xterm-256color", **more)
    env.pop("COLUMNS", None)
    process = subprocess.Popen(command(*words), stdin=replica, stdout=replica, stderr=replica, env=env, close_fds=True)
    os.close(replica)
    drawn, deadline = b"", time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            if select.select([primary], [], [], 0.1)[0]:
                try:
                    piece = os.read(primary, 65536)
                except OSError:  # the other end is closed
                    break
                drawn += piece
            if interrupt and until(drawn.decode(errors="replace")):
                process.send_signal(signal.SIGINT)
                interrupt = False
        return process.wait(timeout=PATIENCE), drawn.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(primary)


def test_on_a_terminal_the_row_lives(gateway):
    """On a terminal a video's row advances in place, the cursor comes back, and the path stands at the end."""
    code, text = on_a_terminal(
        "generate", "千盏孔明灯", "--base-url", gateway(task_seconds=0.5).url, "--poll", "0.05", "-o", "cat.mp4"
    )
    assert code == 0
    assert "千盏孔明灯" in text
    assert "running" in text
    assert "\x1b[?25l" in text
    assert "\x1b[?25h" in text
    assert plain_text(text).rstrip().endswith("cat.mp4")


def test_ctrl_c_on_a_terminal_gives_it_back(gateway):
    """Interrupted while drawing, the cursor is shown again and the way on is told."""
    code, text = on_a_terminal(
        "generate", "a cat", "--base-url", gateway(task_seconds=30).url, "--poll", "0.05",
        until=lambda text: "running" in text, interrupt=True,
    )  # fmt: skip
    assert code == 130
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "omni-async wait task_" in text
