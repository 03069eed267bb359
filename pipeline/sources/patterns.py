"""Patterns in names: brace ranges, globs, and what is to be included or left out."""

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError

__all__ = ["Glob", "KeyFilter", "expand_braces", "is_glob"]

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_NAMES = 100_000


def expand_braces(pattern: str) -> list[str]:
    """`a-{08..10}.tar` is a-08.tar, a-09.tar, a-10.tar, as the shell and WebDataset have it.

    Raises:
        UsageError: a range goes down, or there are too many names.
    """
    num_names = 1
    for first, last in _RANGE.findall(pattern):
        if int(last) < int(first):
            raise UsageError(f"a range must not go down (got {{{first}..{last}}} in {pattern})")
        num_names *= int(last) - int(first) + 1
        if num_names > _MOST_NAMES:
            raise UsageError(f"ranges must stand for at most {_MOST_NAMES:,} names (got {pattern})")
    return list(_expanded(pattern))


def _expanded(pattern: str) -> Iterator[str]:
    braces = _RANGE.search(pattern)
    if braces is None:
        yield pattern
        return
    first, last = braces.groups()
    for number in range(int(first), int(last) + 1):
        middle = f"{number:0{len(first)}}"
        yield from _expanded(pattern[: braces.start()] + middle + pattern[braces.end() :])


def is_glob(name: str) -> bool:
    """Whether it has wildcards."""
    return any(mark in name for mark in "*?[")


@dataclass(frozen=True, slots=True)
class Glob:
    """A path with wildcards; `*` stays inside one folder, `**` crosses them.

    Attributes:
        folder: the part before the first wildcard, up to its last slash; keys are relative to it.
        parts: of the pattern below that folder.
    """

    folder: str
    parts: tuple[str, ...]

    @classmethod
    def of(cls, pattern: str) -> "Glob":
        """Splits a pattern that has wildcards."""
        plain = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
        folder = plain[: plain.rfind("/") + 1]
        return cls(folder, tuple(part for part in pattern[len(folder) :].split("/") if part))

    @property
    def prefix(self) -> str:
        """What every path below `folder` begins with."""
        return re.split(r"[*?\[]", self.parts[0], maxsplit=1)[0]

    def matches(self, path: str) -> bool:
        """Whether a file below `folder` belongs: it, or a folder above it, fits the pattern."""
        return _fits(tuple(path.split("/")), self.parts, may_end=False)

    def may_match_below(self, path: str) -> bool:
        """Whether there is any sense in looking into this folder."""
        return _fits(tuple(path.rstrip("/").split("/")), self.parts, may_end=True)


def _fits(path: tuple[str, ...], parts: tuple[str, ...], may_end: bool) -> bool:
    if not parts:
        return True
    if not path:
        return may_end or parts == ("**",)
    if parts[0] == "**":
        return may_end or _fits(path, parts[1:], may_end) or _fits(path[1:], parts, may_end)
    return fnmatch.fnmatchcase(path[0], parts[0]) and _fits(path[1:], parts[1:], may_end)


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys are of the archive; in these patterns `*` crosses folders.

    Attributes:
        include: at least one must match, if there are any.
        exclude: none may match.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def takes(self, key: str) -> bool:
        """Whether an image of that key is of the archive."""
        if any(fnmatch.fnmatchcase(key, pattern) for pattern in self.exclude):
            return False
        return not self.include or any(
            fnmatch.fnmatchcase(key, pattern) for pattern in self.include
        )
