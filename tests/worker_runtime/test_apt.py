"""apt packages: what is there, who may install, what the refusal says."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.apt import ALLOWED_BY, Apt, InstalledPackage, check_packages, in_container, read_packages
from worker_runtime.install import InstallFailed

ROOT = Path(__file__).parents[2]
ENV = {"PATH": os.environ["PATH"]}
NOBODY = 65534

has_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt on this system")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do this")

REFUSED = """
import asyncio, pathlib, sys
from worker_runtime.apt import Apt
from worker_runtime.install import InstallFailed
try:
    asyncio.run(Apt({"PATH": sys.argv[1]}, allow=True, lock=pathlib.Path("/nowhere")).ensure(["flash-no-such"]))
except InstallFailed as error:
    print(error)
"""


def ensure(tmp_path: Path, packages: list[str], *, allow: bool = False, env: dict[str, str] = ENV) -> None:
    asyncio.run(Apt(env, allow=allow, lock=tmp_path / "apt.lock", root=tmp_path).ensure(packages))


@has_apt
def test_what_is_installed_needs_nothing(tmp_path: Path) -> None:
    ensure(tmp_path, ["libc6", "dpkg"])

    assert not (tmp_path / "apt.lock").exists()


@has_apt
@as_root
def test_root_outside_a_container_is_told_command_and_setting(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed) as caught:
        ensure(tmp_path, ["libc6", "flash-no-such"])

    assert "apt-get install -y --no-install-recommends flash-no-such\n" in str(caught.value)
    assert "sudo" not in str(caught.value)
    assert ALLOWED_BY in str(caught.value)
    assert caught.value.holds_s == 0  # the user acts and calls again


@has_apt
@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv on this system")
def test_another_user_is_told_the_command_with_sudo() -> None:
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    new_enough = "import sys; sys.exit(sys.version_info < (3, 11))"
    candidates = (sys.executable, "/usr/bin/python3")
    pythons = [
        path for path in candidates if subprocess.run([*drop, path, "-c", new_enough], stderr=-3).returncode == 0
    ]
    if not pythons:
        pytest.skip("no Python that everybody may run")

    command = [*drop, pythons[0], "-c", REFUSED, ENV["PATH"]]
    asked = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, stdout=-1, text=True)

    assert "Run: sudo apt-get install -y --no-install-recommends flash-no-such\n" in asked.stdout


def test_a_system_without_apt_says_so(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match="this system has no apt"):
        ensure(tmp_path, ["hello"], env={"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    "name", ["-y", "--allow-unauthenticated", "hello-", "a b", "", "Hello", "../x", "a;b", "a*", "a=", "x\n"]
)
def test_what_is_no_package_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InstallFailed, match="is no name of an apt package"):
        ensure(tmp_path, [name])


@given(st.text(max_size=12))
def test_no_name_that_passes_can_be_an_option_or_a_removal(name: str) -> None:
    try:
        check_packages([name])
    except InstallFailed:
        return
    assert name[0].isalnum()
    assert not name.endswith("-")
    assert not set(name) & set(" \n*?/;$")


def test_names_of_every_form_pass() -> None:
    check_packages(["hello", "g++", "libstdc++6", "libc6:amd64", "libsndfile1=1.2.0-1+b1", "python3.11"])


def test_the_listing_of_dpkg() -> None:
    there = read_packages(
        "ii \thello\tamd64\t2.10-3\t\nrc \tgone\tamd64\t1\t\nhi \theld\tall\t1:2\tmail-transport-agent, other (= 2)\n"
    )

    assert there == {
        "hello": [InstalledPackage("2.10-3", "amd64")],
        "held": [InstalledPackage("1:2", "all")],
        "mail-transport-agent": [InstalledPackage("1:2", "all")],
        "other": [InstalledPackage("1:2", "all")],
    }


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".dockerenv", ""),
        ("run/.containerenv", ""),
        ("proc/1/cgroup", "12:pids:/docker/0123\n"),
        ("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n"),
        ("proc/1/environ", "PATH=/bin\0container=lxc\0"),
    ],
)
def test_signs_of_a_container(tmp_path: Path, path: str, text: str) -> None:
    assert not in_container(tmp_path)
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    assert in_container(tmp_path)


def test_an_ordinary_machine_is_no_container(tmp_path: Path) -> None:
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/cgroup").write_text("0::/init.scope\n")
    (tmp_path / "proc/1/environ").write_text("PATH=/bin\0")

    assert not in_container(tmp_path)


@has_apt
@as_root
@pytest.mark.slow
def test_installs_a_package_and_says_what_apt_says_about_another(tmp_path: Path) -> None:
    remove = ["apt-get", "remove", "-y", "hello"]
    subprocess.run(remove, check=True, capture_output=True)
    try:
        ensure(tmp_path, ["hello"], allow=True)
        assert subprocess.run(["hello"], capture_output=True, text=True, check=True).stdout == "Hello, world!\n"
        with pytest.raises(InstallFailed, match="Unable to locate package flash-no-such"):
            ensure(tmp_path, ["hello", "flash-no-such"], allow=True)
    finally:
        subprocess.run(remove, check=True, capture_output=True)


@has_apt
@as_root
@pytest.mark.slow
def test_a_name_is_never_taken_for_a_pattern(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match=r"hell\."):
        ensure(tmp_path, ["hell."], allow=True)
