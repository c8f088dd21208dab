"""Programs that ask for a key: a few of each address, for ten minutes, and a key that is given once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runpod_flash.control_plane import logins as logins_module
from runpod_flash.control_plane.api_keys import ApiKeys
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.logins import LIFETIME_S, MOST, MOST_OF_ONE, Logins
from runpod_flash.control_plane.principals import Principal, Scope
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.store import Store, StoreError
from runpod_flash.errors import ConfigError
from tests.support.place import Place

pytestmark = pytest.mark.anyio


class Scene:
    """Logins over a real file of keys, at a time that the test says."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.store = Store.open(folder / "flash.db")
        self.keys = ApiKeys(folder / "keys.json", Catalog(self.store))
        self.logins = Logins(self.keys, lambda: self.now)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(Place.below(tmp_path).home)
    yield scene
    scene.store.close()


async def refused(scene: Scene, secret: str) -> int:
    with pytest.raises(Problem) as error:
        await scene.logins.claim(secret)
    return error.value.status


async def test_who_is_let_in_gets_a_key_once(scene: Scene) -> None:
    login, secret = scene.logins.ask("ada on laptop", "1.2.3.4")
    assert len(login.code) == 9
    assert secret not in repr(login)
    assert scene.logins.waiting() == [login]
    assert await scene.logins.claim(secret) is None
    scene.logins.approve(login.code.lower(), "ada", scope=Scope.READ_ONLY)
    assert (scene.logins.waiting(), scene.keys.list()) == ([], []), "no key before it is asked for"
    claimed = await scene.logins.claim(secret)
    assert claimed is not None
    assert scene.keys.principal(claimed[1].encode()) == Principal("ada", Scope.READ_ONLY)
    assert [key.name for key in scene.keys.list()] == ["ada on laptop"]
    assert await refused(scene, secret) == 404
    assert len(scene.keys.list()) == 1


async def test_who_is_denied_or_unknown_gets_none(scene: Scene) -> None:
    login, secret = scene.logins.ask("somebody", "")
    scene.logins.deny(login.code)
    assert (await refused(scene, secret), await refused(scene, "guessed")) == (403, 404)
    for answer in (lambda: scene.logins.deny(login.code), lambda: scene.logins.approve("XXXX-XXXX", "ada")):
        with pytest.raises(Problem, match="no login waits with the code"):
            answer()
    assert scene.keys.list() == []


async def test_all_ends_after_ten_minutes(scene: Scene) -> None:
    login, secret = scene.logins.ask("late", "")
    scene.now += LIFETIME_S - 1
    assert scene.logins.left_s(login) == 1
    assert await scene.logins.claim(secret) is None
    scene.now += 1
    assert (scene.logins.waiting(), await refused(scene, secret)) == ([], 404)
    with pytest.raises(Problem, match="may have expired"):
        scene.logins.approve(login.code, "ada")


async def test_an_address_and_all_together_ask_so_often(scene: Scene) -> None:
    for _ in range(MOST_OF_ONE):
        scene.logins.deny(scene.logins.ask("flood", "1.1.1.1")[0].code)
    with pytest.raises(Problem, match="from your address") as error:
        scene.logins.ask("flood", "1.1.1.1")
    assert (error.value.status, error.value.headers) == (429, {"Retry-After": "600"})
    for number in range(MOST - MOST_OF_ONE):
        scene.logins.ask("flood", f"address {number}")
    with pytest.raises(Problem, match="asked for here"):
        scene.logins.ask("me", "2.2.2.2")
    scene.now += LIFETIME_S
    assert scene.logins.ask("flood", "1.1.1.1")[0].code


def test_a_key_that_cannot_be_is_refused_when_it_is_approved(scene: Scene) -> None:
    login, _ = scene.logins.ask("ada", "")
    with pytest.raises(ConfigError, match="user is 'Ada'"):
        scene.logins.approve(login.code, "Ada")
    with pytest.raises(ConfigError, match="no endpoint of this id"):
        scene.logins.approve(login.code, "ada", scope=Scope.ENDPOINT, endpoints=["nowhere"])
    assert scene.logins.waiting() == [login]


async def test_a_key_that_could_not_be_written_can_be_asked_for_again(scene: Scene, tmp_path: Path) -> None:
    login, secret = scene.logins.ask("ada", "")
    scene.logins.approve(login.code, "ada")
    lock = scene.keys._file._path.with_suffix(".lock")
    lock.mkdir()
    with pytest.raises(StoreError):
        await scene.logins.claim(secret)
    lock.rmdir()
    assert await scene.logins.claim(secret) is not None


def test_codes_differ(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = iter("AAAAAAAA" + "AAAAAAAA" + "BBBBBBBB")
    monkeypatch.setattr(logins_module.secrets, "choice", lambda _: next(letters))
    codes = [scene.logins.ask("ada", str(number))[0].code for number in range(2)]
    assert codes == ["AAAA-AAAA", "BBBB-BBBB"]
