"""The report as a file: what it says, that nothing in it can run, and that it costs a batch next to nothing."""

import contextlib
import json
import re
import shlex
import subprocess
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import anyio
import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from omni_async import JournalError, TaskStatus, VideoTask
from omni_async.batch import reporting
from omni_async.batch.folder import Folder
from omni_async.events import Polled, Retried, Submitted, Throttled, Uncertain
from omni_async.journal import Entry, Ledger, State, open_journal
from omni_async.journal.entries import write_task
from omni_async.journal.owners import FileLock
from omni_async.report import Report, Traffic, plots, write_report, writing
from omni_async.report import rows as shown
from omni_async.report.page import Facts, in_script, page
from omni_async.report.plots import Busy, Span
from tests.batch.batches import cats, lab
from tests.warp import run

NOW = 1_700_000_000.0
SECRET = "sk-that-must-not-be-seen"
HOSTILE = [
    "<script>document.title='run'</script>",
    "</script><script>document.title='run'</script>",
    "<!--<script>",
    "]]><img src=x onerror=alert(1)>",
    "\u2028\u2029\x00\x1b[2J",
    "{title} {0} %s \\u003c",
    "\u202egnp.exe\u202c",
]


def entry(key="a", state=State.DONE, **more):
    """A row of a batch."""
    known = {
        "inputs": json.dumps({"prompt": f"prompt of {key}", "duration": 6, "aspect_ratio": "16:9"}),
        "kind": "text-to-video 6 s 1080p omni-10s",
        "sent_at": NOW,
        "finished_at": NOW + 90 if state in (State.DONE, State.FAILED) else None,
        "target": f"{key}.mp4",
        "position": 1,
        "run": 1,
    }
    return Entry(**{"key": key, "gateway": "jimmy", "fingerprint": "f", "state": state, **known, **more})


def journal_of(folder, *entries, **notes):
    """A journal with these rows and notes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "journal.sqlite3"
    ledger = Ledger(open_journal(path))
    for row in entries:
        values = attrs.asdict(row)
        marks = ", ".join("?" * len(values))
        insert = f"INSERT INTO item ({', '.join(values)}) VALUES ({marks})"  # noqa: S608 - names of our own
        ledger.connection.execute(insert, tuple(values.values()))
    for name, value in {"batch": "jimmy", "run": "1", **notes}.items():
        ledger.write_note(name, value)
    ledger.connection.close()
    return path


def data(text):
    """The rows that a page's script finds in it."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)["rows"]


def report_of(folder, *entries, **options):
    """The page of these rows, as text."""
    with contextlib.closing(Report(journal_of(folder, *entries), clock=lambda: NOW + 100)) as report:
        return report.write(**options).read_text("utf-8")


def setting(**more):
    """Where a report is made."""
    known = {"journal": Path("/b/shots/journal.sqlite3"), "videos": "./videos", "run": 1, "alive": lambda _: False}
    return shown.Setting(**{**known, **more})


def facts(*rows, **more):
    """What a page is made of."""
    texts = [in_script(row) for row in rows]
    known = {"title": "t", "gateway": "jimmy", "written": NOW, "running": False, "total": len(rows)}
    lists = {"rows": texts, "counts": {"failed": len(rows)}, "paid": 0, "spans": [], "unknown": 0, "traffic": None}
    return Facts(**{**known, **lists, **more})


