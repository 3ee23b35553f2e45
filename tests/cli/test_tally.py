"""Progress of a batch: what is counted, and how it is shown on terminals of all sizes and without one."""

import asyncio
import io
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from omni_async import Downloaded, Retried, Submitted, Throttled
from omni_async.batch import Outage, Progress
from omni_async.cli.live import LiveView
from omni_async.cli.plain import SilentView
from omni_async.cli.screen import Show
from omni_async.cli.tally import BREAKER, Stand, Tally, span_text
from omni_async.cli.tallyview import PlainTally, ReadingLine, line, picture, view_of
from omni_async.journal import State
from omni_async.models import Stats


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Book:
    """A batch whose counters a test sets."""

    def __init__(self, **states):
        self.clock = Clock()
        self.tally = Tally(self.clock)
        self.states = {State[name]: count for name, count in states.items()}
        self.reasons, self.closed, self.breaker_open, self.outage = (), False, False, None
        self.slots = self.pace = self.create_pace = None
        self.begin()

    def begin(self, progress=None, to_pay=None):
        unsent = self.states.get(State.PLANNED, 0)
        self.tally.begin(progress or self.progress, self.stats, unsent=unsent, to_pay=to_pay or unsent)

    def progress(self):
        return Progress(
            states=self.states, began=0, reasons=self.reasons, closed=self.closed, breaker_open=self.breaker_open,
            outage=self.outage,
        )  # fmt: skip

    def stats(self):
        return Stats(
            gateway="jimmy", in_flight=0, window=1, running=7, slots=self.slots, pace=self.pace,
            create_pace=self.create_pace, paused_until=None, following=0, waiting_creates=0, uncertain=0, unclaimed=0,
        )  # fmt: skip

    def move(self, before, after, count=1):
        self.states[State[before]] -= count
        self.states[State[after]] = self.states.get(State[after], 0) + count

    def pass_time(self, seconds, *, done=0):
        """Second by second, with so many videos done in each."""
        for _ in range(seconds):
            self.clock.now += 1
            self.move("PLANNED", "DONE", done)
            self.tally.look()
        return self.tally.look()

    def drawn(self, width=80):
        console = Console(file=io.StringIO(), width=width, color_system=None)
        console.print(picture(self.tally, width))
        return console.file.getvalue()


def throttled(pause=2.0, cause="slots"):
    return Throttled(gateway="jimmy", kind="create", cause=cause, pause=pause, window=1, pace=None, slots=5)


