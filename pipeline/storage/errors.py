"""Maps the errors of boto3, Delta Lake and the file system to the engine's.

boto3's errors have types and codes. Delta Lake's are text, in which the same codes are searched.
No message holds a secret.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException

import botocore.exceptions as boto
from botocore.parsers import ResponseParserError
from deltalake.exceptions import DeltaError
from urllib3.exceptions import HTTPError

from pipeline.errors import (
    ImageError,
    OutputFailedError,
    PipelineError,
    Reason,
    StorageDeniedError,
    StorageFailedError,
    UsageError,
)
from pipeline.storage.retry_policy import TransientError

__all__ = [
    "FOREIGN_ERRORS",
    "ObjectDeniedError",
    "ObjectExistsError",
    "ObjectGoneError",
    "output_failures",
    "storage_error",
]

# Delta Lake raises OSError for failures of its object store.
FOREIGN_ERRORS = (
    boto.BotoCoreError,
    boto.ClientError,
    DeltaError,
    HTTPError,
    HTTPException,
    OSError,
)

_CREDENTIAL_ERRORS = (
    *(boto.CredentialRetrievalError, boto.NoCredentialsError, boto.PartialCredentialsError),
    *(boto.ProfileNotFound, boto.SSOError, boto.TokenRetrievalError),
)
_TRANSIENT_ERRORS = (
    *(boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError, ResponseParserError),
    *(HTTPError, HTTPException, ConnectionError, TimeoutError),
)
# S3 error codes that concern the caller or the bucket rather than one object.
_DENIED = {
    "AccountProblem": "the account has a problem",
    "AllAccessDisabled": "all access is disabled",
    "AuthorizationHeaderMalformed": "the request's signature is not accepted; check the region",
    "ExpiredToken": "the credentials have expired",
    "ExpiredTokenException": "the credentials have expired",
    "InvalidAccessKeyId": "the access key is unknown",
    "InvalidBucketName": "not a valid bucket name",
    "InvalidClientTokenId": "the access key is unknown",
    "InvalidSecurity": "the credentials are not valid",
    "InvalidToken": "the session token is not valid",
    "NoSuchBucket": "no such bucket",
    "NotSignedUp": "the account is not signed up for S3",
    "RequestExpired": "the request has expired; check this machine's clock",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "SignatureDoesNotMatch": "the secret key does not match the access key",
    "TokenRefreshRequired": "the session token must be refreshed",
    "UnauthorizedAccess": "access is not authorised",
}
_GONE = {"NoSuchKey", "NoSuchVersion", "404", "NotFound"}
_THROTTLED = (
    "BandwidthLimitExceeded|InternalError|OperationAborted|RequestLimitExceeded|RequestThrottled|"
    "RequestTimeout|ServiceUnavailable|SlowDown|Throttling|ThrottlingException|TooManyRequests"
)
_NO_CREDENTIALS = (
    "no usable credentials; searched the standard AWS chain: environment, ~/.aws, instance role"
)
# Patterns in the text of errors that have no code.
_MEANINGS = (
    (r"No space left|Disk quota exceeded|os error 28\b", "no space is left on the device"),
    (r"Read-only file system", "the file system is read-only"),
    (r"Token has expired|[Cc]redentials (have|are) expired", "the credentials have expired"),
    (r"CredentialsNotLoaded|credentials provider", _NO_CREDENTIALS),
    (r"AccessDenied|Forbidden|Permission denied", "access denied; check the permissions"),
)
_TRANSIENT_TEXT = re.compile(
    _THROTTLED + r"|\((429|5\d\d)\)|\b(429|50[0234]) [A-Z]|error sending request|"
    r"[Cc]onnection|[Tt]imed? ?out|IncompleteRead|[Bb]roken pipe"
)
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class _ObjectError(ImageError):
    def __init__(self, detail: str) -> None:
        super().__init__(Reason.FETCH_FAILED, detail)

    def __reduce__(self) -> tuple[type["_ObjectError"], tuple[str]]:
        return type(self), (self.detail,)


class ObjectDeniedError(_ObjectError):
    """Access to this object is denied; others may be readable."""


class ObjectGoneError(_ObjectError):
    """There is no such object."""


class ObjectExistsError(_ObjectError):
    """The condition of a put or get is not met: the object exists, or has another version."""


def storage_error(error: Exception, uri: str) -> PipelineError | TransientError:
    """The error to raise in place of a foreign one.

    Args:
        error: one of `FOREIGN_ERRORS`.
        uri: of the file, or of the output, in use.

    Returns:
        StorageDeniedError: nothing in this bucket can be used.
        StorageFailedError: the file system or Delta Lake failed permanently.
        UsageError: boto3 does not accept the URI.
        ImageError: this object cannot be read.
        TransientError: a retry may succeed.
    """
    bucket = "/".join(uri.split("/")[:3])
    if isinstance(error, boto.ClientError):
        return _response_error(error, bucket)
    if isinstance(error, _CREDENTIAL_ERRORS):
        return StorageDeniedError(f"storage: {bucket}: {_NO_CREDENTIALS} ({type(error).__name__})")
    if isinstance(error, _TRANSIENT_ERRORS):
        return TransientError(_line(error))
    if isinstance(error, boto.BotoCoreError):
        return UsageError(f"storage: cannot use {uri}: {_line(error)}")
    return _text_error(error, uri)


def _response_error(error: boto.ClientError, bucket: str) -> PipelineError | TransientError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _DENIED:
        return StorageDeniedError(f"storage: {bucket}: {_DENIED[code]} ({code})")
    if code in _GONE or (status == 404 and not code):
        return ObjectGoneError("vanished since it was listed")
    if re.fullmatch(_THROTTLED, code) or status >= 500 or status == 429:
        return TransientError(f"{code or 'error'} (HTTP {status})")
    if code in ("PreconditionFailed", "ConditionalRequestConflict", "412"):
        return ObjectExistsError("changed since it was listed")
    if code == "InvalidObjectState":
        return ImageError(Reason.FETCH_FAILED, "lies in an archive tier and must be restored first")
    if code == "InvalidRange" or status == 416:
        return ImageError(Reason.TRUNCATED, "the file ends before it")
    if status in (401, 403) or code == "AccessDenied":
        return ObjectDeniedError(f"access denied ({code or status})")
    if status == 301:
        return StorageDeniedError(f"storage: {bucket} lies in another region ({code})")
    return ImageError(Reason.FETCH_FAILED, f"refused by the storage: {code} (HTTP {status})")


def _text_error(error: Exception, uri: str) -> PipelineError | TransientError:
    line = _line(error)
    meanings = [(rf"\b{code}\b", f"{meaning} ({code})") for code, meaning in _DENIED.items()]
    for pattern, meaning in (*meanings, *_MEANINGS):
        if re.search(pattern, line):
            return StorageFailedError(f"storage: {uri}: {meaning}")
    if _TRANSIENT_TEXT.search(line):
        return TransientError(line)
    return StorageFailedError(f"storage: {uri}: {line}")


def _line(error: Exception) -> str:
    text = " ".join(_ESCAPES.sub("", str(error)).replace("↳", ":").split())
    return text[:300] or type(error).__name__


@contextmanager
def output_failures(uri: str) -> Iterator[None]:
    """Raises `OutputFailedError` for every failure of the storage inside the block.

    Args:
        uri: of the output, for the message.
    """
    try:
        yield
    except (StorageDeniedError, StorageFailedError) as error:
        raise OutputFailedError(f"out: {str(error).removeprefix('storage: ')}") from error
    except ImageError as error:
        raise OutputFailedError(f"out: {uri}: {error.detail}") from error
    except TransientError as error:
        raise OutputFailedError(f"out: {uri}: {error}") from error
    except FOREIGN_ERRORS as error:
        with output_failures(uri):
            raise storage_error(error, uri) from error
