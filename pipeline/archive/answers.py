"""What it means when an S3 server says no, or says nothing: in words, and what is to be done.

Servers name what is wrong by a code; a request that got no answer fails in the library's own ways.
Both become a `Trouble`: what is the matter, how to mend it, and whether asking again may help.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

from pipeline.archive.showing import without_secrets
from pipeline.errors import LettersError, Misconfigured, Unavailable

_AGAIN = "Nothing is lost: run this again when it is well"
_KEYS = (
    "Set archive.access_key and archive.secret_key_file, or archive.profile, or give keys in"
    " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in AWS_PROFILE, to whoever runs"
    " this"
)
_BUCKET = "Correct the bucket's name in archive.url, or have the bucket made"
_REGION = "Set archive.region (or AWS_REGION) to the bucket's own region"
_ENDPOINT = "Check archive.endpoint (or AWS_ENDPOINT_URL_S3), the network, and that the server runs"
_TRUST = "Name a file with the certificates to trust in archive.ca_file (or AWS_CA_BUNDLE)"
_MAY = "Let these credentials {may} it, or use others"
_LONGEST = 200
"""Characters of a server's own words that are repeated."""


class Kind(Enum):
    """What becomes of a request that failed."""

    MISSING = "no such object"
    TAKEN = "there is an object of that name"
    UNCONDITIONAL = "the server does not know If-None-Match"
    EMPTY = "the object has no bytes"
    DENIED = "not allowed"
    WRONG = "a person has to mend the settings"
    AWAY = "may be well later"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a request failed: `said` and `fix` are the inside of sentences.

    `again`: the same request may well succeed in a moment.
    """

    kind: Kind
    said: str
    fix: str = _AGAIN
    again: bool = False

    def error(self, beginning: str) -> LettersError:
        """The error that begins with what was being done: "The archive cannot keep s3://..."."""
        sentence = f"{beginning}: {self.said}. {self.fix}."
        return Misconfigured(sentence) if self.kind is Kind.WRONG else Unavailable(sentence)


def _wrong(said: str, fix: str) -> Trouble:
    return Trouble(kind=Kind.WRONG, said=said, fix=fix)


_MISSING = Trouble(kind=Kind.MISSING, said="there is no such object")
_TAKEN = Trouble(kind=Kind.TAKEN, said="there is another object of that name")
_UNCONDITIONAL = Trouble(kind=Kind.UNCONDITIONAL, said="the server does not know If-None-Match")
_NO_BUCKET = _wrong("there is no such bucket", _BUCKET)
_UNKNOWN_KEY = _wrong("the server does not know the access key", _KEYS)
_OTHER_SECRET = _wrong("the secret key does not belong to the access key", _KEYS)
_EXPIRED = Trouble(
    kind=Kind.AWAY,
    said="the credentials have expired",
    fix="Get new ones for whoever runs this, and run this again",
)
_CLOCK = Trouble(
    kind=Kind.AWAY,
    said="this machine's clock differs from the server's by too much",
    fix="Set the clock (timedatectl), and run this again",
)
_BUSY = Trouble(
    kind=Kind.AWAY,
    said="the server is asked for more than it can do, and says so each time (slow down)",
    fix="Run this again later; fewer at once ask less (convert.workers, smtp.connections)",
    again=True,
)
_CONFLICT = Trouble(
    kind=Kind.AWAY, said="somebody else writes to the same name at the same time", again=True
)
_SPOILT = Trouble(
    kind=Kind.AWAY,
    said="what reached the server was not what was sent, each time, and it refused it",
    fix="Something on the way changes it: look at the network, and at proxies in between",
    again=True,
)
_FAILED = Trouble(kind=Kind.AWAY, said="the server has a fault of its own", again=True)
_DENIED = Trouble(kind=Kind.DENIED, said="it is not allowed")
_ELSEWHERE = _wrong("the bucket is in another region", _REGION)
_FULL = Trouble(
    kind=Kind.AWAY,
    said="there is no room left for it",
    fix="Make room at the server, or have the quota raised, and run this again",
)

_BY_CODE = {
    "NoSuchKey": _MISSING,
    "404": _MISSING,
    "NotFound": _MISSING,
    "PreconditionFailed": _TAKEN,
    "412": _TAKEN,
    "NotImplemented": _UNCONDITIONAL,
    "501": _UNCONDITIONAL,
    "InvalidRange": Trouble(kind=Kind.EMPTY, said="the object has no bytes"),
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": _wrong("a bucket cannot have that name", _BUCKET),
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "SignatureDoesNotMatch": _OTHER_SECRET,
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": _wrong("the server does not know the session's token", _KEYS),
    "RequestTimeTooSkewed": _CLOCK,
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "403": _DENIED,
    "SlowDown": _BUSY,
    "503": _BUSY,
    "ServiceUnavailable": _BUSY,
    "RequestLimitExceeded": _BUSY,
    "Throttling": _BUSY,
    "TooManyRequests": _BUSY,
    "429": _BUSY,
    "ConditionalRequestConflict": _CONFLICT,
    "OperationAborted": _CONFLICT,
    "409": _CONFLICT,
    "BadDigest": _SPOILT,
    "XAmzContentSHA256Mismatch": _SPOILT,
    "XAmzContentChecksumMismatch": _SPOILT,
    "InvalidDigest": _SPOILT,
    "IncompleteBody": _SPOILT,
    "RequestTimeout": replace(_FAILED, said="the server waited in vain for what was sent"),
    "InternalError": _FAILED,
    "500": _FAILED,
    "PermanentRedirect": _ELSEWHERE,
    "TemporaryRedirect": _ELSEWHERE,
    "301": _ELSEWHERE,
    "307": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "InsufficientStorage": _FULL,
}


_BROKEN = Trouble(kind=Kind.AWAY, said="the connection to the server broke ({inner})", again=True)
_BROKEN_OFF = Trouble(kind=Kind.AWAY, said="the answer broke off before its end", again=True)
_NO_ANSWER = Trouble(
    kind=Kind.AWAY,
    said="the server did not answer within {seconds} seconds",
    fix=_ENDPOINT,
    again=True,
)
_NO_TRUST = _wrong("the file with the certificates to trust cannot be read", _TRUST)
_NO_KEYS = _wrong("there are no keys to it, or only a half of them", _KEYS)
_NO_NEW_KEYS = replace(_EXPIRED, said="new credentials could not be had")
_NO_CONFIG = _wrong("the file of AWS settings cannot be read", "Mend what AWS_CONFIG_FILE names")

_BY_ERROR = {
    "NoCredentialsError": _NO_KEYS,
    "PartialCredentialsError": _NO_KEYS,
    "ProfileNotFound": _wrong(
        "archive.profile (or AWS_PROFILE) names a profile that is not there",
        "Correct it, or make the profile",
    ),
    "ConfigParseError": _NO_CONFIG,
    "ConfigNotFound": _NO_CONFIG,
    "CredentialRetrievalError": _NO_NEW_KEYS,
    "UnauthorizedSSOTokenError": _NO_NEW_KEYS,
    "SSOError": _NO_NEW_KEYS,
    "MetadataRetrievalError": _NO_NEW_KEYS,
    "NoRegionError": _wrong("no region is set", _REGION),
    "InvalidRegionError": _wrong("the region that is set cannot be one", _REGION),
    "ParamValidationError": _wrong("a bucket or an object cannot have that name", _BUCKET),
    "SSLError": _wrong("{host} cannot be trusted ({inner})", _TRUST),
    "EndpointConnectionError": Trouble(
        kind=Kind.AWAY, said="nothing answers at {host} ({inner})", fix=_ENDPOINT, again=True
    ),
    "ConnectTimeoutError": Trouble(
        kind=Kind.AWAY, said="{host} takes no connection", fix=_ENDPOINT, again=True
    ),
    "ProxyConnectionError": Trouble(
        kind=Kind.AWAY,
        said="the proxy does not answer",
        fix="Check HTTPS_PROXY and NO_PROXY",
        again=True,
    ),
    "ReadTimeoutError": _NO_ANSWER,
    "ClientPayloadError": _BROKEN_OFF,
    "TimeoutError": _NO_ANSWER,
    "HTTPClientError": _BROKEN,
    "OSError": _BROKEN,
    "ValueError": _wrong(
        "the server's URL is none", "Correct archive.endpoint (or AWS_ENDPOINT_URL_S3)"
    ),
}
"""By the name of the error's class, or of one that it is a kind of."""


