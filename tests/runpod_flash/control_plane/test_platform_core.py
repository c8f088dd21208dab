"""Jobs as the HTTP faces see them: accepted once, kept over a restart, waited for, cancelled."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from runpod_flash.control_plane.environments import InstallFailed
from runpod_flash.control_plane.fleet import WorkerState
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.queueing import SURE_S
from runpod_flash.control_plane.records import Batch, JobRecord, Policy, Submission
from runpod_flash.control_plane.store import StoreError, StoreFull
from runpod_flash.errors import ContentNotFound, EndpointNotFound, JobNotFound, NotPortable, PayloadTooLarge
from tests.support.small_plane import SmallPlane, changed, small_plane
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.jobs import INLINE_LIMIT, Call, ErrorInfo, ErrorKind, JobStatus, Payload, read_output
from worker_runtime.wire.specs import EnvironmentRequest

Test: TypeAlias = Callable[[SmallPlane], Coroutine[Any, Any, None]]


def played(*tests: Test) -> Callable[[Path], None]:
    """Run async tests one after the other, each with a plane of its own over the same database: a restart between."""

    async def with_plane(test: Test, folder: Path) -> None:
        async with small_plane(folder) as plane, asyncio.timeout(20):
            await test(plane)

    def run(tmp_path: Path) -> None:
        for test in tests:
            asyncio.run(with_plane(test, tmp_path))

    run.__name__, run.__doc__ = tests[0].__name__, tests[0].__doc__
    return run


@played
async def test_unknown_things_are_named_and_nothing_is_accepted(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    with pytest.raises(EndpointNotFound, match="nowhere"):
        await plane.submit("nowhere")
    with pytest.raises(ContentNotFound, match="f" * 64):
        await plane.submit(endpoint, Call("f" * 64, Payload(inline=b"a")))
    with pytest.raises(ContentNotFound, match="0" * 64):
        await plane.submit(endpoint, Call(plane.artifact, Payload(sha256="0" * 64, size=9)))
    with pytest.raises(WireError):
        await plane.platform.submit(endpoint, Submission("j", {"flash": {"x": 1}}))
    with pytest.raises(Problem, match=r"runs a decorated function or class, .* takes no plain input"):
        await plane.platform.submit(endpoint, Submission("j", {"x": 1}))
    with pytest.raises(JobNotFound, match="j-unknown"):
        plane.platform.job(endpoint, "j-unknown")
    with pytest.raises(JobNotFound):
        await plane.platform.wait("j-unknown", 1)
    assert plane.store.unfinished_jobs() == []


@played
async def test_code_that_is_a_pickle_is_refused_where_its_owners_are_not_loaded(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    plane.platform.intake.takes_pickles = lambda record: record.id != endpoint
    with pytest.raises(NotPortable, match="set FLASH_ENCODING=neutral"):
        await plane.submit(endpoint)
    assert plane.store.unfinished_jobs() == []
    await plane.submit(await plane.endpoint())


@played
async def test_the_same_key_is_one_job_also_at_once_and_after_its_end(plane: SmallPlane) -> None:
    endpoint, other = await plane.endpoint(), await plane.endpoint()
    records = await asyncio.gather(*[plane.submit(endpoint, key="k") for _ in range(5)])
    assert len({record.id for record in records}) == 1
    assert (await plane.submit(other, key="k")).id != records[0].id
    await plane.until(lambda: len(plane.launcher.alive) == 2)
    plane.connect()
    await plane.until(plane.finish)
    await plane.platform.wait(records[0].id, 5)
    again = await plane.submit(endpoint, key="k", client="later")
    assert (again.id, again.status) == (records[0].id, JobStatus.COMPLETED)
    assert [event["job"]["id"] for event in plane.events.of("job", "later")] == [again.id]


@played
async def test_who_submits_a_waiting_job_again_is_the_one_who_hears_its_end(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    record = await plane.submit(endpoint, key="k", client="before")
    await plane.submit(endpoint, key="k", client="after")
    await plane.until(lambda: plane.launcher.alive)
    plane.connect()
    await plane.until(plane.finish)
    await plane.platform.wait(record.id, 5)
    await plane.turns()
    assert (len(plane.events.of("job", "before")), len(plane.events.of("job", "after"))) == (0, 1)


@played
async def test_a_failed_submit_can_be_repeated_with_its_key(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    with pytest.raises(ContentNotFound):
        await plane.submit(endpoint, Call(plane.artifact, Payload(sha256="0" * 64, size=9)), key="k")
    assert (await plane.submit(endpoint, key="k")).status is JobStatus.IN_QUEUE


def batch(plane: SmallPlane, *keys: str, fresh: bool = True, **changes: Any) -> Batch:
    """Calls of the artifact that came together, each with its key as its argument."""
    jobs = [(key, Payload.inlined(key.encode())) for key in keys]
    return replace(Batch(plane.call(), jobs, client="c", fresh=fresh), **changes)


@played
async def test_calls_that_come_together_are_accepted_in_one_commit(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers={"min": 0, "max": 0})
    keys = [f"k{number}" for number in range(300)]
    groups, save = list[int](), plane.store.save_job
    saved = list[Any]()

    def counted(record: Any) -> Any:
        saved.append(record)
        asyncio.get_running_loop().call_soon(lambda: groups.append(len(saved)))
        return save(record)

    plane.store.save_job = counted  # type: ignore[method-assign]
    accepted = await plane.platform.submit_many(endpoint, batch(plane, *keys))
    assert set(groups) == {300}, "all were written before the loop went on"
    found = [record for record in accepted if not isinstance(record, Exception)]
    assert [(each.idempotency_key, each.input.arguments.inline) for each in found] == [(k, k.encode()) for k in keys]
    assert len({record.id for record in found}) == 300
    assert len(plane.store.unfinished_jobs()) == 300


@played
async def test_of_calls_that_come_together_a_bad_one_alone_is_refused(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    jobs = [
        ("good", Payload.inlined(b"a")),
        ("missing", Payload(sha256="0" * 64, size=9)),
        ("large", Payload.inlined(bytes(INLINE_LIMIT + 1))),
        ("good too", Payload.inlined(b"b")),
        ("good", Payload.inlined(b"a")),
    ]
    found = await plane.platform.submit_many(endpoint, batch(plane, jobs=jobs))
    kinds = [type(each) for each in found]
    assert kinds == [JobRecord, ContentNotFound, PayloadTooLarge, JobRecord, JobRecord]
    assert found[0] is found[4], "a key twice is one job"
    assert len(plane.store.unfinished_jobs()) == 2


@played
async def test_what_all_have_in_common_is_refused_for_all(plane: SmallPlane) -> None:
    endpoint, command = await plane.endpoint(), await plane.endpoint(command="serve")
    with pytest.raises(EndpointNotFound):
        await plane.platform.submit_many("nowhere", batch(plane, "k"))
    with pytest.raises(ContentNotFound, match="f" * 64):
        await plane.platform.submit_many(endpoint, batch(plane, "k", call=plane.call("f" * 64)))
    with pytest.raises(Problem, match="runs a command, which takes plain input"):
        await plane.platform.submit_many(command, batch(plane, "k"))
    plane.platform.intake.admit = _full
    with pytest.raises(StoreFull):
        await plane.platform.submit_many(endpoint, batch(plane, "k"))
    assert plane.store.unfinished_jobs() == []


def _full() -> str:
    raise StoreFull("no room")


@played
async def test_keys_that_may_have_come_before_are_looked_up(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    first = asyncio.ensure_future(plane.platform.submit_many(endpoint, batch(plane, "a", "b")))
    await asyncio.sleep(0)
    meanwhile = await plane.platform.submit_many(endpoint, batch(plane, "b", "c", fresh=False))
    alone = await plane.submit(endpoint, key="a")
    ids = [each.id for each in [*(await first), *meanwhile, alone] if isinstance(each, JobRecord)]
    assert (ids[1], ids[0]) == (ids[2], ids[4])
    assert len(set(ids)) == 3
    await plane.until(lambda: plane.launcher.alive)

    def all_ended() -> bool:
        plane.connect()
        plane.finish()
        return plane.dispatcher.active == 0

    await plane.until(all_ended)
    (again,) = await plane.platform.submit_many(endpoint, batch(plane, "a", fresh=False, client="later"))
    assert isinstance(again, JobRecord)
    assert (again.id, again.status) == (ids[0], JobStatus.COMPLETED)
    assert [event["job"]["id"] for event in plane.events.of("job", "later")] == [ids[0]]


@played
async def test_most_calls_are_accepted_without_waiting_for_more_than_the_commit(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    accepting = plane.platform.submit_now(endpoint, batch(plane, "a", "b"))
    assert accepting is not None
    ids = [each.id for each in accepting.outcomes.values() if isinstance(each, JobRecord)]
    assert not plane.store.is_written(ids[0])
    (again,) = await plane.platform.submit_many(endpoint, batch(plane, "b", fresh=False))
    assert plane.store.is_written(ids[0]), "who repeats a key hears of the job when it is on disk"
    await accepting.written
    assert isinstance(again, JobRecord)
    assert [*accepting.outcomes] == ["a", "b"]
    assert again.id == ids[1]


@played
async def test_calls_that_follow_each_other_are_not_looked_at_one_by_one(plane: SmallPlane) -> None:
    endpoint, looked, now = await plane.endpoint(workers={"min": 0, "max": 0}), list[str](), 100.0
    queueing = plane.platform.intake.queueing
    queueing._clock, plane.platform.on_use = lambda: now, looked.append
    for key in "abc":
        assert plane.platform.submit_now(endpoint, batch(plane, key)) is not None
    assert looked == [endpoint]
    now += SURE_S
    plane.platform.submit_now(endpoint, batch(plane, "d"))
    assert looked == [endpoint] * 2
    await plane.catalog.update(endpoint, lambda body: changed(body, workers={"min": 0, "max": 0}, timeout=7))
    plane.platform.submit_now(endpoint, batch(plane, "e"))
    assert looked == [endpoint] * 3
    (pool,) = plane.fleet.pools.values()
    await plane.platform.delete_endpoint_jobs(endpoint)
    plane.fleet.discard(pool)
    plane.platform.submit_now(endpoint, batch(plane, "f"))
    assert [one is pool for one in plane.fleet.pools.values()] == [False]
    await plane.store.next_commit


@played
async def test_what_must_be_waited_for_is_not_accepted_at_once(plane: SmallPlane) -> None:
    endpoint, command = await plane.endpoint(), await plane.endpoint(command="serve")
    for place, asked in (
        (endpoint, batch(plane, "repeated", fresh=False)),
        (command, batch(plane, "k")),
        (endpoint, batch(plane, "k", call=replace(plane.call(), artifact_data=b"code"))),
    ):
        assert plane.platform.submit_now(place, asked) is None
    plane.platform.intake.queueing.refusal = lambda _: ErrorInfo(ErrorKind.INFEASIBLE, "Infeasible", "no GPU")
    assert plane.platform.submit_now(endpoint, batch(plane, "k")) is None
    assert plane.store.unfinished_jobs() == []


@played
async def test_calls_that_cannot_be_written_are_as_if_they_had_never_come(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    append, error = plane.store._journal.append, sqlite3.OperationalError("no room")

    def full(connection: sqlite3.Connection) -> None:
        raise error

    plane.store._journal.append = full  # type: ignore[method-assign]
    accepting = plane.platform.submit_now(endpoint, batch(plane, "a", "b"))
    assert accepting is not None
    assert plane.dispatcher.active == 2
    repeated = plane.platform.submit_many(endpoint, batch(plane, "b", fresh=False))
    with pytest.raises(StoreError):
        await repeated
    with pytest.raises(StoreError):
        await accepting.written
    assert (plane.dispatcher.active, plane.store.unfinished_jobs()) == (0, [])
    plane.store._journal.append = append  # type: ignore[method-assign]
    assert (await plane.submit(endpoint, key="b")).status is JobStatus.IN_QUEUE


@played
async def test_many_jobs_are_called_off_and_unknown_ones_named(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers={"min": 0, "max": 0})
    mine, other = await plane.submit(endpoint), await plane.submit(await plane.endpoint())
    assert plane.platform.call_off([mine.id, other.id, "none"], lambda each: each == endpoint) == [other.id, "none"]
    assert (await plane.platform.wait(mine.id, 5)).status is JobStatus.CANCELLED
    assert plane.platform.job(other.endpoint, other.id).status is JobStatus.IN_QUEUE
    assert plane.platform.call_off([mine.id]) == [], "what has ended stays as it is"


@played
async def test_a_job_whose_environment_cannot_even_be_named_fails_at_once(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()

    async def no_key(request: object) -> str:
        raise InstallFailed("the interpreter has gone")

    plane.environments.key = no_key  # type: ignore[method-assign,assignment]
    record = await plane.submit(endpoint)
    ended = plane.platform.job(endpoint, record.id)
    assert (ended.status, ended.error) == (JobStatus.FAILED, "the interpreter has gone")
    assert len(plane.events.of("job", "c")) == 1


@played
async def test_the_environment_is_built_as_its_owner_may_have_it(plane: SmallPlane) -> None:
    allowed = EnvironmentRequest("3.11", ("something-else",))
    plane.platform.intake.queueing.vet = lambda endpoint, request: allowed
    keyed = list[EnvironmentRequest]()

    async def key(request: EnvironmentRequest) -> str:
        keyed.append(request)
        return "environment"

    plane.environments.key = key  # type: ignore[method-assign]
    pool = plane.job(await plane.submit(await plane.endpoint())).pool
    assert pool.code is not None
    assert (keyed, pool.code.environment) == ([allowed], allowed)


@played
async def test_a_job_for_an_endpoint_that_is_deleted_meanwhile_is_refused(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    gate = asyncio.Event()

    async def slow_key(request: object) -> str:
        await gate.wait()
        return "environment"

    plane.environments.key = slow_key  # type: ignore[method-assign,assignment]
    submitting = asyncio.ensure_future(plane.submit(endpoint))
    await plane.turns()
    await plane.catalog.delete(endpoint)
    gate.set()
    with pytest.raises(EndpointNotFound):
        await submitting
    assert plane.dispatcher.active == 0
    assert plane.store.unfinished_jobs() == []


@played
async def test_waiting_ends_with_the_job_the_time_or_the_control_plane(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    record = await plane.submit(endpoint)
    assert (await plane.platform.wait(record.id, 0.01)).status is JobStatus.IN_QUEUE
    waiting = asyncio.ensure_future(plane.platform.wait(record.id, 60))
    await plane.turns()
    plane.platform.release_waiting()
    assert (await asyncio.wait_for(waiting, 10)).status is JobStatus.IN_QUEUE


@played
async def test_cancelling_is_final_and_may_be_repeated(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    record = await plane.submit(endpoint)
    for _ in range(2):
        assert (await plane.platform.cancel(endpoint, record.id)).status is JobStatus.CANCELLED
    assert plane.platform.idle


@played
async def test_counts_and_workers_are_told(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers={"min": 0, "max": 2, "idleTimeout": 60})
    records = [await plane.submit(endpoint) for _ in range(3)]
    await plane.until(lambda: len(plane.launcher.alive) == 2)
    assert plane.platform.health(endpoint)["workers"]["initializing"] == 2
    plane.connect()
    await plane.until(lambda: all(process.calls for process in plane.launcher.alive))
    health = plane.platform.health(endpoint)
    assert (health["jobs"]["inProgress"], health["jobs"]["inQueue"], health["workers"]["running"]) == (2, 1, 2)
    assert {worker["status"] for worker in plane.platform.workers(endpoint)} == {"RUNNING"}
    (entry,) = plane.platform.overview()["endpoints"]
    assert (entry["id"], len(entry["workerIds"])) == (endpoint, 2)
    while not all(plane.platform.job(endpoint, record.id).status.final for record in records):
        plane.finish()
        await asyncio.sleep(0.001)
    health = plane.platform.health(endpoint)
    assert (health["jobs"]["completed"], health["workers"]["idle"]) == (3, 2)


@played
async def test_output_is_kept_while_the_job_runs_and_after(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    record = await plane.submit(endpoint)
    await plane.until(lambda: plane.launcher.alive)
    plane.connect()
    await plane.until(lambda: plane.launcher.alive[0].calls)
    (worker,) = plane.workers(WorkerState.READY)
    plane.supervisor.log(worker, record.id, "stdout", ["hello"])
    line = plane.platform.logs(record.id)
    assert [(each["attempt"], each["stream"], each["line"], each["worker"]) for each in line] == [
        (1, "stdout", "hello", worker.id)
    ]
    plane.finish()
    await plane.platform.wait(record.id, 5)
    await plane.turns()
    assert plane.platform.logs(record.id) == line
    with pytest.raises(JobNotFound):
        plane.platform.logs("unknown")


@played
async def test_who_watches_gets_what_is_final_and_hears_of_the_rest(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    await plane.serve(endpoint)  # j1
    waiting = await plane.submit(endpoint, client=None)
    watched = plane.platform.watch("w", ["j1", waiting.id, "nowhere"])
    assert [record.id for record in watched.final] == ["j1"]
    assert (list(watched.waiting), list(watched.unknown)) == ([waiting.id], ["nowhere"])
    plane.connect()
    await plane.until(plane.finish)
    await plane.platform.wait(waiting.id, 5)
    await plane.until(lambda: plane.events.of("job", "w"))
    assert [event["job"]["id"] for event in plane.events.of("job", "w")] == [waiting.id]


@played
async def test_submitted_jobs_are_found_by_their_keys_final_or_not(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    first = await plane.submit(endpoint, key="k1")
    await plane.platform.cancel(endpoint, first.id)
    second = await plane.submit(endpoint, key="k2")
    found = plane.platform.submitted(["k1", "k2", "k3"])
    assert {key: record.id for key, record in found.items()} == {"k1": first.id, "k2": second.id}


@played
async def test_what_belongs_to_others_is_unknown(plane: SmallPlane) -> None:
    mine, other = await plane.endpoint(), await plane.endpoint()
    job = await plane.submit(mine, key="k")
    ended = await plane.submit(mine)
    await plane.platform.cancel(mine, ended.id)
    hidden = await plane.submit(other, key="k")
    sees = mine.__eq__
    assert plane.platform.submitted(["k"], sees)["k"].id == job.id  # whatever others call theirs
    assert plane.platform.submitted(["k"], other.__eq__)["k"].id == hidden.id
    assert list(plane.platform.watch("w", [job.id, hidden.id], sees).unknown) == [hidden.id]
    assert hidden.client == plane.dispatcher.unfinished(hidden.id).record.client  # type: ignore[union-attr]
    for job_id in (job.id, ended.id):
        assert plane.platform.facts(job_id, sees)["job"]["id"] == job_id
        assert plane.platform.logs(job_id, sees) == []
        for ask in (plane.platform.facts, plane.platform.logs):
            with pytest.raises(JobNotFound) as unknown:
                ask("nowhere", other.__eq__)
            with pytest.raises(JobNotFound) as refused:
                ask(job_id, other.__eq__)
            assert str(refused.value) == str(unknown.value).replace("nowhere", job_id)
    shown = plane.platform.overview(sees)
    assert ([entry["id"] for entry in shown["endpoints"]], shown["jobs"]) == ([mine], 1)


@played
async def test_each_waiting_job_has_a_cause(plane: SmallPlane) -> None:
    plane.environments.gate = asyncio.Event()
    endpoint = await plane.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    first, second = await plane.submit(endpoint), await plane.submit(endpoint)

    def cause(job_id: str) -> tuple[str, int] | None:
        told = plane.platform.facts(job_id)["cause"]
        return None if told is None else (told["kind"], told["behind"])

    await plane.turns()
    assert (cause(first.id), cause(second.id)) == (("building", 0), ("building", 1))
    plane.environments.gate.set()
    await plane.until(lambda: plane.launcher.alive)
    assert cause(first.id) == ("starting", 0)
    (entry,) = plane.platform.overview()["endpoints"]
    assert (entry["waiting"]["count"], entry["waiting"]["cause"]["kind"]) == (2, "starting")
    plane.connect()
    await plane.until(lambda: plane.launcher.alive[0].calls)
    assert (cause(first.id), cause(second.id)) == (None, ("queued", 0))
    facts = plane.platform.facts(first.id)
    assert (facts["job"]["status"], facts["attempts"], facts["endpoint"]["id"]) == ("IN_PROGRESS", 1, endpoint)
    await plane.until(plane.finish)
    await plane.until(plane.finish)
    await plane.platform.wait(second.id, 5)
    (entry,) = plane.platform.overview()["endpoints"]
    assert (cause(second.id), entry["waiting"]) == (None, None)
    with pytest.raises(JobNotFound):
        plane.platform.facts("nowhere")


@played
async def test_what_can_never_run_fails_at_once_with_what_there_is(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(gpu={"pools": ["ADA_24"], "count": 8})
    plane.platform.intake.queueing.refusal = lambda _: ErrorInfo(
        ErrorKind.INFEASIBLE, "Infeasible", "8 GPUs are asked for, 2 are here"
    )
    record = await plane.submit(endpoint)
    ended = plane.platform.job(endpoint, record.id)
    assert (ended.status, ended.attempts) == (JobStatus.FAILED, 0)
    cause = plane.platform.facts(record.id)["cause"]
    assert (cause["kind"], cause["text"]) == ("infeasible", "8 GPUs are asked for, 2 are here")
    assert plane.launcher.processes == []
    assert [event["job"]["id"] for event in plane.events.of("job", "c")] == [record.id]


@played
async def test_a_full_disk_accepts_nothing_and_what_was_accepted_goes_on(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    record = await plane.submit(endpoint, key="k")

    def full() -> str:
        raise StoreFull("nothing new is accepted")

    plane.platform.intake.admit = full
    with pytest.raises(StoreFull):
        await plane.submit(endpoint)
    assert (await plane.submit(endpoint, key="k")).id == record.id, "a repeated submit is nothing new"
    assert [job.id for job in plane.store.unfinished_jobs()] == [record.id]
    await plane.until(lambda: plane.launcher.alive)
    plane.connect()
    await plane.until(plane.finish)
    assert (await plane.platform.wait(record.id, 5)).status is JobStatus.COMPLETED


@played
async def test_a_submit_that_cannot_be_written_is_refused_and_can_be_repeated(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    large = Call(plane.artifact, Payload(inline=bytes(200_000), size=200_000))
    (pages,) = plane.store._connection.execute("PRAGMA page_count").fetchone()
    plane.store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFull):
        await plane.submit(endpoint, large, key="k")
    assert plane.platform.idle
    assert (plane.platform.submitted(["k"]), plane.launcher.processes) == ({}, [])
    plane.store._connection.execute(f"PRAGMA max_page_count = {2**30}")
    record = await plane.submit(endpoint, large, key="k")
    assert [job.id for job in plane.store.unfinished_jobs()] == [record.id]


@played
async def test_clients_are_warned_of_a_disk_that_fills_up(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    plane.platform.intake.admit = lambda: "the disk has 90 MB left"
    await plane.submit(endpoint, client="c")
    (notice,) = plane.events.of("notice", "c")
    assert (notice["key"], notice["message"]) == ("disk", "the disk has 90 MB left")


@played
async def test_a_job_whose_time_to_be_kept_is_over_is_gone_before_it_is_collected(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    record = await plane.submit(endpoint, client=None, policy=Policy(sync=True))
    await plane.platform.cancel(endpoint, record.id)
    ended = plane.platform.job(endpoint, record.id)
    assert ended.keep_s == 60
    assert ended.finished_at is not None
    await plane.store.save_job(replace(ended, id="old", idempotency_key=None, finished_at=ended.finished_at - 61))
    for ask in (lambda: plane.platform.job(endpoint, "old"), lambda: plane.platform.facts("old")):
        with pytest.raises(JobNotFound):
            ask()
    assert list(plane.platform.watch("c", ["old"]).unknown) == ["old"]


@played
async def test_a_job_is_cancelled_while_its_worker_starts_and_the_place_serves_the_next(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    first = await plane.submit(endpoint)
    await plane.until(lambda: plane.launcher.alive)
    plane.connect(ready=False)
    assert (await plane.platform.cancel(endpoint, first.id)).status is JobStatus.CANCELLED
    for worker in plane.workers():
        plane.supervisor.ready(worker, "3.11.0")
    await plane.serve(endpoint)
    assert plane.platform.job(endpoint, first.id).attempts == 0
    assert len(plane.launcher.processes) == 1


# ---- restarts


async def _leave_unfinished(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers={"min": 0, "max": 2, "idleTimeout": 60}, timeout=5000)
    await plane.submit(endpoint, plane.call(retries=0))  # j1
    await plane.submit(endpoint)  # j2
    await plane.until(lambda: len(plane.launcher.alive) == 2)
    plane.connect()
    await plane.until(lambda: sum(len(process.calls) for process in plane.launcher.alive) == 2)
    await plane.submit(endpoint, policy=Policy(timeout_ms=77), client="patient")  # j3
    await plane.submit(endpoint)  # j4


async def _go_on(plane: SmallPlane) -> None:
    assert await plane.platform.replay() == 4
    (endpoint,) = [record.id for record in plane.catalog.list()]
    lost = plane.platform.job(endpoint, "j1")
    found = read_output(lost.output)
    assert isinstance(found, ErrorInfo)
    assert (found.kind, lost.attempts) == (ErrorKind.WORKER_LOST, 1)
    for process in range(2):
        await plane.until(lambda process=process: len(plane.launcher.alive) > process)  # type: ignore[misc]
    plane.connect()
    begun: list[dict[str, Any]] = []

    def all_ended() -> bool:
        plane.finish()
        return plane.platform.idle

    await plane.until(all_ended)
    for process in plane.launcher.processes:
        begun += [frame for frame in process.frames if frame["type"] == "run"]
    told = {frame["job"]: (frame["attempt"], frame["timeout_ms"]) for frame in begun}
    assert told == {"j2": (2, 5000), "j3": (1, 77), "j4": (1, 5000)}
    assert [event["job"]["id"] for event in plane.events.of("job", "patient")] == ["j3"]
    assert plane.platform.job(endpoint, "j2").retries == 0


def test_after_a_restart_jobs_go_on_with_their_limits_and_clients(tmp_path: Path) -> None:
    played(_leave_unfinished, _go_on)(tmp_path)


async def _lose_content(plane: SmallPlane) -> None:
    await plane.submit(await plane.endpoint())
    await plane.submit(await plane.endpoint())


async def _without_content(plane: SmallPlane) -> None:
    first, second = plane.catalog.list()
    plane.artifacts.held.clear()
    await plane.catalog.delete(second.id)
    assert await plane.platform.replay() == 1
    ended = plane.platform.job(first.id, "j1")
    assert ended.status is JobStatus.FAILED
    assert "after a restart" in str(ended.error)
    assert plane.store.unfinished_jobs() == []


def test_a_job_whose_code_is_gone_at_the_restart_fails(tmp_path: Path) -> None:
    played(_lose_content, _without_content)(tmp_path)
