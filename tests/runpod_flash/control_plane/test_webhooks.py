"""Ends are told: again where it fails, by the next control plane where this one dies, never for ever."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane import webhooks
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.store import Store
from runpod_flash.control_plane.views import job_object
from runpod_flash.control_plane.webhooks import PLACES, PLACES_OF_A_HOST, Webhooks
from tests.support.receiver import HANG, Receiver, receiver, until
from worker_runtime.wire.jobs import JobStatus

QUICK = Limits(webhook_private=True, webhook_gap_s=0.05)
PATIENT = Limits(webhook_private=True, webhook_gap_s=3600.0)


def ended(webhook: str, name: str = "j1", **changes: Any) -> JobRecord:
    record = JobRecord(name, "e1", {"x": [1, "ä"]}, 1000.0, webhook=webhook, status=JobStatus.COMPLETED)
    return replace(record, **{"output": {"y": 2}, "started_at": 1001.0, "finished_at": 1003.0, **changes})


@dataclass
class Site:
    """A database that control planes come and go on, and a receiver."""

    path: Path
    receiver: Receiver
    store: Store = field(init=False)
    webhooks: Webhooks = field(init=False)

    def rows(self) -> dict[str, tuple[int, float | None]]:
        """Attempts and when the next is due, by job."""
        return {
            job: (attempts, due) for job, attempts, due in self.store.read("SELECT job, attempts, due_at FROM webhooks")
        }

    @property
    def done(self) -> bool:
        """Whether nothing is to be sent any more."""
        return all(due is None for _, due in self.rows().values())

    @asynccontextmanager
    async def plane(self, limits: Limits = QUICK, **options: Any) -> AsyncIterator[Webhooks]:
        """The life of one control plane."""
        self.store = Store.open(self.path)
        it = self.webhooks = Webhooks(self.store, limits, options.pop("render", job_object), **options)
        running = asyncio.create_task(it.run())
        try:
            yield it
        finally:
            running.cancel()
            assert isinstance((await asyncio.gather(running, return_exceptions=True))[0], asyncio.CancelledError)
            self.store.close()
        assert it._tasks == set()

    async def end(self, *records: JobRecord) -> None:
        """Let jobs end as the dispatcher does: written, then told."""
        await asyncio.gather(*map(self.store.save_job, records))
        for record in records:
            self.webhooks.wake(record.id)


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Site], Awaitable[None]]], None]:
    def run_it(work: Callable[[Site], Awaitable[None]]) -> None:
        async def with_receiver() -> None:
            async with receiver() as it:
                await work(Site(tmp_path / "flash.db", it))

        asyncio.run(asyncio.wait_for(with_receiver(), 90))

    return run_it


Run = Callable[[Callable[[Site], Awaitable[None]]], None]


def test_an_input_that_is_kept_elsewhere_is_told_as_it_was_sent_or_not_at_all(run: Run) -> None:
    async def as_sent(record: JobRecord) -> Mapping[str, Any]:
        if record.id == "j2":
            raise FileNotFoundError(record.id)
        return {"mine": record.id}

    async def work(site: Site) -> None:
        async with site.plane() as webhooks:
            webhooks.as_sent = as_sent
            await site.end(ended(site.receiver.url("/a")), ended(site.receiver.url("/b"), "j2"))
            await until(lambda: site.done)
        (kept,), (gone,) = site.receiver.at("/a"), site.receiver.at("/b")
        assert kept.body["input"] == {"mine": kept.body["id"]}
        assert gone.body["id"] == "j2"
        assert "input" not in gone.body

    run(work)


def test_the_receiver_gets_the_job_its_input_and_its_webhook(run: Run) -> None:
    async def work(site: Site) -> None:
        async with site.plane():
            url = site.receiver.url("/hook?token=1")
            job = ended(url, worker="w1", retries=1)
            await site.end(
                job, ended(site.receiver.url("/f"), "j2", status=JobStatus.FAILED, output=None, error="E: x")
            )
            await until(lambda: site.done)
            (got,), (failed,) = site.receiver.at("/hook"), site.receiver.at("/f")
            assert got.body == {**job_object(job, 0), "input": {"x": [1, "ä"]}, "webhook": url}
            assert got.body["status"] == "COMPLETED"
            assert (failed.body["error"], failed.body["id"]) == ("E: x", "j2")
            assert got.headers["Content-Type"] == "application/json"
            assert got.headers["traceparent"] != failed.headers["traceparent"]
            assert site.rows() == {"j1": (1, None), "j2": (1, None)}
            assert site.store.job("j1") == job

    run(work)


@pytest.mark.parametrize("answers", [[500, 500, 200], [302, 404, 204], [500, 202]])
def test_it_is_sent_again_until_it_is_accepted(run: Run, answers: list[int]) -> None:
    async def work(site: Site) -> None:
        tries = len(answers)
        site.receiver.answers["/"] = [*answers]
        async with site.plane():
            job = ended(site.receiver.url())
            await site.end(job)
            await until(lambda: site.done)
            assert site.rows() == {"j1": (tries, None)}
            assert site.store.job("j1") == job
        assert len(site.receiver.got) == tries
        assert {got.path for got in site.receiver.got} == {"/"}
        assert len({got.headers["traceparent"].split("-")[1] for got in site.receiver.got}) == 1

    run(work)


def test_after_the_last_try_there_is_silence(run: Run) -> None:
    async def work(site: Site) -> None:
        site.receiver.answers["/bad"] = [500] * 9
        for _ in range(2):  # another control plane knows it, too
            async with site.plane():
                if not site.rows():
                    await site.end(ended(site.receiver.url("/bad")))
                await until(lambda: site.done)
                site.webhooks.wake("j1")
                site.webhooks.wake()
                await site.end(ended(site.receiver.url("/good"), f"j{time.monotonic_ns()}"))
                await until(lambda: site.done)
                assert site.rows()["j1"] == (3, None)
        assert len(site.receiver.at("/bad")) == 3

    run(work)


def test_tries_are_a_gap_apart(run: Run) -> None:
    async def work(site: Site) -> None:
        site.receiver.answers["/"] = [500]
        async with site.plane(PATIENT, clock=lambda: 5000.0):
            await site.end(ended(site.receiver.url()))
            await until(lambda: site.rows()["j1"][0] == 1)
            assert site.rows() == {"j1": (1, 8600.0)}
            site.webhooks.wake("j1")
            site.webhooks.wake()
            await site.end(ended(site.receiver.url("/other"), "j2"))
            await until(lambda: site.rows()["j2"] == (1, None))
        assert len(site.receiver.at("/")) == 1

    run(work)


def test_the_next_control_plane_goes_on(run: Run) -> None:
    async def work(site: Site) -> None:
        site.receiver.answers["/"] = [500, 500]
        for tries in (1, 2):
            async with site.plane(PATIENT, clock=lambda tries=tries: 5000.0 + 3600 * tries):
                if tries == 1:
                    await site.end(ended(site.receiver.url()))
                await until(lambda tries=tries: site.rows()["j1"][0] == tries)
        async with site.plane(PATIENT, clock=lambda: 5000.0 + 3600 * 3):
            await until(lambda: site.done)
            assert site.rows() == {"j1": (3, None)}
        assert len(site.receiver.got) == 3

    run(work)


def test_one_that_was_under_way_is_sent_by_the_next_control_plane(run: Run) -> None:
    async def work(site: Site) -> None:
        site.receiver.answers["/"] = [HANG]
        async with site.plane():
            await site.end(ended(site.receiver.url()))
            await until(lambda: site.receiver.got)
        async with site.plane():
            await until(lambda: site.done)
            assert site.rows() == {"j1": (1, None)}
        assert len(site.receiver.got) == 2

    run(work)


@pytest.mark.parametrize("step", [-1e9, 1e9])
def test_a_step_of_the_clock_loses_nothing(run: Run, step: float) -> None:
    async def work(site: Site) -> None:
        site.receiver.answers["/"] = [500, 500]
        now = 2e9

        async with site.plane(clock=lambda: now):
            await site.end(ended(site.receiver.url(), finished_at=now))
            await until(lambda: site.rows()["j1"][0] == 1)
            now += step
            await until(lambda: site.rows()["j1"][0] == 2)
        now -= step
        async with site.plane(clock=lambda: now):
            await until(lambda: site.done)

    run(work)


def test_a_receiver_that_hangs_is_given_up_and_delays_nobody(run: Run) -> None:
    """Its webhooks are the first and many; those of another host arrive while they hang."""

    async def work(site: Site) -> None:
        site.receiver.answers["/slow"] = [HANG] * 99
        limits = replace(QUICK, webhook_timeout_s=30.0)
        async with site.plane(limits):
            slow = [ended(site.receiver.url("/slow"), f"slow{number}") for number in range(40)]
            await site.end(*slow)
            await until(lambda: len(site.receiver.at("/slow")) == PLACES_OF_A_HOST)
            good = [ended(site.receiver.url("/good", "localhost"), f"good{number}") for number in range(40)]
            await site.end(*good)
            await until(lambda: len(site.receiver.at("/good")) == 40)
            assert len(site.receiver.at("/slow")) == PLACES_OF_A_HOST < PLACES
        async with site.plane(replace(limits, webhook_timeout_s=0.1, webhook_tries=1)):
            await until(lambda: site.done)
            assert all(attempts == 1 for attempts, _ in site.rows().values())

    run(work)


@pytest.mark.slow
def test_a_thousand_webhooks_each_arrive_once(run: Run) -> None:
    async def work(site: Site) -> None:
        async with site.plane():
            names = [f"j{number}" for number in range(1000)]
            await site.end(*(ended(site.receiver.url(f"/{name}"), name) for name in names))
            await until(lambda: site.done, 60)
            assert site.rows() == dict.fromkeys(names, (1, None))
        assert sorted(got.path for got in site.receiver.got) == sorted(f"/{name}" for name in names)
        assert site.receiver.most_at_once <= PLACES_OF_A_HOST

    run(work)


@pytest.mark.slow
def test_a_thousand_that_wait_are_found_at_the_start(run: Run) -> None:
    async def work(site: Site) -> None:
        site.store = Store.open(site.path)
        names = [f"j{number}" for number in range(1000)]
        await asyncio.gather(*(site.store.save_job(ended(site.receiver.url(), name)) for name in names))
        site.store.close()
        async with site.plane():
            await until(lambda: site.done, 60)
        assert sorted(got.body["id"] for got in site.receiver.got) == sorted(names)

    run(work)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
def test_loopback_is_refused_by_default(run: Run, host: str) -> None:
    async def work(site: Site) -> None:
        async with site.plane(replace(QUICK, webhook_private=False)) as it:
            with pytest.raises(Problem, match="not allowed"):
                it.check(site.receiver.url(host=host))
            await site.end(ended(site.receiver.url(host=host)))  # taken when it was still allowed
            await until(lambda: site.done)
            assert site.rows() == {"j1": (3, None)}
        assert site.receiver.got == []

    run(work)


def test_what_no_submit_would_take_is_given_up_like_any_other(run: Run) -> None:
    async def work(site: Site) -> None:
        async with site.plane():
            urls = ["", "\ud800", "http://[::1", "no url", "http://a..b/", "http://\ud800/"]
            await site.end(*(ended(url, f"j{number}") for number, url in enumerate(urls)))
            await until(lambda: site.done)
            assert set(site.rows().values()) == {(3, None)}

    run(work)


def test_rows_of_jobs_that_are_gone_are_removed(run: Run) -> None:
    async def work(site: Site) -> None:
        async with site.plane():
            await site.store.write(("INSERT INTO webhooks (job, due_at) VALUES ('lost', 1.0)", []))
            site.webhooks.wake()
            await until(lambda: site.rows() == {})

    run(work)


def test_the_deletion_of_an_endpoint_ends_its_webhooks(run: Run) -> None:
    async def work(site: Site) -> None:
        site.receiver.answers["/"] = [500]
        async with site.plane():
            await site.end(ended(site.receiver.url()))
            await until(lambda: site.receiver.got)
            await site.store.delete_endpoint("e1")
            await until(lambda: not len(site.webhooks._queue))
            assert site.rows() == {}
        assert len(site.receiver.got) == 1

    run(work)


def test_a_job_that_ends_once_more_is_told_once_more(run: Run) -> None:
    async def work(site: Site) -> None:
        site.receiver.answers["/"] = [HANG]
        async with site.plane():
            job = ended(site.receiver.url())
            await site.end(job)
            await until(lambda: site.receiver.got)
            await site.store.reopen_job(replace(job, status=JobStatus.IN_QUEUE, finished_at=None))
            await site.end(replace(job, finished_at=1010.0))  # while the first is still under way
            site.receiver.release()
            await until(lambda: len(site.receiver.got) == 2)
            await until(lambda: site.done)
            assert site.rows() == {"j1": (1, None)}
            assert [got.body["executionTime"] for got in site.receiver.got] == [2000, 9000]

    run(work)


def test_a_disk_that_takes_nothing_stops_the_sending_not_the_webhook(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhooks, "_STORE_PAUSE_S", 0.05)

    async def work(site: Site) -> None:
        site.receiver.answers["/"] = [500]
        async with site.plane():
            await site.store.save_job(ended(site.receiver.url()))
            site.store._connection.execute("PRAGMA query_only = ON")
            site.webhooks.wake("j1")
            await until(lambda: caplog.text.count("writes were refused") > 2)
            assert len(site.receiver.got) == 1
            site.store._connection.execute("PRAGMA query_only = OFF")
            await until(lambda: site.done)
            assert site.rows() == {"j1": (2, None)}
        assert len(site.receiver.got) == 2

    run(work)


def test_one_that_nobody_spoke_of_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "LOOK_S", 0.05)

    async def work(site: Site) -> None:
        async with site.plane():
            await site.end(ended(site.receiver.url("/first"), "j0"))
            await until(lambda: site.receiver.at("/first"))
            await site.store.save_job(ended(site.receiver.url("/silent")))
            await until(lambda: site.receiver.at("/silent"))

    run(work)


def test_one_that_cannot_be_shown_is_given_up_and_holds_nobody_up(run: Run) -> None:
    def render(record: JobRecord, now: float) -> dict[str, Any]:
        return {"id": record.id, "output": object() if record.id == "odd" else 1}

    async def work(site: Site) -> None:
        async with site.plane(render=render):
            await site.end(ended(site.receiver.url(), "odd"), ended(site.receiver.url(), "good"))
            await until(lambda: site.done)
            assert site.rows() == {"odd": (3, None), "good": (1, None)}

    run(work)


def test_a_fault_of_ours_is_survived(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    failed: list[str] = []

    def render(record: JobRecord, now: float) -> dict[str, Any]:
        if not failed:
            failed.append(record.id)
            raise ZeroDivisionError("/secret")
        return job_object(record, now)

    async def work(site: Site) -> None:
        async with site.plane(render=render):
            await site.end(ended(site.receiver.url("/secret")))
            await until(lambda: site.done)
        assert len(site.receiver.got) == 1

    run(work)
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text


def test_the_log_has_the_host_and_no_more_of_a_url(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def work(site: Site) -> None:
        site.receiver.answers["/secret-path"] = [500, 500, 500]
        async with site.plane():
            path = "/secret-path?key=secret-key"
            base = site.receiver.url(path)
            urls = [
                base,
                base.replace("//", "//secret-user:secret-word@"),
                site.receiver.url("/secret-b"),
                "http://[secret",
            ]
            await site.end(*(ended(url, f"j{number}") for number, url in enumerate(urls)))
            await until(lambda: site.done)
        async with site.plane(replace(QUICK, webhook_private=False)):
            await site.end(ended(urls[0], "j9"))
            await until(lambda: site.done)

    with caplog.at_level(logging.DEBUG):
        run(work)
    assert "127.0.0.1" in caplog.text
    assert "answered 500" in caplog.text
    assert "secret" not in caplog.text
