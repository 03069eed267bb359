"""The retry policy: attempts, waits, and the same numbers for Delta Lake."""

import time

import pytest

from pipeline.storage.retry_policy import RetryPolicy, TransientError


class Flaky:
    """Fails some times, then returns the number of calls."""

    def __init__(self, num_failures: int) -> None:
        self.num_failures = num_failures
        self.num_calls = 0

    def __call__(self) -> int:
        self.num_calls += 1
        if self.num_calls <= self.num_failures:
            raise TransientError(f"failure {self.num_calls}")
        return self.num_calls


QUICK = RetryPolicy(attempts=4, first_wait_s=0.001, longest_wait_s=0.002)


def test_the_first_success_is_the_result() -> None:
    assert QUICK.call(Flaky(3)) == 4


def test_the_last_failure_says_how_often_was_tried() -> None:
    flaky = Flaky(9)
    with pytest.raises(TransientError, match=r"^failure 4; gave up after 4 attempts$"):
        QUICK.call(flaky)
    assert flaky.num_calls == 4


def test_time_limits_the_attempts_too() -> None:
    policy = RetryPolicy(attempts=1000, first_wait_s=0.01, longest_wait_s=0.01, give_up_s=0.1)
    started = time.monotonic()
    with pytest.raises(TransientError):
        policy.call(Flaky(1000))
    assert time.monotonic() - started < 10


def test_other_errors_are_not_retried() -> None:
    calls = []

    def broken() -> None:
        calls.append(1)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        QUICK.call(broken)
    assert len(calls) == 1


def test_delta_lake_gets_the_same_numbers() -> None:
    """In its units: retries after the first attempt, and durations as text."""
    assert RetryPolicy().delta_options() == {
        "max_retries": "11",
        "retry_timeout": "300000ms",
        "backoff_config.init_backoff": "100ms",
        "backoff_config.max_backoff": "20000ms",
        "backoff_config.base": "2",
    }
