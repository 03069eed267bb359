"""Lists of URIs: a text file with one a line, or a table with a column `uri`, `url` or `path`.

UTF-8, or UTF-16 with a byte order mark as Windows writes it. In a text file, lines that start with
`#` are comments, and paths may be quoted. Columns of a table are separated by commas, semicolons or
tabs; their names may have any case.
"""

import codecs
import csv
import io
import os
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import unquote_to_bytes, urlsplit

from pipeline.errors import ImageError, UsageError
from pipeline.records import ImageRecord
from pipeline.sources.base import Source
from pipeline.sources.keys import as_text
from pipeline.storage import Stores
from pipeline.storage.local_files import file_uri

__all__ = ["UriList", "absolute_uri"]

_MAX_LINE_LENGTH = 64 * 1024
_TABLES = (".csv", ".tsv")
_URI_COLUMNS = ("uri", "url", "path")


def absolute_uri(text: str, listed_in: str) -> str:
    """The URI of a file that is named in another file.

    Args:
        text: a URI, an absolute path, or a path relative to the folder of the list.
        listed_in: URI of the list.
    """
    if "://" in text:
        return _utf8(text)
    if text.startswith("/"):
        return file_uri(os.fsencode(text))
    folder = listed_in.rpartition("/")[0]
    if listed_in.startswith("file://"):
        path = os.path.normpath(unquote_to_bytes(urlsplit(folder).path) + b"/" + os.fsencode(text))
        return file_uri(path)
    return _utf8(f"{folder}/{text}")


def _utf8(text: str) -> str:
    """Escapes bytes that are no UTF-8."""
    return as_text(text.encode("utf-8", "surrogateescape"))


class UriList(Source):
    """The images of one list; blank lines are skipped.

    Keys: the column `key` of a table, else FILE/line. A repeated key gets its file and line
    appended.

    Args:
        file: the list.
        stores: that hold it.

    Raises:
        UsageError: the list cannot be read, or a table has no column of URIs.
    """

    def __init__(self, file: ImageRecord, stores: Stores) -> None:
        self._file = file
        self._stores = stores
        self._is_table = file.key.lower().endswith(_TABLES)
        next(self._rows(), None)

    def list_images(self) -> Iterator[ImageRecord]:
        """See `Source.list_images`; in the order of the list."""
        for line, uri, given in self._rows():
            key = f"{self._file.key}/{line}"
            others: tuple[str, ...] = ()
            if given:
                key, others = _utf8(given), (f"{_utf8(given)}~{key}",)
            yield ImageRecord(key, absolute_uri(uri, self._file.uri), 0, other_keys=others)

    def _rows(self) -> Iterator[tuple[int, str, str | None]]:
        """Line number, URI and key."""
        uri = self._file.uri
        try:
            with (
                self._stores.of(uri).open(uri, self._file.etag) as raw,
                _decoded(raw, newline="" if self._is_table else None) as text,
            ):
                yield from self._table_rows(text) if self._is_table else _lines(text)
        except ImageError as error:
            raise UsageError(f"input: cannot read {uri}: {error.detail}") from error
        except csv.Error as error:
            raise UsageError(f"input: {uri} is no table: {error}") from error

    def _table_rows(self, text: io.TextIOWrapper) -> Iterator[tuple[int, str, str | None]]:
        header = text.readline(_MAX_LINE_LENGTH)
        delimiter = max(",;\t", key=header.count)
        columns = [
            name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), ())
        ]
        column = next((name for name in _URI_COLUMNS if name in columns), None)
        if column is None:
            raise UsageError(
                f"input: {self._file.uri} must have a column {', '.join(_URI_COLUMNS)}, and may "
                f"have one called key (got {', '.join(columns)[:200]})"
            )
        rows = csv.DictReader(text, columns, delimiter=delimiter)
        for row in rows:
            if row[column]:
                yield 1 + rows.line_num, row[column], row.get("key")


def _decoded(raw: BinaryIO, newline: str | None) -> io.TextIOWrapper:
    """The text of a list; bytes that are no UTF-8 become surrogates, as in file names."""
    start = raw.read(2)
    raw.seek(0)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return io.TextIOWrapper(raw, "utf-16", errors="replace", newline=newline)
    return io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline=newline)


def _lines(text: io.TextIOWrapper) -> Iterator[tuple[int, str, str | None]]:
    number = 0
    while line := text.readline(_MAX_LINE_LENGTH):
        number += 1
        line = line.strip()
        if len(line) > 1 and line[0] == line[-1] and line[0] in "\"'":
            line = line[1:-1]
        elif line.startswith("#"):
            continue
        if line:
            yield number, line, None