def understood(error: Exception, seconds: float) -> Trouble:
    """What an error of s3fs, botocore or aiohttp means; `seconds` is what an answer may take."""
    # Botocore's own error, or the one of the system that s3fs has made of it.
    for one in (error, error.__cause__):
        if isinstance(response := getattr(one, "response", None), dict):
            return _refused(response)
    return _unanswered(error, seconds)


def denied(trouble: Trouble, may: str) -> Trouble:
    """The same, saying what is not allowed: `may` is "read", "write", "list" or "delete"."""
    if trouble.kind is not Kind.DENIED:
        return trouble
    return replace(trouble, fix=_MAY.format(may=may))


def _refused(response: Mapping[str, Any]) -> Trouble:
    told = response.get("Error", {})
    code, words = str(told.get("Code", "")), str(told.get("Message", ""))
    answer = response.get("ResponseMetadata", {})
    status = int(answer.get("HTTPStatusCode", 0))
    found = _BY_CODE.get(code)
    if found is None:
        told_so = f"the server answered {_plain(code) or status}"
        told_so += f" ({_plain(words)})" if words else ""
        return Trouble(
            kind=Kind.AWAY,
            said=told_so,
            fix="Ask whoever looks after the server what that means, and run this again",
            again=status >= 500 or status == 429,
        )
    if found is _ELSEWHERE:
        headers = answer.get("HTTPHeaders", {})
        region = str(told.get("Region") or headers.get("x-amz-bucket-region") or "")
        if re.fullmatch(r"[a-z0-9-]{2,40}", region):
            return replace(
                found,
                said=f"the bucket is in the region {region}",
                fix=f"Set archive.region (or AWS_REGION) to {region}",
            )
    bare = words.strip(" .").lower() in {"", "access denied", "forbidden"}
    if found is _DENIED and not bare:
        return replace(found, said=f"it is not allowed ({_plain(words)})")
    return found


