"""Descriptions that cross a process border, as JSON."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.wire.errors import VersionMismatch, WireError
from worker_runtime.wire.retries import Backoff
from worker_runtime.wire.specs import (
    ArtifactManifest,
    EnvironmentRequest,
    PackageIndex,
    WorkerLaunch,
    canonical_hash,
)

TEXTS = st.lists(st.text(max_size=5), max_size=3).map(tuple)
MAPS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)
MAYBE = st.none() | st.text(max_size=5)
INDEXES = st.builds(PackageIndex, MAYBE, TEXTS, TEXTS, st.booleans(), TEXTS, MAYBE)
LOCK = ("leaf==1.0 --hash=sha256:" + "0a" * 32, "x @ git+https://example.org/x@" + "0a" * 20)
ENVIRONMENTS = st.builds(
    EnvironmentRequest, st.text(max_size=5), TEXTS, TEXTS, MAYBE, INDEXES, st.booleans(), st.sampled_from([(), LOCK])
)
MANIFESTS = st.builds(
    ArtifactManifest,
    st.sampled_from(["function", "class"]), st.text(max_size=5), st.text(max_size=5), ENVIRONMENTS, MAYBE, MAPS,
    st.integers(1, 9), retries=st.none() | st.integers(0, 3),
    backoff=st.none() | st.builds(Backoff, st.none() | TEXTS, st.floats(0, 9), st.floats(1, 3), st.floats(0, 9)),
)  # fmt: skip
PATHS = st.none() | st.sampled_from(["/", "/a", "/a b/ü"])
LAUNCHES = st.builds(
    WorkerLaunch,
    worker=st.text(), token=st.text(), address=st.text(), endpoint=st.text(), name=st.text(), folder=st.text(),
    python=st.text(), bundle=st.text(), env=MAPS, overlay=MAYBE, cpus=st.lists(st.integers(0, 9)).map(tuple),
    max_concurrency=st.integers(1, 9), beat_s=st.floats(0.1, 9), cancel_grace_s=st.floats(0.1, 9), hidden=TEXTS,
    readonly=TEXTS, private=PATHS, volume=PATHS, must_isolate=st.booleans(), pickles=st.booleans(),
    command=st.none() | st.just("uvicorn app:app --port $PORT"),
    directory=PATHS, drain_s=st.floats(0, 60),
)  # fmt: skip


def over_the_wire(data: dict[str, Any]) -> Any:
    return json.loads(json.dumps(data))


@given(MANIFESTS)
def test_manifests_come_back_with_their_ids(manifest: ArtifactManifest) -> None:
    again = ArtifactManifest.from_json(over_the_wire(manifest.to_json()))
    assert again == manifest
    assert (again.id, again.files_id) == (manifest.id, manifest.files_id)


@given(MANIFESTS, MANIFESTS)
def test_equal_ids_mean_equal_manifests(one: ArtifactManifest, other: ArtifactManifest) -> None:
    assert (one.id == other.id) is (one == other)
    assert (one.files_id == other.files_id) is (one.files == other.files)


@given(LAUNCHES)
def test_launches_come_back(launch: WorkerLaunch) -> None:
    assert WorkerLaunch.from_json(over_the_wire(launch.to_json())) == launch


@given(MAPS)
def test_the_order_of_an_object_does_not_change_its_hash(data: dict[str, str]) -> None:
    assert canonical_hash(data) == canonical_hash(dict(reversed(data.items())))


def test_secrets_are_not_shown() -> None:
    launch = WorkerLaunch("w", "token!", "unix:/x", "e", "n", "/f", "/p", "/b", env={"KEY": "secret!"})
    assert "token!" not in repr(launch)
    assert "secret!" not in repr(launch)
    assert "password!" not in repr(PackageIndex("https://u:password!@host", ("https://u:password!@host",)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"command": " \n"}, "field 'command' is ' \\n'; it must be a command line"),
        ({"command": "a\0b"}, "field 'command'"),
        ({"command": ["ls"]}, "field 'command'"),
        ({"directory": "here"}, "field 'directory' is 'here'; it must be an absolute path"),
        ({"directory": ""}, "field 'directory'"),
        ({"private": "../x"}, "field 'private'"),
        ({"volume": "files"}, "field 'volume' is 'files'; it must be an absolute path"),
        ({"must_isolate": 1}, "field 'must_isolate' is 1; it must be true or false"),
        ({"drain_s": -1}, "field 'drain_s' is -1; it must be a number of seconds, 0 or more"),
        ({"drain_s": float("inf")}, "field 'drain_s'"),
        ({"drain_s": float("nan")}, "field 'drain_s'"),
        ({"drain_s": True}, "field 'drain_s'"),
        ({"beat_s": "3"}, "field 'beat_s'"),
        ({"cancel_grace_s": None}, "field 'cancel_grace_s'"),
    ],
)
def test_bad_launches(change: dict[str, Any], said: str) -> None:
    launch = WorkerLaunch("w", "token!", "unix:/x", "e", "n", "/f", "/p", "/b")
    with pytest.raises(WireError) as caught:
        WorkerLaunch.from_json({**over_the_wire(launch.to_json()), **change})
    assert said in str(caught.value)


def test_a_request_without_a_lock_looks_as_it_always_did() -> None:
    manifest = ArtifactManifest("function", "f", "0", EnvironmentRequest("3.11", ("numpy",)))
    assert manifest.id == "2c1240059fd47b122fe93ec1539cb89b948e5bbab5e1517e93515b360dfde52b"
    locked = replace(manifest, environment=replace(manifest.environment, lock=LOCK))
    assert locked.id != manifest.id
    assert "lock" not in manifest.to_json()["environment"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"environment": {"python": "3.11", "lock": ["leaf>=1"]}}, WireError),
        ({"environment": {"python": "3.11", "lock": ["--index-url=http://example.org"]}}, WireError),
        ({"protocol": 2}, VersionMismatch),
        ({"kind": "module"}, WireError),
        ({"max_concurrency": 0}, WireError),
        ({"max_concurrency": True}, WireError),
        ({"files": {"a": 1}}, WireError),
        ({"name": None}, WireError),
        ({"environment": []}, WireError),
    ],
)
def test_bad_manifests(change: dict[str, Any], error: type[WireError]) -> None:
    manifest = ArtifactManifest("function", "f", "0", EnvironmentRequest("3.11"))
    with pytest.raises(error):
        ArtifactManifest.from_json({**manifest.to_json(), **change})
