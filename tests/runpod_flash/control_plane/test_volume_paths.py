"""Paths in a volume: followed inside of it, refused where they lead out, whoever changes it meanwhile."""

import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.volume_paths import found, parts_of
from runpod_flash.errors import ConfigError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A volume beside a secret."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "volume"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "file").write_text("inside")
    return root


def text_at(root: Path, path: str) -> str:
    """What is read by this path."""
    with (
        found(root, path) as place,
        open(os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=place.folder)) as file,
    ):
        return file.read()


@pytest.mark.parametrize("path", ["a/file", "/a/file", "//a//./file", "/runpod-volume/a/file", "a/b/../file"])
def test_a_file_has_several_spellings(root: Path, path: str) -> None:
    assert text_at(root, path) == "inside"


@pytest.mark.parametrize("path", ["", "/", ".", "/runpod-volume", "/runpod-volume/", "a/.."])
def test_the_volume_itself(root: Path, path: str) -> None:
    with found(root, path) as place:
        assert place.name == "."
        assert os.listdir(place.folder) == ["a"]


@pytest.mark.parametrize(
    ("link", "to"),
    [
        ("l", "a/file"),
        ("l", "./a/b/../file"),
        ("l", "/runpod-volume/a/file"),
        ("a/b/l", "../file"),
        ("a/b/l", "/runpod-volume/a/b/../file"),
    ],
)
def test_links_are_followed_inside(root: Path, link: str, to: str) -> None:
    (root / link).symlink_to(to)
    assert text_at(root, link) == "inside"


def test_links_to_folders_are_followed_on_the_way(root: Path) -> None:
    (root / "to-a").symlink_to("a")
    (root / "deep").symlink_to("/runpod-volume/to-a/b")
    assert text_at(root, "to-a/file") == "inside"
    assert text_at(root, "deep/../file") == "inside"
    with found(root, "deep", follow=False) as place:
        assert place.name == "deep"


@pytest.mark.parametrize("path", ["..", "../secret", "a/../../secret", "/../secret", "/runpod-volume/../secret"])
def test_no_path_leads_out(root: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="leads out of the network volume"), found(root, path):
        pass


@pytest.mark.parametrize(
    "to",
    ["../secret", "{}/secret", "/etc/passwd", "a/../../secret", "/runpod-volume/../secret", "/runpod-volumes/x", "/"],
)
@pytest.mark.parametrize("after", ["", "/x"])
def test_no_link_leads_out(root: Path, to: str, after: str) -> None:
    (root / "l").symlink_to(to.format(root.parent))
    with pytest.raises(ConfigError, match="leads out of the network volume"), found(root, f"l{after}"):
        pass


def test_links_in_a_circle_come_to_an_end(root: Path) -> None:
    (root / "x").symlink_to("y")
    (root / "y").symlink_to("x")
    with pytest.raises(ConfigError, match="leads through more than 40 links"), found(root, "x"):
        pass


def test_folders_on_the_way_are_made_if_asked(root: Path) -> None:
    with found(root, "n/e/w", make=True) as place:
        assert place.name == "w"
    assert (root / "n" / "e").is_dir()
    with pytest.raises(FileNotFoundError), found(root, "x/y"):
        pass
    with pytest.raises(NotADirectoryError), found(root, "a/file/x", make=True):
        pass


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("a\0b", "there must be no zero character"),
        ("a\ud800", "no half of a character"),
        ("x" * 256, "a name has at most 255 bytes"),
        ("ä" * 128, "a name has at most 255 bytes"),
        ("x/" * 513, "path has 1026 characters; at most 1024"),
    ],
)
def test_what_can_be_no_path(path: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        parts_of(path)


@given(st.lists(st.sampled_from(["a", "b", "l", "m", "..", ".", "", "file", "up", "out"]), max_size=8))
def test_whatever_is_asked_the_secret_is_not_found(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    top = tmp_path_factory.getbasetemp() / "paths"
    root = top / "volume"
    if not root.exists():
        (root / "a" / "b").mkdir(parents=True)
        (top / "file").write_text("secret")
        for link, to in {
            "l": "a/b",
            "a/m": "../l",
            "a/b/up": "../../..",
            "out": str(top),
            "a/l": "/runpod-volume/a",
        }.items():
            (root / link).symlink_to(to)
    try:
        with found(root, "/".join(parts)) as place:
            there = Path(f"/proc/self/fd/{place.folder}").resolve()
    except (ConfigError, OSError):
        return
    assert there == root or root in there.parents


def test_a_folder_that_becomes_a_link_while_it_is_entered_leads_nowhere_else(root: Path) -> None:
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "file").write_text("secret")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (root / "a").rename(root / "aside")
            (root / "a").symlink_to("../outside")
            (root / "a").unlink()
            (root / "aside").rename(root / "a")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set[str]()
    try:
        for _ in range(2000):
            try:
                seen.add(text_at(root, "a/file"))
            except (ConfigError, OSError):
                continue
    finally:
        stop.set()
        thread.join()
    assert seen <= {"inside"}
