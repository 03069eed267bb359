"""The one retry policy for storage: exponential backoff with full jitter and a cap.

boto3 and Delta Lake do not retry by rules of their own: boto3's retries are off, and Delta Lake's
object store gets this policy's numbers (`delta_options`).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

__all__ = ["RetryPolicy", "TransientError"]

logger = logging.getLogger(__name__)

_WARN_FROM_ATTEMPT = 5

T = TypeVar("T")


class TransientError(Exception):
    """A request failed in a way that a retry may cure: throttled, 5xx, cut off, too slow."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and for how long, to retry.

    The wait after the nth attempt is uniform between 0 and `first_wait_s * 2**(n - 1)`, at most
    `longest_wait_s`: by default 43 s of waiting on average before giving up. If 20 % of requests
    fail, 0.2^12 = 4 in 10^9 are given up.

    Attributes:
        attempts: at most, the first included.
        first_wait_s: upper bound of the wait after the first attempt.
        longest_wait_s: upper bound of every wait.
        give_up_s: no attempt starts later than this after the first one.
        silence_s: timeout of a connection that sends nothing.
        min_bytes_per_s: a body that is slower than this, `silence_s` after its start, is abandoned.
    """

    attempts: int = 12
    first_wait_s: float = 0.1
    longest_wait_s: float = 20.0
    give_up_s: float = 300.0
    silence_s: float = 20.0
    min_bytes_per_s: float = 16_384.0

    def call(self, attempt: Callable[[], T]) -> T:
        """Returns the result of the first attempt that does not raise `TransientError`.

        Raises:
            TransientError: every attempt failed; the message is the last one's.
        """
        retrying = Retrying(
            stop=stop_after_attempt(self.attempts) | stop_after_delay(self.give_up_s),
            wait=wait_random_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s),
            retry=retry_if_exception_type(TransientError),
            before_sleep=_log,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except TransientError as error:
            num_attempts = retrying.statistics["attempt_number"]
            raise TransientError(f"{error}; gave up after {num_attempts} attempts") from error

    def body_timeout_s(self, num_bytes: int) -> float:
        """Time that a body of this length may take."""
        return self.silence_s + num_bytes / self.min_bytes_per_s

    def delta_options(self) -> dict[str, str]:
        """The same policy as options of Delta Lake's object store."""
        return {
            "max_retries": str(self.attempts - 1),
            "retry_timeout": f"{round(1000 * self.give_up_s)}ms",
            "backoff_config.init_backoff": f"{round(1000 * self.first_wait_s)}ms",
            "backoff_config.max_backoff": f"{round(1000 * self.longest_wait_s)}ms",
            "backoff_config.base": "2",
        }


def _log(state: RetryCallState) -> None:
    """Short disturbances are only of interest to a developer; long ones explain why a job waits."""
    if state.outcome is not None:
        level = logging.DEBUG if state.attempt_number < _WARN_FROM_ATTEMPT else logging.WARNING
        error = state.outcome.exception()
        logger.log(level, "storage: attempt %d failed: %s", state.attempt_number, error)
