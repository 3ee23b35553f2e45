"""A worker: what ends it, what it waits for, and what it makes of a row and of a job that are not as they should be."""

import asyncio
import contextlib
import time

import needed  # noqa: F401 - skips
import pytest
from fleets import PATIENCE, fleet, until
from postgres import ask

from omni_async.breaker import Breaker
from omni_async.cli.exits import FAILED, code_of
from omni_async.emulator import InjectedFault
from omni_async.errors import AuthenticationError, DownloadError, JournalError, QuotaError
from omni_async.fleet import steps as steps_
from omni_async.fleet import worker as workers_
from omni_async.fleet.tables import video_job
from omni_async.journal import resolve

ROWS = [f"r{number}" for number in range(6)]


# --- what ends it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "error"),
    [({"keys": ("sk-other",)}, AuthenticationError), ({"balance": 0.0}, QuotaError)],
    ids=["key", "quota"],
)
async def test_a_refused_key_or_account_stops_the_worker_with_that_error_and_its_rows_go_back(
    postgres, tmp_path, limits, error
):
    """Nothing was charged, and as soon as it is mended the next worker makes them all."""
    async with fleet(postgres, tmp_path, **limits) as here:
        await here.add(*ROWS)
        worker = here.worker()
        with pytest.raises(error):
            await asyncio.wait_for(worker.run(), 20)
        assert not here.charged()
        assert set(await here.states()) == set(ROWS)
        assert await here.jobs() == {"queued": len(ROWS)}
        here.emulator.scenario = type(here.emulator.scenario)(task_seconds=0.2)
        async with here.at_work(here.worker()):
            await here.until("DONE")
        assert len(here.charged()) == len(ROWS)


async def test_storage_that_cannot_be_used_is_no_slip_for_which_a_supervisor_gives_up(postgres, tmp_path):
    """It may be there in a minute; the README's unit starts what ended with 1 again, and not what ended with 2."""
    async with fleet(postgres, tmp_path) as here:
        (tmp_path / "videos").write_text("a file")
        with pytest.raises(DownloadError, match=r"'.*videos' cannot be written: ") as told:
            await asyncio.wait_for(here.worker().run(), 20)
        assert code_of(told.value) == FAILED


async def test_a_fleet_that_is_not_set_up_is_told_so_with_the_command(postgres, tmp_path):
    """No waiting for tables that nobody makes."""
    async with fleet(postgres, tmp_path) as here:
        await here.shared.run(lambda ledger: ledger.connection.execute("DELETE FROM omni_limit"))
        with pytest.raises(JournalError, match="fleet init"):
            await asyncio.wait_for(here.worker().run(), 20)


async def test_a_queue_without_its_tables_is_told_with_our_command(postgres, tmp_path):
    """PgQueuer would name its own program, which its users here never meet."""
    async with fleet(postgres, tmp_path) as here:
        await here.shared.run(lambda ledger: ledger.connection.execute("DROP TABLE pgqueuer_log"))
        with pytest.raises(JournalError, match="fleet init"):
            await asyncio.wait_for(here.worker().run(), 20)


async def test_a_database_user_without_rights_is_told_so(postgres, tmp_path):
    """Waiting would not help, and it is not a bug."""
    async with fleet(postgres, tmp_path) as here:
        ask(here.dsn, "DROP ROLE IF EXISTS weak", "CREATE ROLE weak LOGIN")
        here.dsn = here.dsn.replace(f"{postgres.name}@", "weak@")
        with pytest.raises(JournalError, match="may not make or use the tables"):
            await asyncio.wait_for(here.worker().run(), 20)


async def test_a_database_that_is_away_is_told_with_the_reason(postgres, tmp_path, caplog):
    """A wrong password looks like a server that is gone, and would be waited for without a word."""
    async with fleet(postgres, tmp_path) as here:
        here.dsn = here.dsn.replace(f"{postgres.name}@", "guarded:hunter2@")
        async with here.at_work(here.worker()):
            await until(lambda: told("password is missing or refused", caplog))
        assert "hunter2" not in caplog.text


async def test_a_database_with_settings_of_its_own_is_worked_with_as_any_other(postgres, tmp_path, caplog):
    """What its owner has set for others ends no connection that only listens, and changes no value."""
    settings = {
        "default_transaction_isolation": "serializable",
        "datestyle": "German",
        "standard_conforming_strings": "off",
        "bytea_output": "escape",
        "timezone": "Asia/Shanghai",
    }
    async with fleet(postgres, tmp_path) as here:
        if ask(here.dsn, "SELECT 1 FROM pg_settings WHERE name = 'idle_session_timeout'"):  # PostgreSQL 14 and later
            settings["idle_session_timeout"] = "100ms"
        name = here.dsn.rpartition("/")[2]
        ask(here.dsn, *(f"ALTER DATABASE {name} SET {what} = '{value}'" for what, value in settings.items()))
        await here.add(*ROWS)
        async with here.at_work(here.worker()):
            await here.until("DONE")
        assert len(here.charged()) == len(ROWS)
        assert "went away" not in caplog.text


