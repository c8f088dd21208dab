"""What a deploy changes: every plan leads to what is wanted, and changes nothing else."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.app_changes import Change, ChangeKind, changes
from runpod_flash.control_plane.records import EndpointRecord

NAMES = st.sampled_from("abcd")


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "name": name,
            "type": draw(st.sampled_from(["QUEUE", "LOAD_BALANCER"])),
            "workers": {"min": 0, "max": draw(st.integers(0, 2))},
            "env": draw(st.sampled_from([{}, {"A": "1"}])),
            **draw(st.sampled_from([{}, {"artifact": "0"}, {"artifact": "1"}])),
        }
        for name in draw(st.sets(NAMES))
    }


def record(body: dict[str, Any]) -> EndpointRecord:
    return EndpointRecord(f"id-{body['name']}", "app:x/y", body["name"], body, "", 1, 0.0)


def applied(before: dict[str, dict[str, Any]], planned: list[Change]) -> dict[str, Any]:
    """What is there after each change in turn; none may meet something that it does not expect."""
    there: dict[str, Any] = dict(before)
    for change in planned:
        if change.kind is ChangeKind.CREATE:
            assert change.endpoint not in there
            there[change.endpoint] = change.body
        elif change.kind is ChangeKind.REMOVE:
            del there[change.endpoint]
        else:
            assert change.id == f"id-{change.endpoint}"
            if change.kind in (ChangeKind.UPDATE, ChangeKind.ROLL):
                assert there[change.endpoint]["type"] == change.body["type"]
                assert ("artifact" in there[change.endpoint]) == ("artifact" in change.body)
                there[change.endpoint] = change.body
    return there


@given(bodies(), bodies(), st.booleans())
def test_a_plan_leads_to_what_is_wanted(
    before: dict[str, dict[str, Any]], wanted: dict[str, dict[str, Any]], prune: bool
) -> None:
    existing = [record(body) for body in before.values()]
    planned = changes(existing, list(wanted.values()), lambda name: prune)
    after = applied(before, planned)
    left = {} if prune else {name: body for name, body in before.items() if name not in wanted}
    assert after == {**wanted, **left}
    again = changes([record(body) for body in after.values()], list(wanted.values()), lambda name: prune)
    assert {change.kind for change in again} <= {ChangeKind.KEEP, ChangeKind.LEFT}


def test_a_change_of_env_rolls_and_one_of_workers_does_not() -> None:
    old = {"name": "a", "type": "QUEUE", "workers": {"min": 0, "max": 1}, "env": {}}
    rolled = changes([record(old)], [{**old, "env": {"A": "1"}}], lambda name: False)
    assert [(change.kind, change.needs_environment) for change in rolled] == [(ChangeKind.ROLL, True)]
    updated = changes([record(old)], [{**old, "workers": {"min": 1, "max": 1}}], lambda name: False)
    assert [(change.kind, change.needs_environment) for change in updated] == [(ChangeKind.UPDATE, False)]
