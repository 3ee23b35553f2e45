"""A fleet whose workers are killed, ended, frozen or left without their database, judged by the gateway's ledger.

    python tests/crash/fleet.py --mode kill --kills 1000 --rows 4000           kill -9 at random moments
    python tests/crash/fleet.py --mode term --kills 200 --rows 2000            SIGTERM
    python tests/crash/fleet.py --mode database --kills 20 --rows 1000         the database crashes, and starts again
    python tests/crash/fleet.py --mode freeze --kills 50 --rows 1500 --delay 0.6      SIGSTOP, past the heartbeat
    python tests/crash/fleet.py --mode gone --kills 1 --rows 300               the database is lost for good

Real workers of `omni-async fleet worker` on a real PostgreSQL; each that ends is started again at once, as by a
supervisor, with the journal of its machine. All the time no more tasks may run at the gateway than the fleet is
allowed, no second may see more than a tenth more creates than it is allowed, and no job may lie with a dead worker for
longer than the heartbeat and five seconds. The exit code is 0 when no promise was broken.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from judge import Bill, weighed
from rig import HERE, KEY, ROOT, GatewayProcess, add_rows, environment, key_in

sys.path.insert(0, str(ROOT))
from tests.postgres import server

MODES = ("kill", "term", "database", "freeze", "gone")
UNFINISHED = ("PLANNED", "SUBMITTING", "SUBMITTED", "SUCCEEDED")
TAKEOVER = 5.0
"""Seconds beyond the heartbeat within which a dead worker's jobs have another."""
LATE = 0.25
"""Seconds by which the watch itself may be late."""


class Processes:
    """What the nursery has begun, by name; `codes` are those of what has ended."""

    def __init__(self, folder, sending):
        self.folder, self.sending, self.pids, self.codes = Path(folder), sending, {}, {}
        self._nursery = subprocess.Popen(
            [sys.executable, HERE / "nursery.py"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
        )  # fmt: skip
        self._told = threading.Condition()
        self._told_pids, self._ready = {}, False
        threading.Thread(target=self._listen, daemon=True).start()
        with self._told:
            assert self._told.wait_for(lambda: self._ready, 60), "the nursery did not begin"

    def _listen(self):
        for line in self._nursery.stdout:
            what = json.loads(line)
            with self._told:
                self._ready = True
                if "name" in what:
                    self._told_pids[what["name"]] = what["pid"]
                elif "code" in what:
                    self.codes[what["pid"]] = what["code"]
                self._told.notify_all()

    def begin(self, name, words, environment_):
        """Begin `omni-async WORDS`."""
        order = {"name": name, "words": [str(word) for word in words], "environment": environment_,
                 "log": str(self.log(name)), "sending": self.sending}  # fmt: skip
        with self._told:
            self._told_pids.pop(name, None)
            self._nursery.stdin.write(json.dumps(order) + "\n")
            self._nursery.stdin.flush()
            assert self._told.wait_for(lambda: name in self._told_pids, 20), f"{name} did not begin"
            self.pids[name] = self._told_pids[name]

    def log(self, name):
        """What it says."""
        return self.folder / f"{name}.txt"

    def signal(self, name, number):
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pids[name], number)

    def ended(self, name, timeout=60.0):
        """Its exit code."""
        pid = self.pids[name]
        with self._told:
            assert self._told.wait_for(lambda: pid in self.codes, timeout), f"{name} did not end"
            return self.codes[pid]

    def runs(self, name):
        """Whether it has not ended."""
        return self.pids[name] not in self.codes

    def close(self):
        """End all."""
        self._nursery.stdin.close()
        self._nursery.wait(20)
        self._nursery.stdout.close()


class Watch(threading.Thread):
    """Looks at the queue all the time: seats taken, and the longest silence of a job that somebody has."""

    LOOK = """SELECT coalesce(max(extract(epoch FROM clock_timestamp() - heartbeat)), 0)::float8,
        count(*) FILTER (WHERE entrypoint LIKE 'omni_video%%') FROM pgqueuer WHERE status = 'picked'"""

    def __init__(self, dsn):
        super().__init__(daemon=True)
        self._dsn, self._ended = dsn, threading.Event()
        self.silence, self.seats, self.looks = 0.0, 0, 0
        self.minds = threading.Event()
        self.minds.set()
        self.start()

    def run(self):
        import psycopg

        while not self._ended.is_set():
            with contextlib.suppress(psycopg.Error), psycopg.connect(self._dsn, autocommit=True) as connection:
                while not self._ended.wait(0.2):
                    silence, seats = connection.execute(self.LOOK).fetchone()
                    self.looks, self.seats = self.looks + 1, max(self.seats, seats)
                    if self.minds.is_set():
                        self.silence = max(self.silence, silence)
            self._ended.wait(0.1)

    def close(self):
        """Look no more."""
        self._ended.set()
        self.join(10)


