"""Who may do what, for every kind of key."""

from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.principals import OWNER, Need, Pickles, Principal, Scope, WorkerKey

users = st.sampled_from([OWNER, "alice", "bob"])
principals = st.builds(
    Principal,
    users,
    st.sampled_from(Scope),
    st.frozensets(st.sampled_from(["e1", "e2"])),
    st.one_of(st.none(), st.just("w-1")),
)


@given(principals, users, st.sampled_from(["e1", "e2"]))
def test_nobody_but_the_owner_in_person_sees_what_is_not_theirs(
    principal: Principal, owner: str, endpoint: str
) -> None:
    in_person = principal.user == OWNER and principal.scope is Scope.FULL and principal.worker is None
    assert principal.is_admin is in_person
    if principal.sees(owner, endpoint):
        assert principal.user == owner or in_person
        assert principal.scope is not Scope.ENDPOINT or endpoint in principal.endpoints


@given(principals)
def test_what_scopes_allow(principal: Principal) -> None:
    allowed = [need for need in Need if principal.may(need)]
    assert (
        allowed
        == {
            Scope.FULL: [Need.READ, Need.RUN, Need.MANAGE],
            Scope.ENDPOINT: [Need.READ, Need.RUN],
            Scope.READ_ONLY: [Need.READ],
        }[principal.scope]
    )


def test_whose_pickles_are_loaded() -> None:
    assert [Pickles.EVERYBODY.of(user) for user in (OWNER, "alice")] == [True, True]
    assert [Pickles.OWNER.of(user) for user in (OWNER, "alice")] == [True, False]
    assert [Pickles.NOBODY.of(user) for user in (OWNER, "alice")] == [False, False]


def test_the_key_of_a_worker_is_not_shown() -> None:
    assert "secret" not in repr(WorkerKey("secret", "w-1", OWNER))