class Tags(HTMLParser):
    """The tags of a page, with the names of their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, *(name for name, _ in attributes)))


# --- nothing from outside becomes part of the page ---------------------------------------------------------------


@given(st.text())
@example(HOSTILE[0])
@example("".join(HOSTILE))
def test_any_text_survives_and_no_tag_is_born(text):
    """Whatever a prompt or an error says, the page has the same tags, and its data has the same text."""
    row = {"id": text, "prompt": text, "error": text, "carried": {text: text}}
    told = page(facts(row, title=text, gateway=text, spans=[Span(NOW, NOW + 1, True, text)]))
    plain = page(facts({"id": "x"}, title="x", gateway="x", spans=[Span(NOW, NOW + 1, True, "x")]))
    assert Tags(told).found == Tags(plain).found
    assert data(told) == [row]


def test_the_policy_names_the_very_script_and_style():
    """The page runs its own script, and nothing else runs, loads, or leaves."""
    text = page(facts())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'")
    assert policy.count("'sha256-") == 2
    assert not re.search(r"unsafe|https?:|\*", policy)
    assert not re.search(r'\s(?:on\w+|style)="|(?:src|href)="(?:https?:)?//', text)


@given(st.text(min_size=1))
def test_a_link_to_a_file_stays_in_the_folder(target):
    """Any name is a link to just that file below the folder of the videos, or none."""
    link = shown.file_link("./videos", target.replace("\\", "_"))
    if link is not None:
        assert urlsplit(link)[:2] == ("", "")
        assert not re.search(r"[\"'<>\s?#:]", link)
        assert unquote(link) == f"./videos/{target.replace(chr(92), '_')}"


@pytest.mark.parametrize("target", ["../x.mp4", "a/../../x.mp4", "/etc/passwd", "..\\x.mp4"])
def test_a_file_outside_is_not_linked(target):
    """Names that lead out of the folder are refused."""
    assert shown.file_link("./videos", target) is None


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "JaVaScript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//x/y", "https://", "x",
     " https://x/", "https://x/\n", "java\nscript:x", "https://[", 7, None],
)  # fmt: skip
def test_an_address_that_could_run_is_refused(url):
    """Only http and https are linked."""
    assert not shown.web_address(url)
    told = shown.row_of(entry(state=State.SUCCEEDED, task=json.dumps({"video_url": url})), setting())
    assert "url" not in told


def test_a_video_is_linked_where_it_is():
    """The file if there is one, else the address with its end."""
    task = write_task(VideoTask(task_id="t", status=TaskStatus.SUCCEEDED, video_url="https://cdn/x?sig=1"))
    assert shown.row_of(entry(task=task, target="EP 1/it's.mp4"), setting())["file"] == "./videos/EP%201/it%27s.mp4"
    left = shown.row_of(entry(state=State.SUCCEEDED, task=task, expires_at=NOW), setting())
    assert (left["url"], left["until"], "file" in left) == ("https://cdn/x?sig=1", "2023-11-14T22:13:20+00:00", False)
    assert "url" not in shown.row_of(entry(state=State.EXPIRED, task=task), setting())


# --- settling ----------------------------------------------------------------------------------------------------


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_word_for_a_shell_is_one_word(word):
    """Nothing of it is obeyed by the shell or by the terminal it is pasted into."""
    told = shown.in_shell(word)
    assert told.isprintable()
    if word.isprintable():
        assert shlex.split(told) == [word]
    else:
        spelled = re.sub(rb"\\x(..)", lambda found: bytes([int(found[1], 16)]), told[2:-1].encode())
        assert spelled == word.encode()


def test_the_shell_agrees():
    """A word with a control character and a quote comes through as it is."""
    word = "a'b\\c\x15\n\u202ed$(x)"
    done = subprocess.run(["bash", "-c", f"printf %s {shown.in_shell(word)}"], capture_output=True, check=True)
    assert done.stdout.decode() == word


def test_the_commands_that_settle():
    """One for each answer, with the task id if one is suspected."""
    told = shown.row_of(entry("s 17", State.UNCERTAIN, candidate="task_9"), setting())
    assert [command for _, command in told["settle"]] == [
        "omni-async settle --task-id task_9 /b/shots 's 17'",
        "omni-async settle --not-charged /b/shots 's 17'",
        "omni-async settle --pay-again /b/shots 's 17'",
    ]
    (_, command), *_ = shown.settle_lines(Path("/b/own.sqlite3"), "-x", None)
    assert command == "omni-async settle --task-id TASK_ID -- /b/own.sqlite3 -x"


# --- what it says ------------------------------------------------------------------------------------------------


def test_a_row_with_all_that_is_known():
    """What was asked, what it took, and the sheet's own columns as text."""
    carried = json.dumps({"scene": 12345678901234567890, "ok": True, "none": None, "猫": "x"})
    told = shown.row_of(entry(carried=carried, attempts=2, task_id="t1"), setting())
    assert told == {
        "id": "a",
        "state": "succeeded",
        "attempts": 2,
        "took": 90.0,
        "carried": {"scene": "12345678901234567890", "ok": "true", "猫": "x"},
        "prompt": "prompt of a",
        "model": "omni-10s",
        "mode": "text-to-video",
        "duration": "6",
        "ratio": "16:9",
        "task": "t1",
        "file": "./videos/a.mp4",
    }
    assert shown.row_of(entry(run=0), setting())["gone"] is True
    assert "took" not in shown.row_of(entry(sent_at=NOW, finished_at=NOW - 1), setting())


