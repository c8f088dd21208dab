"""Requests over one connection that is kept: `python http_calls.py HOST PORT PATH [KEY]`; the same for all servers."""

import asyncio
import json
import socket
import sys
import time

from serving import serve


class Connection:
    """A blocking HTTP/1.1 client that costs next to nothing: the request is one write, the answer one or two reads."""

    def __init__(self, host: str, port: int, path: str, key: str) -> None:
        self.address = (host, port)
        body = json.dumps({"input": {"x": 7}}).encode()
        head = [f"POST {path} HTTP/1.1", f"Host: {host}:{port}", "Content-Type: application/json"]
        head += [f"Content-Length: {len(body)}", *([f"Authorization: Bearer {key}"] if key else [])]
        self.request = "\r\n".join([*head, "", ""]).encode() + body
        self.open()

    def open(self) -> None:
        """Connect anew."""
        self.socket = socket.create_connection(self.address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> bytes:
        """One request; the body of the answer."""
        self.socket.sendall(self.request)
        data = self.socket.recv(65536)
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        if b" 200 " not in lines[0]:
            raise OSError(f"refused: {data[:300]!r}")
        (length,) = (int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self._more()
        return body

    def _more(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise OSError("the server has closed the connection")
        return data


class HttpCalls:
    """What can be asked."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        for _ in range(20):
            self.one()

    def one(self) -> None:
        """One request, whose answer is looked at."""
        answer = json.loads(self.connection.ask())
        assert (answer["status"], answer["output"]) == ("COMPLETED", 7), answer

    async def latency(self, count):
        """Single requests, one after the other: seconds of each."""
        self.connection.socket.close()  # it may have been idle for longer than the server keeps it
        self.connection.open()
        self.one()
        times = []
        for _ in range(count):
            start = time.perf_counter()
            self.connection.ask()
            times.append(time.perf_counter() - start)
        self.one()
        return times


async def main():
    """Connect, then serve."""
    host, port, path, *key = sys.argv[1:]
    await serve(HttpCalls(Connection(host, int(port), path, *(key or [""]))))


if __name__ == "__main__":
    asyncio.run(main())
