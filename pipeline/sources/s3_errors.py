"""What S3 and its client say, as errors of this engine; nothing secret gets into their text."""

from http.client import HTTPException

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import IncompleteReadError as IncompleteBody
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from pipeline.errors import ImageError, PipelineError, Reason, StorageDeniedError, UsageError
from pipeline.sources.retry_policy import TransientError

__all__ = ["CLIENT_ERRORS", "ObjectDeniedError", "ObjectGoneError", "mapped"]

CLIENT_ERRORS = (BotoCoreError, ClientError, HTTPError, HTTPException, OSError)

_NO_CREDENTIALS = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
_PASSING = (
    ConnectionError,
    HTTPClientError,
    HTTPError,
    HTTPException,
    IncompleteBody,
    OSError,
    ResponseParserError,
)
# Codes of S3 and its relatives that are about the caller or the bucket, not about one object.
_DENIED = {
    "AccountProblem": "the account has a problem",
    "AllAccessDisabled": "all access is disabled",
    "AuthorizationHeaderMalformed": "the request's signature is not accepted; check the region",
    "ExpiredToken": "the credentials have expired",
    "ExpiredTokenException": "the credentials have expired",
    "InvalidAccessKeyId": "the access key is unknown",
    "InvalidBucketName": "no valid name of a bucket",
    "InvalidSecurity": "the credentials are not valid",
    "InvalidToken": "the session token is not valid",
    "NoSuchBucket": "no such bucket",
    "NotSignedUp": "the account is not signed up for S3",
    "RequestExpired": "the request has expired; check this machine's clock",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "TokenRefreshRequired": "the session token must be refreshed",
    "UnauthorizedAccess": "access is not authorised",
}
_GONE = {"NoSuchKey", "NoSuchVersion", "404", "NotFound"}
_THROTTLED = {
    "BandwidthLimitExceeded",
    "InternalError",
    "OperationAborted",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}


class ObjectDeniedError(ImageError):
    """This object may not be read; whether others may is not said."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.FETCH_FAILED, detail)

    def __reduce__(self) -> tuple[type["ObjectDeniedError"], tuple[str]]:
        return ObjectDeniedError, (self.detail,)


class ObjectGoneError(ImageError):
    """There is no such object (any more)."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.FETCH_FAILED, detail)

    def __reduce__(self) -> tuple[type["ObjectGoneError"], tuple[str]]:
        return ObjectGoneError, (self.detail,)


def mapped(error: Exception, uri: str) -> PipelineError | TransientError:
    """The error to raise instead.

    Args:
        error: one of `CLIENT_ERRORS`.
        uri: what was asked for.

    Returns:
        StorageDeniedError: nothing of this bucket can be had.
        UsageError: the URI is none.
        ImageError: this object cannot be had, nor will it ever.
        TransientError: it may go better the next time.
    """
    bucket = "/".join(uri.split("/")[:3])
    if isinstance(error, ClientError):
        return _of_answer(error, uri, bucket)
    if isinstance(error, _NO_CREDENTIALS):
        return StorageDeniedError(
            f"storage: no usable credentials for {bucket} ({type(error).__name__}); the standard "
            "AWS chain is asked: environment, ~/.aws, the machine's role"
        )
    if isinstance(error, _PASSING):
        return TransientError(_line(error))
    return UsageError(f"storage: cannot use {uri}: {_line(error)}")


def _of_answer(error: ClientError, uri: str, bucket: str) -> PipelineError | TransientError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _DENIED:
        return StorageDeniedError(f"storage: {bucket}: {_DENIED[code]} ({code})")
    if code in _GONE or (status == 404 and not code):
        return ObjectGoneError("vanished since it was listed")
    if code in _THROTTLED or status >= 500 or status == 429:
        return TransientError(f"{code or 'error'} (HTTP {status})")
    if code in ("PreconditionFailed", "412"):
        return ImageError(Reason.FETCH_FAILED, "changed since it was listed")
    if code == "InvalidObjectState":
        return ImageError(Reason.FETCH_FAILED, "lies in an archive tier and must be restored first")
    if code == "InvalidRange" or status == 416:
        return ImageError(Reason.TRUNCATED, "the file ends before it")
    if status in (401, 403):
        return ObjectDeniedError(f"access denied ({code or status})")
    if status == 301:
        return StorageDeniedError(f"storage: {bucket} lies in another region ({code})")
    return ImageError(Reason.FETCH_FAILED, f"refused by the storage: {code} (HTTP {status})")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
