"""A real browser, driven by the DevTools protocol, and a site with the web page and an API that a test makes up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FOLDER = Path(__file__).resolve().parents[3] / "app" / "web"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PATIENCE_SECONDS = 15
_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]


class Browser:
    """One process; each page has storage of its own."""

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM is not None
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # The protocol is spoken over the descriptors 3 and 4.
        command = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "-", CHROMIUM, *_FLAGS]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={folder}"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._out = os.fdopen(ours_out, "wb")
        self._in = os.fdopen(ours_in, "rb")
        self._sent = 0
        self._rest = b""

    def page(self) -> Page:
        context = self.call("Target.createBrowserContext")["browserContextId"]
        made = self.call("Target.createTarget", url="about:blank", browserContextId=context, width=1280, height=900)
        attached = self.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        return Page(self, attached["sessionId"])

    def call(self, method: str, *, session: str | None = None, **params: Any) -> Any:
        """The result of a method of the protocol. What else the browser reports meanwhile is passed over."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params}
        self._out.write(json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        self._out.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self._sent:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def _next(self) -> Any:
        while b"\0" not in self._rest:
            read = os.read(self._in.fileno(), 1 << 16)
            assert read, "the browser has ended"
            self._rest += read
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def close(self) -> None:
        self.call("Browser.close")
        self._process.wait(PATIENCE_SECONDS)
        self._in.close()
        self._out.close()


class Page:
    """A tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def reload(self) -> None:
        self.eval("globalThis.outdated = true")
        self.call("Page.reload")
        self.until("!globalThis.outdated && document.readyState === 'complete'")

    def call(self, method: str, **params: Any) -> Any:
        return self._browser.call(method, session=self._session, **params)

    def eval(self, expression: str) -> Any:
        """What the expression comes to; `$` and `$$` find elements by selector, `$t` the text of the first one."""
        helpers = "const $ = (s) => document.querySelector(s), $$ = (s) => [...document.querySelectorAll(s)], "
        helpers += "$t = (s) => $(s)?.textContent ?? '', $b = (t) => $$('button').find((b) => b.textContent === t);"
        wrapped = f"(async () => {{ {helpers} return {expression}; }})()"
        answer = self.call("Runtime.evaluate", expression=wrapped, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Waits until the expression is true."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.eval(expression):
            assert time.monotonic() < end, (expression, self.eval("document.body.innerText"))
            time.sleep(0.02)

    def click(self, text: str) -> None:
        """Clicks the first button that says `text`, as a keyboard does: it has the focus first."""
        self.until(f"Boolean($b({json.dumps(text)}) && !$b({json.dumps(text)}).disabled)")
        self.eval(f"($b({json.dumps(text)}).focus(), $b({json.dumps(text)}).click())")

    def search(self, query: str) -> None:
        """Types the query in place of what is there, and sends it."""
        self.eval(f"($('#query').value = {json.dumps(query)}, $('#search').requestSubmit())")


class Answer(NamedTuple):
    """What the API answers; `cut`: it breaks off in the middle."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    cut: bool = False


class Request(NamedTuple):
    method: str
    path: str
    body: Any
    key: str | None


class Site:
    """The files of app/web, and under /v1 what `answer` says of a request, which may take its time."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                name = self.path.partition("?")[0].removeprefix("/web/").removeprefix("/") or "index.html"
                file = FOLDER / name
                if self.path.startswith("/v1"):
                    site._answer(self)
                elif file.is_file():
                    site._send(self, 200, file.read_bytes(), {"Content-Type": TYPES[file.suffix]})
                else:
                    site._send(self, 404, b"", {})

            def do_POST(self) -> None:
                site._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        sent = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        key = handler.headers.get("Authorization")
        request = Request(handler.command, handler.path, json.loads(sent) if sent else None, key)
        self.requests.append(request)
        found = self.answer(request)
        content = json.dumps(found.body).encode()
        self._send(handler, found.status, content, {"Content-Type": "application/json", **found.headers}, found.cut)

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, content: bytes, headers: dict[str, str], cut: bool = False
    ) -> None:
        try:
            handler.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(content[: len(content) // 2] if cut else content)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True  # the page has given the request up
        handler.close_connection |= cut

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
