"""What the control plane's program is told when it is started."""

from pathlib import Path

import pytest

from runpod_flash.control_plane import program


@pytest.mark.parametrize("arguments", [["--foo", "1"], ["--holding"], ["--content", "a", "--foo", "b"]])
def test_what_it_does_not_take_is_said(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLASH_HOME", str(tmp_path))
    assert program.main(arguments) == 1
    assert "takes nothing but --holding N and --content HASH" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
