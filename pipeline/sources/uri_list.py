"""Lists of URIs: a text file with one a line, or a CSV file with a column `uri`."""

import csv
import io
import os
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes, urlsplit

from pipeline.errors import ImageError, UsageError
from pipeline.records import ImageRecord
from pipeline.sources.base import Source
from pipeline.sources.keys import as_text
from pipeline.storage import Stores
from pipeline.storage.local_files import file_uri

__all__ = ["UriList", "absolute_uri"]

_MAX_LINE_LENGTH = 64 * 1024


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

    Keys: the column `key` of a CSV file, else FILE/line. A repeated key gets its file and line
    appended.

    Args:
        file: the list.
        stores: that hold it.

    Raises:
        UsageError: the list cannot be read, or a CSV file has no column `uri`.
    """

    def __init__(self, file: ImageRecord, stores: Stores) -> None:
        self._file = file
        self._stores = stores
        self._is_csv = file.key.lower().endswith(".csv")
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
                io.TextIOWrapper(
                    raw,
                    encoding="utf-8-sig",
                    errors="surrogateescape",
                    newline="" if self._is_csv else None,
                ) as text,
            ):
                yield from self._csv_rows(text) if self._is_csv else _lines(text)
        except ImageError as error:
            raise UsageError(f"input: cannot read {uri}: {error.detail}") from error
        except csv.Error as error:
            raise UsageError(f"input: {uri} is no CSV file: {error}") from error

    def _csv_rows(self, text: io.TextIOWrapper) -> Iterator[tuple[int, str, str | None]]:
        rows = csv.DictReader(text)
        columns = rows.fieldnames or ()
        if "uri" not in columns:
            raise UsageError(
                f"input: {self._file.uri} must have a column uri, and may have one called key "
                f"(got {', '.join(columns)})"
            )
        for row in rows:
            if row["uri"]:
                yield rows.line_num, row["uri"], row.get("key")


def _lines(text: io.TextIOWrapper) -> Iterator[tuple[int, str, str | None]]:
    number = 0
    while line := text.readline(_MAX_LINE_LENGTH):
        number += 1
        if line.strip():
            yield number, line.strip(), None
