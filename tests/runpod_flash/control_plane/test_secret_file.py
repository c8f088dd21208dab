"""A secret is made once, for this user alone. What `ensure_key` shares of it is tested with the keys."""

from pathlib import Path

import pytest

from runpod_flash.control_plane.secret_file import ensure_secret
from runpod_flash.control_plane.store import StoreError


def test_it_is_made_once(tmp_path: Path) -> None:
    made: list[str] = []

    def make() -> str:
        made.append(f"secret{len(made)}")
        return made[-1]

    path = tmp_path / "folder" / "secret"
    assert [ensure_secret(path, make), ensure_secret(path, make)] == ["secret0", "secret0"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_one_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("secret")
    path.chmod(0o640)
    with pytest.raises(StoreError, match="no secret"):
        ensure_secret(path, lambda: "another")
    assert path.read_text() == "secret"
