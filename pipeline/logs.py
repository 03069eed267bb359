"""Log lines: one a record, with every character shown that would change how a terminal shows it."""

import logging
import sys
import unicodedata

__all__ = ["VisibleFormatter", "configure_logging", "configure_worker_logging", "visible"]

# Joiners that scripts and emoji need; they neither reorder nor hide text.
_HARMLESS_FORMAT_CHARACTERS = "\u200c\u200d"


def visible(text: str) -> str:
    """Spells out control, line-breaking and direction-changing characters by code point."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\u{{{ord(character):04x}}}"
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        and character not in _HARMLESS_FORMAT_CHARACTERS
        else character
        for character in text
    )


class VisibleFormatter(logging.Formatter):
    """Formats messages with `visible`: a file's name may hold terminal escapes or line breaks."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it the stack trace if there is one."""
        shown = logging.makeLogRecord(record.__dict__)
        shown.msg, shown.args = visible(record.getMessage()), None
        return super().format(shown)


def configure_logging(level: int = logging.INFO) -> None:
    """Sends the log of this process to standard error; replaces earlier handlers."""
    logging.basicConfig(level=level, handlers=[_handler()], force=True)
    # It logs where it found credentials, at every start.
    logging.getLogger("botocore").setLevel(logging.WARNING)


def configure_worker_logging() -> None:
    """The same for warnings of an actor; Ray copies its standard error to the driver's."""
    logging.basicConfig(level=logging.WARNING, handlers=[_handler()])


def _handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    return handler
