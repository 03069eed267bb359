"""Patterns in names: brace ranges, globs, and filters of keys."""

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError

__all__ = ["Glob", "KeyFilter", "expand_braces", "fixed_folder", "is_glob"]

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_WILDCARDS = "*?["
_MAX_NAMES = 100_000


def expand_braces(pattern: str) -> list[str]:
    """`a-{08..10}.tar` is a-08.tar, a-09.tar, a-10.tar, as in the shell and in WebDataset.

    Raises:
        UsageError: a range is descending, or there are too many names.
    """
    num_names = 1
    for first, last in _RANGE.findall(pattern):
        if int(last) < int(first):
            raise UsageError(f"a range must not go down (got {{{first}..{last}}} in {pattern})")
        num_names *= int(last) - int(first) + 1
        if num_names > _MAX_NAMES:
            raise UsageError(f"ranges must stand for at most {_MAX_NAMES:,} names (got {pattern})")
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
    return any(mark in name for mark in _WILDCARDS)


def fixed_folder(pattern: str, is_folder: Callable[[str], bool]) -> str:
    """The folder that keys are relative to, with a slash: all before the first wildcard or range.

    A component with wildcards or ranges that names an existing folder is taken as it is.

    Args:
        pattern: an absolute path or URI.
        is_folder: whether a folder exists, by its path without a slash.
    """
    folder, *parts, _ = re.split(r"(?<=[^:/]/)|(?<=^/)", pattern)
    for part in parts:
        has_marks = is_glob(part) or _RANGE.search(part)
        if has_marks and not is_folder(folder + part.rstrip("/")):
            break
        folder += part
    return folder


def _before(text: str, marks: str) -> str:
    return re.split(f"[{re.escape(marks)}]", text, maxsplit=1)[0]


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern for paths below a folder; `*` stays inside one folder, `**` crosses them.

    Attributes:
        parts: of the pattern, between slashes.
    """

    parts: tuple[str, ...]

    @classmethod
    def of(cls, pattern: str) -> "Glob":
        """The glob of a pattern below a folder."""
        return cls(tuple(part for part in pattern.split("/") if part))

    @property
    def prefix(self) -> str:
        """Start of every matching path."""
        return _before(self.parts[0], _WILDCARDS)

    def matches(self, path: str) -> bool:
        """Whether a file, or a folder above it, matches."""
        return len(self.parts) in self._positions(path)

    def may_match_below(self, path: str) -> bool:
        """Whether files below this folder can match."""
        return bool(self._positions(path.rstrip("/")))

    def _positions(self, path: str) -> set[int]:
        """How many parts may have matched at the end of a path; paths can be a thousand deep."""
        reached = self._skipping_stars({0})
        for name in path.split("/"):
            if len(self.parts) in reached:
                break
            reached = self._skipping_stars(
                {
                    position + (part != "**")
                    for position in reached
                    for part in (self.parts[position],)
                    if part == "**" or fnmatch.fnmatchcase(name, part)
                }
            )
        return reached

    def _skipping_stars(self, reached: set[int]) -> set[int]:
        """Also the positions behind `**`, which matches no folder as well."""
        for position in sorted(reached):
            while position < len(self.parts) and self.parts[position] == "**":
                position += 1
                reached.add(position)
        return reached


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Selects images by key; in these patterns `*` crosses folders.

    Attributes:
        include: a name must match one of them, if there are any.
        exclude: no name may match any of them.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def accepts(self, *names: str) -> bool:
        """Whether the image of these names is selected."""
        if _matches_any(names, self.exclude):
            return False
        return not self.include or _matches_any(names, self.include)


def _matches_any(names: Sequence[str], patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)
