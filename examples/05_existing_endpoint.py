"""A client of an endpoint that is there already: here an HTTP server that counts words, which no decorator has made.

python 05_existing_endpoint.py          puts the server below on an endpoint, then is its client
python 05_existing_endpoint.py ID       is the client of an endpoint that runs it already
"""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from runpod_flash import Endpoint
from runpod_flash.errors import ResponseError

HERE = Path(__file__)


class WordCounter(BaseHTTPRequestHandler):
    """Somebody's server: `POST /count` with `{"text": …}`; it is healthy where `GET /ping` answers."""

    def do_GET(self) -> None:
        """The health check."""
        self.reply(200, {"status": "healthy"})

    def do_POST(self) -> None:
        """Count, or say what is wrong."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not asked.get("text"):
            self.reply(422, {"detail": "there is no text"})
            return
        self.reply(200, {"page": asked.get("page"), "counts": Counter(asked["text"].lower().split()).most_common(3)})

    def reply(self, status: int, body: dict[str, Any]) -> None:
        """Answer with JSON."""
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """Lets many wait at its door."""

    request_queue_size = 200


def added() -> str:
    """Put the server on an endpoint, as anybody may with any command; its id."""
    command = [
        sys.executable, "-m", "flash_cli", "server", "add", "--name", "word-counter", "--cpu", "cpu3c-1-2", "--json",
        "--load-balanced", "--directory", str(HERE.parent), "--command", f"{sys.executable} {HERE.name} serve $PORT",
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return str(json.loads(done.stdout)["id"])


async def main(endpoint_id: str) -> None:
    """Ask it for a hundred pages at a time, and for one that it refuses."""
    counter = Endpoint(id=endpoint_id)
    text = HERE.read_text()
    pages = await asyncio.gather(*(counter.post("/count", {"page": n, "text": text}) for n in range(100)))
    print(len(pages), "pages, the first:", pages[0]["counts"])
    try:
        await counter.post("/count", {"text": ""}, timeout=30)
    except ResponseError as error:
        print("refused:", error.status, error.body)
    print("workers:", (await counter.health())["workers"]["ready"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        Server(("127.0.0.1", int(sys.argv[2])), WordCounter).serve_forever()
    else:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else added()))
