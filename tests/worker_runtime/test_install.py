"""uv as the installer: pip's settings translated, plans, installations, failures told apart."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.packages import UV, base_env, make_broken_source, make_wheel
from worker_runtime.install import (
    OUTAGE_S,
    BuildFailed,
    InstallFailed,
    NoSolution,
    Uv,
    check_requirements,
    failure,
    index_environment,
    mask,
    uv_environment,
)
from worker_runtime.wire.specs import PackageIndex


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    make_wheel(folder, "leaf", "1.0", script="leaf-command")
    make_wheel(folder, "leaf", "2.0", script="leaf-command")
    make_wheel(folder, "top", "1.0", ["leaf>=1"])
    return folder


@pytest.fixture
def index(wheels: Path) -> PackageIndex:
    return PackageIndex(find_links=(str(wheels),), no_index=True)


@pytest.fixture
def uv(tmp_path: Path) -> Uv:
    return Uv(UV, base_env(tmp_path), tmp_path / "cache")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def plan(uv: Uv, folder: Path, requirements: list[str], index: PackageIndex, **more: list[str]) -> tuple[str, ...]:
    (folder / "installed").mkdir(exist_ok=True)
    return asyncio.run(
        uv.plan(sys.executable, requirements, index, work=folder, installed=folder / "installed", **more)
    )


def pretend_installed(folder: Path, name: str, version: str) -> None:
    info = folder / "installed" / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n")


# ---- plan


def test_a_plan_names_every_package_with_its_version(uv: Uv, tmp_path: Path, index: PackageIndex) -> None:
    assert plan(uv, tmp_path, ["top"], index) == ("leaf==2.0", "top==1.0")


def test_a_plan_holds_constraints(uv: Uv, tmp_path: Path, index: PackageIndex) -> None:
    assert plan(uv, tmp_path, ["top"], index, constraints=["leaf==1.0"]) == ("leaf==1.0", "top==1.0")


def test_what_is_installed_is_not_planned_even_where_no_index_has_it(
    uv: Uv, tmp_path: Path, index: PackageIndex
) -> None:
    pretend_installed(tmp_path, "leaf", "1.5+local")

    assert plan(uv, tmp_path, ["leaf"], index, constraints=["leaf==1.5+local"]) == ()
    assert plan(uv, tmp_path, ["top"], index, constraints=["leaf==1.5+local"]) == ("top==1.0",)


def test_a_requirement_by_url_is_planned_by_url(uv: Uv, tmp_path: Path, wheels: Path, index: PackageIndex) -> None:
    place = (wheels / "leaf-1.0-py3-none-any.whl").as_uri()

    assert plan(uv, tmp_path, [f"leaf @ {place}"], index) == (f"leaf @ {place}",)


def test_a_plan_without_solution_says_so_in_the_resolvers_words(uv: Uv, tmp_path: Path, index: PackageIndex) -> None:
    with pytest.raises(NoSolution, match=r"leaf==1\.0") as caught:
        plan(uv, tmp_path, ["top", "leaf>=2"], index, constraints=["leaf==1.0"])
    assert "unsatisfiable" in str(caught.value)
    assert "Using" not in str(caught.value)


def test_an_unknown_package_is_named(uv: Uv, tmp_path: Path, index: PackageIndex) -> None:
    with pytest.raises(NoSolution, match="leaff was not found"):
        plan(uv, tmp_path, ["leaff"], index)


def test_an_index_that_does_not_answer_is_told_apart_and_its_password_kept(
    uv: Uv, tmp_path: Path, closed_port: int
) -> None:
    index = PackageIndex(index_url=f"http://me:geheim@127.0.0.1:{closed_port}/simple")

    with pytest.raises(InstallFailed, match="could not be fetched") as caught:
        plan(uv, tmp_path, ["leaf"], index)
    assert not isinstance(caught.value, NoSolution)
    assert "geheim" not in str(caught.value)
    assert caught.value.holds_s == OUTAGE_S


def test_a_source_that_does_not_build_is_told_apart(uv: Uv, tmp_path: Path, wheels: Path, index: PackageIndex) -> None:
    make_broken_source(wheels, "broken", "1.0")

    with pytest.raises(BuildFailed, match="does not build here") as caught:
        plan(uv, tmp_path, ["broken"], index)
    assert "nowhere" in str(caught.value)  # the build backend's name, from uv's words


def test_with_wheels_only_nothing_of_a_source_is_run(tmp_path: Path, wheels: Path, index: PackageIndex) -> None:
    proof = tmp_path / "it-ran"
    source = make_broken_source(wheels, "sly", "1.0", backend=f"open({str(proof)!r}, 'w').close()")
    careful = Uv(UV, base_env(tmp_path), tmp_path / "cache", wheels_only=True)

    for wish in ("sly", f"sly @ {source.as_uri()}"):
        with pytest.raises(InstallFailed):
            plan(careful, tmp_path, [wish], index)
    assert not proof.exists()
    with pytest.raises(InstallFailed):
        plan(Uv(UV, base_env(tmp_path), tmp_path / "cache"), tmp_path, ["sly"], index)
    assert proof.exists(), "a source that is never run proves nothing"


def test_a_requirement_that_cannot_be_read_is_shown_without_our_folders(
    uv: Uv, tmp_path: Path, index: PackageIndex
) -> None:
    with pytest.raises(InstallFailed, match="====") as caught:
        plan(uv, tmp_path, ["leaf ==== 1"], index)
    assert str(tmp_path) not in str(caught.value)


def test_credentials_are_in_no_command_line(uv: Uv, tmp_path: Path, index: PackageIndex) -> None:
    seen = tmp_path / "seen"
    spy = tmp_path / "uv"
    spy.write_text(f'#!/bin/sh\necho "$@" > {seen}\n')
    spy.chmod(0o755)
    secret = PackageIndex(index_url="https://me:geheim@example.invalid/simple")

    plan(
        Uv(str(spy), base_env(tmp_path), tmp_path), tmp_path, ["leaf @ https://t:geheim@example.invalid/l.whl"], secret
    )

    assert "--dry-run" in seen.read_text()
    assert "geheim" not in seen.read_text()


def test_uv_that_is_missing_is_said(tmp_path: Path, index: PackageIndex) -> None:
    with pytest.raises(InstallFailed, match="uv is missing at /nowhere/uv"):
        plan(Uv("/nowhere/uv", base_env(tmp_path), tmp_path), tmp_path, ["leaf"], index)


# ---- install, create, find


def test_an_installer_that_is_killed_says_nothing_about_the_packages(tmp_path: Path, index: PackageIndex) -> None:
    killed = tmp_path / "uv"
    killed.write_text("#!/bin/sh\necho 'error: about to' >&2\nkill -9 $$\n")
    killed.chmod(0o755)
    with pytest.raises(InstallFailed, match=r"SIGKILL.*call again.*\n.*about to") as failed:
        plan(Uv(str(killed), base_env=base_env(tmp_path), cache=tmp_path / "cache"), tmp_path, ["alpha"], index)
    assert failed.value.holds_s == 0


def test_installs_exactly_the_planned_packages_as_copies(uv: Uv, tmp_path: Path, index: PackageIndex) -> None:
    target = tmp_path / "overlay"

    asyncio.run(uv.install(sys.executable, ["top==1.0"], index, work=tmp_path, target=target))

    assert (target / "top.py").exists()
    assert not (target / "leaf.py").exists()
    assert (target / "top.py").stat().st_nlink == 1


def test_installing_what_is_not_there_fails(uv: Uv, tmp_path: Path, index: PackageIndex) -> None:
    with pytest.raises(InstallFailed, match=r"top==7"):
        asyncio.run(uv.install(sys.executable, ["top==7"], index, work=tmp_path, target=tmp_path / "overlay"))


def test_makes_an_environment_and_installs_into_it(uv: Uv, tmp_path: Path, index: PackageIndex) -> None:
    own = tmp_path / "venv" / "bin"

    async def main() -> None:
        await uv.create(sys.executable, tmp_path / "venv")
        await uv.install(str(own / "python"), ["leaf==1.0"], index, work=tmp_path)

    asyncio.run(main())

    assert subprocess.run([own / "leaf-command"], capture_output=True, text=True, check=True).stdout == "1.0\n"


def test_an_environment_of_what_is_no_interpreter_fails(uv: Uv, tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match="no virtual environment could be made from /nowhere/python"):
        asyncio.run(uv.create("/nowhere/python", tmp_path / "venv"))


def test_finds_the_interpreter_of_a_version(tmp_path: Path) -> None:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    env = base_env(tmp_path) | {"PATH": str(Path(sys.base_prefix) / "bin")}

    found = asyncio.run(Uv(UV, env, tmp_path).find(own, tmp_path))

    assert found is not None
    asked = subprocess.run([found, "-c", "import json, sys; print(json.dumps(sys.version_info[:2]))"], stdout=-1)
    assert json.loads(asked.stdout) == list(sys.version_info[:2])


def test_a_version_that_is_not_there_is_none_and_those_that_are_can_be_told(tmp_path: Path) -> None:
    uv = Uv(UV, base_env(tmp_path) | {"PATH": str(Path(sys.base_prefix) / "bin")}, tmp_path)

    assert asyncio.run(uv.find("3.99", tmp_path)) is None
    assert any(name.startswith("cpython-3") for name in asyncio.run(uv.installed(tmp_path)))


def test_a_download_is_asked_for_by_uvs_own_command_and_kept_in_our_folder(tmp_path: Path) -> None:
    """A fake uv: what it is asked, and with which settings, is what uv's manual says for this."""
    fake, folder = tmp_path / "uv", tmp_path / "pythons"
    fake.write_text(
        "#!/bin/sh\n"
        f'echo "$@ $UV_PYTHON_DOWNLOADS $UV_PYTHON_INSTALL_DIR $UV_PYTHON_PREFERENCE" >> {tmp_path}/asked\n'
        'test "$2" = find && echo /there/python3.13 || true\n'
    )
    fake.chmod(0o755)

    found = asyncio.run(Uv(str(fake), base_env(tmp_path), tmp_path).download("3.13", folder, tmp_path))

    assert found == "/there/python3.13"
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"python install 3.13 manual {folder} only-managed",
        f"python find --system 3.13 manual {folder} only-managed",
    ]


