"""pip's configuration as pip itself reads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runpod_flash.errors import ConfigError
from runpod_flash.package_index import read
from worker_runtime.wire.specs import PackageIndex


class Caller:
    """A home, a prefix and global folders of their own below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.prefix, self.shared = folder / "home", folder / "prefix", folder / "xdg"
        self.environ = {"HOME": str(self.home), "XDG_CONFIG_DIRS": str(self.shared)}

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def read(self, **variables: str) -> PackageIndex:
        return read(self.environ | variables, self.prefix)


@pytest.fixture
def caller(tmp_path: Path) -> Caller:
    # PIP_* of the machine are not seen; /etc/pip.conf is, so tests set what they look at.
    return Caller(tmp_path)


GLOBAL, OLD_USER, USER, SITE = "xdg/pip/pip.conf", "home/.pip/pip.conf", "home/.config/pip/pip.conf", "prefix/pip.conf"


def test_later_files_win_over_earlier_ones(caller: Caller) -> None:
    for file in (GLOBAL, OLD_USER, USER, SITE):
        caller.write(file, f"[global]\nindex-url = https://{file.split('/')[0]}{len(file)}/\n")
        assert caller.read().index_url == f"https://{file.split('/')[0]}{len(file)}/"
    assert caller.read(PIP_INDEX_URL="https://variable/").index_url == "https://variable/"


def test_the_named_file_wins_and_hides_the_users(caller: Caller) -> None:
    named = caller.write("named.conf", "[global]\nindex-url = https://named/\n")
    caller.write(USER, "[global]\nextra-index-url = https://user/\n")
    caller.write(SITE, "[global]\nindex-url = https://site/\nextra-index-url = https://site-extra/\n")

    index = caller.read(PIP_CONFIG_FILE=str(named))

    assert (index.index_url, index.extra_index_urls) == ("https://named/", ("https://site-extra/",))


def test_the_null_device_as_named_file_hides_all_files(caller: Caller) -> None:
    caller.write(SITE, "[global]\nindex-url = https://site/\n")

    assert caller.read(PIP_CONFIG_FILE=os.devnull).index_url is None


def test_the_install_section_wins_over_global_in_any_file(caller: Caller) -> None:
    caller.write(USER, "[install]\nindex-url = https://install/\n[download]\nindex-url = https://download/\n")
    caller.write(SITE, "[global]\nindex-url = https://global/\n")

    assert caller.read().index_url == "https://install/"


def test_the_users_folder_can_be_moved(caller: Caller, tmp_path: Path) -> None:
    caller.write(USER, "[global]\nindex-url = https://usual/\n")
    caller.write("moved/pip/pip.conf", "[global]\nindex-url = https://moved/\n")

    assert caller.read(XDG_CONFIG_HOME=str(tmp_path / "moved")).index_url == "https://moved/"


