"""Commits to S3 through a proxy that fails as real stores do."""

import http.client
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from pipeline.errors import OutputFailedError
from pipeline.output.layout import Output
from pipeline.storage import OutputStore, RetryPolicy, S3Options, S3OutputStore
from pipeline.storage.s3_connection import S3Connection
from tests.pipeline.output.fake_run import work
from tests.pipeline.output.test_processes import NUM_IMAGES, check_is_whole
from tests.s3_server import BUCKET, S3Server

EXPIRED = (
    b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code>"
    b"<Message>The provided token has expired.</Message></Error>"
)
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>slower</Message></Error>"

# None forwards a request. Otherwise: the status (0 to hang up), the body, and whether the store has
# carried the request out all the same.
Fault = tuple[int, bytes, bool] | None


@contextmanager
def proxy(endpoint: str, fault: Callable[[str, str], Fault]) -> Iterator[str]:
    """A proxy in front of a server; `fault` decides by method and path."""
    address = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            found = fault(self.command, self.path)
            if found is None or found[2]:
                upstream = http.client.HTTPConnection(address, timeout=30)
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                content, status, headers = answer.read(), answer.status, answer.getheaders()
                upstream.close()
            if found is not None:
                status, content, headers = found[0], found[1], []
            if status == 0:
                self.close_connection = True
                return
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            if self.command == "HEAD":
                lengths = [value for name, value in headers if name.lower() == "content-length"]
                self.send_header("Content-Length", lengths[0] if lengths else "0")
                content = b""
            else:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def through(s3: S3Server, fault: Callable[[str, str], Fault]) -> Iterator[None]:
    with proxy(s3.endpoint, fault) as endpoint, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        yield


def test_throttling_lost_responses_and_hang_ups_leave_the_same_tables(s3: S3Server) -> None:
    chance = random.Random(5)
    faults: list[Fault] = [
        (503, SLOW_DOWN, False),
        (500, b"", False),
        (500, b"", True),
        (0, b"", True),
        (0, b"", False),
    ]
    num_faults = 0

    def fault(method: str, path: str) -> Fault:
        nonlocal num_faults
        if chance.random() > 0.08:
            return None
        num_faults += 1
        return chance.choice(faults)

    location = f"s3://{BUCKET}/faulty/out"
    with through(s3, fault):
        work(location, NUM_IMAGES, pause_s=0.0)
    assert num_faults > 5
    check_is_whole(location)


def test_expired_credentials_stop_the_run_in_one_line_and_the_next_continues(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_puts = 0

    def fault(method: str, path: str) -> Fault:
        nonlocal num_puts
        num_puts += method == "PUT" and path.endswith(".parquet")
        return (400, EXPIRED, False) if num_puts > 3 else None

    location = f"s3://{BUCKET}/expired/out"
    with through(s3, fault), pytest.raises(OutputFailedError) as stopped:
        work(location, NUM_IMAGES, pause_s=0.0)
    assert "the credentials have expired" in str(stopped.value)
    assert "\n" not in str(stopped.value)
    time.sleep(2.1)  # it could not release its lease
    monkeypatch.setattr("pipeline.output.lease._LEASE_S", 1.0)
    work(location, NUM_IMAGES, pause_s=0.0)
    check_is_whole(location)


def test_a_store_that_stays_down_stops_the_run_and_loses_nothing(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.02)

    def impatient_store(location: str) -> OutputStore:
        return S3OutputStore(location, S3Connection(S3Options(retry_policy=policy)))

    num_commits = 0

    def fault(method: str, path: str) -> Fault:
        nonlocal num_commits
        is_commit = method == "PUT" and "_delta_log" in path
        num_commits += is_commit
        return (503, SLOW_DOWN, False) if is_commit and num_commits > 12 else None

    location = f"s3://{BUCKET}/down/out"
    with through(s3, fault), monkeypatch.context() as patch:
        patch.setattr("pipeline.output.layout.open_output_store", impatient_store)
        with pytest.raises(OutputFailedError, match=r"503.*gave up after 3 attempts"):
            work(location, NUM_IMAGES, pause_s=0.0)
    assert num_commits == 12 + 3 * 3, "the policy's attempts at the object store's requests"
    work(location, NUM_IMAGES, pause_s=0.0)
    check_is_whole(location)


def test_an_object_that_cannot_be_deleted_ends_the_run_in_one_line(s3: S3Server) -> None:
    """As without s3:DeleteObject; the store reports it inside a response of status 200."""
    denied = (
        b"<DeleteResult><Error><Key>%s</Key><Code>AccessDenied</Code>"
        b"<Message>Access Denied</Message></Error></DeleteResult>"
    )

    def fault(method: str, path: str) -> Fault:
        return (200, denied % b"x", False) if method == "POST" and "delete" in path else None

    location = f"s3://{BUCKET}/undeletable/out"
    work(location, NUM_IMAGES, pause_s=0.0)
    with (
        through(s3, fault),
        pytest.raises(OutputFailedError, match=r"access denied \(AccessDenied\); cannot delete .*"),
    ):
        Output(location).mark_incomplete()
