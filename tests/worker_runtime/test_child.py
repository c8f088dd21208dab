"""The order of sys.path in the child."""

import sys
from pathlib import Path

import pytest

from worker_runtime.child import set_paths


def test_the_users_modules_come_first_and_what_the_runtime_brings_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlay, linked = tmp_path / "overlay", tmp_path / "linked"
    for folder in (overlay, linked):
        folder.mkdir()
    (overlay / "more.pth").write_text(f"{linked}\n")
    monkeypatch.setattr(sys, "path", ["/bundle", "/stdlib", "/site-packages"])
    set_paths("/code", str(overlay), "/bundle")
    assert sys.path == ["/code", str(overlay), str(linked), "/stdlib", "/site-packages", "/bundle"]
    set_paths("/code", None, "/bundle")
    assert sys.path[-1] == "/bundle"
