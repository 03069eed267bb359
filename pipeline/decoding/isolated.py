"""Decodes in a child process, so that a file that crashes or hangs the decoder costs one image.

Files go to the child through a pipe that holds several, so that the next ones are fetched while one
is decoded. Pixels come back in shared memory. The child responds in order: when it ends, it was
decoding the first file without a response. If that file ran out of time, it fails. If the child
crashed, an earlier file may have corrupted its memory, so the file is retried alone as the first of
a new child. The files behind it follow after its response.
"""

import contextlib
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.decoding.child import READY, REQUEST, RESPONSE
from pipeline.decoding.settings import DecodeNote, DecodeSettings
from pipeline.errors import ImageError, PipelineError, Reason
from pipeline.file_kinds import FileKind

__all__ = ["IsolatedDecoder"]


class DecodedSize(NamedTuple):
    """Width and height of the upright picture, and what was unusual about it."""

    width: int
    height: int
    note: DecodeNote | None = None


Outcome = DecodedSize | ImageError
"""Of a file: its picture's size, or why it cannot be decoded."""

_PIPE_BYTES = 2**20
_START_S = 120.0
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "MALLOC_ARENA_MAX")
_GRACE_S = 20.0  # before a child is killed whose own timer does not work, such as a stopped one


class IsolatedDecoder:
    """Decodes in a child process, which is restarted whenever a file ends it; not thread-safe.

    Args:
        settings: size of the pixels, and limits.
        module: run as the child.
    """

    def __init__(self, settings: DecodeSettings, module: str = "pipeline.decoding.child") -> None:
        self._settings = settings
        self._module = module
        self._child: _Child | None = None
        self._slot_bytes = settings.crop * settings.crop * 3
        self._shared = os.memfd_create("dvt-pixels")
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._outcomes: dict[int, Outcome] = {}
        self._num_decoded = 0
        self._suspect: int | None = None

    def decode_all(
        self, contents: Iterable[bytes | ImageError], count: int
    ) -> tuple[NDArray[np.uint8], list[Outcome]]:
        """Decodes one block.

        Args:
            contents: of the files, taken while earlier ones are decoded; an error in place of a
                file is passed on.
            count: number of contents.

        Returns:
            Pixels [m, crop, crop, 3] of the m decoded pictures in order, valid until the next call,
            and the outcome of each file.

        Raises:
            PipelineError: the child does not start.
        """
        needed = max(1, count) * self._slot_bytes
        if os.fstat(self._shared).st_size < needed:
            os.ftruncate(self._shared, needed)
        self._outcomes, self._num_decoded = {}, 0
        self._waiting.clear()
        try:
            self._decode_all(contents)
        except BaseException:
            self.close()  # its pending responses do not belong to the next block
            raise
        memory = mmap.mmap(self._shared, needed, prot=mmap.PROT_READ)
        side = self._settings.crop
        pixels = np.frombuffer(memory, np.uint8, self._num_decoded * self._slot_bytes)
        return pixels.reshape(-1, side, side, 3), [self._outcomes[i] for i in range(count)]

    def _decode_all(self, contents: Iterable[bytes | ImageError]) -> None:
        slot = 0
        for index, content in enumerate(contents):
            if isinstance(content, ImageError):
                self._outcomes[index] = content
                continue
            self._waiting.append((index, content))
            if self._child is None:
                self._restart()
            else:
                self._child.send(content, slot)
            slot = -1
            # A suspect is retried alone, so nothing is sent before its response.
            while self._waiting and (self._running.has_unsent or self._suspect is not None):
                self._step()
        while self._waiting:
            self._step()

    @property
    def _running(self) -> "_Child":
        assert self._child is not None, "a file was sent, so there is a child"
        return self._child

    @property
    def resident_bytes(self) -> int:
        """Resident memory of the child, including the shared pixels; 0 without a child."""
        return 0 if self._child is None else self._child.resident_bytes

    def close(self) -> None:
        """Kills the child; the next block starts another."""
        if self._child is not None:
            self._child.end(kill=True)
        self._child = None

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            self.close()
            os.close(self._shared)

    def _step(self) -> None:
        """Waits until a pipe is ready, takes responses, and handles the end of the child."""
        is_running = self._running.exchange(self._settings.decode_seconds + _GRACE_S)
        for outcome in self._running.responses():
            index, _ = self._waiting.popleft()
            self._outcomes[index] = outcome
            self._num_decoded += not isinstance(outcome, ImageError)
            if index == self._suspect:  # retried alone; now the files behind it
                self._suspect = None
                self._send_waiting()
        if not is_running:
            self._fail_or_retry(self._running.end())

    def _fail_or_retry(self, exit_code: int) -> None:
        """Decides about the file that ended the child."""
        self._child = None
        if not self._waiting:
            return
        index, _ = self._waiting[0]
        if exit_code == -signal.SIGALRM:
            detail = f"decoding it took longer than {self._settings.decode_seconds:g} s"
        elif self._suspect != index:
            self._suspect = index
            self._restart()
            return
        else:
            detail = f"it crashed its decoder twice ({_cause(exit_code)})"
        self._waiting.popleft()
        self._outcomes[index] = ImageError(Reason.UNREADABLE, detail)
        self._suspect = None
        if self._waiting:
            self._restart()

    def _restart(self) -> None:
        """Starts a new child."""
        self._child = _Child(self._settings, self._module, self._shared)
        self._send_waiting()

    def _send_waiting(self) -> None:
        """Sends the suspect alone, or else all waiting files."""
        for number, (_, content) in enumerate(self._waiting):
            self._running.send(content, -1 if number else self._num_decoded)
            if self._suspect is not None:
                break


