"""Payloads that nobody of ours writes."""

import json
from typing import Any

from worker_runtime.wire import PROTOCOL


def payload_of(value: Any, sizes: list[int] | None = None, buffers: bytes = b"") -> bytes:
    """A payload in the neutral encoding with this tree, whether it makes sense or not."""
    header = json.dumps({"python": "3.11", "value": value, "sizes": sizes or []}).encode()
    head = b"FN" + bytes([PROTOCOL]) + len(header).to_bytes(8, "little") + header
    return head + bytes(-len(head) % 64) + buffers
