"""The archive in a bucket of S3, or of a server that speaks its language.

An object is there when all of it is, so nothing is written beside its place. It is put with the
condition that nothing has its name, and with its SHA-256, so that the server itself refuses to
overwrite, and refuses what was changed on the way. Nothing is deleted but what is to be forgotten.
"""

import base64
import hashlib
import importlib.util
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.archive.answers import Kind, Trouble, denied, understood
from pipeline.errors import Misconfigured, Unavailable

T = TypeVar("T")

_URL = re.compile(r"s3a?://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9])/?(?P<prefix>.*)")
_CONNECTIONS = 16
_LONGEST_PAUSE = 10.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How a bucket is reached; what is empty is found as AWS's own programs find it.

    That is in the environment (AWS_*), in the files of a profile, or from the machine's own role.
    `secret_key` is asked for when the first request is made.
    """

    endpoint: str = ""
    region: str = ""
    ca_file: str = ""
    profile: str = ""
    access_key: str = ""
    secret_key: Callable[[], str | None] = field(default=lambda: None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long to go on asking; times in seconds.

    `connect` and `silence` are for one connection and between two bytes of an answer, `attempt` is
    for one request and its whole answer. `tries` requests are made at most, and none is begun after
    `overall`. Between two of them, `pause` is waited, then twice as long, and so on.
    """

    connect: float = 5.0
    silence: float = 20.0
    attempt: float = 60.0
    tries: int = 6
    pause: float = 0.5
    overall: float = 90.0


HURRIED = Limits(connect=3.0, silence=4.0, attempt=5.0, tries=2, pause=0.2, overall=5.0)
"""Some ten seconds at most, and no more than two requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What trying a bucket out has shown: does it refuse to overwrite, and may it be listed?

    `unlisted` says why not, as a sentence.
    """

    guarded: bool
    unlisted: str = ""


