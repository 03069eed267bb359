"""Ray's errors, made as Ray makes them."""

import pytest
from ray import exceptions

from pipeline.errors import ActorRestartedError, PipelineError, StorageDeniedError
from pipeline.runtime.ray_errors import Loss, first_line, loss_of


def raised_by_a_call(cause: Exception) -> Exception:
    error = exceptions.RayTaskError("CascadeActor.run", "Traceback\n  line\nWhat: said", cause)
    as_cause: Exception = error.as_instanceof_cause()
    return as_cause


LOST = exceptions.ObjectLostError("00" * 28, None, "")


@pytest.mark.parametrize(
    ("error", "loss"),
    [
        (LOST, Loss.INPUT),
        (raised_by_a_call(LOST), Loss.INPUT),
        (exceptions.OwnerDiedError("00" * 28, None, ""), Loss.INPUT),
        (exceptions.ActorDiedError(), Loss.ACTOR),
        (exceptions.ActorUnavailableError("restarting", None), Loss.RESTARTING),
        (raised_by_a_call(exceptions.ObjectStoreFullError("full")), Loss.STATE),
        (raised_by_a_call(exceptions.OutOfDiskError("full")), Loss.STATE),
        (raised_by_a_call(ValueError("what a bug does")), Loss.RAISED),
        (raised_by_a_call(ActorRestartedError("it died unnoticed")), Loss.ACTOR),
        (raised_by_a_call(PipelineError("the child does not start")), Loss.RAISED),
        (exceptions.RaySystemError(RuntimeError("x")), Loss.RAISED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_every_error_says_what_is_lost(error: Exception, loss: Loss) -> None:
    assert loss_of(error) is loss


def test_what_must_stop_the_run_passes_through_a_call() -> None:
    with pytest.raises(StorageDeniedError, match="credentials are refused"):
        loss_of(raised_by_a_call(StorageDeniedError("credentials are refused")))


def test_the_log_gets_one_line() -> None:
    assert first_line(raised_by_a_call(ValueError("short"))) == "What: said"
    assert "\n" not in first_line(exceptions.ActorDiedError())
