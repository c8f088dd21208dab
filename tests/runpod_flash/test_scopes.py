"""Names of apps and stages, and the scope that they make."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.errors import ConfigError
from runpod_flash.scopes import StageName, check_name, is_managed, stage_of, usable_name

GOOD = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)


@given(GOOD, GOOD)
def test_a_scope_says_whose_it_is(app: str, stage: str) -> None:
    scope = StageName(check_name("app", app), check_name("stage", stage)).scope
    assert is_managed(scope)
    assert stage_of(scope) == (app, stage)


@pytest.mark.parametrize("scope", ["", "/home/me/app", "app", "app:", "app:x", "app:x/", "app:/y", "app:x/y/z"])
def test_what_is_no_stage(scope: str) -> None:
    assert stage_of(scope) is None


@pytest.mark.parametrize(
    ("given_name", "near"), [("my app", "my-app"), ("-x", "x"), ("a" * 64, "a" * 63), ("ä/b", "b")]
)
def test_a_bad_name_is_refused_with_the_nearest(given_name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=r"app= is .*beginning with a letter or digit") as refused:
        check_name("app", given_name)
    assert f"did you mean {near!r}" in str(refused.value)


@given(st.text(max_size=100))
def test_a_usable_name_is_one_or_nothing(text: str) -> None:
    name = usable_name(text)
    assert name == "" or check_name("app", name) == name
