"""Which endpoint is meant by a name."""

from pathlib import Path

import pytest

from flash_cli.finding import Found, Place, chosen, find
from runpod_flash.errors import ConfigError, EndpointNotFound
from runpod_flash.settings import Settings

PROD = Found.of({"id": "p1", "name": "infer", "project": "app:shop/prod"})
STAGING = Found.of({"id": "s1", "name": "infer", "project": "app:shop/staging"})
DEV = Found.of({"id": "d1", "name": "infer", "project": "app:shop/dev-1", "expiresAt": "2030-01-01T00:00:00Z"})
LIVE = Found.of({"id": "l1", "name": "infer", "project": "/p/shop", "type": "LOAD_BALANCER", "url": "u"})
ELSEWHERE = Found.of({"id": "e1", "name": "other", "project": "/q"})
ALONE = Found.of({"id": "a1", "name": "alone", "project": "", "app": None})


def place(app: str | None = None, stage: str | None = None) -> Place:
    return Place(app, stage, "shop", "/p/shop")


def test_an_endpoint_is_read_from_an_overview() -> None:
    assert (PROD.app, PROD.stage, PROD.expires) == ("shop", "prod", False)
    assert (LIVE.app, LIVE.is_load_balanced, LIVE.url) == (None, True, "u")
    assert DEV.expires
    old = Found.of({"id": "x", "name": "y", "project": "/p", "expiresAt": "2030-01-01T00:00:00Z"})
    assert not old.expires  # no stage does


def test_the_stage_that_was_said_goes_before_all_else() -> None:
    known = [LIVE, PROD, STAGING]
    assert find(known, "infer", place(stage="staging")) is STAGING
    assert find(known, "infer", place("shop", "prod")) is PROD
    for wrong, words in (
        (place(stage="prd"), "app shop, environment prd has no endpoints; app shop has prod, staging"),
        (place("shp"), "app shp has no endpoints; did you mean app shop?"),
    ):
        with pytest.raises(EndpointNotFound, match=words):
            find(known, "infer", wrong)
    with pytest.raises(
        EndpointNotFound, match=r"app shop, environment prod has no endpoint 'infr'; did you mean infer\?"
    ):
        find(known, "infr", place(stage="prod"))
    with pytest.raises(EndpointNotFound, match="no endpoint 'zzz'; it has infer"):
        find(known, "zzz", place(stage="prod"))


def test_the_only_stage_of_the_projects_app_goes_before_a_live_endpoint() -> None:
    assert find([LIVE, PROD], "infer", place()) is PROD
    assert find([LIVE, DEV, PROD], "infer", place()) is PROD  # what goes by itself is not meant
    assert find([DEV], "infer", place()) is DEV
    with pytest.raises(ConfigError, match=r"app shop has the environments prod, staging; say .* --env prod"):
        find([LIVE, PROD, STAGING], "infer", place())


def test_a_live_endpoint_of_the_project_then_an_id() -> None:
    assert find([ELSEWHERE, LIVE], "infer", place()) is LIVE
    assert find([ELSEWHERE, ALONE], "alone", place()) is ALONE
    assert find([ELSEWHERE, LIVE], "e1", place()) is ELSEWHERE


def test_what_is_elsewhere_is_named_with_the_way_to_it() -> None:
    with pytest.raises(EndpointNotFound, match=r"neither this project .* there is other of project /q: say its id, e1"):
        find([ELSEWHERE], "other", place())
    away = Found.of({"id": "x", "name": "other", "project": "app:blog/prod"})
    with pytest.raises(EndpointNotFound, match="--app blog --env prod"):
        find([away], "other", place())
    with pytest.raises(EndpointNotFound, match=r"no endpoint 'othr'; did you mean other\?"):
        find([ELSEWHERE], "othr", place())
    with pytest.raises(EndpointNotFound, match="there are no endpoints at all"):
        find([], "x", place())


def test_the_endpoints_of_a_stage() -> None:
    known = [LIVE, PROD, STAGING, ELSEWHERE]
    assert chosen(known, place()) == known
    assert chosen(known, place("shop")) == [PROD, STAGING]
    assert chosen(known, place(stage="prod")) == [PROD]


def test_where_names_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    inside = tmp_path / "inside"
    inside.mkdir()
    said = Settings(environ={"FLASH_APP": "a", "FLASH_ENV": "b"})
    assert Place.of(said, inside) == Place("a", "b", tmp_path.name, str(tmp_path))
    assert Place.of(said, inside, "c", "d") == Place("c", "d", tmp_path.name, str(tmp_path))
    assert Place.of(Settings(), inside) == Place(None, None, tmp_path.name, str(tmp_path))