class TestNumbers:
    """What is told is counted, and honest."""

    def test_rows_stand_in_a_persons_words(self):
        """Each state of the journal is counted under one word, creates in flight with what is at the gateway."""
        book = Book(**{state.name: 2 for state in State})
        rows = book.tally.look().rows
        assert rows == dict.fromkeys(Stand, 2) | {Stand.RUNNING: 4, Stand.FAILED: 4, Stand.LATER: 0}

    def test_nothing_is_said_before_anything_has_finished(self):
        """No speed and no time left are made up."""
        book = Book(PLANNED=100, SUBMITTED=5)
        look = book.pass_time(30)
        assert (look.rate, look.left, look.speed) == (0.0, None, None)
        assert "left" not in line(look)
        assert "videos/min" not in line(look)

    def test_speed_is_that_of_the_last_minutes(self):
        """Ten minutes at one speed are forgotten after three at another."""
        book = Book(PLANNED=10_000)
        book.pass_time(600, done=3)
        look = book.pass_time(200, done=1)
        assert look.rate == pytest.approx(60)
        assert look.left == pytest.approx(10_000 - 600 * 3 - 200)

    def test_what_was_done_before_is_no_speed(self):
        """A resumed batch begins with what is done, and has not done it now."""
        book = Book(PLANNED=10, DONE=5000)
        assert book.pass_time(60).rate == 0.0

    def test_rows_that_end_otherwise_bring_the_end_nearer(self):
        """Failed and rejected rows are not videos, but they are through."""
        book = Book(PLANNED=100, DONE=0)
        for _ in range(50):
            book.move("PLANNED", "REJECTED")
            look = book.pass_time(1)
        assert look.rate == 0.0
        assert look.left == pytest.approx(50)

    def test_a_limit_is_the_end(self):
        """Rows beyond what may be paid are not waited for."""
        book = Book(PLANNED=1000)
        book.begin(to_pay=100)
        look = book.pass_time(50, done=1)
        assert look.left == pytest.approx(50)
        assert "50 waiting · 900 for later · 50 done" in line(look)

    def test_when_no_more_is_sent_only_what_runs_is_waited_for(self):
        """A closed gate leaves the rest unsent."""
        book = Book(PLANNED=1000, SUBMITTED=10)
        book.pass_time(50, done=1)
        book.closed, book.reasons = True, ("--limit 50 is reached",)
        look = book.tally.look()
        assert look.left == pytest.approx(10)
        assert "950 for later · 10 at the gateway · 50 done" in line(look)
        assert list(look.causes.values()) == ["no more is sent: --limit 50 is reached"]

    def test_bytes_a_second(self):
        """Downloads are added up; other events are nobody's business here."""
        book = Book(PLANNED=100)
        for _ in range(60):
            book.tally.on_event(Downloaded(gateway="jimmy", task_id="t", path=Path("p"), size=2_500_000))
            book.tally.on_event(Submitted(gateway="jimmy", task_id="t"))
            look = book.pass_time(1)
        assert look.speed == pytest.approx(2_500_000, rel=0.05)
        assert "2.5 MB/s" in line(look)

    def test_causes(self):
        """Reasons of the gate, the breaker and refusals of the gateway, the last for as long as they hold."""
        book = Book(PLANNED=1)
        book.reasons, book.breaker_open = ("the disk is full (x)",), True
        book.tally.on_event(throttled(0.0))
        book.tally.on_event(throttled())
        assert list(book.tally.look().causes.values()) == [
            "sending is paused: the disk is full (x)",
            BREAKER,
            "the gateway refused a create for now (slots): pausing 2.0 s",
        ]
        assert BREAKER == "5 creates in a row ended uncertain: none is sent for 60 s"
        book.clock.now += 3
        assert len(book.tally.look().causes) == 2

    def test_creates_that_do_not_get_through(self):
        """The cause is told until one gets through, or none was tried for a while; looks that fail hold nothing up."""
        book = Book(PLANNED=1)

        def retried(kind, reason):
            book.tally.on_event(Retried(gateway="jimmy", kind=kind, reason=reason, attempt=1, delay=1.0))
            return list(book.tally.look().causes.values())

        unreachable = "creates do not get through (the gateway cannot be reached): they are tried again"
        assert retried("poll", "NotSentError") == []
        assert retried("create", "NotSentError") == [unreachable]
        assert retried("create", "OddError") == ["creates do not get through (OddError): they are tried again"]
        book.tally.on_event(Submitted(gateway="jimmy", task_id="t"))
        assert not book.tally.look().causes
        assert retried("create", "NotSentError") == [unreachable]
        book.clock.now += 61
        assert not book.tally.look().causes

    def test_videos_that_cannot_be_fetched(self):
        """They are paid for: how many, why, and for how long that is tried."""
        book = Book(SUCCEEDED=2)
        book.outage = Outage(2, "the server could not be reached", 840.0)
        told = "2 videos cannot be fetched (the server could not be reached): tried again, for 14 min at most"
        assert book.tally.look().causes == {"outage": told}
        assert told in " ".join(book.drawn(200).split())
        book.outage = None
        assert not book.tally.look().causes

    def test_the_accounts_limits_where_they_are_known(self):
        """Slots and paces, in units that need no zeros."""
        book = Book(PLANNED=1)
        assert book.tally.look().account == ()
        book.slots, book.pace, book.create_pace = 50, 2.5, 0.2
        assert book.tally.look().account == ("7 of 50 tasks", "12 creates/min", "2.5 requests/s")

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(1, "a minute"), (61, "2 min"), (3599, "1 h 00 min"), (20_880, "5 h 48 min"), (3 * 86_400, "3 days")],
    )
    def test_a_time_to_come(self, seconds, text):
        """Told as exactly as it can be known."""
        assert span_text(seconds) == text

    def test_a_million_rows_cost_what_ten_do(self):
        """A picture reads counters only, however many rows they count."""
        reads = []
        for rows in (10, 1_000_000):
            book = Book(PLANNED=rows, DONE=0)
            calls = []
            book.begin(lambda calls=calls, book=book: calls.append(1) or book.progress())
            book.drawn()
            reads.append(len(calls))
        assert reads[0] == reads[1] <= 3