class Fleet:
    """One account, one database, and so many workers, each on a machine of its own.

    Args:
        options: Of the command line.
        folder: For ledgers, journals, videos and logs.
        postgres: The server.
    """

    def __init__(self, options, folder, postgres):
        self.options, self.folder, self.postgres = options, Path(folder), postgres
        self.rng, self.rows, self.faults, self.figures = random.Random(options.seed), 0, [], {}
        self.names = [f"w{number}" for number in range(options.workers)]
        self.dsn = postgres.database()

    def run(self):
        """Do to it what the mode says, let it finish, and judge. The table of figures."""
        began, given = time.monotonic(), self.options
        wire = {"delay": given.delay, "task_seconds": given.task_seconds, "seed": given.seed}
        with contextlib.ExitStack() as open_:
            self.open(open_.enter_context(GatewayProcess(self.folder, **wire)), open_)
            self.add(given.rows)
            for name in self.names:
                self.start(name)
            getattr(self, f"_{given.mode}")()
            self.finish()
            verdict = self._judge()
        return self._table(verdict, time.monotonic() - began)

    def open(self, gateway, open_):
        """Set it up; what it consists of ends with `open_`."""
        self.gateway, self.bill = gateway, Bill(gateway.ledger)
        self.processes = open_.enter_context(contextlib.closing(Processes(self.folder, self.options.sending)))
        self._set_up()
        self.watch = open_.enter_context(contextlib.closing(Watch(self.dsn)))

    # --- its parts -----------------------------------------------------------------------------------------------

    def _environment(self):
        return {"OMNI_FLEET_DSN": self.dsn, "JIMMYAI_API_KEY": KEY, "JIMMYAI_BASE_URL": self.gateway.url,
                "XDG_STATE_HOME": str(self.folder / "home"), "NO_COLOR": "1"}  # fmt: skip

    def command(self, *words):
        """Run `omni-async fleet …` to its end."""
        self.processes.begin("command", ["fleet", *words], self._environment())
        code = self.processes.ended("command")
        assert code == 0, self.processes.log("command").read_text()

    def _set_up(self):
        given = self.options
        self.command("init", "--running", given.running, "--submits-per-second", given.rate)

    def add(self, count):
        """Give the fleet more rows."""
        sheet = self.folder / f"sheet-{self.rows}.jsonl"
        add_rows(sheet, self.rows + 1, count)
        self.rows += count
        self.command("enqueue", sheet)

    def state_of(self, name):
        """The folder of its machine's journal."""
        return self.folder / f"state-{int(name[1:]) % (self.options.machines or self.options.workers)}"

    def start(self, name):
        """Start a worker."""
        places = ["--out", self.folder / "videos", "--state", self.state_of(name)]
        times = ["--poll", self.options.poll, "--heartbeat", self.options.heartbeat]
        words = ["fleet", "worker", *places, *times]
        self.processes.begin(name, words, self._environment())

    def ask(self, query, *values):
        """Rows of a statement; waits for a database that is just starting."""
        import psycopg

        until = time.monotonic() + 30
        while True:
            try:
                with psycopg.connect(self.dsn, autocommit=True) as connection:
                    return connection.execute(query, values).fetchall()
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def states(self):
        """How many rows stand where."""
        return dict(self.ask("SELECT state, count(*) FROM omni_item GROUP BY 1"))

    # --- what is done to it --------------------------------------------------------------------------------------

    def _kills(self):
        """As often as is asked for, with rows left to be sent; every hundredth is told."""
        for number in range(1, self.options.kills + 1):
            if number % 20 == 0 and self.states().get("PLANNED", 0) < 20 * self.options.rate:
                self.add(int(40 * self.options.rate))
            yield number
            if number % 100 == 0:
                print(f"{number} {self.options.mode}", self.states(), file=sys.stderr, flush=True)

    def _sent_something(self):
        """Wait for a create, and a little."""
        size, until = self.gateway.size(), time.monotonic() + 30
        while self.gateway.size() <= size and time.monotonic() < until:
            time.sleep(0.003)
        if time.monotonic() >= until:
            self.faults.append(f"nothing was sent for 30 s: {self.states()}")
        time.sleep(self.rng.uniform(0, self.options.spread))

    def _kill(self):
        for _ in self._kills():
            self._sent_something()
            name = self.rng.choice(self.names)
            self.processes.signal(name, signal.SIGKILL)
            self._expect(name, -9)
            self.start(name)

    def _expect(self, name, *codes):
        code = self.processes.ended(name)
        if code not in codes:
            self.faults.append(f"{name} ended with {code}: {self.processes.log(name).read_text()[-1500:]}")

    def _term(self):
        longest = 0.0
        for _ in self._kills():
            self._sent_something()
            name, began = self.rng.choice(self.names), time.monotonic()
            self.processes.signal(name, signal.SIGTERM)
            self._expect(name, 143, -15)  # the latter among its imports
            longest = max(longest, time.monotonic() - began)
            self.start(name)
        self.figures["signal to end, longest s"] = f"{longest:.2f}"

    def _database(self):
        self.watch.minds.clear()
        longest = 0.0
        for _ in self._kills():
            self._sent_something()
            self.postgres.crash()
            time.sleep(self.rng.uniform(0, 1.0))
            began = time.monotonic()
            self.postgres.start()
            self._sent_something()
            longest = max(longest, time.monotonic() - began)
            time.sleep(self.rng.uniform(0, 2.0))
        self.watch.minds.set()
        self.figures["start of the database to the next create, longest s"] = f"{longest:.2f}"

    def _freeze(self):
        """One worker at a time stands still for longer than its heartbeat; the creates it had in flight come late."""
        with_post, late = 0, set()
        for _ in self._kills():
            self._sent_something()
            name = self._busiest()
            self.processes.signal(name, signal.SIGSTOP)
            flying = self._in_flight(name)
            with_post += bool(flying)
            late |= flying
            time.sleep(self.options.heartbeat + self.options.sending + self.rng.uniform(1.0, 3.0))
            self.processes.signal(name, signal.SIGCONT)
        self.figures |= {"frozen with a create in flight": with_post, "creates in flight when frozen": len(late)}
        self.late = late

    def _owner_of(self, name):
        """What the rows of a worker carry: its name is its first word, the last that its log has."""
        said = [line.split()[1] for line in self.processes.log(name).read_text().splitlines()
                if line.startswith("worker ")]  # fmt: skip
        return f"fleet:{said[-1].rstrip(';')}" if said else ""

    def _in_flight(self, name):
        rows = self.ask("SELECT key FROM omni_item WHERE state = 'SUBMITTING' AND owner = %s", self._owner_of(name))
        return {key for (key,) in rows}

    def _busiest(self):
        """The worker that has most creates in flight."""
        return max(self.names, key=lambda name: (len(self._in_flight(name)), self.rng.random()))

    def _gone(self):
        """All that is left are the workers' own journals."""
        for _ in range(self.options.kills):
            self._sent_something()
            time.sleep(self.rng.uniform(1.0, 4.0))
            for name in self.names:
                self.processes.signal(name, signal.SIGKILL)
                self._expect(name, -9)
            self.watch.close()
            self.dsn = self.postgres.database()
            self._set_up()
            self.watch = Watch(self.dsn)
            for journal in sorted(self.folder.glob("state-*/fleet-*.sqlite3")):
                self.command("enqueue", journal)
            self.figures["rows that the journals gave back"] = sum(self.states().values())
            for sheet in sorted(self.folder.glob("sheet-*.jsonl")):
                self.command("enqueue", sheet)
            for name in self.names:
                self.start(name)

    # --- its end -------------------------------------------------------------------------------------------------

    def finish(self):
        """Wait until nothing is left to be done, then end the workers in good order."""
        until = time.monotonic() + self.options.last_seconds
        while left := {state: n for state, n in self.states().items() if state in UNFINISHED}:
            if time.monotonic() > until:
                self.faults.append(f"left undone: {left}")
                break
            time.sleep(0.2)
        time.sleep(1.0)
        self.watch.close()
        for name in self.names:
            self.processes.signal(name, signal.SIGTERM)
        for name in self.names:
            self._expect(name, 143)

    def _judge(self):
        rows = {key: (state, task) for key, state, task in self.ask("SELECT key, state, task_id FROM omni_item")}
        verdict, given = weighed(self.bill.read(), rows), self.options
        self.faults += verdict.faults()
        charged = sorted(json.loads(line)["at"] for line in self._lines("charge"))
        posted = sorted([*charged, *(json.loads(line)["at"] for line in self._lines("refused"))])
        self.figures["most running at the gateway"] = running = most(charged, given.task_seconds)
        self.figures["most creates in a second"] = busiest = most(posted, 1.0)
        if running > given.running:
            self.faults.append(f"{running} tasks ran at the gateway, and {given.running} may")
        if busiest > given.rate * 1.1:
            self.faults.append(f"{busiest} creates in a second, and {given.rate:g} may be sent")
        if self.watch.silence > given.heartbeat + TAKEOVER + LATE:
            self.faults.append(f"a job was silent for {self.watch.silence:.1f} s and nobody took it over")
        if given.mode in ("term", "database") and verdict.uncertain:
            why = self.ask("SELECT key, detail FROM omni_item WHERE state = 'UNCERTAIN' LIMIT 5")
            self.faults.append(f"{verdict.uncertain} rows are uncertain: {why}")
        if given.mode == "freeze" and (left := [key for key in self.late if rows[key][0] == "UNCERTAIN"]):
            self.faults.append(f"late ids did not heal: {left[:5]}, {len(left)} in all")
        self.faults += [f"the key is in {name}" for name in key_in(self.folder)]
        self._read_logs()
        return verdict

    def _lines(self, kind):
        return (line for line in self.gateway.ledger.read_text().splitlines() if f'"kind": "{kind}"' in line)

    def _read_logs(self):
        for name in self.names:
            told = self.processes.log(name).read_text("utf-8", "replace")
            for word in ("Traceback", "neon rain"):
                if word in told:
                    place = told.index(word)
                    self.faults.append(f"{name} says: {told[max(place - 300, 0) : place + 1500]}")

    def _table(self, verdict, seconds):
        return {
            "mode": self.options.mode,
            "times": self.options.kills,
            "workers": self.options.workers,
            "rows": self.rows,
            "charges": verdict.charges,
            "duplicates": len(verdict.duplicates),
            "lost": len(verdict.lost) + len(verdict.wrong),
            "uncertain": verdict.uncertain,
            "uncertain and charged (precision)": f"{verdict.uncertain_charged} ({verdict.precision:.0%})",
            **self.figures,
            "… of so many allowed": f"{self.options.running}, {self.options.rate:g}",
            "most seats taken": self.watch.seats,
            "longest silence of a job, s": f"{self.watch.silence:.2f}",
            "states": ", ".join(f"{count} {state}" for state, count in sorted(verdict.states.items())),
            "seconds": f"{seconds:.0f}",
        }


