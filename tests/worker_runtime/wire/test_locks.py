"""Lines of a lock: exact, and nothing but a package and its hashes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.locks import LockLine, checked

HASH = "--hash=sha256:" + "0a" * 32
COMMIT = "0a" * 20


@pytest.mark.parametrize(
    ("text", "name", "requirement", "place"),
    [
        (f"leaf==1.0 {HASH}", "leaf", "leaf==1.0", None),
        (f"  leaf[a,b]==1.0+cpu   {HASH} {HASH} ", "leaf", "leaf[a,b]==1.0+cpu", None),
        (f"leaf==1.0 ; sys_platform == 'linux' {HASH}", "leaf", "leaf==1.0 ; sys_platform == 'linux'", None),
        (
            f"x @ git+https://example.org/x@{COMMIT}#subdirectory=y",
            "x",
            f"x @ git+https://example.org/x@{COMMIT}#subdirectory=y",
            f"git+https://example.org/x@{COMMIT}#subdirectory=y",
        ),
        (f"x @ https://example.org/x.whl {HASH}", "x", "x @ https://example.org/x.whl", "https://example.org/x.whl"),
    ],
)
def test_a_line_is_a_package_and_its_hashes(text: str, name: str, requirement: str, place: str | None) -> None:
    line = LockLine.of(text)
    assert (line.name, line.requirement, line.place) == (name, requirement, place)
    assert set(line.hashes) <= {HASH}
    assert str(line) == " ".join(text.split())


@pytest.mark.parametrize(
    "text",
    [
        "leaf",
        "leaf>=1",
        f"leaf>=1 {HASH}",
        f"leaf==1,<2 {HASH}",
        f"leaf==1.* {HASH}",
        "leaf==1.0 --hash=md5:00",
        f"leaf==1.0 {HASH} --index-url=http://example.org",
        f"leaf==1.0 --config-settings=x {HASH}",
        f"leaf==1.0 ; python_version > '3' --no-binary=:all: {HASH}",
        f"-r other {HASH}",
        "--index-url http://example.org",
        f"leaf==1.0 {HASH}\nother",
        f"leaf==1.0 {HASH} \\",
        "leaf @ https://${HOME}/x.whl",
        "./folder",
        "",
    ],
)
def test_what_is_not_exact_or_asks_for_more_is_refused(text: str) -> None:
    with pytest.raises(WireError, match="line of a lock"):
        checked([f"good==1 {HASH}", text])


def test_a_package_of_an_index_needs_a_hash() -> None:
    with pytest.raises(WireError, match=r"'leaf==1.0' of the lock has no hash"):
        LockLine.of("leaf==1.0")


@given(st.text())
def test_any_text_is_a_line_or_refused(text: str) -> None:
    for line in (text, f"leaf=={text}", f"leaf==1 ;{text} {HASH}", f"leaf @ {text}"):
        try:
            read = str(LockLine.of(line))
        except WireError:
            continue
        assert "\n" not in read
        assert all(word.startswith("--hash=") for word in read.split()[1:] if word.startswith("-") and word != "-")
