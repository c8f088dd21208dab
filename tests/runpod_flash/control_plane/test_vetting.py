"""What users other than the owner may have installed, and which interpreters they may name."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.environments import InstallFailed
from runpod_flash.control_plane.principals import OWNER
from runpod_flash.control_plane.vetting import vet
from runpod_flash.package_places import names_no_file
from worker_runtime.wire.specs import EnvironmentRequest, PackageIndex


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
        assert vet(OWNER, EnvironmentRequest("3.11", caller=caller), environments).caller == caller
    for caller in good:  # those may hold packages that run code at every start
        assert vet("alice", EnvironmentRequest("3.11", caller=caller), environments).caller is None
    for caller in bad:
        with pytest.raises(InstallFailed, match="not for user alice"):
            vet("alice", EnvironmentRequest("3.11", caller=caller), environments)


def test_system_packages_of_others_need_the_operator_s_word(tmp_path: Path) -> None:
    request = EnvironmentRequest("3.11", system_dependencies=("ffmpeg",))
    vet(OWNER, request, tmp_path)
    vet("alice", request, tmp_path, allow_apt=True)
    with pytest.raises(InstallFailed, match="FLASH_ALLOW_APT"):
        vet("alice", request, tmp_path)


REMOTE = (
    "numpy",
    "numpy>=2,<3",
    "torch[cuda]==2.1 ; python_version > '3.10'",
    "a.b-c_d~=1.0  # a remark",
    "tool @ https://example.org/tool-1.0-py3-none-any.whl",
    "tool[x]@git+https://example.org/tool.git@main",
    "https://example.org/tool-1.0-py3-none-any.whl",
    "git+ssh://git@example.org/tool.git",
    "HTTPS://example.org/tool.whl",
)
ON_A_DISK = (
    "tool @ file:///home/server/tool-1.0-py3-none-any.whl",
    "tool@file:///home/server/tool",
    "tool @ FILE:///home/server/tool",
    "tool @ /home/server/tool",
    "tool[x] @ /home/server/tool ; python_version > '3'",
    "tool @ ./tool",
    "tool @ ../tool",
    "tool @ git+file:///home/server/tool",
    "tool @ https:///home/server/tool",
    "tool @ ${HOME}/tool",
    "tool @ https://example.org/${HOME}",
    "file:///home/server/tool",
    "file:tool",
    "git+file:///home/server/tool",
    "/home/server/tool.whl",
    " /home/server/tool",
    "./tool",
    "../tool",
    "~/tool",
    "tool/",
    "sub/tool",
    "tool-1.0-py3-none-any.whl",
    "tool-1.0.tar.gz",
    "-e .",
    "",
)


@pytest.mark.parametrize("requirement", [*REMOTE, *ON_A_DISK])
def test_packages_on_this_machine_s_disk_are_not_for_others(tmp_path: Path, requirement: str) -> None:
    request = EnvironmentRequest("3.11", ("wheel", requirement))
    assert vet(OWNER, request, tmp_path) == request
    if requirement in REMOTE:
        assert vet("alice", request, tmp_path) == request
        return
    with pytest.raises(InstallFailed) as refused:
        vet("alice", request, tmp_path)
    assert repr(requirement) in str(refused.value)
    assert "names a file or a folder" in str(refused.value)
    assert refused.value.holds_s == 0


def test_a_lock_names_no_files_either(tmp_path: Path) -> None:
    hashed = "leaf==1.0 --hash=sha256:" + "0" * 64
    index = PackageIndex(find_links=("/home/server/wheels",))
    good = EnvironmentRequest("3.11", index=index, lock=(hashed, "x @ git+https://example.org/x@" + "0" * 40))
    assert vet("alice", good, tmp_path) == replace(good, index=PackageIndex())
    for place in ("file:///home/server/x", "/home/server/x", "git+file:///home/server/x"):
        bad = replace(good, lock=(hashed, f"x @ {place}"))
        assert vet(OWNER, bad, tmp_path) == bad
        with pytest.raises(InstallFailed, match="names a file or a folder"):
            vet("alice", bad, tmp_path)


@given(st.text())
def test_whatever_is_asked_for_has_an_answer(text: str) -> None:
    assert not names_no_file(f"/{text}")
    assert not names_no_file(f"file:{text}")
    assert not names_no_file(f"tool @ /{text}")
    names_no_file(text)


def test_folders_of_packages_are_left_out_for_others(tmp_path: Path) -> None:
    index = PackageIndex(
        index_url="https://one.example.org/simple",
        extra_index_urls=("file:///opt/simple", "https://two.example.org/simple", "/opt/simple"),
        find_links=("/home/server/wheels", "file:///home/server/wheels", "wheels", "https://three.example.org/"),
        trusted_hosts=("two.example.org",),
        cert="/etc/ssl/cert.pem",
    )
    request = EnvironmentRequest("3.11", ("numpy",), index=index)
    assert vet(OWNER, request, tmp_path) == request
    assert vet("alice", request, tmp_path).index == replace(
        index, extra_index_urls=("https://two.example.org/simple",), find_links=("https://three.example.org/",)
    )


@pytest.mark.parametrize("place", ["file:///opt/simple", "/opt/simple"])
def test_an_index_that_is_a_folder_is_refused_not_replaced(tmp_path: Path, place: str) -> None:
    index = PackageIndex(index_url=place)
    request = EnvironmentRequest("3.11", ("numpy",), index=index)
    assert vet(OWNER, request, tmp_path) == request
    with pytest.raises(InstallFailed, match=f"'{place}' is a folder of user alice's machine"):
        vet("alice", request, tmp_path)
    for harmless in (replace(request, dependencies=()), replace(request, index=replace(index, no_index=True))):
        assert vet("alice", harmless, tmp_path) == harmless