def _cause(exit_code: int) -> str:
    if exit_code < 0:
        return signal.strsignal(-exit_code) or f"signal {-exit_code}"
    return f"exit code {exit_code}"


def _environment() -> dict[str, str]:
    """What the child needs of the environment; a hostile file finds no credentials there."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class _Child:
    """One process and its two pipes."""

    def __init__(self, settings: DecodeSettings, module: str, shared: int) -> None:
        self._responses, write_end = os.pipe()
        self._unsent: deque[memoryview] = deque()
        self._received = bytearray()
        self._is_stuck = False
        # -P: no module may come from the current folder.
        command = [sys.executable, "-P", "-m", module, settings.model_dump_json()]
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                [*command, str(write_end), str(shared)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(write_end, shared),
                env=_environment(),
            )
            os.close(write_end)
            assert self._process.stdin is not None
            self._files = self._process.stdin.fileno()
            ready, _, _ = select.select([self._responses], [], [], _START_S)
            if not ready or os.read(self._responses, 1) != READY:
                self.end(kill=True)
                errors.seek(0)
                lines = errors.read().decode("utf-8", "replace").strip().splitlines()
                raise PipelineError(
                    f"the decode process failed to start: {lines[-1] if lines else 'no message'}"
                )
        with contextlib.suppress(OSError):  # beyond the limit of the system
            fcntl(self._files, F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self._files, False)

    @property
    def has_unsent(self) -> bool:
        """Whether the pipe is full."""
        return bool(self._unsent)

    @property
    def resident_bytes(self) -> int:
        """Resident memory of the process."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def send(self, content: bytes, slot: int) -> None:
        """Queues one file, which `exchange` writes."""
        self._unsent.append(memoryview(REQUEST.pack(len(content), slot)))
        if content:
            self._unsent.append(memoryview(content))

    def exchange(self, timeout_s: float) -> bool:
        """Waits until a pipe is ready, and reads or writes; false if the child ended or hangs."""
        readable, writable, _ = select.select(
            [self._responses], [self._files] if self._unsent else [], [], timeout_s
        )
        self._is_stuck = not readable and not writable
        if readable:
            received = os.read(self._responses, 2**16)
            if not received:
                return False
            self._received += received
        if writable:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                written = os.write(self._files, self._unsent[0])
                self._unsent[0] = self._unsent[0][written:]
                if not self._unsent[0]:
                    self._unsent.popleft()
        return not self._is_stuck

    def responses(self) -> Iterable[Outcome]:
        """The responses that are complete."""
        while len(self._received) >= RESPONSE.size:
            width, height, length = RESPONSE.unpack_from(self._received)
            end = RESPONSE.size + length
            if len(self._received) < end:
                return
            text = self._received[RESPONSE.size : end].decode()
            del self._received[:end]
            if width:
                yield DecodedSize(width, height, DecodeNote(text) if text else None)
            else:
                reason, detail, kind = json.loads(text)
                yield ImageError(Reason(reason), detail, FileKind(kind) if kind else None)

    def end(self, *, kill: bool = False) -> int:
        """Waits for its end and returns the exit code; that of its timer if it was stuck."""
        if kill or self._is_stuck:
            self._process.kill()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        os.close(self._responses)
        exit_code = self._process.wait()
        return -signal.SIGALRM if self._is_stuck else exit_code
