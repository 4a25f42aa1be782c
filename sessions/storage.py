"""Where sealed recordings are: a folder of this machine, or an S3-compatible bucket.

A file appears under its name as a whole or not at all, and is read back before anybody relies on it. Names come from
the gateway and never from a caller, and are checked all the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from django.conf import settings

from accounts.exceptions import DomainError
from accounts.vault import Secret

from . import s3
from .recording import Source

LOCAL: Final = "local"
S3: Final = "s3"
_NAME = re.compile(r"[0-9a-z][0-9a-z.-]*(?:/[0-9a-z][0-9a-z.-]*)*")
_PIECE: Final = 1024 * 1024
_AHEAD: Final = 256 * 1024
"""What is read of a bucket at least, so that a call costs one request and not three."""


class StorageFailed(DomainError):
    """A recording cannot be stored, read or deleted. The text says where to look and repeats no secret."""

    code = "storage_failed"


class Storage(Protocol):
    """A place for recordings."""

    kind: str

    def take(self, path: Path, name: str) -> None:
        """Make the finished file at `path` appear as `name`; the file at `path` is gone afterwards.

        Raises:
            StorageFailed: it did not.
        """

    def source(self, name: str) -> Source:
        """Return a reader of `name`; close it where it has a `close`.

        Raises:
            StorageFailed: it is not there, or cannot be reached.
        """

    def delete(self, name: str) -> None:
        """Delete `name`; it is no error when it is not there.

        Raises:
            StorageFailed: it may still be there.
        """


def storage_of(kind: str) -> Storage:
    """Return the storage of that kind, as it is configured.

    Raises:
        StorageFailed: it is not configured.
    """
    if kind == LOCAL:
        return Local(folder())
    if kind == S3 and settings.WARDGATE_RECORDING_S3_URL:
        return InBucket(_bucket())
    raise StorageFailed(f"There is no storage {kind!r}: see WARDGATE_RECORDING_STORAGE.")


def folder() -> Path:
    """Return the folder of local recordings, in which others are also put together before they are sent."""
    return Path(settings.WARDGATE_RECORDING_FOLDER or settings.BASE_DIR / ".wardgate" / "recordings")


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Yield the path of a file that does not exist yet; what is left of it is deleted.

    Raises:
        StorageFailed: there is no folder for it.
    """
    path = folder() / ".writing" / name
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailed(f"The folder of recordings cannot be written ({error.strerror}).") from None
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def scratch_clear(name: str) -> None:
    """Delete what a process that died has left of the file `name`."""
    with suppress(OSError):
        (folder() / ".writing" / name).unlink(missing_ok=True)


class Local:
    """Files in a folder that belongs to the gateway alone."""

    kind = LOCAL

    def __init__(self, root: Path) -> None:
        self._root = root

    def take(self, path: Path, name: str) -> None:
        """Move the file to its name, durably: its content was synchronised, and so is the folder."""
        target = self._path(name)
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.replace(target)
            _synchronise(target.parent)
        except OSError as error:
            raise StorageFailed(f"A recording cannot be stored ({error.strerror}).") from None

    def source(self, name: str) -> Source:
        """Open the file."""
        try:
            return FileSource(self._path(name))
        except OSError as error:
            raise StorageFailed(f"A recording cannot be read ({error.strerror}).") from None

    def delete(self, name: str) -> None:
        """Delete the file."""
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
            if path.parent.exists():
                _synchronise(path.parent)
        except OSError as error:
            raise StorageFailed(f"A recording cannot be deleted ({error.strerror}).") from None

    def _path(self, name: str) -> Path:
        return self._root / _checked(name)


class FileSource:
    """A file, read at any place."""

    _file = -1

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._file).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end."""
        parts: list[bytes] = []
        while length > 0 and (piece := os.pread(self._file, length, offset)):
            parts.append(piece)
            offset, length = offset + len(piece), length - len(piece)
        return b"".join(parts)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        self.close()


class InBucket:
    """Objects in an S3-compatible bucket."""

    kind = S3

    def __init__(self, bucket: s3.Bucket) -> None:
        self._bucket = bucket

    def take(self, path: Path, name: str) -> None:
        """Put the file's content; the object appears when all of it is there."""
        try:
            with path.open("rb") as file:
                s3.put(self._bucket, _object(name), iter(lambda: file.read(_PIECE), b""))
            path.unlink()
        except OSError as error:
            raise StorageFailed(f"A recording cannot be read before it is sent ({error.strerror}).") from None
        except s3.BucketFailed as error:
            raise StorageFailed(str(error)) from None

    def source(self, name: str) -> Source:
        """Look for the object."""
        try:
            found = s3.look(self._bucket, _object(name))
        except s3.BucketFailed as error:
            raise StorageFailed(str(error)) from None
        if found is None:
            raise StorageFailed("The recording is not in the bucket.")
        return ObjectSource(self._bucket, _object(name), found.size)

    def delete(self, name: str) -> None:
        """Delete the object."""
        try:
            s3.delete(self._bucket, _object(name))
        except s3.BucketFailed as error:
            raise StorageFailed(str(error)) from None


class ObjectSource:
    """An object, read at any place; a little more than asked is read and kept."""

    def __init__(self, bucket: s3.Bucket, name: str, size: int) -> None:
        self._bucket, self._name, self.size = bucket, name, size
        self._kept_at, self._kept = 0, b""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end.

        Raises:
            StorageFailed: the bucket cannot be read.
        """
        begin = offset - self._kept_at
        if begin < 0 or begin + length > len(self._kept):
            # The end of a recording is read backwards: its trailer says where the rest of it is.
            from_end = min(offset, max(0, self.size - _AHEAD)) if offset + length >= self.size else offset
            try:
                self._kept = s3.read(
                    self._bucket, self._name, offset=from_end, length=max(_AHEAD, offset + length - from_end)
                )
            except s3.BucketFailed as error:
                raise StorageFailed(str(error)) from None
            self._kept_at, begin = from_end, offset - from_end
        return self._kept[begin : begin + length]


def _bucket() -> s3.Bucket:
    return s3.Bucket(
        url=settings.WARDGATE_RECORDING_S3_URL,
        name=settings.WARDGATE_RECORDING_S3_BUCKET,
        access_key=settings.WARDGATE_RECORDING_S3_ACCESS_KEY,
        secret_key=Secret(settings.WARDGATE_RECORDING_S3_SECRET_KEY.encode()),
        region=settings.WARDGATE_RECORDING_S3_REGION,
        allowed_networks=settings.WARDGATE_RECORDING_S3_NETWORKS,
    )


def _object(name: str) -> str:
    prefix = settings.WARDGATE_RECORDING_S3_PREFIX.strip("/")
    return f"{prefix}/{_checked(name)}" if prefix else _checked(name)


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None or ".." in name:
        raise StorageFailed("A recording has a name that no recording has.")
    return name


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
