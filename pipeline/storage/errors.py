"""What file systems, S3 and Delta Lake say when they fail, as one line for a person."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError
from deltalake.exceptions import DeltaError

from pipeline.errors import OutputFailedError, PipelineError

__all__ = ["explained", "is_passing", "output_failures"]

# deltalake raises OSError for what its object store says. A conflict is its CommitFailedError.
_FOREIGN = (OSError, BotoCoreError, ClientError, DeltaError)

# Found in the text of an error, whoever raised it: what it means.
_KINDS = (
    (r"No space left|Disk quota exceeded|os error 28\b", "no space is left on the device"),
    (r"Read-only file system", "the file system is read-only"),
    (
        r"ExpiredToken|TokenRefreshRequired|RequestExpired|Token has expired|"
        r"[Cc]redentials (have|are) expired|SSOTokenLoad",
        "the credentials have expired",
    ),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|InvalidClientTokenId",
        "the credentials are not accepted",
    ),
    (
        r"NoCredentials|Unable to locate credentials|CredentialsNotLoaded|PartialCredentials|"
        r"ProfileNotFound|credentials provider",
        "there are no credentials (asked in turn: environment, ~/.aws, the machine's role)",
    ),
    (r"NoSuchBucket", "there is no such bucket"),
    (r"AccessDenied|Forbidden|Permission denied", "permission is denied"),
)
_PASSING = re.compile(
    r"SlowDown|ServiceUnavailable|InternalError|Throttl|RequestTimeout|TooManyRequests|"
    r"\((429|5\d\d)\)|\b(429|50[0234]) [A-Z]|error sending request|[Cc]onnection|[Tt]imed? ?out|"
    r"IncompleteRead|broken pipe"
)
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def _line(error: BaseException) -> str:
    return " ".join(_ESCAPES.sub("", str(error)).replace("↳", ":").split()) or repr(error)


def _kind(text: str) -> str | None:
    return next((told for pattern, told in _KINDS if re.search(pattern, text)), None)


def is_passing(error: BaseException) -> bool:
    """It may go better the next time: throttled, unreachable, an error of the server."""
    text = f"{type(error).__name__} {_line(error)}"
    return _kind(text) is None and _PASSING.search(text) is not None


def explained(error: BaseException, uri: str) -> OutputFailedError:
    """The error to raise instead.

    Args:
        error: of a file system, boto3 or deltalake.
        uri: of the place that was used.
    """
    text = f"{type(error).__name__} {_line(error)}"
    told = _kind(text) or _line(error)[:300]
    return OutputFailedError(f"out: cannot use {uri}: {told}")


@contextmanager
def output_failures(uri: str) -> Iterator[None]:
    """Turns what the storage raises inside the block into `OutputFailedError`."""
    try:
        yield
    except PipelineError:
        raise
    except _FOREIGN as error:
        raise explained(error, uri) from error