async def test_a_database_that_takes_no_writes_for_a_while_is_waited_for(postgres, tmp_path, caplog):
    """As a provider makes it when its disk is nearly full: its connections stay, and every statement is refused."""
    async with fleet(postgres, tmp_path, task_seconds=0.5) as here:
        await here.add(*ROWS)
        async with here.at_work(here.worker()):
            await until(lambda: _true(here.charged()))
            with _only_reading(postgres):
                await until(lambda: told("it can only be read", caplog))
            await here.until("DONE")
        assert len(here.charged()) == len(ROWS)


@contextlib.contextmanager
def _only_reading(postgres):
    told = "SELECT pg_reload_conf()"
    admin = f"{postgres.dsn('postgres')}?options=-cdefault_transaction_read_only%3Doff"
    ask(admin, "ALTER SYSTEM SET default_transaction_read_only = on", told)
    try:
        yield
    finally:
        ask(admin, "ALTER SYSTEM RESET default_transaction_read_only", told)


async def told(words, caplog):
    """Whether they were logged."""
    return words in caplog.text


async def test_a_task_that_is_never_shown_in_a_readable_form_is_settled_by_a_person(postgres, tmp_path, monkeypatch):
    """Its row says why nothing comes of it, and is sent again once somebody says so: another create to the gateway."""
    monkeypatch.setattr(steps_, "MUCH_LATER", 0.1)
    async with fleet(postgres, tmp_path, faults=(InjectedFault("missing_url"),)) as here:
        await here.add("r1")

        async def marked():
            row = await here.shared.run(lambda ledger: ledger.entry("r1"))
            return row if row.unfollowed else None

        async with here.at_work(here.worker()):
            assert "finished, but without a URL" in (await until(marked)).detail
            here.emulator.scenario = type(here.emulator.scenario)(task_seconds=0.2)
            await here.shared.run(lambda ledger: resolve(ledger, "r1", pay_again=True))
            await here.until("DONE")
        assert len(here.charged()) == 2


async def test_a_worker_told_to_stop_while_it_starts_stops(postgres, tmp_path):
    """It has taken nothing yet, and takes nothing."""
    async with fleet(postgres, tmp_path) as here:
        await here.add(*ROWS)
        worker = here.worker()
        reached, go_on, prepare = asyncio.Event(), asyncio.Event(), worker._prepare

        async def held():
            reached.set()
            await go_on.wait()
            await prepare()

        worker._prepare = held
        running = asyncio.ensure_future(worker.run())
        await reached.wait()
        await worker.stop()
        go_on.set()
        await asyncio.wait_for(running, 20)
        assert not here.charged()


async def test_cancelled_it_leaves_its_jobs_to_the_others(postgres, tmp_path):
    """The queue would take them for ended."""
    async with fleet(postgres, tmp_path, task_seconds=2.0) as here:
        await here.add(*ROWS)
        running = asyncio.ensure_future(here.worker().run())
        await here.until("SUBMITTED")
        running.cancel()
        await asyncio.wait({running})
        assert (await here.jobs())["picked"] == len(ROWS)
        async with here.at_work(here.worker("two")):
            await here.until("DONE")
        assert len(here.charged()) == len(ROWS)


async def test_stopped_it_hands_on_what_it_only_waits_for(postgres, tmp_path):
    """The next one polls on; nothing is sent again."""
    async with fleet(postgres, tmp_path, task_seconds=1.0) as here:
        await here.add(*ROWS)
        async with here.at_work(here.worker()):
            await here.until("SUBMITTED")
        assert await here.jobs() == {"queued": len(ROWS)}
        async with here.at_work(here.worker("two")):
            await here.until("DONE")
        assert sorted(here.charged()) == sorted(f"a cat, {row}" for row in ROWS)


# --- what it waits for -------------------------------------------------------------------------------------------


async def test_while_the_gateway_is_down_rows_wait_and_none_is_lost(postgres, tmp_path, monkeypatch):
    """They were surely not sent, and their row says why: as soon as it is back they are."""
    monkeypatch.setattr(steps_, "LATER", 0.05)
    async with fleet(postgres, tmp_path) as here:
        await here.emulator.stop()
        await here.add("r0", "r1")
        worker = here.worker()
        async with here.at_work(worker):
            await until(lambda: _true(worker.steps.sent > 2))
            assert set((await here.states()).values()) <= {"PLANNED", "SUBMITTING"}
            await until(lambda: here.shared.run(lambda ledger: "refused" in (ledger.entry("r0").detail or "")))
            await here.emulator.start()
            await here.until("DONE")
        assert len(here.charged()) == 2


