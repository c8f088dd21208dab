"""Where the files of Swagger's page come from."""

import importlib.util
from pathlib import Path

import pytest

from runpod_flash import swagger
from runpod_flash.errors import BackendError


def test_what_starts_the_page_is_the_servers_own_and_all_else_is_in_the_package(tmp_path: Path) -> None:
    assert swagger.path_of("start.js", tmp_path) == tmp_path / "start.js"
    others = [swagger.path_of(name, tmp_path) for name in swagger.FILES if name != "start.js"]
    assert all(path.is_file() and "swagger_ui_bundle" in str(path) for path in others)


def test_without_the_package_it_is_said_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    swagger._package.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"swagger-ui-bundle is not installed.*/openapi\.json is there"):
        swagger.path_of("swagger-ui.css", tmp_path)
    assert swagger.path_of("start.js", tmp_path).name == "start.js"
