"""What `flash target use` notes, and what is made of a file that is none."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash import targets
from runpod_flash.errors import ConfigError
from runpod_flash.targets import LOCAL, Target, Targets

URL, OTHER = "https://lab.example", "http://127.0.0.1:8000"


def test_nothing_is_noted_at_first(tmp_path: Path) -> None:
    assert targets.read(tmp_path) == Targets()
    assert targets.read(tmp_path / "not" / "there") == Targets()


def test_what_is_noted_comes_back_and_is_for_this_user_alone(tmp_path: Path) -> None:
    home = tmp_path / "made" / "here"
    noted = Targets().using(URL, "secret").using(OTHER, None)
    targets.write(home, noted)
    assert targets.read(home) == noted
    assert targets.path_of(home).stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o077 == 0
    assert [path.name for path in home.iterdir()] == ["targets.json"]
    assert "secret" not in repr(noted)


def test_choosing_keeps_the_others() -> None:
    noted = Targets().using(URL, "one").using(OTHER, "two")
    assert noted.current == OTHER
    back = noted.using(URL, "new")
    assert (back.current, back.find(URL), back.find(OTHER)) == (URL, Target(URL, "new"), Target(OTHER, "two"))
    assert back.using_local() == Targets(LOCAL, back.known)
    named = Targets(None, (Target(URL, "k", "lab"),))
    assert named.using(URL, "k2").find(URL) == Target(URL, "k2", "lab")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("https://Lab.Example/", "https://lab.example"),
        (" http://127.0.0.1:80 ", "http://127.0.0.1:80"),
        ("HTTPS://host/base/", "https://host/base"),
        ("http://[::1]:9", "http://[::1]:9"),
    ],
)
def test_one_form_of_a_url(given: str, found: str) -> None:
    assert targets.normalized(given) == found == targets.normalized(found)


@pytest.mark.parametrize(
    "given",
    ["lab", "", "ftp://host", "http://", "http://[", "http://h:port", "http://me:pw@h", "http://h?x=1", "http://h#x"],
)
def test_what_is_no_url_of_a_platform(given: str) -> None:
    with pytest.raises(ConfigError, match="no URL of a platform"):
        targets.normalized(given)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "cannot be read"),
        (b"{", "cannot be read"),
        (b"[]", "of another version"),
        (b'{"version": 2}', "of another version"),
        (b'{"version": 1}', "no list of targets"),
        (b'{"version": 1, "current": 1, "targets": []}', "no list of targets"),
        (b'{"version": 1, "current": null, "targets": [{"url": 1}]}', "no list of targets"),
        (b'{"version": 1, "current": null, "targets": [{"url": "u", "key": 1}]}', "no list of targets"),
        (b'{"version": 1, "current": "http://x", "targets": []}', "names 'http://x' as current"),
    ],
)
def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    targets.path_of(tmp_path).write_bytes(content)
    with pytest.raises(ConfigError, match=f"targets.json.*{said}"):
        targets.read(tmp_path)


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["url", "key", "name"]), inner),
    max_leaves=5,
)


@given(current=JSON, listed=JSON)
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, current: object, listed: object) -> None:
    home = tmp_path_factory.mktemp("home")
    targets.path_of(home).write_text(json.dumps({"version": 1, "current": current, "targets": listed}))
    try:
        found = targets.read(home)
    except ConfigError:
        return
    targets.write(home, found)
    assert targets.read(home) == found


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/targets\.json cannot be written"):
        targets.write(tmp_path / "file", Targets())
    assert targets.read(tmp_path / "file") == Targets()


def test_noting_chooses_nothing_and_keeps_what_is_not_said() -> None:
    noted = Targets().using(URL, "one").adding(OTHER, "two", "lab")
    assert (noted.current, noted.find(OTHER)) == (URL, Target(OTHER, "two", "lab"))
    again = noted.adding(OTHER, None, None).adding(URL, "new", None)
    assert (again.find(OTHER), again.find(URL)) == (Target(OTHER, "two", "lab"), Target(URL, "new"))
    assert again.adding(OTHER, None, "other").find(OTHER) == Target(OTHER, "two", "other")


def test_forgetting_leaves_none_chosen_where_it_was() -> None:
    noted = Targets().using(OTHER, None).using(URL, "one")
    assert noted.removing(OTHER) == Targets(URL, (Target(URL, "one"),))
    assert noted.removing(URL) == Targets(None, (Target(OTHER),))


def test_a_name_or_a_url_means_a_platform() -> None:
    noted = Targets().adding(URL, None, "lab")
    assert noted.resolved("lab") == URL == noted.resolved(f"{URL}/")
    assert noted.resolved(OTHER) == OTHER
    with pytest.raises(ConfigError, match=r"'lib' is no URL of a platform.*; did you mean lab"):
        noted.resolved("lib")


@pytest.mark.parametrize("name", ["", "local", "inline", "runpod", "my lab", "-x", "a" * 64, "lab/1", "lab\n"])
def test_names_that_none_has(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be called"):
        Targets().adding(URL, None, name)


def test_two_platforms_have_two_names() -> None:
    noted = Targets().adding(URL, None, "lab")
    with pytest.raises(ConfigError, match=f"lab is the name of {URL}"):
        noted.adding(OTHER, None, "lab")
    assert noted.adding(URL, "key", "lab").find(URL) == Target(URL, "key", "lab")
