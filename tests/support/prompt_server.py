"""uvicorn for tests: it ends at once, where its own server looks every tenth of a second whether it shall."""

import asyncio
import contextlib
import socket

import uvicorn
from websockets.exceptions import InvalidState

_TURNS = 5


class PromptServer(uvicorn.Server):
    """A server that is told to end by `end`, on its event loop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._over = asyncio.Event()

    def end(self) -> None:
        """End: answers that are under way have the time that the configuration gives them."""
        self._over.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)  # makes the headers of all answers
        await self._over.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listening in [each for server in self.servers for each in server.sockets]:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(_TURNS):  # asyncio loses a connection that it is accepting while its server is closed
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            with contextlib.suppress(InvalidState):  # a websocket that is closing already
                connection.shutdown()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while self.server_state.connections or self.server_state.tasks:
                    await asyncio.sleep(0.002)
                for server in self.servers:
                    await server.wait_closed()
        except TimeoutError:
            for task in self.server_state.tasks:
                task.cancel()