def test_huge_texts_are_cut_with_a_word():
    """So is what one row can add to the page."""
    huge = "x" * 1_000_000
    told = shown.row_of(entry(state=State.FAILED, inputs=json.dumps({"prompt": huge}), detail=huge), setting())
    assert told["prompt"].endswith("… (980,000 more letters)")
    assert len(json.dumps(told)) < 30_000


def test_what_may_have_been_paid_stands_first(tmp_path):
    """Also a create whose sender has gone; one whose sender lives is being sent."""
    live = FileLock(tmp_path / "out" / "journal.sqlite3.owner-live")
    live.path.parent.mkdir()
    assert live.acquire()
    text = report_of(
        tmp_path / "out",
        entry("done", position=1),
        entry("sent", State.SUBMITTING, position=2, owner="live"),
        entry("lost", State.SUBMITTING, position=3, owner="gone"),
        entry("doubt", State.UNCERTAIN, position=4),
        entry("later", State.REJECTED, position=5, again=2),
    )
    live.release()
    assert [(row["id"], row["state"]) for row in data(text)] == [
        ("lost", "uncertain"), ("doubt", "uncertain"), ("done", "succeeded"), ("sent", "being sent"),
        ("later", "not sent"),
    ]  # fmt: skip
    assert "2 rows may have been paid and have no task id" in text


def test_the_same_journal_gives_the_same_page(tmp_path):
    """Byte for byte, at the same time of day."""
    rows = [entry(str(number), position=number) for number in range(20)]
    first = report_of(tmp_path / "out", *rows)
    with contextlib.closing(Report(tmp_path / "out" / "journal.sqlite3", clock=lambda: NOW + 100)) as report:
        assert report.write().read_text("utf-8") == first


def test_what_a_journal_does_not_keep_is_said(tmp_path):
    """Without inputs there are no prompts; without a batch no requests. A page of nothing is a page, too."""
    text = report_of(tmp_path / "out", entry(inputs=None, kind=None), running=False)
    assert "Of 1 rows the prompt and settings are not known: keep_requests=False" in text.replace(",", "")
    assert data(text)[0]["unknown"] is True
    assert "Requests and pauses are known of a batch whose last run ended by itself" in text
    assert "no rows yet" in report_of(tmp_path / "empty")


@pytest.mark.parametrize("bound", ["ROWS", "LETTERS"])
def test_a_page_has_a_size(bound, tmp_path, monkeypatch):
    """Rows beyond it are counted, and what may have been paid is not among them."""
    monkeypatch.setattr(writing, bound, {"ROWS": 3, "LETTERS": 700}[bound])
    rows = [entry(f"r{number}", position=number) for number in range(50)]
    text = report_of(tmp_path / "out", *rows, entry("doubt", State.UNCERTAIN, position=99, kind=None))
    shown_rows = data(text)
    assert 0 < len(shown_rows) <= 3
    assert shown_rows[0]["id"] == "doubt"
    assert f"{51 - len(shown_rows)} more are in results.csv" in text
    assert "1 uncertain · 50 succeeded" in text


# --- the file ----------------------------------------------------------------------------------------------------


def test_the_file_is_private_and_whole(tmp_path):
    """Only its owner reads it; nothing else is left; links lead from where it is."""
    journal = journal_of(tmp_path / "out put", entry("a"))
    there = tmp_path / "pages" / "x.html"
    there.parent.mkdir()
    assert write_report(journal.parent) == journal.parent / "report.html"
    assert write_report(journal, there) == there
    assert there.stat().st_mode & 0o777 == 0o600
    assert data(there.read_text("utf-8"))[0]["file"] == "./../out%20put/videos/a.mp4"
    assert [path.name for path in there.parent.iterdir()] == ["x.html"]


