"""Which interpreters users may name."""

from pathlib import Path

import pytest

from runpod_flash.control_plane.environments import InstallFailed
from runpod_flash.control_plane.principals import OWNER
from runpod_flash.control_plane.vetting import vet
from worker_runtime.wire.specs import EnvironmentRequest


def test_others_name_none_but_those_of_the_server(tmp_path: Path) -> None:
    environments = tmp_path / "environments"
    own = environments / "built" / "abc" / "venv" / "bin"
    own.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "python").write_text("")
    (own / "python").symlink_to(elsewhere / "python")
    (environments / "link").symlink_to(elsewhere)
    good = [None, str(own / "python"), f"{own}/../bin/python"]
    bad = [
        "/usr/bin/python3",
        str(elsewhere / "python"),
        f"{environments}/../elsewhere/python",
        str(environments / "link" / "python"),
        f"{environments}-2/python",
        "python3",
        "",
    ]
    for caller in (*good, *bad):
        vet(OWNER, EnvironmentRequest("3.11", caller=caller), environments)
    for caller in good:
        vet("alice", EnvironmentRequest("3.11", caller=caller), environments)
    for caller in bad:
        with pytest.raises(InstallFailed, match="not for user alice"):
            vet("alice", EnvironmentRequest("3.11", caller=caller), environments)


def test_system_packages_of_others_need_the_operator_s_word(tmp_path: Path) -> None:
    request = EnvironmentRequest("3.11", system_dependencies=("ffmpeg",))
    vet(OWNER, request, tmp_path)
    vet("alice", request, tmp_path, allow_apt=True)
    with pytest.raises(InstallFailed, match="FLASH_ALLOW_APT"):
        vet("alice", request, tmp_path)
