"""A server all of whose lanes are full, and what is said to it and comes back, byte for byte."""

from __future__ import annotations

import re
import socket
import time
from typing import NamedTuple

from app.operation.connections import Answer, Connections
from app.operation.panel import Panel
from app.wiring import Wiring

SEARCH = "/v1/collections/goods/search"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n"


class Busy(NamedTuple):
    """A server all of whose lanes are full."""

    address: tuple[str, int]
    wiring: Wiring
    panel: Panel
    connections: Connections
    at_once: list[Answer]  # that took no application
    keys: dict[str, str]

    def say(self, *pieces: bytes, answers: int = 1, fast: bool = True) -> bytes:
        """All that comes back for these pieces, sent one after the other. `fast`: or the application answers."""
        refuse = self.connections.at_once
        if not fast:
            self.connections.at_once = lambda scope, body_bytes: None
        try:
            with socket.create_connection(self.address, timeout=10) as client:
                for number, piece in enumerate(pieces):
                    time.sleep(0.05 if number else 0.0)
                    client.sendall(piece)
                return answers_from(client, answers, bodies=not pieces[0].startswith(b"HEAD"))
        finally:
            self.connections.at_once = refuse

    def counted(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """What the registry holds of requests; not how long they took."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.panel.metrics.registry.collect()
            for sample in family.samples
            if "request" in sample.name or "error" in sample.name
            if not sample.name.endswith(("_bucket", "_sum")) and sample.labels.get("route") != "/livez"
        }


def request(
    path: str = SEARCH, body: bytes = b"{}", *fields: str, method: str = "POST", key: str = "", version: str = "1.1"
) -> bytes:
    """`fields`: instead of the body's length."""
    head = [f"{method} {path} HTTP/{version}", "Host: here", *(fields or (f"Content-Length: {len(body)}",))]
    return "\r\n".join([*head, *([f"Authorization: Bearer {key}"] if key else []), "", ""]).encode() + body


def masked(received: bytes) -> bytes:
    """Without what differs from answer to answer: the hour, and ids that nobody gave."""
    received = re.sub(rb"date: [^\r]+", b"date:", received)
    return re.sub(rb"\b[0-9a-f]{32}\b", b"(id)", received)


def answers_from(client: socket.socket, answers: int, *, bodies: bool = True) -> bytes:
    """So many answers, and the end of the connection where they announce it. `bodies`: whether answers have any."""
    received = b""
    while not _whole(received, answers, bodies) or b"\r\nconnection: close\r\n" in received:
        part = client.recv(65_536)
        if not part:
            return received + b"(end)"
        received += part
    return received


def _whole(received: bytes, answers: int, bodies: bool) -> bool:
    for _ in range(answers):
        head, found, received = received.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)", head)
        size = int(length[1]) if length and bodies else 0
        if not found or len(received) < size:
            return False
        received = received[size:]
    return True
