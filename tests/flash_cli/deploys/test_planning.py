"""What a deploy would change."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flash_cli.builds.manifest import BuildManifest, BuiltEndpoint
from flash_cli.deploys.planning import ROLLING_FIELDS, About, ChangeKind, Difference, counts, plan
from runpod_flash.control_plane import catalog

BODY: dict[str, Any] = {
    "name": "infer",
    "type": "QUEUE",
    "gpu": {"pools": ["ADA_24"], "count": 1},
    "workers": {"min": 0, "max": 3, "idleTimeout": 60},
    "env": {"TOKEN": "secret-1"},
    "timeout": 0,
}
LOCK = "numpy==2.1.0 \\\n    --hash=sha256:0\ntorch[x]==2.5 ; python_version < '4'\n    # via infer\n"
INFER = BuiltEndpoint(
    "infer", "function", "gpu.py", "infer", BODY, artifact="a" * 64, python="3.12", lock=LOCK,
    files={"gpu.py": "1" * 64, "data/a.txt": "2" * 64},
)  # fmt: skip


def of(*endpoints: BuiltEndpoint) -> BuildManifest:
    return BuildManifest("demo", endpoints)


def changed(**body: Any) -> BuiltEndpoint:
    return replace(INFER, body={**BODY, **body})


def only(old: BuiltEndpoint, new: BuiltEndpoint) -> tuple[ChangeKind, list[tuple[str, Any, Any]]]:
    (change,) = plan(of(old), of(new)).changes
    return change.kind, [(each.name, each.before, each.after) for each in change.differences]


def test_what_needs_new_workers_is_what_the_control_plane_rolls() -> None:
    assert frozenset(catalog.ROLLING_FIELDS) == ROLLING_FIELDS


def test_the_first_deploy_makes_all() -> None:
    first = plan(None, of(INFER))
    assert [(change.endpoint, change.kind) for change in first.changes] == [("infer", ChangeKind.CREATE)]
    assert not first.is_empty


def test_what_changes_in_place_and_what_rolls() -> None:
    assert only(INFER, changed(workers={"min": 1, "max": 3, "idleTimeout": 60})) == (
        ChangeKind.UPDATE,
        [("workers.min", 0, 1)],
    )
    assert only(INFER, changed(gpu={"pools": ["ADA_24"], "count": 4})) == (ChangeKind.ROLL, [("gpu.count", 1, 4)])
    assert only(INFER, changed(gpu=None, cpu=[{"id": "cpu3c", "vcpuCount": 1}]))[0] is ChangeKind.ROLL
    assert only(INFER, INFER) == (ChangeKind.KEEP, [])


def test_values_of_variables_are_never_told() -> None:
    kind, told = only(INFER, changed(env={"TOKEN": "secret-2", "NEW": "secret-3"}))
    assert (kind, told) == (ChangeKind.ROLL, [("env.NEW", None, "…"), ("env.TOKEN", "…", "…")])
    assert "secret" not in repr(plan(of(INFER), of(changed(env={}))))


def test_code_is_told_file_by_file_and_the_lock_package_by_package() -> None:
    new = replace(
        INFER,
        artifact="b" * 64,
        files={"gpu.py": "3" * 64, "more.py": "4" * 64},
        lock="numpy==2.2.0 --hash=sha256:0\ntorch[x]==2.5\nmine @ git+https://host/mine@abc\n",
    )
    (change,) = plan(of(INFER), of(new)).changes
    assert change.kind is ChangeKind.ROLL
    assert change.differences == (
        Difference(About.PACKAGE, "mine", None, "git+https://host/mine@abc"),
        Difference(About.PACKAGE, "numpy", "2.1.0", "2.2.0"),
        Difference(About.CODE, "data/a.txt", "2" * 12, None),
        Difference(About.CODE, "gpu.py", "1" * 12, "3" * 12),
        Difference(About.CODE, "more.py", None, "4" * 12),
    )


def test_changed_code_of_unknown_files_is_told_all_the_same() -> None:
    old, new = replace(INFER, files={}), replace(INFER, files={}, artifact="b" * 64)
    assert only(old, new) == (ChangeKind.ROLL, [("gpu.py", "a" * 12, "b" * 12)])


def test_what_left_the_code_is_named_or_removed() -> None:
    other = replace(INFER, name="other", body={**BODY, "name": "other"})
    left = plan(of(INFER, other), of(INFER))
    assert [(change.endpoint, change.kind) for change in left.changes] == [
        ("infer", ChangeKind.KEEP),
        ("other", ChangeKind.LEFT),
    ]
    assert left.is_empty
    pruned = plan(of(INFER, other), of(INFER), prune=True)
    assert [change.endpoint for change in pruned.of(ChangeKind.REMOVE)] == ["other"]
    assert not pruned.is_empty
    assert counts(pruned.changes) == {ChangeKind.REMOVE: 1, ChangeKind.KEEP: 1}


def test_from_jobs_to_requests_is_another_endpoint() -> None:
    changes = plan(of(INFER), of(changed(type="LOAD_BALANCER"))).changes
    assert [change.kind for change in changes] == [ChangeKind.REMOVE, ChangeKind.CREATE]


def test_what_the_stage_really_has_counts() -> None:
    def kinds(present: dict[str, str | None], prune: bool = False) -> list[tuple[str, ChangeKind]]:
        return [(each.endpoint, each.kind) for each in plan(of(INFER), of(INFER), present, prune=prune).changes]

    assert kinds({"infer": "a" * 64}) == [("infer", ChangeKind.KEEP)]
    assert kinds({}) == [("infer", ChangeKind.CREATE)]
    assert kinds({"infer": "b" * 64}) == [("infer", ChangeKind.ROLL)]  # of a deploy that was broken off
    left = {"infer": "a" * 64, "old": None}
    assert kinds(left) == [("infer", ChangeKind.KEEP), ("old", ChangeKind.LEFT)]
    assert kinds(left, prune=True) == [("infer", ChangeKind.KEEP), ("old", ChangeKind.REMOVE)]
    back = plan(None, of(INFER), {"infer": "a" * 64}).changes  # it had left the code, and is in it again
    assert [each.kind for each in back] == [ChangeKind.ROLL]


bodies = st.fixed_dictionaries(
    {"type": st.sampled_from(["QUEUE", "LOAD_BALANCER"]), "timeout": st.integers(0, 2), "env": st.just({})},
    optional={"cpu": st.just([]), "disk": st.integers(1, 2)},
)
endpoints = st.builds(
    lambda name, body, artifact: BuiltEndpoint(name, "function", "a.py", "f", {"name": name, **body}, (), artifact),
    st.sampled_from("abcd"), bodies, st.sampled_from([None, "1" * 64, "2" * 64]),
)  # fmt: skip
manifests = st.lists(endpoints, max_size=4, unique_by=lambda each: each.name).map(lambda found: of(*found))


@given(old=manifests, new=manifests, prune=st.booleans())
def test_carried_out_a_plan_leads_to_the_new_manifest(old: BuildManifest, new: BuildManifest, prune: bool) -> None:
    wanted = {endpoint.name: endpoint for endpoint in new.endpoints}
    there = {endpoint.name: endpoint for endpoint in old.endpoints}
    found = plan(old, new, prune=prune)
    for change in found.changes:
        if change.kind is ChangeKind.REMOVE:
            del there[change.endpoint]
        elif change.kind is ChangeKind.CREATE:
            assert change.endpoint not in there
            there[change.endpoint] = wanted[change.endpoint]
        elif change.kind in (ChangeKind.UPDATE, ChangeKind.ROLL):
            assert change.differences
            there[change.endpoint] = wanted[change.endpoint]
        elif change.kind is ChangeKind.KEEP:
            assert there[change.endpoint].body == wanted[change.endpoint].body
            assert there[change.endpoint].artifact == wanted[change.endpoint].artifact
    left = {change.endpoint for change in found.of(ChangeKind.LEFT)}
    assert {name: there[name] for name in there if name not in left} == wanted
    assert not (prune and left)
    assert found.is_empty == (there == {endpoint.name: endpoint for endpoint in old.endpoints})
    assert plan(new, new).is_empty
