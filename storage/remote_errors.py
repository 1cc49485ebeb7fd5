"""What an exception from a storage client means, and the one error of ours that it becomes.

s3fs, gcsfs and their libraries raise dozens of classes, some of them only by importing half of the library; so
they are told apart by HTTP status, error code and class name along the chain of causes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from tracker.storage.errors import CredentialsMissing, NotFound, StorageUnavailable, TrackerError, UsageError

__all__ = ["Failure", "Meaning", "read_failure", "translate"]


class Meaning(Enum):
    """What the caller can do about it."""

    MISSING = auto()  # no such object; for a listing or a put: no such bucket
    NO_BUCKET = auto()
    EXISTS = auto()  # a conditional put found something: perhaps our own earlier attempt
    NO_CONDITION = auto()  # the server does not know conditional puts
    PAST_END = auto()  # a range that starts behind the object's end
    NO_CREDENTIALS = auto()
    DENIED = auto()
    USAGE = auto()
    REGION = auto()
    TRANSIENT = auto()  # try again
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    meaning: Meaning
    said: str  # status, code and message, for people


_NO_CREDENTIALS: Final = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
    "SSOTokenLoadError",
    "ProfileNotFound",
    "DefaultCredentialsError",
    "RefreshError",
    "MalformedError",
}
_USAGE: Final = {"ParamValidationError", "InvalidEndpointDiscoveryConfigurationError", "InvalidRegionError"}
_CODES: Final = {
    "NoSuchKey": Meaning.MISSING,
    "NoSuchBucket": Meaning.NO_BUCKET,
    "InvalidRange": Meaning.PAST_END,
    "PreconditionFailed": Meaning.EXISTS,
    "NotImplemented": Meaning.NO_CONDITION,
    "InvalidBucketName": Meaning.USAGE,
    "PermanentRedirect": Meaning.REGION,
    "AuthorizationHeaderMalformed": Meaning.REGION,
    "IllegalLocationConstraintException": Meaning.REGION,
    "ExpiredToken": Meaning.DENIED,
    "InvalidToken": Meaning.DENIED,
    "TokenRefreshRequired": Meaning.DENIED,
    "RequestTimeout": Meaning.TRANSIENT,
    "IncompleteBody": Meaning.TRANSIENT,
    "BadDigest": Meaning.TRANSIENT,
    "XAmzContentSHA256Mismatch": Meaning.TRANSIENT,
}
_STATUS: Final = {
    301: Meaning.REGION,
    401: Meaning.DENIED,
    403: Meaning.DENIED,
    404: Meaning.MISSING,
    408: Meaning.TRANSIENT,
    409: Meaning.TRANSIENT,  # S3: another conditional put of this key is under way
    412: Meaning.EXISTS,
    416: Meaning.PAST_END,
    429: Meaning.TRANSIENT,
    501: Meaning.NO_CONDITION,
}


def read_failure(exc: BaseException) -> Failure:
    """The meaning of `exc`, taken from the first exception of its chain of causes that tells."""
    chain: list[BaseException] = []
    at: BaseException | None = exc
    while at is not None and len(chain) < 10:
        chain.append(at)
        at = at.__cause__
    for link in chain:
        status, code, message = _http(link)
        if status is not None or code:
            meaning = _CODES.get(code) or _STATUS.get(status or 0)
            if meaning is None:
                meaning = Meaning.OTHER if status is not None and 400 <= status < 500 else Meaning.TRANSIENT
            said = " ".join(str(part) for part in (status, code, message) if part)
            return Failure(meaning, said[:300])
    for link in chain:
        names = {cls.__name__ for cls in type(link).__mro__}
        if names & _NO_CREDENTIALS:
            return Failure(Meaning.NO_CREDENTIALS, _say(link))
        if names & _USAGE:
            return Failure(Meaning.USAGE, _say(link))
    return Failure(_by_class(exc), _say(chain[-1]))


def _http(exc: BaseException) -> tuple[int | None, str, str]:
    """Status, code and message of botocore's ClientError, gcsfs's HttpError or aiohttp's response errors."""
    response: Any = getattr(exc, "response", None)
    if isinstance(response, dict):
        error = response.get("Error") or {}
        code = str(error.get("Code") or "")
        status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode")
        if not isinstance(status, int):
            status = int(code) if code.isdecimal() else None
        return status, "" if code.isdecimal() else code, str(error.get("Message") or "")
    told_by = {"HttpError": "code", "ClientResponseError": "status"}  # others' `code` is not the server's
    for cls in type(exc).__mro__:
        number = getattr(exc, told_by.get(cls.__name__, ""), None)
        if str(number).isdecimal():
            return int(str(number)), "", str(exc)
    return None, "", ""


