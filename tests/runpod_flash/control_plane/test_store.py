"""The store: group commits, what a restart finds, and every way in which its file can fail."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from runpod_flash.control_plane.job_records import Change, pack, unpack
from runpod_flash.control_plane.job_rows import FIXED, STATE
from runpod_flash.control_plane.platform import everything
from runpod_flash.control_plane.records import EndpointRecord, JobRecord, LogLine, PlainOutput
from runpod_flash.control_plane.store import Store, StoreError, StoreFull
from tests.support.full_disk import run_on_small_disk
from tests.support.place import ROOT
from worker_runtime.wire.jobs import Call, Instance, JobStatus, Payload


def endpoint(name: str = "e1", **changes: Any) -> EndpointRecord:
    body = {"name": name, "workers": {"min": 0, "max": 3}}
    return replace(EndpointRecord(name, "/project", name, body, "hash", 1, 1000.0), **changes)


def job(name: str = "j1", **changes: Any) -> JobRecord:
    return replace(JobRecord(name, "e1", {"x": [1, None, "ä"]}, 1000.0), **changes)


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    store = Store.open(path)
    try:
        yield store
    finally:
        store.close()


def commit(write: Callable[[], Awaitable[Any]]) -> Any:
    """What the write resolves to."""

    async def run() -> Any:
        return await write()

    return asyncio.run(run())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "flash.db"


def test_the_text_of_a_plain_result_is_stored_as_it_is(path: Path) -> None:
    text = ' {"a": [1, null, "ü"]}'
    ended = job(status=JobStatus.COMPLETED, started_at=1.0, finished_at=2.0, output=PlainOutput(text))
    with opened(path) as store:
        commit(lambda: store.save_job(ended))
        store.fold()
        assert store.read("SELECT result FROM jobs") == [(text,)]
    with opened(path) as store:
        found = store.job("j1")
    assert found is not None
    assert found.output_json == ended.output_json == {"a": [1, None, "ü"]}


def test_a_restart_finds_endpoints_and_jobs(path: Path) -> None:
    running = job("j2", status=JobStatus.IN_PROGRESS, attempts=2, retries=1, started_at=1001.5, worker="w1")
    ended = job("j3", status=JobStatus.FAILED, finished_at=1003.0, error="ValueError: \ud800", output={"flash": {}})

    async def fill(store: Store) -> None:
        await asyncio.gather(store.save_endpoint(endpoint()), *map(store.save_job, (job(), running, ended)))

    with opened(path) as store:
        asyncio.run(fill(store))
    with opened(path) as store:
        assert store.endpoints() == [endpoint()]
        assert store.unfinished_jobs() == [job(), running]
        assert [store.job(name) for name in ("j1", "j2", "j3", "j4")] == [job(), running, ended, None]
        assert [found.id for found in store.recent_jobs("e1", 2)] == ["j3", "j2"]


def test_writes_of_one_turn_of_the_loop_are_one_commit(path: Path) -> None:
    async def write(store: Store) -> list[str]:
        commits: list[str] = []
        store._connection.set_trace_callback(lambda sql: commits.append(sql) if "INTO journal" in sql else None)

        async def one(number: int) -> None:
            for step in range(3):
                await store.save_job(job(f"j{number}", attempts=step))

        await asyncio.gather(*map(one, range(50)))
        return commits

    with opened(path) as store:
        assert len(asyncio.run(write(store))) == 3
        assert {found.attempts for found in store.unfinished_jobs()} == {2}


def test_a_write_is_on_disk_before_it_is_acknowledged(path: Path) -> None:
    """A process that is killed right after the acknowledgement has lost nothing."""
    code = f"""
        import asyncio, os, signal
        from pathlib import Path
        from runpod_flash.control_plane.records import JobRecord
        from runpod_flash.control_plane.store import Store

        async def main():
            store = Store.open(Path({str(path)!r}))
            for number in range(5):
                await store.save_job(JobRecord(f"j{{number}}", "e1", {{}}, 1.0))
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """
    script = "\n".join(line[8:] for line in code.splitlines())
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert ran.returncode == -9, ran.stderr
    with opened(path) as store:
        assert [found.id for found in store.unfinished_jobs()] == [f"j{number}" for number in range(5)]


def test_one_who_waits_can_be_cancelled_without_harm_to_the_group(path: Path) -> None:
    async def write(store: Store) -> None:
        async def save() -> None:
            await store.save_job(job("j1"))

        first = asyncio.create_task(save())
        await asyncio.sleep(0)
        second = store.save_job(job("j2"))
        first.cancel()
        await second
        with pytest.raises(asyncio.CancelledError):
            await first

    with opened(path) as store:
        asyncio.run(write(store))
        assert [found.id for found in store.unfinished_jobs()] == ["j1", "j2"]


def test_the_input_is_written_once(path: Path) -> None:
    async def write(store: Store) -> None:
        given = job(input={"some": "thing"})
        await store.save_job(given)
        await store.save_job(given.changed(attempts=1, status=JobStatus.IN_PROGRESS))
        await store.save_job(given.changed(attempts=1, status=JobStatus.COMPLETED, finished_at=2.0))

    with opened(path) as store:
        asyncio.run(write(store))
        assert ["thing" in str(changes) for changes in said(store)] == [True, False, False]
        ended = job(input={"some": "thing"}, attempts=1, status=JobStatus.COMPLETED, finished_at=2.0)
        assert store.job("j1") == ended


def said(store: Store) -> list[Sequence[Change]]:
    """What the journal says, by its rows."""
    return [unpack(record) for (record,) in store.read("SELECT jobs FROM journal ORDER BY seq")]


def test_what_is_taken_from_the_disk_does_not_come_back_from_a_journal_that_goes_on(path: Path) -> None:
    """A job that waits in front keeps all rows of the journal behind it."""
    over = {"status": JobStatus.FAILED, "attempts": 1, "finished_at": 2000.0}
    with opened(path) as store:
        commit(lambda: store.save_endpoint(endpoint()))
        commit(lambda: store.save_endpoint(endpoint("e2")))
        commit(lambda: store.save_job(job("waits")))
        for each in (job("old", keep_s=5.0), job("again", keep_s=99.0), job("theirs", endpoint="e2")):
            commit(lambda each=each: store.save_job(each))  # type: ignore[misc]
            commit(lambda each=each: store.save_job(each.changed(**over)))  # type: ignore[misc]
        commit(lambda: store.save_job(job("queued", endpoint="e2")))
        commit(lambda: store.delete_endpoint("e2"))
        assert asyncio.run(store.collect(2010.0)) == 1
        commit(lambda: store.reopen_job(job("again", keep_s=99.0, attempts=1)))
        assert len(said(store)) > 6, "all is still there"
    with opened(path) as store:
        assert [found.id for found in store.unfinished_jobs()] == ["waits", "again"]
        assert [store.job(name) for name in ("old", "theirs", "queued")] == [None, None, None]
        assert store.job("again") == job("again", keep_s=99.0, attempts=1)
        assert store.counts("e1") == {"completed": 0, "failed": 2, "retried": 0}
        commit(lambda: store.save_job(job("new")))
        assert [found.id for found in store.unfinished_jobs()] == ["waits", "again", "new"]


def test_a_damaged_record_of_the_journal_is_named(path: Path) -> None:
    with opened(path) as store:
        commit(lambda: store.save_job(job()))
        ((record,),) = store.read("SELECT jobs FROM journal")
        store._connection.execute("UPDATE journal SET jobs = ?", [record[:-1] + b"?"])
    with pytest.raises(StoreError, match=r"flash\.db is damaged.*journal.*move it"):
        Store.open(path)


def test_counters_outlive_jobs_and_go_with_the_endpoint(path: Path) -> None:
    async def fill(store: Store) -> None:
        await store.save_endpoint(endpoint())
        for number, status in enumerate(JobStatus):
            record = job(f"j{number}", status=JobStatus.IN_PROGRESS, keep_s=200.0)
            await store.save_job(record)
            record = replace(record, status=status, retries=number % 2, finished_at=1500.0 if status.final else None)
            await store.save_job(record)
            await store.save_job(record)  # a repeated write counts nothing twice
        assert store.counts("e1") == {"completed": 1, "failed": 2, "retried": 3}
        assert await store.collect(1600.0) == 0
        assert await store.collect(1800.0) == 4
        assert len(store.recent_jobs("e1", 10)) == 2
        assert store.counts("e1") == {"completed": 1, "failed": 2, "retried": 3}

    with opened(path) as store:
        asyncio.run(fill(store))
    with opened(path) as store:
        assert store.counts("e1") == {"completed": 1, "failed": 2, "retried": 3}
        commit(lambda: store.delete_endpoint("e1"))
        assert store.endpoints() == []
        assert store.unfinished_jobs() == []
        commit(lambda: store.save_job(job("late", status=JobStatus.CANCELLED, finished_at=1.0)))
        assert store.counts("e1") == {"completed": 0, "failed": 0, "retried": 0}
        tables = ("counters", "endpoints")
        assert [store.read(f"SELECT count(*) FROM {table}")[0][0] for table in tables] == [0, 0]


def test_collecting_takes_thousands_in_parts(path: Path) -> None:
    async def fill(store: Store) -> int:
        await asyncio.gather(
            *(
                store.save_job(job(f"j{n}", status=JobStatus.COMPLETED, finished_at=5.0, keep_s=1.0))
                for n in range(2500)
            )
        )
        return await store.collect(100.0)

    with opened(path) as store:
        assert asyncio.run(fill(store)) == 2500
        assert store.read("SELECT count(*) FROM job_inputs") == [(0,)]


def test_a_key_finds_its_job_at_its_endpoint_only(path: Path) -> None:
    with opened(path) as store:
        commit(lambda: store.save_job(job(idempotency_key="k\ud800")))
        assert store.job_by_key("e1", "k\ud800") == "j1"
        assert store.job_by_key("e2", "k\ud800") is None


def test_keys_that_grow_with_time_are_looked_for_in_the_table_only_when_they_come_again(path: Path) -> None:
    def asked(store: Store, key: str) -> tuple[str | None, int]:
        """The job of a key, and how many queries that took."""
        queries: list[str] = []
        store._connection.set_trace_callback(queries.append)
        found = store.job_by_key("e1", key)
        store._connection.set_trace_callback(None)
        return found, len(queries)

    ended = job(status=JobStatus.COMPLETED, finished_at=2.0, idempotency_key="key-5")
    with opened(path) as store:
        assert asked(store, "key-1") == (None, 0)
        commit(lambda: store.save_job(ended))
        assert asked(store, "key-5") == ("j1", 0)
        store.fold()
        assert [asked(store, f"key-{number}") for number in (4, 5, 6)] == [(None, 1), ("j1", 1), (None, 0)]
    with opened(path) as store:
        assert [asked(store, key) for key in ("key-5", "key-6", "ä")] == [("j1", 1), (None, 0), (None, 0)]


def test_facts_of_a_later_release_are_passed_over_and_missing_ones_have_their_default(path: Path) -> None:
    with opened(path) as store:
        commit(lambda: store.save_job(job(attempts=3)))
        ((change,),) = said(store)
        facts = 1 + len(STATE) + FIXED.index("facts")
        later = (*change[:facts], '{"ttl_ms": 7, "mood": "good"}', *change[facts + 1 :])
        store._connection.execute("UPDATE journal SET jobs = ?", [pack([later])])
    with opened(path) as store:
        assert store.job("j1") == job(attempts=3, ttl_ms=7)


# ---- failures


def test_a_damaged_file_is_named_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 500)
    with pytest.raises(StoreError, match=r"flash\.db is damaged.*move it"):
        Store.open(path)
    assert path.read_bytes().startswith(b"no database")


def test_damage_in_the_middle_is_found_when_it_is_read(path: Path) -> None:
    with opened(path) as store:
        commit(lambda: store.save_endpoint(endpoint()))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"), opened(path) as store:
        store.endpoints()


def test_a_file_that_another_process_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runpod_flash.control_plane.database.BUSY_TIMEOUT_S", 0.1)
    with opened(path), pytest.raises(StoreError, match="held by another process; stop that process"):
        Store.open(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="held by another process"):
        Store.open(path)
    other.close()
    with opened(path) as store:
        assert store.endpoints() == []


def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    with opened(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"has version 99.*newer release"):
        Store.open(path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (99,)
    connection.close()


def test_an_older_database_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path) as store:
        commit(lambda: store.save_job(job()))
    now = version_of(path)
    steps = {now: "not run again", now + 1: "CREATE TABLE extra (x)", now + 2: "ALTER TABLE extra ADD COLUMN y"}
    monkeypatch.setattr("runpod_flash.control_plane.database._schema", lambda: steps)
    with opened(path) as store:
        assert store.read("PRAGMA user_version") == [(now + 2,)]
        assert store.read("SELECT x, y FROM extra") == []
        assert store.unfinished_jobs() == [job()]


def test_a_step_that_fails_leaves_the_version_before_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path):
        pass
    with monkeypatch.context() as patched:
        steps = {version_of(path): "", version_of(path) + 1: "CREATE TABLE extra (x); CREATE NONSENSE"}
        patched.setattr("runpod_flash.control_plane.database._schema", lambda: steps)
        with pytest.raises(StoreError, match="failed"):
            Store.open(path)
    before = version_of(path)
    with opened(path) as store:
        assert store.read("PRAGMA user_version") == [(before,)]
        assert store.read("SELECT name FROM sqlite_master WHERE name = 'extra'") == []


VERSION_1 = """
CREATE TABLE endpoints (id TEXT PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL,
    config_hash TEXT NOT NULL, generation INTEGER NOT NULL, created_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, endpoint TEXT NOT NULL, status TEXT NOT NULL,
    retries INTEGER NOT NULL, finished_at REAL, idempotency_key TEXT, facts TEXT NOT NULL, output TEXT);
