"""Decoding in a child process, so that a file that crashes or hangs its decoder costs one image.

Files go to the child through a pipe that holds some of them, so that the next are fetched while one
is decoded; pixels come back in shared memory. The child answers in order: when it ends, the first
file without an answer is the one that it was decoding. If its time was up, that is the end of this
image. If it crashed, an earlier file may have damaged its memory, so the image is tried once more,
as the first of a new child. All others wait, and go to the new child after.
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

import numpy as np
from numpy.typing import NDArray

from pipeline.decoding.child import ANSWER, READY, REQUEST
from pipeline.decoding.settings import DecodeSettings
from pipeline.errors import ImageError, PipelineError, Reason

__all__ = ["IsolatedDecoder"]

Outcome = tuple[int, int] | ImageError
"""Width and height of the upright picture, or why there is none."""

_PIPE_BYTES = 2**20
_START_S = 120.0
_GRACE_S = 20.0  # for a child that its own timer cannot end, such as one that was stopped


class IsolatedDecoder:
    """Decodes in a process of its own, which is started anew whenever a file ends it.

    Args:
        settings: what the model wants, and the limits.
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
            contents: of the files, taken one after the other while earlier ones are decoded; an
                error in place of a file is passed on.
            count: how many these are.

        Returns:
            Pixels [m, crop, crop, 3] of the pictures that could be decoded, in their order, valid
            until the next call; and what became of each.

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
            self.close()  # what is under way must not be taken for an answer of the next block
            raise
        memory = mmap.mmap(self._shared, needed, prot=mmap.PROT_READ)
        side = self._settings.crop
        pixels = np.frombuffer(memory, np.uint8, self._num_decoded * self._slot_bytes)
        outcomes = [outcome for _, outcome in sorted(self._outcomes.items(), key=lambda o: o[0])]
        return pixels.reshape(-1, side, side, 3), outcomes

    def _decode_all(self, contents: Iterable[bytes | ImageError]) -> None:
        place = 0
        for index, content in enumerate(contents):
            if isinstance(content, ImageError):
                self._outcomes[index] = content
                continue
            self._waiting.append((index, content))
            if self._child is None:
                self._restart()
            else:
                self._child.send(content, place)
            place = -1
            # A suspect is tried alone, so nothing else is sent before it has its answer.
            while self._waiting and (self._started.num_unsent or self._suspect is not None):
                self._step()
        while self._waiting:
            self._step()

    @property
    def _started(self) -> "_Child":
        assert self._child is not None, "a file was sent, so there is a child"
        return self._child

    @property
    def resident_bytes(self) -> int:
        """Memory of the child, the shared pixels included; 0 without one."""
        return 0 if self._child is None else self._child.resident_bytes

    def close(self) -> None:
        """Ends the child; the next block starts another."""
        if self._child is not None:
            self._child.end(at_once=True)
        self._child = None

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            self.close()
            os.close(self._shared)

    def _step(self) -> None:
        """Waits for the pipes to move, takes answers, and sees to a child that has ended."""
        ended = not self._started.exchange(self._settings.decode_seconds + _GRACE_S)
        for answer in self._started.answers():
            index, _ = self._waiting.popleft()
            self._outcomes[index] = answer
            self._num_decoded += not isinstance(answer, ImageError)
            if index == self._suspect:  # it was alone; now the others
                self._suspect = None
                for number, (_, content) in enumerate(self._waiting):
                    self._started.send(content, -1 if number else self._num_decoded)
        if ended:
            self._bury_or_retry(self._started.end())

    def _bury_or_retry(self, exit_code: int) -> None:
        self._child = None
        if not self._waiting:
            return
        index, _ = self._waiting[0]
        limit = f"{self._settings.decode_seconds:g} s"
        if exit_code == -signal.SIGALRM:
            error = f"decoding it took longer than {limit}"
        elif self._suspect != index:
            self._suspect = index
            self._restart()
            return
        else:
            error = f"it crashed its decoder twice ({_cause(exit_code)})"
        self._waiting.popleft()
        self._outcomes[index] = ImageError(Reason.UNREADABLE, error)
        self._suspect = None
        if self._waiting:
            self._restart()

    def _restart(self) -> None:
        """A new child with all that waits, or with the suspect alone."""
        self._child = _Child(self._settings, self._module, self._shared)
        for number, (index, content) in enumerate(self._waiting):
            if number and self._suspect is not None:
                break
            assert self._suspect in (None, index)
            self._child.send(content, -1 if number else self._num_decoded)


def _cause(exit_code: int) -> str:
    if exit_code < 0:
        return signal.strsignal(-exit_code) or f"signal {-exit_code}"
    return f"exit code {exit_code}"


class _Child:
    """One process and its two pipes."""

    def __init__(self, settings: DecodeSettings, module: str, shared: int) -> None:
        self._answers, write_end = os.pipe()
        self._unsent: deque[memoryview] = deque()
        self._received = bytearray()
        self._is_stuck = False
        # -P: the folder that the job happens to run in is no place for modules.
        command = [sys.executable, "-P", "-m", module, settings.model_dump_json()]
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                [*command, str(write_end), str(shared)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(write_end, shared),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            os.close(write_end)
            assert self._process.stdin is not None
            self._files = self._process.stdin.fileno()
            ready, _, _ = select.select([self._answers], [], [], _START_S)
            if not ready or os.read(self._answers, 1) != READY:
                self.end(at_once=True)
                errors.seek(0)
                lines = errors.read().decode("utf-8", "replace").strip().splitlines()
                raise PipelineError(
                    f"the decode process does not start: {lines[-1] if lines else 'no message'}"
                )
        with contextlib.suppress(OSError):  # the system may allow no more than it gave
            fcntl(self._files, F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self._files, False)

    @property
    def num_unsent(self) -> int:
        """Pieces that the pipe had no room for yet."""
        return len(self._unsent)

    @property
    def resident_bytes(self) -> int:
        """What the process holds in memory."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def send(self, content: bytes, place: int) -> None:
        """Queues one file; `exchange` writes it."""
        self._unsent.append(memoryview(REQUEST.pack(len(content), place)))
        if content:
            self._unsent.append(memoryview(content))

    def exchange(self, patience_s: float) -> bool:
        """Waits until a pipe moves, and moves it; false if the child has ended, or must."""
        readable, writable, _ = select.select(
            [self._answers], [self._files] if self._unsent else [], [], patience_s
        )
        self._is_stuck = not readable and not writable
        if readable:
            received = os.read(self._answers, 2**16)
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

    def answers(self) -> Iterable[Outcome]:
        """Those that have arrived in full."""
        while len(self._received) >= ANSWER.size:
            width, height, length = ANSWER.unpack_from(self._received)
            end = ANSWER.size + length
            if len(self._received) < end:
                return
            text = bytes(self._received[ANSWER.size : end])
            del self._received[:end]
            if text:
                reason, detail = json.loads(text)
                yield ImageError(Reason(reason), detail)
            else:
                yield width, height

    def end(self, *, at_once: bool = False) -> int:
        """Ends it if it has not ended, and tells its exit code, SIGALRM's if it was stuck."""
        if at_once or self._is_stuck:
            self._process.kill()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        os.close(self._answers)
        exit_code = self._process.wait()
        return -signal.SIGALRM if self._is_stuck else exit_code
