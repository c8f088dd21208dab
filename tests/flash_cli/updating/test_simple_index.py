"""The pages of a package index: which wheels of ours they name."""

import hashlib
from pathlib import Path

import httpx
import pytest

from flash_cli.updating import simple_index, sources
from runpod_flash.errors import ConfigError


def asked(page: httpx.Response, index: str) -> dict[str, simple_index.File]:
    """The wheels of an index that answers with this page."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "https://index.example/simple/runpod-flash/"
        return page

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        return {str(key): file for key, file in simple_index.wheels(client, index, sources.version_of).items()}


def test_pages_of_an_index_in_both_forms_and_what_was_withdrawn() -> None:
    first, second = "runpod_flash-1.0-py3-none-any.whl", "runpod_flash-2.0-py3-none-any.whl"
    html = f"""<a href="../../{first}#sha256=AB">x</a> <a data-yanked="" href="{second}">y</a>
    <a href="runpod_flash-1.0.tar.gz">z</a> <a>none</a> <a href="https://files.example/runpod_flash-3.0-py3-none-any.whl">"""
    found = asked(httpx.Response(200, html=html), "https://index.example/simple")
    assert found["1.0"] == simple_index.File(f"https://index.example/{first}", "AB")
    assert found["3.0"].sha256 is None
    assert set(found) == {"1.0", "3.0"}
    files = [
        {"filename": first, "url": f"/f/{first}", "hashes": {"sha256": "cd"}},
        {"filename": second, "url": second, "hashes": {}, "yanked": "broken"},
    ]
    told = asked(httpx.Response(200, json={"files": files}), "https://index.example/simple/")
    assert told == {"1.0": simple_index.File(f"https://index.example/f/{first}", "cd")}
    with pytest.raises(ConfigError, match="no page of a package index"):
        asked(httpx.Response(200, json={"hello": 1}), "https://index.example/simple/")


@pytest.mark.parametrize(("sha256", "fits"), [(None, True), ("right", True), ("0" * 64, False)])
def test_a_file_is_held_against_its_hash(tmp_path: Path, sha256: str | None, fits: bool) -> None:
    right = hashlib.sha256(b"bytes").hexdigest()
    file = simple_index.File("https://files.example/a%20b.whl?x=1", right.upper() if sha256 == "right" else sha256)
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=b"bytes"))) as client:
        if fits:
            assert simple_index.download(client, file, tmp_path) == tmp_path / "a b.whl"
            assert (tmp_path / "a b.whl").read_bytes() == b"bytes"
        else:
            with pytest.raises(ConfigError, match="is not the file that its index announces"):
                simple_index.download(client, file, tmp_path)
