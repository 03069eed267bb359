"""A small Hugging Face hub on loopback: repositories with commits, branches and tokens."""

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

TOKEN = "hf_of_a_test"


@dataclass
class Repository:
    """Files of each commit, the commit of each branch or tag, and who may read."""

    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    is_private: bool = False
    is_gated: bool = False

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """A new commit of a branch; returns its name."""
        content = f"{branch} {sorted(files.items())}".encode()
        name = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        self.commits[name], self.branches[branch] = files, name
        return name


@dataclass
class SmallHub:
    """A running hub.

    Attributes:
        url: for HF_ENDPOINT.
        repositories: by name.
        downloads: names of the files that were sent.
    """

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    downloads: list[str] = field(default_factory=list)

    def repository(self, name: str, is_private: bool = False, is_gated: bool = False) -> Repository:
        """A new repository."""
        return self.repositories.setdefault(
            name, Repository(is_private=is_private, is_gated=is_gated)
        )


@contextmanager
def small_hub() -> Iterator[SmallHub]:
    """Runs a hub in a thread."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if found := re.fullmatch(r"/api/models/(.+?)(?:/revision/(.+))?", self.path):
                name, revision = found[1], found[2] or "main"
                if answer := self._answer(name, revision):
                    commit, files = answer
                    siblings = [{"rfilename": file} for file in files]
                    self._send({}, json.dumps({"id": name, "sha": commit, "siblings": siblings}))
                return
            self._file(with_content=True)

        def do_HEAD(self) -> None:
            self._file(with_content=False)

        def _file(self, with_content: bool) -> None:
            found = re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", self.path)
            answer = None if found is None else self._answer(found[1], found[2])
            if found is None or answer is None:
                return
            commit, files = answer
            if found[3] not in files:
                self._refuse(404, "EntryNotFound")
                return
            content = files[found[3]]
            etag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            if with_content:
                served.downloads.append(found[3])
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
            self._send(headers, content, with_content)

        def _answer(self, name: str, revision: str) -> tuple[str, Mapping[str, bytes]] | None:
            repository = served.repositories.get(name)
            is_known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            if repository is None or (repository.is_private and not is_known):
                self._refuse(401 if repository else 404, "RepoNotFound")
            elif repository.is_gated and not is_known:
                self._refuse(403, "GatedRepo")
            else:
                commit = repository.branches.get(revision, revision)
                if commit in repository.commits:
                    return commit, repository.commits[commit]
                self._refuse(404, "RevisionNotFound")
            return None

        def _refuse(self, status: int, code: str) -> None:
            self._send({"X-Error-Code": code}, b"", status=status)

        def _send(
            self,
            headers: Mapping[str, str],
            content: bytes | str,
            with_content: bool = True,
            status: int = 200,
        ) -> None:
            body = content.encode() if isinstance(content, str) else content
            self.send_response(status)
            for key, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
                self.send_header(key, value)
            self.end_headers()
            if with_content and self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = SmallHub(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


def reimport(patch: pytest.MonkeyPatch, **variables: str) -> None:
    """Sets variables; the library reads them when it is imported, so it is imported again."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
        patch.delitem(sys.modules, name)
    for name, value in variables.items():
        patch.setenv(name, value)


@pytest.fixture(scope="session")
def running_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallHub]:
    """One for all tests, because importing the library takes seconds."""
    with small_hub() as hub, pytest.MonkeyPatch.context() as patch:
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
            patch.delenv(name, raising=False)
        home = str(tmp_path_factory.mktemp("cache"))
        reimport(patch, HF_ENDPOINT=hub.url, HF_HOME=home, HF_HUB_DISABLE_PROGRESS_BARS="1")
        yield hub


@pytest.fixture
def hub(running_hub: SmallHub) -> SmallHub:
    """Without repositories; what earlier tests downloaded is in the cache."""
    running_hub.repositories.clear()
    running_hub.downloads.clear()
    return running_hub
