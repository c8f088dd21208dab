"""The rows of webhooks, in the database that the store really writes."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane.records import EndpointRecord, JobRecord
from runpod_flash.control_plane.store import Store
from runpod_flash.control_plane.webhook_table import WaitingWebhook, WebhookTable
from worker_runtime.wire.jobs import JobStatus

URL = "https://example.com/hook"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "flash.db")
    yield store
    store.close()


def ended(name: str = "j1", **changes: Any) -> JobRecord:
    record = JobRecord(name, "e1", {"x": 1}, 1000.0, webhook=URL, status=JobStatus.COMPLETED, finished_at=1005.5)
    return replace(record, **changes)


def test_only_ends_that_somebody_wants_to_know_are_there(store: Store) -> None:
    async def work() -> None:
        store.save_job(ended("silent", webhook=None))
        store.save_job(ended("running", status=JobStatus.IN_PROGRESS, finished_at=None))
        store.save_job(ended("late", finished_at=1006.0))
        await store.save_job(ended("early"))

    asyncio.run(work())
    table = WebhookTable(store)
    assert table.waiting() == ["early", "late"]
    assert table.rows(["late", "early", "silent", "unknown"]) == [
        WaitingWebhook("early", 0, 1005.5, URL),
        WaitingWebhook("late", 0, 1006.0, URL),
    ]
    assert table.row("running") is None
    assert URL not in repr(table.row("early"))


def test_tries_are_counted_until_none_is_due(store: Store) -> None:
    async def work() -> None:
        table = WebhookTable(store)
        await store.save_job(ended())
        first = table.row("j1")
        assert first is not None
        assert await table.tried(first, 1015.25)
        second = table.row("j1")
        assert second == WaitingWebhook("j1", 1, 1015.25, URL)
        assert not await table.tried(first, None)
        assert await table.tried(second, None)
        assert (table.row("j1"), table.waiting()) == (None, [])
        await store.save_job(ended())  # an end that is written again does not begin it anew
        assert table.waiting() == []

    asyncio.run(work())


def test_a_job_that_was_retried_is_told_anew(store: Store) -> None:
    async def work() -> None:
        table = WebhookTable(store)
        await store.save_job(ended())
        before = table.row("j1")
        assert before is not None
        await store.reopen_job(ended(status=JobStatus.IN_QUEUE, finished_at=None))
        assert table.waiting() == []
        await store.save_job(ended(finished_at=1010.0))
        assert not await table.tried(before, None)  # a try of the first end says nothing of the second
        assert table.row("j1") == WaitingWebhook("j1", 0, 1010.0, URL)

    asyncio.run(work())


def test_with_an_endpoint_its_webhooks_go(store: Store) -> None:
    async def work() -> None:
        await store.save_endpoint(EndpointRecord("e1", "", "e1", {}, "hash", 1, 1000.0))
        await store.save_job(ended())
        await store.delete_endpoint("e1")
        assert WebhookTable(store).waiting() == []

    asyncio.run(work())


def test_a_row_without_a_job_has_no_url_and_can_be_removed(store: Store) -> None:
    async def work() -> None:
        table = WebhookTable(store)
        await store.write(("INSERT INTO webhooks (job, due_at) VALUES ('lost', 1.0)", []))
        assert table.row("lost") == WaitingWebhook("lost", 0, 1.0, None)
        await table.remove("lost")
        assert table.waiting() == []

    asyncio.run(work())
