"""The errors of the engine.

    Exception
    └── PipelineError
        ├── UsageError           what was asked for cannot be done; nothing was changed
        ├── TooManyDeadLettersError   `max_errors` was passed; what is committed stays
        ├── StorageDeniedError        the storage lets nobody in: credentials, rights, no such bucket
        ├── StorageFailedError        the storage kept failing where no single image is at fault
        ├── OutputFailedError         the output cannot be read or written; what is committed stays
        ├── StaleEpochError            another run has taken the output over; this one must stop
        └── ImageError           one image cannot be read; becomes a dead letter

    RuntimeError
    └── ActorRestartedError              an actor is asked for what died with its process

Each carries one line for the person who runs the job.
"""

from enum import StrEnum

__all__ = [
    "ActorRestartedError",
    "ImageError",
    "OutputFailedError",
    "PipelineError",
    "Reason",
    "StaleEpochError",
    "StorageDeniedError",
    "StorageFailedError",
    "TooManyDeadLettersError",
    "UsageError",
]


class Reason(StrEnum):
    """Why an image failed for good; the fixed list of the `dead_letters` table."""

    UNREADABLE = "unreadable"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    FETCH_FAILED = "fetch_failed"
    MODEL_FAILED = "model_failed"


class PipelineError(Exception):
    """Base of all errors that the engine raises on purpose."""


class UsageError(PipelineError):
    """The job cannot be run as asked."""


class TooManyDeadLettersError(PipelineError):
    """More images failed than the person allowed."""


class StorageDeniedError(PipelineError):
    """Credentials are missing, wrong or expired, or nothing may be read: no image is at fault.

    Stops the job, since going on would make a dead letter of every image.
    """


class StorageFailedError(PipelineError):
    """A listing failed again and again; what is listed so far stays done."""


class OutputFailedError(PipelineError):
    """The storage of the output refused, or kept failing."""


class StaleEpochError(PipelineError):
    """A later run has taken the output over, so nothing of this one may be committed any more."""


class ActorRestartedError(RuntimeError):
    """An actor came up again and has nothing of what it held; nobody had noticed that it died."""


class ImageError(PipelineError):
    """One image cannot be turned into pixels.

    Attributes:
        reason: entry of the fixed list.
        detail: one line, for a person.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)  # both, so that it survives pickling
        self.reason = reason
        self.detail = " ".join(detail.split())[:300]
