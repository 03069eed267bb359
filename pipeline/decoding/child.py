"""The child process of `IsolatedDecoder`: reads files from stdin, writes pixels to shared memory.

A bad file may crash or hang it. A timer of the kernel kills it when one image takes too long, even
if the parent is gone. A limit on its data segment turns excessive memory use into an error. If the
machine runs out of memory nevertheless, the kernel kills this process first.
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

__all__ = ["READY", "REQUEST", "RESPONSE", "main"]

REQUEST = struct.Struct("<qq")
"""Length of the file that follows, and the slot for its pixels; -1 for the next slot."""

RESPONSE = struct.Struct("<iiq")
"""Width, height, and length of the text that follows.

After a success that is the image's `DecodeNote`, if any; after a failure, of width 0, it is an
error as JSON [reason, detail, kind].
"""

READY = b"R"


def main() -> None:
    """Decodes until stdin ends.

    Arguments: settings as JSON, file descriptors for the responses and of the shared memory.
    """
    settings = DecodeSettings.model_validate_json(sys.argv[1])
    responses, shared = int(sys.argv[2]), int(sys.argv[3])
    available_formats()
    _limit_resources(settings)
    os.write(responses, READY)
    # From here on, only libraries would write messages, one for each damaged file.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _serve(settings, sys.stdin.buffer, responses, shared)


def _limit_resources(settings: DecodeSettings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the job handles Ctrl-C
    # Pillow raises at twice its limit. It also checks images inside images.
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


def _serve(settings: DecodeSettings, files: BinaryIO, responses: int, shared: int) -> None:
    num_bytes = settings.crop * settings.crop * 3
    slots: np.ndarray[Any, np.dtype[np.uint8]] = np.empty((0, 0, 0, 3), np.uint8)
    slot = 0
    while len(header := files.read(REQUEST.size)) == REQUEST.size:
        length, wanted_slot = REQUEST.unpack(header)
        content = files.read(length)
        if wanted_slot >= 0:
            slot = wanted_slot
        signal.setitimer(signal.ITIMER_REAL, settings.decode_seconds)
        try:
            decoded = decode(content, settings)
        except ImageError as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            text = json.dumps([error.reason, error.detail, error.kind]).encode()
            _write(responses, RESPONSE.pack(0, 0, len(text)) + text)
            continue
        signal.setitimer(signal.ITIMER_REAL, 0)
        if slot >= len(slots):  # the parent has enlarged the memory
            count = os.fstat(shared).st_size // num_bytes
            memory = mmap.mmap(shared, count * num_bytes)
            shape = (count, settings.crop, settings.crop, 3)
            slots = np.frombuffer(memory, np.uint8).reshape(shape)
        slots[slot] = decoded.pixels
        slot += 1
        note = (decoded.note or "").encode()
        _write(responses, RESPONSE.pack(decoded.width, decoded.height, len(note)) + note)


def _write(descriptor: int, message: bytes) -> None:
    while message:
        message = message[os.write(descriptor, message) :]


if __name__ == "__main__":
    main()
