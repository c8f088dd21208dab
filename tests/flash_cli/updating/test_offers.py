"""A wheel is ours or another program's, whatever it is called."""

import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

from flash_cli.updating import offers
from runpod_flash.errors import ConfigError
from tests.support.own_wheels import own_wheel
from tests.support.packages import make_wheel

PYTHON = "3.12.1"


def test_ours_is_known_and_told_apart_by_its_content(tmp_path: Path) -> None:
    wheel = own_wheel(tmp_path / "a", "9.0")
    offer = offers.looked_at(wheel, "here", PYTHON)
    assert offer.version == Version("9.0")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    (tmp_path / "installed" / "runpod_flash" / "__pycache__").mkdir()
    (tmp_path / "installed" / "runpod_flash" / "__pycache__" / "x.pyc").write_text("")
    assert offers.content_of(tmp_path / "installed") == offer.content
    (tmp_path / "installed" / "runpod_flash" / "release.py").write_text("")
    assert offers.content_of(tmp_path / "installed") != offer.content


def test_another_program_is_refused(tmp_path: Path) -> None:
    same_name = make_wheel(tmp_path, "runpod-flash", "9.0", module="runpod_flash")
    with pytest.raises(ConfigError, match=r"here offers runpod-flash 9\.0 that lacks runpod_flash/__init__\.py"):
        offers.looked_at(same_name, "here", PYTHON)
    with pytest.raises(ConfigError, match=r"here offers other 1\.0"):
        offers.looked_at(make_wheel(tmp_path, "other", "1.0"), "here", PYTHON)
    ours = own_wheel(tmp_path, "9.0", pythons="==3.11.*")
    with pytest.raises(ConfigError, match=r"needs Python ==3\.11\.\*, and this is 3\.12\.1"):
        offers.looked_at(ours, "here", PYTHON)
    assert offers.looked_at(ours, "here", "3.11.4").version == Version("9.0")


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_wheel_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "runpod_flash-1.0-py3-none-any.whl"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is no wheel"):
        offers.looked_at(path, "here", PYTHON)


def test_an_archive_without_metadata_is_no_wheel(tmp_path: Path) -> None:
    path = tmp_path / "runpod_flash-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("runpod_flash/__init__.py", "")
    with pytest.raises(ConfigError, match="is no wheel"):
        offers.looked_at(path, "here", PYTHON)
