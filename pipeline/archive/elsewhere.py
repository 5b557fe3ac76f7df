"""The archive wherever else fsspec reaches: memory for trials, FTP, another cloud."""

from collections.abc import Iterable, Iterator

from pipeline.archive.showing import reason, sentence, without_secrets
from pipeline.errors import Misconfigured, Unavailable


class Elsewhere:
    """Files below one URL, in whatever way fsspec keeps them there."""

    def __init__(self, url: str) -> None:
        import fsspec  # type: ignore[import-untyped]

        self._url = without_secrets(url)
        try:
            self._files, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as fault:
            raise Misconfigured(
                f"The archive {self._url} cannot be used: {sentence(fault)}. Give a folder in"
                " archive.url, or install what its protocol needs."
            ) from None  # the fault's own words may hold the whole URL, and that a password
        except OSError as fault:
            raise Unavailable(
                f"The archive {self._url} cannot be reached: {reason(fault)}. Check that"
                " archive.url is right and that its server runs."
            ) from fault
        self._root = str(root).rstrip("/")

    def location(self, name: str) -> str:
        """The file's URL, without secrets."""
        return f"{without_secrets(str(self._files.unstrip_protocol(self._root)))}/{name}"

    def require(self) -> None:
        """Nothing: whether a place that was never written to exists cannot be told everywhere."""

    def put(self, name: str, data: bytes) -> bytes | None:
        """Write a file; the bytes of one that had the name before, or None."""
        path = self._path(name)
        try:
            if self._files.exists(path):
                there: bytes = self._files.cat_file(path)
                return there
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(path, data)
        except OSError as fault:
            raise Unavailable(
                f"The archive cannot keep {self.location(name)}: {reason(fault)}. Check that"
                " archive.url is right and that its server runs, and run this again."
            ) from fault
        return None

    def get(self, name: str) -> bytes:
        """The file's bytes, unproved; raises Unavailable, from FileNotFoundError if missing."""
        return self._read(name, None)

    def beginning(self, name: str, size: int) -> bytes:
        """The first `size` bytes of a file, or all; raises Unavailable as `get`."""
        return self._read(name, size)

    def _read(self, name: str, size: int | None) -> bytes:
        place = self.location(name)
        try:
            data: bytes = self._files.cat_file(self._path(name), end=size)
        except FileNotFoundError as fault:
            raise Unavailable(
                f"The archive has no file {place}. Put it back from a backup."
            ) from fault
        except OSError as fault:
            raise Unavailable(
                f"The archive's file {place} cannot be read: {reason(fault)}. Mend that,"
                " or put the file back from a backup."
            ) from fault
        return data

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        try:
            return bool(self._files.isfile(self._path(name)))
        except OSError as fault:
            raise Unavailable(
                f"The archive {self._url} cannot be looked at: {reason(fault)}. Check"
                " that archive.url is right and may be read."
            ) from fault

    def names(self, within: str) -> Iterator[str]:
        """The names of all files, or of those in one folder and below it."""
        try:
            top = f"{self._root}/{within}" if within else self._root
            for folder, _, names in self._files.walk(top):
                yield from (f"{folder}/{name}".removeprefix(f"{self._root}/") for name in names)
        except OSError as fault:
            raise Unavailable(
                f"The archive {self._url} cannot be listed: {reason(fault)}."
            ) from fault

    def remove(self, names: Iterable[str]) -> Iterator[bool]:
        """Remove files; whether the place keeps older versions is not known of it."""
        for name in names:
            try:
                self._files.rm_file(self._path(name))
            except FileNotFoundError:
                pass
            except OSError as fault:
                raise Unavailable(
                    f"The archive's file {self.location(name)} cannot be removed: {reason(fault)}."
                    " Check that it may be, and run this again."
                ) from fault
            yield False

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"
