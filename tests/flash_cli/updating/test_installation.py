"""Where an installed package says that it is from, and where an update notes it."""

import json
from importlib import metadata
from pathlib import Path

import pytest

from flash_cli.updating import installation
from runpod_flash.errors import ConfigError


class Told(metadata.Distribution):
    """An installed package with this note of its installer."""

    def __init__(self, text: str | None) -> None:
        self.text = text

    def read_text(self, filename: str) -> str | None:
        return self.text if filename == "direct_url.json" else None

    def locate_file(self, path: object) -> Path:
        return Path("/nowhere") / str(path)


@pytest.mark.parametrize(
    ("told", "source"),
    [
        (None, None),
        ("no json", None),
        ('"text"', None),
        ('{"url": 5}', None),
        ('{"url": "file:///a%20b/c.whl", "archive_info": {}}', "/a b/c.whl"),
        ('{"url": "file:///src", "dir_info": {}}', "/src"),
        ('{"url": "https://h/c.whl", "archive_info": {}}', "https://h/c.whl"),
        ('{"url": "https://h/r", "vcs_info": {"vcs": "git", "commit_id": "1"}}', "git+https://h/r"),
        (
            '{"url": "https://h/r", "vcs_info": {"vcs": "git", "commit_id": "1", "requested_revision": "main"}}',
            "git+https://h/r@main",
        ),
    ],
)
def test_what_installers_note(told: str | None, source: str | None) -> None:
    assert installation._source_of(installation._origin(Told(told))) == source


def test_sources_of_several_environments_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    for prefix in ("/one", "/two"):
        monkeypatch.setattr(installation.sys, "prefix", prefix)
        installation.note_source(home, f"from {prefix}")
    assert json.loads((home / "update_sources.json").read_text()) == {"/one": "from /one", "/two": "from /two"}
    (home / "update_sources.json").write_text("damaged")
    installation.note_source(home, "new")
    assert installation._noted(home) == {"/two": "new"}


def test_what_was_made_by_a_tool_is_named(tmp_path: Path) -> None:
    (tmp_path / "pipx_metadata.json").write_text("{}")
    assert installation._kind(tmp_path) == f"the environment of pipx at {tmp_path}"


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installation, "NAME", "not-there-at-all")
    with pytest.raises(ConfigError, match="is not installed: it runs from"):
        installation.found(tmp_path)
