"""An HTTP proxy before an S3 server that makes a share of all requests fail, in every way known."""

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

__all__ = ["KINDS", "FaultyProxy", "faulty_proxy"]

KINDS = (
    "slow_down",  # 503 SlowDown
    "internal_error",  # 500 InternalError
    "reset",  # no answer, connection reset
    "reset_in_body",  # half a body, connection reset
    "truncated",  # half a body, connection closed in order
    "short",  # half a body that claims to be whole
    "damaged",  # one wrong byte in a whole object, each time another
    "trickle",  # a byte now and then
    "silence",  # no answer for long
)
_ERRORS = {"slow_down": (503, "SlowDown"), "internal_error": (500, "InternalError")}


class FaultyProxy(ThreadingHTTPServer):
    """The proxy.

    Args:
        target: endpoint of the real server.
        share: of requests that fail.
        seed: of the choice of faults.
        kinds: of faults, equally likely.
        patience_s: for how long trickles and silences last.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        target: str,
        share: float = 0.2,
        seed: int = 0,
        kinds: tuple[str, ...] = KINDS,
        patience_s: float = 2.0,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.share = share
        self.kinds = kinds
        self.patience_s = patience_s
        self.num_requests = 0
        self.faults: Counter[str] = Counter()
        self.payers: Counter[str | None] = Counter()  # who pays, as the requests say
        self.denial: str | None = None  # a code; nobody is let in while there is one
        self.denied_paths: set[str] = set()  # /bucket/key of objects that nobody may read
        self._denied_after: tuple[int, str] | None = None
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def draw(self) -> str | None:
        """The fault of the next request, if any."""
        with self._lock:
            self.num_requests += 1
            if self._denied_after is not None and self.num_requests > self._denied_after[0]:
                self.denial = self._denied_after[1]
            if self._random.random() >= self.share:
                return None
            kind = self._random.choice(self.kinds)
            self.faults[kind] += 1
            return kind

    def deny_after(self, num_requests: int, code: str) -> None:
        """Lets nobody in once so many requests were made."""
        self._denied_after = (num_requests, code)

    def draw_place(self, length: int) -> int:
        """A position in a body."""
        with self._lock:
            return self._random.randrange(length)

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that break are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.payers[self.headers.get("x-amz-request-payer")] += 1
        fault = self.server.draw()
        denial = self.server.denial
        if urlsplit(self.path).path in self.server.denied_paths:
            denial = "AccessDenied"
        if denial is not None or fault in _ERRORS:
            status, code = _ERRORS.get(fault or "", (403, denial))
            text = f"<Error><Code>{code}</Code><Message>Reduce your rate.</Message></Error>"
            self._answer(status, [("Content-Type", "application/xml")], text.encode())
        elif fault == "reset":
            self._reset()
        elif fault == "silence":
            time.sleep(self.server.patience_s)
            self._reset()
        else:
            self._forward(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do  # noqa: N815

    def _forward(self, body: bytes, fault: str | None) -> None:
        connection = http.client.HTTPConnection(self.server.target, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        drop = {"connection", "transfer-encoding", "content-length"}
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in drop]
        if self.command == "HEAD":
            self._answer(answer.status, kept, b"", answer.getheader("Content-Length"))
            return
        half = content[: len(content) // 2]
        is_object = "?" not in self.path and self.command == "GET" and answer.status == 200
        if fault is None or len(content) < 2:
            self._answer(answer.status, kept, content)
        elif fault == "short":
            self._answer(answer.status, kept, half)
        elif fault == "damaged":
            place = self.server.draw_place(len(content))
            wrong = content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]
            self._answer(answer.status, kept, wrong if is_object else content)
        else:
            self._answer(answer.status, kept, b"", str(len(content)))
            if fault == "trickle":
                self._trickle(content)
            else:
                self.wfile.write(half)
                self.wfile.flush()
            if fault == "reset_in_body":
                self._reset()
            self.close_connection = True

    def _trickle(self, content: bytes) -> None:
        deadline = time.monotonic() + self.server.patience_s
        for byte in content:
            if time.monotonic() > deadline:
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.05)

    def _answer(
        self,
        status: int,
        headers: list[tuple[str, str]],
        content: bytes,
        length: str | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _reset(self) -> None:
        """RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def faulty_proxy(proxy: FaultyProxy) -> Iterator[FaultyProxy]:
    """Runs it."""
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