class TestPicture:
    """On a terminal."""

    def test_before_it_runs(self):
        """Rows read so far while the sheet is checked; nothing between that and the run."""
        tally = Tally(Clock())
        console = Console(file=io.StringIO(), width=80)
        for read in (None, 125_000):
            tally.read = read
            console.print(picture(tally, 80), end="")
        assert console.file.getvalue().strip() == "checking the sheet: 125,000 rows read"

    @pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
    @pytest.mark.parametrize("rows", [3, 1_000_000])
    def test_it_fits(self, width, rows):
        """No line is wider than the terminal, and every count can be read."""
        book = Book(PLANNED=rows, SUBMITTED=500, UNCERTAIN=5, FAILED=1)
        book.slots, book.create_pace, book.pace = 500, 1.0, 2.0
        book.reasons = ("the disk is full (no space left for videos/a.mp4)",)
        book.pass_time(10)
        text = book.drawn(width)
        assert all(cell_len(row.rstrip()) <= width for row in text.splitlines())
        if width >= 40:
            assert f"· waiting {rows:>14,}"[:9] in text
            assert f"{rows:,}" in text

    def test_it_is_the_same_lines_from_the_beginning(self):
        """States that every row goes through have their line from the start; the others come when they are needed."""
        book = Book(PLANNED=30)
        names = [row[2:16].strip() for row in book.drawn().splitlines()]
        assert names[:4] == ["waiting", "at the gateway", "being stored", "done"]
        assert "failed" not in book.drawn()
        book.move("PLANNED", "FAILED")
        assert "✗ failed             1" in book.drawn()

    def test_the_foot(self):
        """Share, time, speed, what is left; uncertain rows are spelled out."""
        book = Book(PLANNED=300, UNCERTAIN=1)
        book.pass_time(60, done=1)
        text = book.drawn()
        assert "20% of 301 · 1:00 · 60 videos/min · about 4 min left\n" in text
        assert "1 row may have been paid and has no task id: settle it afterwards\n" in text
        book.states[State.UNCERTAIN] = 2
        assert "2 rows may have been paid and have no task id: settle them afterwards\n" in book.drawn()

    def test_long_words_of_a_gateway_are_cut_and_do_not_steer(self):
        """A cause cannot fill the screen, nor move the cursor."""
        book = Book(PLANNED=1)
        book.reasons = ("x\x1b[2J" * 500,)
        text = book.drawn()
        assert len(text) < 1000
        assert "\x1b[2J" not in text

    def test_no_color(self, monkeypatch):
        """With NO_COLOR there is none."""
        monkeypatch.setenv("NO_COLOR", "1")
        book = Book(PLANNED=1, UNCERTAIN=1)
        console = Console(file=io.StringIO(), width=80, force_terminal=True)
        console.print(picture(book.tally, 80))
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", console.file.getvalue())