class _Failed(Exception):
    """A request failed for good."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.said)
        self.trouble = trouble


class Bucket:
    """Objects whose keys begin with one prefix. Nothing is asked of the server before it must be.

    May be used by several threads. Raises Misconfigured for a URL that names no bucket, and where
    s3fs is not installed.
    """

    def __init__(self, url: str, account: Account | None = None, limits: Limits | None = None):
        self._bucket, self._prefix = _parsed(url)
        if importlib.util.find_spec("s3fs") is None:
            raise Misconfigured(
                f"The archive {self._place()} is on S3, and what that needs is not installed."
                " Install it with .venv/bin/pip install --require-hashes -r"
                " requirements-scale.txt, or name a folder in archive.url."
            )
        self._account = account or Account()
        self._limits = limits or Limits()
        self._opening = threading.Lock()
        self._opened: Any = None
        self._conditional = True
        self._troubled = False

    def hurried(self) -> "Bucket":
        """The same bucket, for somebody who waits for the answer."""
        return Bucket(self._place(), self._account, HURRIED)

    def location(self, name: str) -> str:
        """The object's URL."""
        return f"{self._place()}/{name}"

    def require(self) -> None:
        """Raise unless the bucket is there and may be listed."""
        try:
            self._page(self._key(""), None, most=1)
        except _Failed as failed:
            raise self._error(
                f"The archive {self._place()} cannot be listed", failed, may="list"
            ) from failed.__cause__

    def put(self, name: str, data: bytes) -> bytes | None:
        """Put an object unless something has its name; the bytes of what has, or None.

        One request, unless the name is taken or an answer is lost.
        """
        try:
            return self._put(name, data)
        except _Failed as failed:
            raise self._error(
                f"The archive cannot keep {self.location(name)}", failed, may="write"
            ) from failed.__cause__

    def get(self, name: str) -> bytes:
        """The object's bytes, unproved; raises Unavailable, from FileNotFoundError if missing."""
        return self._read(name, None)

    def beginning(self, name: str, size: int) -> bytes:
        """The first `size` bytes of an object, or all; raises Unavailable as `get`."""
        return self._read(name, size)

    def exists(self, name: str) -> bool:
        """Whether there is an object of that name."""
        try:
            # Not HEAD: its refusals say nothing of why.
            self._cat(name, 1)
        except _Failed as failed:
            if failed.trouble.kind in {Kind.MISSING, Kind.EMPTY}:
                return failed.trouble.kind is Kind.EMPTY
            raise self._error(
                f"The archive {self._place()} cannot be looked at", failed, may="read"
            ) from failed.__cause__
        return True

    def names(self, within: str) -> Iterator[str]:
        """The names of all objects, or of those in one folder and below it; streamed, in order."""
        start = self._key(f"{within}/" if within else "")
        skipped = len(self._key(""))
        token: str | None = None
        try:
            while True:
                page = self._page(start, token)
                for one in page.get("Contents", ()):
                    # What consoles make for an empty folder is no file.
                    if not (one["Key"].endswith("/") and one["Size"] == 0):
                        yield one["Key"][skipped:]
                if not page.get("IsTruncated"):
                    return
                before, token = token, page.get("NextContinuationToken")
                if not token or token == before:
                    raise Unavailable(
                        f"The archive {self._place()} cannot be listed to its end: the server says"
                        " that there is more and not where. Ask whoever looks after the server."
                    )
        except _Failed as failed:
            raise self._error(
                f"The archive {self._place()} cannot be listed", failed, may="list"
            ) from failed.__cause__

    def remove(self, names: Iterable[str]) -> Iterator[bool]:
        """Delete objects; whether the bucket has kept an older version of each.

        Raises Unavailable where that is not allowed: usually it is not.
        """
        for name in names:
            try:
                answer = self._deleted(name)
            except _Failed as failed:
                if failed.trouble.kind is not Kind.MISSING:
                    raise self._error(
                        f"The archive's file {self.location(name)} cannot be removed",
                        failed,
                        may="delete",
                    ) from failed.__cause__
                answer = {}
            # A bucket that keeps versions only marks what is deleted.
            yield bool(answer.get("DeleteMarker") or answer.get("VersionId"))

    def _deleted(self, name: str) -> dict[str, Any]:
        def delete(files: Any, seconds: float) -> dict[str, Any]:
            answer: dict[str, Any] = files.call_s3(
                "delete_object", Bucket=self._bucket, Key=self._key(name), timeout=seconds
            )
            return answer

        return self._asked(delete)

    def trial(self, name: str, data: bytes) -> Trial:
        """Put an object, and see whether it could be overwritten and is listed.

        It stays: nothing is deleted, and the next trial finds it there. Raises what `put` raises.
        """
        guarded = True
        if self.put(name, data) is None:
            try:
                self._put_object(name, data, conditional=True)
            except _Failed as failed:
                guarded = failed.trouble.kind is Kind.TAKEN
            else:
                guarded = False
        try:
            listed = list(self.names(name.rpartition("/")[0]))
        except (Unavailable, Misconfigured) as error:
            return Trial(guarded=guarded, unlisted=str(error))
        if name in listed:
            return Trial(guarded=guarded)
        return Trial(guarded=guarded, unlisted=f"{self.location(name)} is there and is not listed.")

    def _put(self, name: str, data: bytes) -> bytes | None:
        if self._conditional:
            try:
                self._put_object(name, data, conditional=True)
            except _Failed as failed:
                if failed.trouble.kind is Kind.TAKEN:
                    # By another, or by this very request whose answer was lost.
                    return self._cat(name, None)
                if failed.trouble.kind is not Kind.UNCONDITIONAL:
                    raise
                self._conditional = False
            else:
                return None
        try:
            return self._cat(name, None)
        except _Failed as failed:
            if failed.trouble.kind is not Kind.MISSING:
                raise
        self._put_object(name, data, conditional=False)
        return None

    def _put_object(self, name: str, data: bytes, *, conditional: bool) -> None:
        sha256 = base64.b64encode(hashlib.sha256(data).digest()).decode()
        more = {"IfNoneMatch": "*"} if conditional else {}
        self._asked(
            lambda files, seconds: files.call_s3(
                "put_object",
                Bucket=self._bucket,
                Key=self._key(name),
                Body=data,
                ChecksumSHA256=sha256,
                timeout=seconds,
                **more,
            )
        )

    def _read(self, name: str, size: int | None) -> bytes:
        place = self.location(name)
        try:
            return self._cat(name, size)
        except _Failed as failed:
            if failed.trouble.kind is Kind.EMPTY:
                return b""
            if failed.trouble.kind is Kind.MISSING:
                raise Unavailable(
                    f"The archive has no file {place}. Put it back from a backup, or from an older"
                    " version if the bucket keeps them."
                ) from FileNotFoundError(place)
            raise self._error(
                f"The archive's file {place} cannot be read", failed, may="read"
            ) from failed.__cause__

    def _cat(self, name: str, size: int | None) -> bytes:
        path = f"{self._bucket}/{self._key(name)}"
        some = {} if size is None else {"start": 0, "end": size}

        def read(files: Any, seconds: float) -> bytes:
            data: bytes = files.cat_file(path, timeout=seconds, **some)
            return data

        return self._asked(read)

    def _page(self, prefix: str, token: str | None, *, most: int = 1000) -> dict[str, Any]:
        more = {"ContinuationToken": token} if token else {}

        def listed(files: Any, seconds: float) -> dict[str, Any]:
            page: dict[str, Any] = files.call_s3(
                "list_objects_v2",
                Bucket=self._bucket,
                Prefix=prefix,
                MaxKeys=most,
                timeout=seconds,
                **more,
            )
            return page

        return self._asked(listed)

    def _asked(self, request: Callable[[Any, float], T]) -> T:
        """The answer to a request, made again where that may help; raises _Failed."""
        limits = self._limits
        began = time.monotonic()
        # After a server was waited for in vain, it is not waited for as long for the next file.
        tries, pause = 1 if self._troubled else limits.tries, limits.pause
        while True:
            tries -= 1
            try:
                answer = request(self._files(), limits.attempt)
            except Exception as error:
                if isinstance(error, Misconfigured):  # the secret key cannot be read
                    raise
                trouble = understood(error, min(limits.silence, limits.attempt))
                over = tries <= 0 or time.monotonic() - began + pause > limits.overall
                if over or not trouble.again:
                    self._troubled = trouble.again
                    raise _Failed(trouble) from error
            else:
                self._troubled = False
                return answer
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come at once
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _files(self) -> Any:
        with self._opening:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> Any:
        import s3fs  # type: ignore[import-untyped]

        account, limits = self._account, self._limits
        if account.ca_file and not Path(account.ca_file).is_file():
            raise Misconfigured(
                f"There is no file {account.ca_file} with the certificates to trust for the"
                f" archive {self._place()}. Correct archive.ca_file."
            )
        client = {"region_name": account.region, "verify": account.ca_file}
        files = s3fs.S3FileSystem(
            anon=False,
            endpoint_url=account.endpoint or None,
            key=account.access_key or None,
            secret=account.secret_key() if account.access_key else None,
            client_kwargs={name: value for name, value in client.items() if value},
            config_kwargs={
                "connect_timeout": limits.connect,
                "read_timeout": limits.silence,
                "max_pool_connections": _CONNECTIONS,
                "retries": {"total_max_attempts": 1, "mode": "standard"},
                # What is sent is signed and so proved by every server; of its own accord the
                # library would add other checksums, which some do not understand.
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
                "s3": {"payload_signing_enabled": True},
            },
            max_concurrency=1,  # else each object is asked for its size before it is read
            use_listings_cache=False,
            skip_instance_cache=True,
            **({"profile": account.profile} if account.profile else {}),
        )
        files.retries = 1  # how often is counted above, over all that can go wrong
        # Now, as it reads files and may ask the machine for its role: that is no request's time.
        files.connect(timeout=limits.overall)
        return files

    def _error(self, beginning: str, failed: _Failed, *, may: str) -> Exception:
        return denied(failed.trouble, may).error(beginning)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _place(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")


def _parsed(url: str) -> tuple[str, str]:
    """The bucket and the prefix that a URL names."""
    found = _URL.fullmatch(url)
    prefix = (found["prefix"] if found else "").strip("/")
    parts = prefix.split("/") if prefix else []
    if found is None or re.search(r"[\x00-\x1f\\?#@:*\"<>|]", prefix) or {"", ".", ".."} & {*parts}:
        raise Misconfigured(
            "archive.url begins with s3:// and is no place there. Write s3://BUCKET or"
            " s3://BUCKET/PREFIX and nothing else: keys, region and server are set elsewhere"
            " (archive.profile, archive.access_key, archive.region, archive.endpoint)."
        )
    return found["bucket"], prefix
