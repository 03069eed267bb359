"""Seeded damage to files: flipped bits, cuts, splices, headers that lie."""

import random
from collections.abc import Iterator

from tests.messy_archive import messy_files

__all__ = ["mutated_files"]

_LIES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\x80\0\0\0")


def mutated_files(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Files made from the sound ones of the messy archive, each with what it was made from."""
    source = random.Random(seed)
    sound = {
        key: file.content
        for key, file in sorted(messy_files().items())
        if isinstance(file.expected, tuple)
    }
    keys = list(sound)
    for number in range(count):
        key = keys[number % len(keys)]
        other = sound[source.choice(keys)]
        yield key, _mutated(sound[key], other, source)


def _mutated(content: bytes, other: bytes, source: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(source.choice((1, 1, 2, 5))):
        at = source.randrange(max(1, len(damaged)))
        match source.randrange(7):
            case 0:  # a few bits anywhere
                for _ in range(source.choice((1, 3, 20))):
                    where = source.randrange(max(1, len(damaged)))
                    damaged[where : where + 1] = bytes([source.randrange(256)])
            case 1:  # a few bits of the header
                for _ in range(source.choice((1, 2, 5))):
                    where = source.randrange(min(100, max(1, len(damaged))))
                    damaged[where : where + 1] = bytes([source.randrange(256)])
            case 2:
                del damaged[at:]
            case 3:
                del damaged[at : at + source.choice((1, 4, 50, 500))]
            case 4:
                start = source.randrange(len(other))
                damaged[at:at] = other[start : start + source.choice((4, 64, 1000))]
            case 5:  # a size, an offset or a count in the header
                where = source.randrange(min(120, max(1, len(damaged))))
                lie = source.choice(_LIES)[: source.choice((1, 2, 4))]
                damaged[where : where + len(lie)] = lie
            case _:  # one part twice
                part = damaged[at : at + source.choice((8, 100, 2000))]
                damaged[at:at] = part * source.choice((1, 3, 20))
    return bytes(damaged)