def most(times, seconds):
    """The most of these times, in order, that lie within so many seconds."""
    first, found = 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - seconds:
            first += 1
        found = max(found, last - first + 1)
    return found


def options(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mode", choices=MODES, default="kill")
    parser.add_argument("--kills", type=int, default=1000, help="how often it is done")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--machines", type=int, default=0, help="that they are spread over; each its own unless given")
    parser.add_argument("--rows", type=int, default=2000, help="at first; more are added while they are needed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--running", type=int, default=40, help="tasks that may run at the gateway")
    parser.add_argument("--rate", type=float, default=20.0, help="creates a second")
    parser.add_argument("--heartbeat", type=float, default=1.0)
    parser.add_argument("--sending", type=float, default=3.0, help="seconds for which a create may be in flight")
    parser.add_argument("--spread", type=float, default=0.5, help="longest time from a create to what is done next")
    parser.add_argument("--delay", type=float, default=0.1, help="seconds between charge and answer, about")
    parser.add_argument("--task-seconds", type=float, default=1.0)
    parser.add_argument("--poll", type=float, default=0.2, help="seconds between two looks at a task, at least")
    parser.add_argument("--last-seconds", type=float, default=300.0, help="how long it may take to finish")
    parser.add_argument("--keep", type=Path, help="folder to work in, kept afterwards")
    return parser.parse_args(words)


def run(given, folder, postgres):
    """Run one: its figures as a table, and its faults."""
    fleet = Fleet(given, folder, postgres)
    table = fleet.run()
    return table, fleet.faults


def main(words=None):
    """The command; gives its exit code."""
    given = options(words)
    with tempfile.TemporaryDirectory() as folder, server() as postgres:
        if given.keep:
            given.keep.mkdir(parents=True)
        table, faults = run(given, given.keep or folder, postgres)
    for name, value in table.items():
        print(f"{name:52} {value}")
    for fault in dict.fromkeys(faults):
        print("FAULT", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