def _unanswered(error: Exception, seconds: float) -> Trouble:
    """A request that was never sent, or that got no answer."""
    inner = getattr(error, "kwargs", {}).get("error")
    # By their names: the libraries are not loaded where no bucket is used.
    names = [kind.__name__ for kind in type(error).__mro__]
    if "EndpointConnectionError" in names and "ClientConnectorError" not in [
        kind.__name__ for kind in type(inner).__mro__
    ]:
        found = _BROKEN  # it did connect
    elif isinstance(inner, FileNotFoundError | PermissionError):
        found = _NO_TRUST
    else:
        found = next((_BY_ERROR[name] for name in names if name in _BY_ERROR), _BROKEN_OFF)
    said = found.said.format(host=_host(error), inner=_inner(error), seconds=f"{seconds:g}")
    return replace(found, said=said)


def _host(error: Exception) -> str:
    """The server, as scheme, host and port; what is behind them may be anything."""
    parts = urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url", "")))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else "the server"


def _inner(error: Exception) -> str:
    """What lies at the bottom of a failed connection, in a few words."""
    inner = getattr(error, "kwargs", {}).get("error", error)
    for _ in range(3):
        inner = getattr(inner, "os_error", None) or getattr(inner, "certificate_error", inner)
    if isinstance(inner, ssl.SSLCertVerificationError):
        return _plain(inner.verify_message)
    if isinstance(inner, OSError) and inner.strerror:
        # as asyncio words it: "Connect call failed ('127.0.0.1', 9)"
        known = os.strerror(inner.errno) if inner.errno and inner.errno > 0 else ""
        return _plain(known if "Connect call failed" in inner.strerror else inner.strerror)
    return type(inner).__name__


def _plain(words: str) -> str:
    """A server's own words: printable, without the keys that are in use, and not too many."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        if (secret := os.environ.get(name)) and len(secret) > 3:
            words = words.replace(secret, "***")
    words = "".join(one if one.isprintable() else " " for one in without_secrets(words))
    words = words.strip(" .")
    return f"{words[:_LONGEST]}…" if len(words) > _LONGEST else words
