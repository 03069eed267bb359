"""The process that decodes: reads files from its standard input, writes pixels into shared memory.

`IsolatedDecoder` starts it and tells what becomes of it. Nothing here survives a bad file that
crashes or hangs a decoder, and nothing has to: a timer of the kernel ends the process when one
picture takes too long, whatever its code is doing, even when the parent is gone; a limit on its
data turns what is too much memory into an error; and should the machine run out of memory all the
same, this process is the first to go.
"""

import contextlib
import json
import mmap
import os
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from pipeline.decoding.formats import available_formats
from pipeline.decoding.picture import decode
from pipeline.decoding.settings import DecodeSettings
from pipeline.errors import ImageError

__all__ = ["ANSWER", "READY", "REQUEST", "main"]

REQUEST = struct.Struct("<qq")
"""Length of the file that follows; the place of its pixels, or -1 for the next free one."""

ANSWER = struct.Struct("<iiq")
"""Width, height, and length of a JSON text that follows: [reason, detail]; 0 if it succeeded."""

READY = b"R"


def main() -> None:
    """Answers until its standard input ends.

    Arguments: the settings as JSON, the descriptor to answer to, that of the shared memory.
    """
    settings = DecodeSettings.model_validate_json(sys.argv[1])
    answers, shared = int(sys.argv[2]), int(sys.argv[3])
    available_formats()
    _restrain(settings)
    os.write(answers, READY)
    # From here on only libraries would write there, about each damaged file.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _serve(settings, sys.stdin.buffer, answers, shared)


def _restrain(settings: DecodeSettings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the job to handle
    # Pillow raises at twice its limit; this also holds for pictures inside pictures.
    Image.MAX_IMAGE_PIXELS = max(1, settings.max_pixels // 2)
    for kind, limit in (
        (resource.RLIMIT_DATA, settings.memory_limit_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        ceiling = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (ceiling, ceiling))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _serve(settings: DecodeSettings, files: BinaryIO, answers: int, shared: int) -> None:
    num_bytes = settings.crop * settings.crop * 3
    slots: np.ndarray[Any, np.dtype[np.uint8]] = np.empty((0, 0, 0, 3), np.uint8)
    slot = 0
    while len(header := files.read(REQUEST.size)) == REQUEST.size:
        length, place = REQUEST.unpack(header)
        content = files.read(length)
        if place >= 0:
            slot = place
        signal.setitimer(signal.ITIMER_REAL, settings.decode_seconds)
        try:
            decoded = decode(content, settings)
        except ImageError as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            text = json.dumps([error.reason.value, error.detail]).encode()
            _write(answers, ANSWER.pack(0, 0, len(text)) + text)
            continue
        signal.setitimer(signal.ITIMER_REAL, 0)
        if slot >= len(slots):  # the parent has made room for more
            count = os.fstat(shared).st_size // num_bytes
            memory = mmap.mmap(shared, count * num_bytes)
            shape = (count, settings.crop, settings.crop, 3)
            slots = np.frombuffer(memory, np.uint8).reshape(shape)
        slots[slot] = decoded.pixels
        slot += 1
        _write(answers, ANSWER.pack(decoded.width, decoded.height, 0))


def _write(descriptor: int, message: bytes) -> None:
    while message:
        message = message[os.write(descriptor, message) :]


if __name__ == "__main__":
    main()