CREATE INDEX jobs_by_endpoint ON jobs (endpoint);
CREATE INDEX jobs_by_end ON jobs (finished_at);
CREATE INDEX jobs_by_key ON jobs (endpoint, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE TABLE job_inputs (job TEXT PRIMARY KEY, input TEXT NOT NULL);
CREATE TABLE counters (endpoint TEXT PRIMARY KEY, completed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0, retried INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TRIGGER job_removed AFTER DELETE ON jobs BEGIN DELETE FROM job_inputs WHERE job = old.id; END;
INSERT INTO jobs VALUES (1, 'old', 'e1', 'COMPLETED', 0, 1000.0, 'k', '{"created_at": 1.0, "attempts": 1}', '"value"');
INSERT INTO jobs VALUES (2, 'waits', 'e1', 'IN_QUEUE', 0, NULL, NULL, '{"created_at": 2.0}', NULL);
INSERT INTO job_inputs VALUES ('old', '{"a": 1}'), ('waits', '{"b": 2}');
PRAGMA user_version = 1;
"""


def test_a_database_of_the_first_version_goes_on(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    connection.close()
    with opened(path) as store:
        assert [job.id for job in store.unfinished_jobs()] == ["waits"]
        done = store.job("old")
        assert done is not None
        assert (done.output, done.attempts, store.job_by_key("e1", "k")) == ("value", 1, "old")
        commit(lambda: store.save_logs("old", [{"attempt": 1, "stream": "stdout", "line": "hello"}]))
        assert asyncio.run(store.collect(1000.0 + 24 * 3600)) == 0
        assert asyncio.run(store.collect(1001.0 + 24 * 3600)) == 1
        assert (store.job("old"), store.logs("old")) == (None, [])


def test_an_end_is_written_once(path: Path) -> None:
    with opened(path) as store:
        end = job(status=JobStatus.COMPLETED, finished_at=5.0, output=1)
        for record in (job(), end, replace(end, output=2), job(attempts=9)):
            commit(lambda record=record: store.save_job(record))  # type: ignore[misc]
        assert store.job("j1") == end


def test_logs_are_kept_with_the_job_and_go_with_it(path: Path) -> None:
    lines: list[LogLine] = [{"attempt": 1, "stream": "stderr", "line": "oh"}]
    with opened(path) as store:
        commit(lambda: store.save_job(job(status=JobStatus.FAILED, finished_at=5.0, keep_s=1.0)))
        commit(lambda: store.save_logs("j1", [*lines, *lines]))
        commit(lambda: store.save_logs("j1", lines))
    with opened(path) as store:
        assert (store.logs("j1"), store.logs("j2")) == (lines, [])
        assert asyncio.run(store.collect(7.0)) == 1
        assert store.logs("j1") == []


def test_keys_find_jobs_of_any_endpoint(path: Path) -> None:
    with opened(path) as store:
        commit(lambda: store.save_job(job("j1", idempotency_key="a")))
        commit(lambda: store.save_job(job("j2", endpoint="e2", idempotency_key="b")))
        found = store.jobs_by_keys(["a", "b", "c"], everything)
        assert {key: record.id for key, record in found.items()} == {"a": "j1", "b": "j2"}
        assert store.jobs_by_keys([], everything) == {}


@pytest.mark.parametrize(("power_safe", "mode"), [(False, 1), (True, 2)])
def test_how_safe_commits_are_is_a_choice(path: Path, power_safe: bool, mode: int) -> None:
    store = Store.open(path, power_safe=power_safe)
    assert store.read("PRAGMA synchronous") == [(mode,)]
    store.close()


def version_of(path: Path) -> int:
    """The version of the schema that this release writes."""
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(version)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be used.*FLASH_HOME"):
        Store.open(tmp_path / "file" / "state" / "flash.db")


def test_the_file_belongs_to_its_user_alone(path: Path) -> None:
    with opened(path) as store:
        commit(lambda: store.save_job(job()))
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_closed_store_refuses_writes(path: Path) -> None:
    with opened(path) as store:
        pass
    with pytest.raises(StoreError):
        commit(lambda: store.save_job(job()))


def test_a_full_disk_refuses_the_group_and_is_forgiven_when_there_is_space(tmp_path: Path) -> None:
    printed = run_on_small_disk(
        """
        from runpod_flash.control_plane.records import JobRecord
        from runpod_flash.control_plane.store import Store, StoreFull

        def job(name, size=10):
            return JobRecord(name, "e1", {"x": "y" * size}, 1.0)

        async def main():
            store = Store.open(disk / "flash.db")
            await store.save_job(job("before"))
            fill()
            group = [store.save_job(job("small")), store.save_job(job("large", 200_000))]
            print([type(result).__name__ for result in await asyncio.gather(*group, return_exceptions=True)])
            print([found.id for found in store.unfinished_jobs()])
            free()
            await asyncio.gather(store.save_job(job("small")), store.save_job(job("large", 200_000)))
            store.close()
            store = Store.open(disk / "flash.db")
            print([(found.id, len(found.input["x"])) for found in store.unfinished_jobs()])

        asyncio.run(main())
        """,
        tmp_path / "disk",
    )
    assert printed.splitlines() == [
        "['StoreFull', 'StoreFull']",
        "['before']",
        "[('before', 10), ('small', 10), ('large', 200000)]",
    ]


def test_on_a_full_disk_no_half_made_database_stays(tmp_path: Path) -> None:
    printed = run_on_small_disk(
        """
        from runpod_flash.control_plane.store import Store, StoreFull
        fill(leave=8192)
        try:
            Store.open(disk / "state" / "flash.db")
        except StoreFull as error:
            print(error)
        print([path.name for path in disk.rglob("flash*")])
        free()
        Store.open(disk / "state" / "flash.db").close()
        """,
        tmp_path / "disk",
    )
    message, left = printed.splitlines()
    assert "the disk is full; free some space" in message
    assert left == "[]"


def test_a_disk_that_became_read_only(tmp_path: Path) -> None:
    printed = run_on_small_disk(
        """
        from runpod_flash.control_plane.records import JobRecord
        from runpod_flash.control_plane.store import Store, StoreError

        async def main():
            store = Store.open(disk / "flash.db")
            await store.save_job(JobRecord("j1", "e1", {}, 1.0))
            store.close()
            set_read_only()
            for folder in (disk, disk / "state"):
                try:
                    Store.open(folder / "flash.db")
                except StoreError as error:
                    print(error)

        asyncio.run(main())
        """,
        tmp_path / "disk",
    )
    assert printed.count("Read-only file system; make it writable, or set FLASH_HOME") == 2


# ---- the store against a dictionary

ENDPOINTS = st.sampled_from(["e1", "e2"])
JOBS = st.sampled_from([f"j{number}" for number in range(8)])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
TIMES = st.floats(0, 1e6)
BYTES = st.binary(max_size=8).map(Payload.inlined)
PAYLOADS = BYTES | st.just(Payload(sha256="a" * 64, size=300_000))
CALLS = st.builds(
    Call,
    st.sampled_from(["a1", "a2"]),
    PAYLOADS,
    st.sampled_from([None, "method"]),
    st.none() | st.builds(Instance, st.just("o1"), PAYLOADS),
    st.sampled_from([None, 0, 3]),
)
INPUTS = CALLS | st.dictionaries(st.text(), JSON)
OUTPUTS = PAYLOADS | JSON


class StoreMachine(RuleBasedStateMachine):
    """Whatever is written, in whatever order, with restarts between: the store knows what a dictionary knows."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.store = Store.open(self.folder / "flash.db")
        self.jobs: dict[str, JobRecord] = {}
        self.collected: set[str] = set()
        self.numbers: dict[str, int] = {}
        self.endpoints: dict[str, EndpointRecord] = {}

    @rule(name=JOBS, data=st.data(), count=st.integers(1, 3))
    def save_job(self, name: str, data: st.DataObject, count: int) -> None:
        assume(name not in self.collected)  # ids do not come back

        async def write() -> None:
            written: list[Awaitable[None]] = []
            for _ in range(count):  # several of one turn: the last one counts
                old = self.jobs.get(name)
                first = {
                    "endpoint": f"e{int(name[1:]) // 4 + 1}",
                    "input": data.draw(INPUTS),
                    "idempotency_key": data.draw(st.sampled_from([None, f"k{int(name[1:]) % 4}"])),
                    "created_at": data.draw(TIMES),
                    "keep_s": data.draw(st.sampled_from([0.0, 60.0])),
                }
                if old is not None:
                    first = {key: getattr(old, key) for key in first}
                status = data.draw(st.sampled_from(JobStatus))
                new = JobRecord(
                    id=name,
                    status=status,
                    attempts=data.draw(st.integers(0 if old is None else 1, 9)),
                    retries=data.draw(st.integers(0 if old is None else old.retries, 9)),
                    finished_at=data.draw(TIMES.filter(bool)) if status.final else None,
                    output=data.draw(OUTPUTS),
                    error=data.draw(st.none() | st.text()),
                    client=data.draw(st.sampled_from([None, "a", "b"])),
                    **first,  # type: ignore[arg-type]
                )
                written.append(self.store.save_job(new))
                if old is None or not old.status.final:  # an end is written once
                    self.jobs[name] = new
                if old is None:
                    self.numbers[name] = max(self.numbers.values(), default=0) + 1
            await asyncio.gather(*written)

        asyncio.run(write())

    @rule(name=ENDPOINTS, body=st.dictionaries(st.text(), JSON), generation=st.integers(1, 5))
    def save_endpoint(self, name: str, body: dict[str, Any], generation: int) -> None:
        self.endpoints[name] = EndpointRecord(name, "", name, body, "hash", generation, 1.0)
        commit(lambda: self.store.save_endpoint(self.endpoints[name]))

    @rule(name=ENDPOINTS)
    def delete_endpoint(self, name: str) -> None:
        self.endpoints.pop(name, None)
        self.jobs = {key: job for key, job in self.jobs.items() if job.endpoint != name}
        commit(lambda: self.store.delete_endpoint(name))
        self.reopen()  # the control plane forgets those jobs too

    @rule(now=TIMES)
    def collect(self, now: float) -> None:
        gone = [
            job.id for job in self.jobs.values() if job.finished_at is not None and job.finished_at + job.keep_s < now
        ]
        assert asyncio.run(self.store.collect(now)) == len(gone)
        for name in gone:
            del self.jobs[name]
        self.collected.update(gone)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder / "flash.db")

    @rule()
    def kill(self) -> None:
        self.store._connection.close()
        self.store = Store.open(self.folder / "flash.db")

    @rule()
    def fold(self) -> None:
        self.store.fold()

    @rule(most=st.integers(1, 3))
    def fold_some(self, most: int) -> None:
        self.store._fold(most)

    @rule(above=st.sampled_from([0, 2, 200_000]))
    def shorten(self, above: int) -> None:
        """Unfinished jobs go to the table, too, where the journal is long."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("runpod_flash.control_plane.job_journal.SHORTEN_ABOVE", above)
            self.store._fold(2)

    @rule(name=JOBS)
    def reopen_job(self, name: str) -> None:
        old = self.jobs.get(name)
        assume(old is not None and old.status.final)
        assert old is not None
        again = old.changed(status=JobStatus.IN_QUEUE, finished_at=None, output=None, error=None, retries=0)
        commit(lambda: self.store.reopen_job(again))
        self.jobs[name] = again

    @invariant()
    def knows_the_same(self) -> None:
        assert {job.id: job for job in self.store.unfinished_jobs()} == {
            key: job for key, job in self.jobs.items() if not job.status.final
        }
        assert {name: self.store.job(name) for name in self.jobs} == self.jobs
        order = sorted(self.jobs, key=lambda name: -self.numbers[name])
        assert [job.id for _, job in self.store.brief_jobs([], None, 5)] == order[:5]
        for endpoint in ("e1", "e2"):
            of_it = [name for name in order if self.jobs[name].endpoint == endpoint]
            assert self.store.recent_jobs(endpoint, 3) == [self.jobs[name] for name in of_it[:3]]
            for key in ("k0", "k1", "k2", "k3"):
                with_key = [name for name in of_it if self.jobs[name].idempotency_key == key]
                assert self.store.job_by_key(endpoint, key) == next(iter(with_key), None)
        assert sorted(record.id for record in self.store.endpoints()) == sorted(self.endpoints)
        assert {record.id: record for record in self.store.endpoints()} == self.endpoints

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


def test_full_is_an_error_of_the_store() -> None:
    assert issubclass(StoreFull, StoreError)
