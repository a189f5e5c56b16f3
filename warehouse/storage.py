"""Where responses, plans and parts lie: in folders of this machine, or in an object store.

A place on this machine is a ``pathlib.Path``, and nothing about it is special. A place in an object
store is an ``ObjectPath``, which has those methods of a path that whole files need. Either is a
``Location``. Arrow's own file systems do the work, so S3 needs no other library; credentials come
from the environment or the host's role, as Amazon's tools take them (``AWS_ACCESS_KEY_ID`` ...).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from pyarrow import fs


class LocationError(ValueError):
    """A URL that is no place for files, or should not be written down as it is."""


@dataclass(frozen=True)
class ObjectPath:
    """A file, or a prefix of files, in an object store.

    Attributes:
        scheme: such as ``s3``.
        path: bucket and key, without slashes at the ends.
        options: how the store is reached, as the query of a URL: ``endpoint_override`` ...
    """

    scheme: str
    path: str
    options: str = ""

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(self.scheme, f"{self.path}/{name}", self.options)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    @property
    def url(self) -> str:
        """All that another host needs to find it, with the options."""
        return f"{self}?{self.options}" if self.options else str(self)

    @property
    def name(self) -> str:
        """What comes after the last slash."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> "ObjectPath":
        """What comes before the last slash."""
        return ObjectPath(self.scheme, self.path.rpartition("/")[0], self.options)

    def with_name(self, name: str) -> "ObjectPath":
        """A neighbour."""
        return self.parent / name

    def exists(self) -> bool:
        """Whether there is such a file."""
        return bool(self.filesystem.get_file_info(self.path).type == fs.FileType.File)

    def read_bytes(self) -> bytes:
        """The content.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: the store cannot be reached, or refuses.
        """
        with self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.readall())

    def write_bytes(self, content: bytes) -> None:
        """Write the file; a store shows it when all of it has arrived, and never a part of it."""
        with self.filesystem.open_output_stream(self.path) as stream:
            stream.write(content)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file.

        Raises:
            FileNotFoundError: there is none, and ``missing_ok`` is not said.
        """
        try:
            self.filesystem.delete_file(self.path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def glob(self, pattern: str) -> "Iterator[ObjectPath]":
        """Files directly below whose name matches."""
        return self._found(pattern, recursive=False)

    def rglob(self, pattern: str) -> "Iterator[ObjectPath]":
        """Files anywhere below whose name matches."""
        return self._found(pattern, recursive=True)

    def _found(self, pattern: str, *, recursive: bool) -> "Iterator[ObjectPath]":
        below = fs.FileSelector(self.path, allow_not_found=True, recursive=recursive)
        for found in self.filesystem.get_file_info(below):
            if found.type == fs.FileType.File and fnmatchcase(found.base_name, pattern):
                yield ObjectPath(self.scheme, found.path, self.options)

    @property
    def filesystem(self) -> Any:
        """Arrow's file system of the store."""
        return _filesystem(self.scheme, self.path.partition("/")[0], self.options)


Location: TypeAlias = Path | ObjectPath


def location(text: str) -> Location:
    """A place from a setting: a folder of this machine, or the URL of a bucket and prefix.

    Raises:
        LocationError: a URL without a bucket, or one that holds a password.
    """
    if "://" not in text:
        return Path(text).expanduser()
    parts = urlsplit(text)
    if parts.scheme == "file":
        return Path(parts.path)
    if "@" in parts.netloc or "secret_key" in parts.query:
        raise LocationError(
            f"the {parts.scheme} URL holds credentials, and would be written to logs: leave them "
            "out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the host a role"
        )
    if not parts.netloc:
        raise LocationError(f"{text!r} names no bucket: write {parts.scheme}://bucket/prefix")
    path = f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
    return ObjectPath(parts.scheme, path, parts.query)


def url_of(place: Location) -> str:
    """What another process needs to find a place; ``location`` reads it again."""
    return place.url if isinstance(place, ObjectPath) else str(place)


def readable(place: Location) -> Any:
    """What Arrow's readers read a file from: they fetch no more of it than they need."""
    return place.filesystem.open_input_file(place.path) if isinstance(place, ObjectPath) else place


@lru_cache(maxsize=16)
def _filesystem(scheme: str, bucket: str, options: str) -> Any:
    url = f"{scheme}://{bucket}"
    try:
        found, _ = fs.FileSystem.from_uri(f"{url}?{options}" if options else url)
    except (ValueError, TypeError) as error:
        raise LocationError(
            f"{url} is no place for files ({error}): name a folder, or s3://bucket/prefix"
        ) from error
    return found
