"""The errors of the engine; each message is one line for the user.

    Exception
    └── PipelineError
        ├── UsageError               the job cannot run as asked; nothing was changed
        ├── TooManyDeadLettersError  more images failed than `max_errors` allows
        ├── StorageDeniedError       access denied: credentials, permissions, no such bucket
        ├── StorageFailedError       a listing kept failing
        ├── OutputFailedError        the output cannot be read or written
        ├── StaleEpochError          a later run has taken over the output
        └── ImageError               one file cannot be read as a picture; becomes a dead letter,
                                     or an other file

    RuntimeError
    └── ActorRestartedError          an actor is asked for state that died with its process

After any of these, what is committed stays committed.
"""

from enum import StrEnum

from pipeline.file_kinds import FileKind

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
    """Why an image failed permanently: the values of `reason` in the `dead_letters` table."""

    UNREADABLE = "unreadable"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    FETCH_FAILED = "fetch_failed"
    MODEL_FAILED = "model_failed"


class PipelineError(Exception):
    """Base of all errors that the engine raises deliberately."""


class UsageError(PipelineError):
    """The job cannot run as asked."""


class TooManyDeadLettersError(PipelineError):
    """More images failed than the user allowed."""


class StorageDeniedError(PipelineError):
    """Access to a storage is denied as a whole.

    Stops the job, because every image would become a dead letter.
    """


class StorageFailedError(PipelineError):
    """A listing failed on every attempt."""


class OutputFailedError(PipelineError):
    """The storage of the output refused, or failed on every attempt."""


class StaleEpochError(PipelineError):
    """A later run has taken over the output; this one must not commit any more."""


class ActorRestartedError(RuntimeError):
    """An actor has restarted unnoticed and lost the state that a call refers to."""


class ImageError(PipelineError):
    """One image cannot be turned into pixels.

    Attributes:
        reason: why.
        detail: one line of explanation.
        kind: what the content is instead of a picture; None if it may be a damaged one.
    """

    def __init__(self, reason: Reason, detail: str, kind: FileKind | None = None) -> None:
        super().__init__(reason, detail, kind)  # all, so that it survives pickling
        self.reason = reason
        self.detail = " ".join(detail.split())[:300]
        self.kind = kind
