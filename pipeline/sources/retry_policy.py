"""The one policy for storage that fails for a moment: capped exponential backoff, full jitter."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

__all__ = ["RetryPolicy", "TransientError"]

logger = logging.getLogger(__name__)

_TOLD_FROM = 5

T = TypeVar("T")


class TransientError(Exception):
    """The storage failed in a way that may pass: throttled, 5xx, cut off, too slow."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to go on with storage that fails.

    The nth wait is drawn from 0 to `first_wait_s * 2**n`, at most `longest_wait_s`: with these
    numbers 43 s in the mean until it is given up, and one of 20 % failing requests is given up in
    0.2^12, about 4 in 10^9.

    Attributes:
        attempts: in all.
        first_wait_s: longest wait before the second attempt.
        longest_wait_s: cap.
        silence_s: connections that say nothing for so long are given up.
        min_bytes_per_s: bodies that are slower, `silence_s` after they began, are given up.
    """

    attempts: int = 12
    first_wait_s: float = 0.1
    longest_wait_s: float = 20.0
    silence_s: float = 20.0
    min_bytes_per_s: float = 16_384.0

    def call(self, attempt: Callable[[], T]) -> T:
        """The result of the first attempt that does not raise `TransientError`.

        Raises:
            TransientError: that of the last attempt.
        """
        retrying = Retrying(
            stop=stop_after_attempt(self.attempts),
            wait=wait_random_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s),
            retry=retry_if_exception_type(TransientError),
            before_sleep=_say,
            reraise=True,
        )
        return retrying(attempt)

    def allowed_s(self, num_bytes: int) -> float:
        """Time that a body of this length may take."""
        return self.silence_s + num_bytes / self.min_bytes_per_s


def _say(state: RetryCallState) -> None:
    """Nobody needs to know of what passes; a person who waits wants to know for what."""
    if state.outcome is not None:
        level = logging.DEBUG if state.attempt_number < _TOLD_FROM else logging.WARNING
        error = state.outcome.exception()
        logger.log(level, "storage: attempt %d failed: %s", state.attempt_number, error)