class TestPlain:
    """Without a terminal."""

    def view(self, book):
        return PlainTally(book.tally, every=30.0)

    def test_a_line_now_and_then(self, capsys):
        """Every 30 s one line tells how it stands, and nothing in between."""
        book = Book(PLANNED=100, SUBMITTED=2)
        view = self.view(book)
        for _ in range(61):
            book.pass_time(1, done=1)
            view.look()
        assert capsys.readouterr().err == (
            "0:30 · 70 waiting · 2 at the gateway · 30 done · 60 videos/min · about 2 min left\n"
            "1:00 · 40 waiting · 2 at the gateway · 60 done · 60 videos/min · about a minute left\n"
        )

    def test_each_new_pause_at_once(self, capsys):
        """A cause is told when it comes, once as long as it lasts or comes again soon, and anew after a while."""
        book = Book(PLANNED=100)
        view = PlainTally(book.tally, every=1000.0)
        for waiting in range(20):
            book.reasons = (f"{waiting} videos wait to be fetched, and the first URL dies soon",)
            book.pass_time(1)
            view.look()
        book.reasons, book.breaker_open = (), True
        view.look()
        assert capsys.readouterr().err == (
            "sending is paused: 0 videos wait to be fetched, and the first URL dies soon\n" + BREAKER + "\n"
        )
        book.breaker_open = False
        book.clock.now += 1001
        view.look()
        book.breaker_open = True
        view.look()
        assert BREAKER in capsys.readouterr().err

    def test_while_the_sheet_is_checked(self, capsys):
        """Rows read so far, every 30 s."""
        tally = Tally(Clock())
        view = PlainTally(tally)
        tally.reading(5000)
        view.look()
        tally.clock.now += 31
        view.look()
        assert capsys.readouterr().err == "checking the sheet: 5,000 rows read\n"

    def test_it_looks_by_itself(self, capsys):
        """Started, it looks until it is stopped."""
        book = Book(PLANNED=1)
        book.breaker_open = True

        async def watch():
            view = PlainTally(book.tally, glance=0.0)
            view.start()
            for _ in range(4):
                await asyncio.sleep(0)
            view.stop()
            view.stop()

        asyncio.run(watch())
        assert capsys.readouterr().err == BREAKER + "\n"


class TestChoice:
    """Which view."""

    @pytest.mark.parametrize(
        ("show", "kind"),
        [
            (Show(progress="live"), LiveView),
            (Show(progress="plain"), PlainTally),
            (Show(), PlainTally),
            (Show(progress="none"), SilentView),
            (Show(quiet=True, progress="live"), SilentView),
        ],
    )
    def test_as_the_user_wishes(self, show, kind):
        """Pictures or lines as asked for, nothing with -q."""
        assert type(view_of(Tally(), show)) is kind

    def test_silence_tells_no_causes(self, capsys):
        """-q and --progress none are silent about pauses."""
        view = view_of(Book(PLANNED=1).tally, Show(progress="none"))
        view.start()
        view.stop()
        assert capsys.readouterr().err == ""


class TestReadingLine:
    """A dry run has no event loop."""

    def test_on_a_terminal_it_is_one_line_that_goes(self, capsys):
        """Rewritten in place, gone at the end; nothing where nothing was drawn."""
        reading = ReadingLine("live")
        reading.clear()
        reading(5000)
        reading.clear()
        assert capsys.readouterr().err == "\rchecking the sheet: 5,000 rows read\r\x1b[K"

    def test_elsewhere_it_is_a_line_now_and_then(self, capsys):
        """Every 30 s, and never with -q."""
        clock = Clock()
        plain, silent = ReadingLine("plain", clock=clock), ReadingLine("none", clock=clock)
        for _ in range(2):
            plain(5000)
            silent(5000)
            clock.now += 31
        plain(10_000)
        assert capsys.readouterr().err == (
            "checking the sheet: 5,000 rows read\nchecking the sheet: 10,000 rows read\n"
        )
