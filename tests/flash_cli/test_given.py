"""JSON that users give."""

import io
from pathlib import Path

import pytest

from flash_cli import given
from runpod_flash.errors import ConfigError


def test_each_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"a": "ä"}', encoding="utf-8")
    assert given.read(None, None) is None
    assert given.read('{"a": 1}', None) == {"a": 1}
    assert given.read(None, str(file)) == {"a": "ä"}
    for ways in ({"text": "-", "file": None}, {"text": None, "file": "-"}, {"text": None, "file": None, "stdin": True}):
        monkeypatch.setattr("sys.stdin", io.StringIO("[1]"))
        assert given.read(**ways) == [1]  # type: ignore[arg-type]


def test_two_ways_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="given by --json and by --file"):
        given.read("{}", "file")


def test_what_is_no_json_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--json is no JSON: .* at line 2, column 8:   .b.: nope"):
        given.read('{"a": 1,\n  "b": nope}', None)
    with pytest.raises(ConfigError, match="--json is no JSON: NaN is not allowed"):
        given.read("NaN", None)
    file = tmp_path / "input.json"
    with pytest.raises(ConfigError, match="cannot be read"):
        given.read(None, str(file))
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        given.read(None, str(file))
    file.write_text("")
    with pytest.raises(ConfigError, match=r"input.json is no JSON: .* at line 1, column 1$"):
        given.read(None, str(file))