def test_a_disk_that_refuses_keeps_the_old_page(tmp_path):
    """A page that cannot be written leaves the one that was there."""
    page_ = write_report(journal_of(tmp_path / "out", entry("a")))
    before = page_.read_bytes()
    (page_.parent / "report.html.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_report(page_.parent)
    assert page_.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"not a database at all" * 100])
def test_no_journal_no_page(tmp_path, content):
    """What is missing or is not a journal is told as such."""
    if content is not None:
        (tmp_path / "journal.sqlite3").write_bytes(content)
    with pytest.raises(JournalError):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_an_odd_note_is_no_trouble(tmp_path):
    """Of traffic that another version wrote, or of another run, nothing is drawn."""
    for number, note in enumerate(
        ["[", "[]", "{}", '{"run": 7, "counts": {}, "width": 1, "seconds": 1, "pauses": []}']
    ):
        path = journal_of(tmp_path / str(number), entry("a"), traffic=note)
        assert "Requests and pauses</figcaption>" not in write_report(path).read_text("utf-8")


# --- plots -------------------------------------------------------------------------------------------------------


@given(st.floats(0.001, 1e9))
def test_axes_are_round(most):
    """They reach what is drawn, with few numbers."""
    marks = plots.nice(most)
    assert marks[0] == 0
    assert marks[-1] >= most * 0.999
    assert len(marks) <= 7
    assert 1 <= len(plots.times(most)) <= 6


def test_idle_hours_are_cut_out():
    """Time runs while tasks are on their way: a batch that went on the next day is drawn as one."""
    day = 86_400
    clock = Busy([Span(0, 100, True, None), Span(50, 200, True, None), Span(day, None, True, None)], day + 300)
    assert (clock.seconds, clock.at(200), clock.at(day), clock.at(day + 60), clock.cuts) == (500, 200, 200, 260, [200])
    drawn = plots.finished_over_time([Span(0, 100, True, None), Span(day, day + 50, False, None)], day + 50)
    assert "1 with a video, 1 without (dashed), after 2.5 min; 1 idle stretch cut out" in drawn


def test_waiting_times_are_told_by_model():
    """The median of each; the model's name is text."""
    spans = [Span(0, 60 + number, True, "<b>omni") for number in range(11)] + [Span(0, 5, True, None)]
    drawn = plots.waiting_by_model([*spans, Span(0, None, False, "x"), Span(0, 9, False, "x")])
    assert "&lt;b&gt;omni · 1.1 min · 11 videos" in drawn
    assert "model not known · 5 s · 1 video<" in drawn
    back = plots.waiting_by_model([Span(9, 3, True, "m"), Span(0, 50, True, "m")])
    assert "m · 50 s · 1 video<" in back  # of a clock that was set back nothing is told
    assert plots.waiting_by_model([]) == plots.finished_over_time([], NOW) == plots.requests_and_pauses(None) == ""
    many = [Span(0, 5, True, f"m{number}") for number in range(10)]
    assert "2 more models are left out" in plots.waiting_by_model(many)


def event(kind, **more):
    """An event of this kind."""
    needed = {
        Polled: {"task_id": "t", "status": TaskStatus.RUNNING},
        Submitted: {"task_id": "t"},
        Throttled: {"kind": "create", "cause": "pace", "pause": 3.0, "window": 1, "pace": None, "slots": None},
        Retried: {"kind": "poll", "reason": "x", "attempt": 1, "delay": 1.0},
        Uncertain: {"reason": "x"},
    }
    return kind(gateway="jimmy", **{**needed[kind], **more})


