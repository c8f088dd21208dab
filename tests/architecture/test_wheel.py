"""The wheel holds the three packages, all of them, and nothing else; it works where the repository is not."""

from pathlib import Path

import pytest

from tests.support.place import ROOT
from tests.support.wheels import build_wheel, contents, try_wheel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


def test_it_holds_each_source_file_and_nothing_else(wheel: Path) -> None:
    files = {path for path in contents(wheel) if ".dist-info/" not in path}
    expected = set()
    for folder in ("runpod_flash", "worker_runtime", "cli/flash_cli"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(path.relative_to(ROOT / "cli" if folder.startswith("cli") else ROOT).as_posix())
    assert files == expected
    assert {"runpod_flash/control_plane/schema.sql", "runpod_flash/py.typed", "worker_runtime/py.typed"} <= files


def test_it_works_in_a_fresh_environment_outside_the_repository(wheel: Path, tmp_path: Path) -> None:
    try_wheel(wheel, tmp_path)