async def test_the_database_goes_away_and_comes_back_and_the_worker_goes_on(postgres, tmp_path, monkeypatch, caplog):
    """What was in its hands is finished, nothing is paid twice, and no row has a line in the log for it."""
    monkeypatch.setattr(workers_, "FIRST", 0.05)
    async with fleet(postgres, tmp_path, task_seconds=0.5) as here:
        await here.add(*ROWS)
        async with here.at_work(here.worker()):
            await until(lambda: _true(len(here.charged()) > 2))
            await asyncio.to_thread(_crashed, postgres)
            await here.until("DONE")
        assert sorted(here.charged()) == sorted(f"a cat, {row}" for row in ROWS)
    assert "Exception while processing" not in caplog.text


class _Watched(Breaker):
    """Tells whether a create was held back."""

    held = False

    async def wait(self):
        """Waits, as ever."""
        self.held = True
        await super().wait()


async def test_too_many_uncertain_creates_in_a_row_hold_it_back(postgres, tmp_path):
    """Five, and the sixth waits."""
    async with fleet(postgres, tmp_path, running=1, faults=(InjectedFault("drop_after_accept"),)) as here:
        await here.add(*(f"r{number:02}" for number in range(12)))
        worker = here.worker()
        worker.steps._uncertain = _none  # such a row keeps no seat
        worker.steps._breaker = breaker = _Watched()
        async with here.at_work(worker):
            await until(lambda: _true(breaker.held))
            assert len(here.charged()) == 5
            states = list((await here.states()).values())
        assert states.count("UNCERTAIN") == 5


# --- rows and jobs -----------------------------------------------------------------------------------------------


async def test_each_row_comes_to_what_its_task_came_to(postgres, tmp_path):
    """One that failed, one that was moderated while it ran, one that was refused."""
    faults = (
        InjectedFault("fail", prompt="fails"),
        InjectedFault("moderation", prompt="moderated"),
        InjectedFault("refuse_moderation", prompt="refused"),
    )
    async with fleet(postgres, tmp_path, faults=faults) as here:
        await here.add("good", "fails", "moderated", "refused")
        async with here.at_work(here.worker()):
            states = await here.until("DONE", "FAILED", "REJECTED")
            await until(lambda: _empty(here))
    assert states == {"good": "DONE", "fails": "FAILED", "moderated": "FAILED", "refused": "REJECTED"}


async def test_a_host_whose_clock_is_wrong_keeps_the_seat_of_an_uncertain_row_and_writes_the_databases_time(
    postgres, tmp_path, monkeypatch
):
    """Else what another host sent a moment ago would have run for an hour, and its seat would be given away."""
    monkeypatch.setattr(steps_, "GLANCE", 0.01)
    async with fleet(postgres, tmp_path, running=2) as here:
        await here.add("r0", "r1")
        ask(here.dsn, "UPDATE omni_item SET state = 'UNCERTAIN', sent_at = date_part('epoch', now()) WHERE key = 'r0'")
        right = time.time()
        monkeypatch.setattr(time, "time", lambda: right + 3600)
        worker, looked = here.worker(), []
        entry = worker.steps._entry

        async def counted(key):
            looked.append(key)
            return await entry(key)

        worker.steps._entry = counted
        async with here.at_work(worker):
            await until(lambda: _true(looked.count("r0") > 5))
            await until(lambda: _stands(here, "r1", "DONE"))
        (times,) = ask(here.dsn, "SELECT sent_at, finished_at FROM omni_item WHERE key = 'r1'")
        assert all(right - 1 < at < right + 2 * PATIENCE for at in times)


async def test_a_job_whose_row_is_gone_goes_too(postgres, tmp_path):
    """There is nothing to be paid for it."""
    async with fleet(postgres, tmp_path) as here:
        await here.shared.run(lambda ledger: ledger._enqueue(video_job("jimmy"), ["nobody"], [0]))
        async with here.at_work(here.worker()):
            await until(lambda: _empty(here))
        assert not here.charged()


async def test_a_row_whose_job_is_gone_gets_one_again(postgres, tmp_path):
    """As when the queue took an error for an end; what runs already comes before what is to be sent."""
    async with fleet(postgres, tmp_path) as here:
        await here.add(*ROWS)
        await here.shared.run(lambda ledger: ledger.connection.execute("DELETE FROM pgqueuer"))
        async with here.at_work(here.worker()):
            await here.until("DONE")
        assert len(here.charged()) == len(ROWS)