def _by_class(exc: BaseException) -> Meaning:
    match exc:
        case FileNotFoundError():
            return Meaning.MISSING
        case FileExistsError():
            return Meaning.EXISTS
        case PermissionError():
            return Meaning.DENIED
        case OSError() if str(exc).startswith("Forbidden"):  # gcsfs, for 403
            return Meaning.DENIED
        case NotImplementedError() | ImportError():
            return Meaning.USAGE
        case ValueError() | TypeError() | LookupError() | AttributeError():
            return Meaning.OTHER
        case _:  # connections, time-outs, short replies: their classes are too many to list
            return Meaning.TRANSIENT


def _say(exc: BaseException) -> str:
    text = " ".join(str(exc).split())
    return f"{type(exc).__name__}: {text}"[:300] if text else type(exc).__name__


def translate(failure: Failure, *, url: str, endpoint: str, doing: str) -> TrackerError:
    """The error to raise `from` the original. `doing`: e.g. "writing a/b"; `endpoint`: "" for the cloud's own."""
    at = f" at {endpoint}" if endpoint else ""
    said = failure.said
    match failure.meaning:
        case Meaning.MISSING if doing.startswith("reading "):
            return NotFound(f"{url} has no object {doing.removeprefix('reading ')}.")
        case Meaning.MISSING | Meaning.NO_BUCKET:
            return NotFound(f"There is no bucket for {url}{at} ({said}). Create it, or correct the URL.")
        case Meaning.NO_CREDENTIALS:
            return CredentialsMissing(f"No credentials for {url}{at} ({said}). {_credentials_help(url)}")
        case Meaning.DENIED:
            return CredentialsMissing(f"{url}{at} refused {doing} ({said}). {_rights_help(url)}")
        case Meaning.REGION:
            return StorageUnavailable(
                f"{url}{at} is in another region ({said}). Set AWS_REGION to the bucket's region and try again."
            )
        case Meaning.USAGE:
            return UsageError(f"{url} cannot be used for {doing} ({said}). Correct the URL, or install what it needs.")
        case Meaning.TRANSIENT:
            return StorageUnavailable(
                f"{url}{at} did not answer while {doing} ({said}). Check the network"
                f"{_endpoint_help(url)}; retrying is safe."
            )
        case _:
            return StorageUnavailable(f"{url}{at} failed while {doing} ({said}). Retrying is safe.")


def _credentials_help(url: str) -> str:
    if url.startswith("s3://"):
        return "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run: aws configure"
    if url.startswith("gs://"):
        return "Set GOOGLE_APPLICATION_CREDENTIALS, or run: gcloud auth application-default login"
    return "See the documentation of the fsspec filesystem for this URL."


def _rights_help(url: str) -> str:
    if url.startswith("s3://"):
        return (
            "Check the access key, the clock of this machine, and the rights: s3:ListBucket, s3:GetObject, "
            "s3:PutObject and s3:DeleteObject are needed (without s3:ListBucket a missing object looks forbidden)."
        )
    if url.startswith("gs://"):
        return (
            "Check the rights: roles/storage.objectUser on the bucket is needed. Without any credentials, run: "
            "gcloud auth application-default login"
        )
    return "Check the credentials and the rights to list, read, write and delete."


def _endpoint_help(url: str) -> str:
    if url.startswith("s3://"):
        return " and AWS_ENDPOINT_URL"
    if url.startswith("gs://"):
        return " and STORAGE_EMULATOR_HOST"
    return ""
