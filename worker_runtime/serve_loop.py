"""The worker whose child serves the routes of an artifact over HTTP; but for that it is as one with a command.

welcome → artifact → child starts → log … → it ends by itself, or drain: SIGTERM, then SIGKILL
"""

from pathlib import Path

from worker_runtime.command_loop import CommandWorker
from worker_runtime.keeper import ARTIFACT_FILE
from worker_runtime.loop import End, unexpected
from worker_runtime.wire import messages, paths
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.frames import Body, Header
from worker_runtime.wire.routes import CANNOT_SERVE


class ServingWorker(CommandWorker):
    """Runs one server for as long as it lives. Another artifact needs another worker."""

    _started = False

    async def _welcomed(self) -> None:
        """The artifact comes next."""

    def _take(self, header: Header, head: bytes, body: Body) -> None:
        if header.get("type") != messages.ARTIFACT:
            super()._take(header, head, body)
            return
        if self._started:
            raise unexpected(header)
        self._started = True
        self._unpack(header["id"], bytes(body))
        self._start_child()

    def _ended_by_itself(self, code: int, reason: str) -> End:
        if code == CANNOT_SERVE:
            return End("its routes cannot be served", code=1, hopeless=True)
        return super()._ended_by_itself(code, reason)

    def _unpack(self, artifact: str, data: bytes) -> None:
        manifest = paths.read_manifest(data)
        if manifest.id != artifact or manifest.kind != "routes":
            raise WireError(f"routes are due, and artifact {artifact} is a {manifest.kind} with the id {manifest.id}")
        folder = Path(self._launch.folder)
        (folder / "code").mkdir(parents=True, exist_ok=True)
        paths.unpack_files(data, folder / "code")
        (folder / ARTIFACT_FILE).write_bytes(data)
