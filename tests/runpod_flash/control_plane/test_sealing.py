"""What is sealed comes back, says nothing in between, and is missed loudly where the key is another."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runpod_flash.control_plane.sealing import Seal, SealBroken
from runpod_flash.control_plane.store import StoreError
from runpod_flash.errors import BackendError

S3 = {"accessId": "id-1", "accessSecret": "word", "bucketName": "bucket-1", "endpointUrl": "https://s3.example"}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plane" / "seal"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_whatever_is_sealed_comes_back(path: Path, mapping: dict[str, Any]) -> None:
    assert Seal(path).open(Seal(path).seal(mapping)) == mapping


def test_a_sealed_text_tells_nothing(path: Path) -> None:
    seal = Seal(path)
    first, second = seal.seal(S3), seal.seal(S3)
    assert first != second
    assert first.isascii()
    key = path.read_text()
    for value in (*S3.values(), *S3, key):
        assert value not in first + repr(seal)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["seal"]


def test_a_restart_opens_what_was_sealed_before(path: Path) -> None:
    assert Seal(path).open(Seal(path).seal(S3)) == S3


def test_a_replaced_key_is_told(path: Path) -> None:
    text = Seal(path).seal(S3)
    path.unlink()
    with pytest.raises(SealBroken, match="is gone") as refused:
        Seal(path).open(text)
    assert str(path) in str(refused.value)
    assert not path.exists()
    Seal(path).seal({})
    with pytest.raises(SealBroken, match="another key") as refused:
        Seal(path).open(text)
    assert isinstance(refused.value, BackendError)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("text", ["", "x", "ü", "\ud800", "gAAAAA"])
def test_what_was_never_sealed_is_refused(path: Path, text: str) -> None:
    seal = Seal(path)
    seal.seal({})
    with pytest.raises(SealBroken):
        seal.open(text)


def test_a_changed_text_is_refused(path: Path) -> None:
    seal = Seal(path)
    text = seal.seal(S3)
    with pytest.raises(SealBroken):
        seal.open(text[:40] + ("A" if text[40] != "A" else "B") + text[41:])


def test_something_else_than_a_mapping_is_refused(path: Path) -> None:
    seal = Seal(path)
    other = seal._key().encrypt(json.dumps([1]).encode()).decode()
    with pytest.raises(SealBroken, match="something else"):
        seal.open(other)


@pytest.mark.parametrize(("content", "mode"), [("short", 0o600), ("", 0o600), ("ü", 0o600), ("a" * 44, 0o644)])
def test_a_key_file_that_cannot_serve_is_refused_without_telling_its_content(
    path: Path, content: str, mode: int
) -> None:
    path.parent.mkdir()
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(StoreError, match="key file") as refused:
        Seal(path).seal(S3)
    assert not content or content not in str(refused.value)


def test_nothing_happens_before_something_is_sealed(path: Path) -> None:
    Seal(path)
    assert not path.parent.exists()