def test_a_download_that_fails_says_what_uv_says(tmp_path: Path) -> None:
    fake = tmp_path / "uv"
    fake.write_text("#!/bin/sh\necho 'error: no route' >&2\nexit 2\n")
    fake.chmod(0o755)

    with pytest.raises(InstallFailed, match=r"(?s)Python 3\.13 could not.*FLASH_PYTHONS.*error: no route"):
        asyncio.run(Uv(str(fake), base_env(tmp_path), tmp_path).download("3.13", tmp_path / "pythons", tmp_path))


# ---- translation of settings


def test_foreign_settings_do_not_reach_uv(tmp_path: Path) -> None:
    env = uv_environment(
        {
            "PATH": "/bin",
            "HTTPS_PROXY": "http://proxy",
            "UV_CACHE_DIR": "/c",
            "UV_INDEX_URL": "https://other",
            "PIP_INDEX_URL": "https://other",
            "PYTHONPATH": "/p",
            "VIRTUAL_ENV": "/v",
            "CONDA_PREFIX": "/v",
        },
        tmp_path,
    )

    assert {"PATH", "HTTPS_PROXY", "UV_CACHE_DIR"} <= env.keys()
    assert not {"UV_INDEX_URL", "PIP_INDEX_URL", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX"} & env.keys()
    assert env["UV_NO_CONFIG"] == "1"


def test_a_home_that_cannot_be_written_gets_another_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert uv_environment({"HOME": str(tmp_path / "file")}, tmp_path)["UV_CACHE_DIR"] == str(tmp_path)
    assert uv_environment({}, tmp_path)["UV_CACHE_DIR"] == str(tmp_path)
    assert "UV_CACHE_DIR" not in uv_environment({"HOME": str(tmp_path)}, tmp_path)


def test_pips_settings_become_uvs(tmp_path: Path) -> None:
    links = tmp_path / "a, b"
    links.mkdir()
    index = PackageIndex(
        index_url="https://a/simple",
        extra_index_urls=("https://b/simple", "/local/simple"),
        find_links=(str(links), "https://c/wheels", str(tmp_path / "missing"), (tmp_path / "gone").as_uri()),
        trusted_hosts=("a", "b:8080"),
        cert="/certs/ca.pem",
    )

    assert index_environment(index) == {
        "UV_DEFAULT_INDEX": "https://a/simple",
        "UV_INDEX": "https://b/simple file:///local/simple",
        "UV_FIND_LINKS": f"{tmp_path.as_uri()}/a%2C%20b,https://c/wheels",
        "UV_INSECURE_HOST": "a b:8080",
        "SSL_CERT_FILE": "/certs/ca.pem",
    }


def test_no_index_leaves_the_indexes_out_and_folders_in(tmp_path: Path) -> None:
    index = PackageIndex(
        index_url="https://a/simple", extra_index_urls=("https://b",), find_links=(str(tmp_path),), no_index=True
    )

    assert index_environment(index) == {"UV_FIND_LINKS": tmp_path.as_uri()}


def test_a_folder_of_certificates(tmp_path: Path) -> None:
    assert index_environment(PackageIndex(cert=str(tmp_path))) == {"SSL_CERT_DIR": str(tmp_path)}


def test_the_empty_index_says_nothing() -> None:
    assert index_environment(PackageIndex()) == {}


# ---- texts


@pytest.mark.parametrize("text", ["-r /etc/passwd", "--index-url=https://x", "", "a\n-r b", "a \\", "./here", "\x00"])
def test_what_is_no_requirement_is_refused(text: str) -> None:
    with pytest.raises(InstallFailed, match="is no requirement"):
        check_requirements(["numpy", text])


def test_requirements_of_every_form_pass() -> None:
    check_requirements(["numpy", " a[b,c]>=1,<2 ; python_version>'3'", "x @ git+https://host/x@main#subdirectory=y"])


@given(
    user=st.from_regex(r"[a-z0-9%]{1,8}", fullmatch=True), password=st.from_regex(r"SECRET[^\s/]{0,12}", fullmatch=True)
)
def test_no_password_passes_the_mask(user: str, password: str) -> None:
    text = mask(
        f"see https://{user}:{password}@host/simple, then git+https://{password}@host/x@main and https://host/a@b"
    )

    assert "SECRET" not in text
    assert "https://****@host/simple" in text
    assert text.endswith("host/x@main and https://host/a@b")


def test_a_failure_masks_its_message() -> None:
    assert str(InstallFailed("https://me:geheim@host/")) == "https://****@host/"


@pytest.mark.parametrize(
    ("output", "said", "kind"),
    [
        (
            "warning: x\nerror: Failed to write\n  cause: No space left on device (os error 28)",
            "disk is full",
            InstallFailed,
        ),
        ("  × No solution found when resolving dependencies:\n  ╰─▶ Because", "no versions satisfy", NoSolution),
        ("  × Failed to build `a==1`\n  ├─▶ The build backend returned an error", "does not build", BuildFailed),
        (
            "error: Failed to fetch: `https://h/`\n  Caused by: operation timed out",
            "could not be fetched",
            InstallFailed,
        ),
        ("error: something new", "could not be installed", InstallFailed),
    ],
)
def test_kinds_of_failure(output: str, said: str, kind: type[InstallFailed]) -> None:
    error = failure(output, ["a"])

    assert type(error) is kind
    assert said in str(error)
    assert "warning" not in str(error)
    assert str(error).endswith(output.splitlines()[-1])


def test_many_requirements_are_counted() -> None:
    long = str(failure("error: first" + "x" * 100_000 + "last", ["a"]))
    assert "error: first" in long
    assert long.endswith("last")
    assert len(long) < 5000
    assert "p7 and 12 more" in str(failure("error: x", [f"p{number}" for number in range(20)]))