async def test_rows_without_a_job_are_looked_for_by_one_of_the_fleet_at_a_time(postgres, tmp_path):
    """The look holds the journal: a hundred workers need not do it all."""
    async with fleet(postgres, tmp_path) as here:
        await here.add("r0")
        remove = "DELETE FROM pgqueuer"
        await here.shared.run(lambda ledger: ledger.connection.execute(remove))
        assert await here.shared.run(lambda ledger: ledger.restore(every=30.0)) == 1
        await here.shared.run(lambda ledger: ledger.connection.execute(remove))
        assert await here.shared.run(lambda ledger: ledger.restore(every=30.0)) == 0
        assert await here.shared.run(lambda ledger: ledger.restore()) == 1


async def test_what_runs_already_comes_before_what_is_still_to_be_sent(postgres, tmp_path):
    """Else it would run without a seat until all the rest is done."""
    async with fleet(postgres, tmp_path) as here:
        await here.add(*ROWS)
        paid = "UPDATE item SET state = 'SUBMITTED', task_id = 't' WHERE key = 'r5'"
        await here.shared.run(lambda ledger: ledger.connection.execute(paid))
        await here.shared.run(lambda ledger: ledger.connection.execute("DELETE FROM pgqueuer"))
        await here.shared.run(lambda ledger: ledger.restore())
        query = "SELECT convert_from(payload, 'utf8') FROM pgqueuer ORDER BY priority DESC, id LIMIT 1"
        assert await here.shared.run(lambda ledger: ledger.connection.execute(query).fetchone()) == ("r5",)


async def test_a_task_that_is_handed_back_comes_before_what_is_still_to_be_sent(postgres, tmp_path):
    """Whichever was entered first: no other may take the seat that it has left."""
    async with fleet(postgres, tmp_path, running=1, task_seconds=1.0) as here:
        await here.add("r0", "r1")
        due = "UPDATE pgqueuer SET execute_after = now() + %s * interval '1 second' WHERE payload = 'r0'"
        await here.shared.run(lambda ledger: ledger.connection.raw.execute(due, (3600,)))
        async with here.at_work(here.worker()):
            await until(lambda: _true(len(here.charged()) == 1))
            await until(lambda: _stands(here, "r1", "SUBMITTED"))
        await here.shared.run(lambda ledger: ledger.connection.raw.execute(due, (0,)))
        query = (
            "SELECT convert_from(payload, 'utf8') FROM pgqueuer WHERE execute_after < now() ORDER BY priority DESC, id"
        )
        assert await here.shared.run(lambda ledger: ledger.connection.execute(query).fetchone()) == ("r1",)


async def test_a_worker_that_was_given_up_gives_back_no_job_that_another_has(postgres, tmp_path):
    """Its seat would be free while its task runs."""
    async with fleet(postgres, tmp_path, task_seconds=1.0) as here:
        await here.add("r0")
        async with here.at_work(here.worker()):
            await until(lambda: _stands(here, "r0", "SUBMITTED"))
            taken = "UPDATE pgqueuer SET queue_manager_id = gen_random_uuid()"
            await here.shared.run(lambda ledger: ledger.connection.execute(taken))
        assert await here.jobs() == {"picked": 1}


async def test_a_create_does_not_wait_for_a_database_that_is_away_when_its_worker_stops(postgres, tmp_path):
    """It was not sent: stopping takes no longer for it."""
    async with fleet(postgres, tmp_path, submits=0.1) as here:
        await here.add("r0")
        worker = here.worker()
        async with here.at_work(worker):
            await until(lambda: _true(len(here.charged()) == 1))

            async def away(*_):
                raise OSError("away")

            worker.budget.fetch = away
            worker.budget.end()
            assert not await worker.client.studio.exchange.limiter.on_time()


async def test_a_worker_has_no_more_rows_in_hand_than_it_may(postgres, tmp_path):
    """`--concurrency`."""
    async with fleet(postgres, tmp_path, running=20, task_seconds=0.5) as here:
        await here.add(*(f"r{number:02}" for number in range(12)))
        async with here.at_work(here.worker(concurrency=3)):
            await here.until("DONE")
        assert max(running for _, running in here.emulator.ledger.running) <= 3


async def test_two_workers_of_one_machine_share_its_journal(postgres, tmp_path):
    """And the account's seats."""
    async with fleet(postgres, tmp_path, running=4) as here:
        await here.add(*(f"r{number:02}" for number in range(16)))
        async with here.at_work(here.worker(), here.worker()):
            await here.until("DONE")
        assert len(here.charged()) == 16
        assert max(running for _, running in here.emulator.ledger.running) <= 4


async def _true(answer):
    return answer


async def _stands(here, key, state):
    return (await here.states())[key] == state


async def _none(_):
    return None


async def _empty(here):
    return await here.jobs() == {}


def _crashed(postgres):
    postgres.crash()
    postgres.start()
