"""A fake remote model: OpenAI's embeddings API over HTTP, with random vectors, equal for equal texts."""

from __future__ import annotations

import base64
import json
import sys
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

DIMENSION = 384
_ROWS = 65_536
_TABLE = np.random.default_rng(0).standard_normal((_ROWS, DIMENSION)).astype(np.float32)


class Handler(BaseHTTPRequestHandler):
    """Answers every POST as an embeddings request, with unit vectors of DIMENSION values in base64."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        sums = np.array([zlib.crc32(text.encode()) for text in texts])
        vectors = _TABLE[sums % _ROWS] + _TABLE[sums // _ROWS]  # 2**32 pairs: hardly any vector repeats
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        data = [
            {"object": "embedding", "index": row, "embedding": base64.b64encode(vector.tobytes()).decode()}
            for row, vector in enumerate(vectors)
        ]
        tokens = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        body = json.dumps({"object": "list", "model": asked["model"], "data": data, "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
