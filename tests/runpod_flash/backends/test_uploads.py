"""Uploads in pieces, to the real faces of a control plane, over connections that are cut."""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runpod_flash.backends import connection, uploads
from runpod_flash.backends.clients import Address
from runpod_flash.backends.http import HttpBackend
from runpod_flash.control_plane.pieces import Pieces
from runpod_flash.control_plane.principals import OWNER
from runpod_flash.errors import BackendError, BackendUnavailable, PayloadTooLarge, ShippingError
from runpod_flash.output import Output
from tests.support.plane_app import KEY, PlaneApp, plane_app, served
from tests.support.receiver import until
from worker_runtime.wire import paths
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest

CODE = os.urandom(2_000_000)
MANIFEST = ArtifactManifest("function", "f", hashlib.sha256(CODE).hexdigest(), EnvironmentRequest("3.11"))
DATA = paths.pack(MANIFEST, CODE, {})
BLOCK = 65_536


class Wire:
    """A TCP way to a port that counts what clients send, and cuts a connection after each so many bytes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sent = 0
        self.cuts: list[int] = []  # bytes that a connection still takes, first come first cut

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.create_task(_pipe(there, writer))
        passed = 0
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(BLOCK):
                passed += len(chunk)
                self.sent += len(chunk)
                onward.write(chunk)
                await onward.drain()
                if passed > BLOCK and self.cuts and passed > self.cuts[0]:
                    self.cuts.pop(0)
                    back.cancel()
                    break
        onward.close()
        writer.transport.abort() if back.cancelling() else writer.close()
        await asyncio.wait([back])


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(BLOCK):
            writer.write(chunk)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def way(folder: Path) -> AsyncIterator[tuple[PlaneApp, HttpBackend, Wire]]:
    async with plane_app(folder) as plane, served(plane) as client:
        plane.blobs.artifact_limit = 5_000_000
        wire = Wire(client.base_url.port or 0)
        server = await asyncio.start_server(wire, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def locate() -> Address:
            return Address(f"http://127.0.0.1:{port}", KEY, "the platform", "no hint")

        backend = HttpBackend(locate, Output(), shares_machine=False, default_queue_delay=0.0)
        async with asyncio.timeout(30), server:
            yield plane, backend, wire
            await backend.aclose()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "artifact"
    path.write_bytes(DATA)
    return path


def test_what_is_cut_goes_on_where_it_was(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PIECE_BYTES", 500_000)

    async def test() -> None:
        said: list[tuple[int, int]] = []
        async with way(tmp_path) as (plane, backend, wire):
            wire.cuts = [200_000, 300_000, 100_000]
            await backend.upload_artifact(MANIFEST.id, source, lambda *at: said.append(at))
            assert plane.blobs.read_artifact(MANIFEST.id) == DATA
            assert wire.cuts == []
            assert [total for _, total in said] == [len(DATA)] * len(said)
            assert sorted(said) == said
            assert said[-1] == (len(DATA), len(DATA))
            before = wire.sent
            await backend.upload_artifact(MANIFEST.id, source, lambda *at: said.append(at))
            assert wire.sent - before < BLOCK  # it is there: nothing is sent

    asyncio.run(test())


def test_another_program_goes_on_where_one_was_ended(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PIECE_BYTES", 500_000)
    monkeypatch.setattr(connection, "RECONNECT_S", 0.0)

    async def test() -> None:
        async with way(tmp_path) as (plane, backend, wire):
            wire.cuts = [480_000]
            with pytest.raises(BackendUnavailable):
                await backend.upload_artifact(MANIFEST.id, source, lambda *_: None)
            assert not plane.blobs.has_artifact(MANIFEST.id)
            await until(lambda: Pieces(plane.blobs).received(OWNER, MANIFEST.id))  # the server has heard of the cut
            wire.cuts, before, said = [], wire.sent, list[int]()
            again = HttpBackend(backend._connection._locate, Output(), shares_machine=False, default_queue_delay=0.0)
            await again.upload_artifact(MANIFEST.id, source, lambda here, _: said.append(here))
            await again.aclose()
            assert said[0] > 0
            assert wire.sent - before < len(DATA)
            assert plane.blobs.read_artifact(MANIFEST.id) == DATA

    asyncio.run(test())


def test_what_the_platform_does_not_take(tmp_path: Path, source: Path) -> None:
    async def test() -> None:
        async with way(tmp_path) as (plane, backend, _):
            plane.blobs.artifact_limit = 50_000
            with pytest.raises(PayloadTooLarge, match="more than 50000 bytes"):
                await backend.upload_artifact(MANIFEST.id, source, lambda *_: None)
            plane.blobs.artifact_limit = 5_000_000
            with pytest.raises(ShippingError, match=f"its manifest has id {MANIFEST.id}"):
                await backend.upload_artifact("f" * 64, source, lambda *_: None)
            source.write_bytes(b"")
            with pytest.raises(BackendError, match="has changed"):
                await backend.upload_artifact("e" * 64, source, lambda *_: None)

    asyncio.run(test())