def test_traffic_is_counted_in_few_bins():
    """However long a run is; nothing is lost when bins are put together."""
    now = [NOW]
    traffic = Traffic(clock=lambda: now[0])
    for number in range(5000):
        now[0] += 7
        for kind in (Polled, Submitted, Retried, Uncertain):
            traffic(event(kind))
        if number % 10 == 0:
            traffic(event(Throttled))
    told = traffic.document()
    assert {name: sum(counts) for name, counts in told["counts"].items()} == {
        "creates": 5000, "looks": 5000, "refused": 500, "repeated": 5000,
    }  # fmt: skip
    assert max(map(len, told["counts"].values())) <= 120
    assert len(told["pauses"]) == 200
    assert told["pauses"][0] == [7.0, 10.0]
    drawn = plots.requests_and_pauses(told)
    assert "5,000 looks, 5,000 creates, 5,000 repeats, 500 refusals" in drawn
    assert drawn.count("<rect") <= 4 * 120 + 200
    assert plots.requests_and_pauses(Traffic().document()) == ""


# --- beside a batch ----------------------------------------------------------------------------------------------


@pytest.fixture
def written(monkeypatch):
    """Each writing of a page, with whether the run went on."""
    calls = []
    write = Report.write

    def counted(report, **options):
        calls.append(options.get("running"))
        return write(report, **options)

    monkeypatch.setattr(Report, "write", counted)
    return calls


def test_a_batch_keeps_its_page_up_to_date(tmp_path, written):
    """Written while it runs, only when there is news, and at its end; and again from the journal whenever wanted."""

    async def main():
        async with lab(tmp_path, task_seconds=600) as here, here.batch(cats(5), api_key=SECRET) as batch:
            await batch.plan(balance=False)
            async with anyio.create_task_group() as group:
                group.start_soon(batch.run)
                await anyio.sleep(300)
                quiet = len(written)
                text = (here.out / "report.html").read_text("utf-8")
                await anyio.sleep(200)
                assert len(written) == quiet
        return here.out, text

    out, text = run(main())
    assert [row["state"] for row in data(text)] == ["running"] * 5
    assert "the batch was running: reload for news" in text
    assert written[-1] is False
    assert set(written[:-1]) == {True}
    final = (out / "report.html").read_text("utf-8")
    assert [row["state"] for row in data(final)] == ["succeeded"] * 5
    assert (out / "report.html").stat().st_mode & 0o777 == 0o600
    assert SECRET not in final
    assert "5 creates" in final
    again = write_report(out, tmp_path / "again.html").read_text("utf-8")
    assert "5 creates" in again
    assert "reload for news" not in again


def test_a_page_that_cannot_be_written_costs_nothing(tmp_path, caplog):
    """It is said once, and every video is made."""

    async def main():
        async with lab(tmp_path) as here:
            (here.out / "report.html.new").mkdir(parents=True)
            return await here.run(cats(3))

    assert run(main()).ok
    assert [record.message for record in caplog.records if "report" in record.message] == [
        "the report cannot be written, the batch goes on: Is a directory"
    ]


def test_the_callers_events_arrive_all_the_same(tmp_path):
    """They are counted first, and then handed on."""
    told = []

    async def main():
        async with lab(tmp_path) as here:
            return await here.run(cats(2), on_event=told.append)

    assert run(main()).ok
    assert {type(one).__name__ for one in told} >= {"Submitted", "Polled", "Downloaded"}


def test_writing_takes_a_small_share_of_the_time(monkeypatch, tmp_path):
    """The longer it works, the longer nothing is written."""
    begun = []

    async def written(_self, _traffic):
        begun.append(anyio.current_time())
        return len(begun) - 1.0  # seconds of work

    async def main():
        monkeypatch.setattr(reporting.Reporting, "_written", written)
        with anyio.move_on_after(100):
            await reporting.Reporting(Folder(tmp_path), None).keep()

    run(main())
    gaps = [round(after - before) for before, after in pairwise(begun)]
    assert gaps == [5, 20, 40]


def test_a_writing_under_way_ends_soon(tmp_path):
    """Told to stop, it leaves the page as it was."""
    report = Report(journal_of(tmp_path / "out", *(entry(str(n)) for n in range(9))))
    report.stop()
    report.write()
    assert not report.path.exists()
    report.go_on()
    assert report.write().exists()
    report.close()


def test_times_are_told_in_utc(tmp_path):
    """The page's own script shows them as the reader's clock has them."""
    text = report_of(tmp_path / "out", entry())
    assert f'<time datetime="{datetime.fromtimestamp(NOW + 100, UTC).isoformat()}">' in text