def test_every_setting(caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    caller.write(
        SITE,
        "[global]\n"
        "index_url = https://me:pass@host/simple\n"
        "Extra-Index-URL =\n    https://a/simple\n    simple/local\n"
        "find-links = wheels ~/more https://c/links\n"
        "trusted-host = a b:80\n"
        "no-index = true\n"
        "cert = ~/ca.pem\n"
        "timeout = 5\n",
    )

    assert caller.read() == PackageIndex(
        index_url="https://me:pass@host/simple",
        extra_index_urls=("https://a/simple", str(tmp_path / "simple/local")),
        find_links=(str(tmp_path / "wheels"), str(caller.home / "more"), "https://c/links"),
        no_index=True,
        trusted_hosts=("a", "b:80"),
        cert=str(caller.home / "ca.pem"),
    )


def test_an_empty_variable_sets_nothing(caller: Caller) -> None:
    caller.write(SITE, "[global]\nfind-links = /wheels\n")

    assert caller.read(PIP_FIND_LINKS="").find_links == ("/wheels",)


def test_an_empty_setting_hides_an_earlier_file(caller: Caller) -> None:
    caller.write(USER, "[global]\nextra-index-url = https://user/\n")
    caller.write(SITE, "[global]\nextra-index-url =\n")

    assert caller.read().extra_index_urls == ()


def test_without_a_setting_the_bundle_of_other_tools_counts(caller: Caller) -> None:
    bundle = str(caller.write("bundle.pem", ""))
    caller.write(SITE, "[global]\ncert =\n")
    named = {"PIP_CONFIG_FILE": os.devnull, "CURL_CA_BUNDLE": bundle, "SSL_CERT_FILE": "/other.pem"}

    assert caller.read(**named).cert == bundle
    assert caller.read(**named, REQUESTS_CA_BUNDLE="/missing.pem").cert == bundle
    assert caller.read(**named, PIP_CERT="/own.pem").cert == "/own.pem"


@pytest.mark.parametrize("text", ["[global\nindex-url = x", "index-url = x", "[global]\nindex-url x\n"])
def test_a_broken_file_is_named(caller: Caller, text: str) -> None:
    file = caller.write(SITE, text)

    with pytest.raises(ConfigError, match=r"pip's configuration file .*/pip.conf cannot be read") as caught:
        caller.read()
    assert str(file) in str(caught.value)


def test_a_file_in_another_encoding_is_named(caller: Caller) -> None:
    caller.write(SITE, "").write_bytes(b"[global]\nindex-url = \xff\xfe")

    with pytest.raises(ConfigError, match="cannot be read"):
        caller.read()


def test_a_bad_boolean_is_named(caller: Caller) -> None:
    with pytest.raises(ConfigError, match="no-index is 'perhaps'"):
        caller.read(PIP_NO_INDEX="perhaps")


LEVELS = st.sampled_from([GLOBAL, OLD_USER, USER, SITE, "named.conf"])
SECTIONS = st.sampled_from(["global", "install"])
SETTINGS = st.sampled_from(["index-url", "index_url", "extra-index-url", "find-links", "trusted-host"])
VALUES = st.sampled_from(["", "https://a/", "https://b/ https://c/", "/x"])


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.dictionaries(st.tuples(LEVELS, SECTIONS, SETTINGS), VALUES, max_size=6),
    variable=st.none() | VALUES,
    named=st.booleans(),
)
def test_agrees_with_pip(
    tmp_path_factory: pytest.TempPathFactory,
    chosen: dict[tuple[str, str, str], str],
    variable: str | None,
    named: bool,
) -> None:
    """pip itself says what it would use; the files are of the kind that the rules above are about."""
    caller = Caller(tmp_path_factory.mktemp("caller"))
    for file in {key[0] for key in chosen}:
        sections = {section: "" for at, section, _ in chosen if at == file}
        for (at, section, setting), value in chosen.items():
            if at == file:
                sections[section] += f"{setting} = {value}\n"
        caller.write(file, "".join(f"[{name}]\n{body}" for name, body in sections.items()))
    variables = {} if variable is None else {"PIP_FIND_LINKS": variable}
    if named:
        variables["PIP_CONFIG_FILE"] = str(caller.folder / "named.conf")

    index = caller.read(**variables)

    ask = (
        "import sys; sys.prefix = sys.argv[1]\n"
        "from pip._internal.commands import create_command\n"
        "options = create_command('install').parser.get_default_values()\n"
        "print([options.index_url, options.extra_index_urls, options.find_links, options.trusted_hosts])"
    )
    command = [sys.executable, "-W", "ignore", "-c", ask, str(caller.prefix)]
    answer = subprocess.run(command, env=caller.environ | variables, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    default = "https://pypi.org/simple"
    ours = [index.index_url or default, *map(list, (index.extra_index_urls, index.find_links, index.trusted_hosts))]
    assert answer.stdout.strip() == str(ours)
