"""S3-compatible buckets: put, read a range, look, delete. Over the console's one outbound client, signed by `sigv4`.

Addresses are by path (`https://service/bucket/name`), which every S3-compatible service understands. A long object is
put in parts; it appears when the last step has succeeded, and never in part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from lxml import etree

from accounts import outbound
from accounts.vault import Secret

from . import sigv4

PART_BYTES: Final = 16 * 1024 * 1024
"""An object that is longer is put in parts of this size; the least that S3 takes is 5 MiB, and at most 10,000 parts."""
_ANSWER_BYTES: Final = 1024 * 1024
_ERROR_BYTES: Final = 64 * 1024
_ATTEMPTS: Final = 3
_RETRIED: Final = frozenset({500, 502, 503, 504})


class BucketFailed(Exception):
    """The bucket did not do what was asked. `code` is stable; the text repeats neither key nor URL."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket and the key to it. Plain http only into `allowed_networks`.

    `seconds` is for each request, a part of a long object included.
    """

    url: str
    name: str
    access_key: str
    secret_key: Secret = field(repr=False)
    region: str = "us-east-1"
    allowed_networks: Sequence[str] = ()
    seconds: float = 60


@dataclass(frozen=True, slots=True)
class Found:
    """An object that is there: its size in bytes."""

    size: int


def put(bucket: Bucket, name: str, pieces: Iterable[bytes]) -> None:
    """Write an object; what was there before is replaced at once and as a whole.

    Args:
        bucket: where.
        name: the whole name in the bucket.
        pieces: its content; at most one part of it is kept in memory.

    Raises:
        BucketFailed: it was not written.
    """
    parts = _parts(pieces)
    first = next(parts)
    second = next(parts, None)
    if second is None:
        _asked(bucket, "PUT", name, body=first)
        return
    upload = _upload_id(_asked(bucket, "POST", name, query={"uploads": ""}).body)
    try:
        tags = []
        for number, part in enumerate(_chained(first, second, parts), start=1):
            query = {"partNumber": str(number), "uploadId": upload}
            answer = _asked(bucket, "PUT", name, query=query, body=part)
            tags.append(answer.headers.get("etag", ""))
        _completed(_asked(bucket, "POST", name, query={"uploadId": upload}, body=_completion(tags)).body)
    except BucketFailed:
        _forgotten(bucket, name, upload)
        raise


def read(bucket: Bucket, name: str, *, offset: int, length: int) -> bytes:
    """Return `length` bytes of an object from `offset`, fewer at its end.

    Raises:
        BucketFailed: it cannot be read; `missing` when it is not there.
    """
    if length <= 0:
        return b""
    headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
    answer = _asked(bucket, "GET", name, headers=headers, limit=max(length, _ERROR_BYTES), accepted=(200, 206, 416))
    if answer.status == 416:
        return b""
    # A service that knows no ranges sends everything, which is more than was asked for and refused as too large.
    return answer.body if answer.status == 206 else answer.body[offset : offset + length]


def look(bucket: Bucket, name: str) -> Found | None:
    """Return what is known of an object, None when it is not there.

    Raises:
        BucketFailed: the bucket cannot be asked.
    """
    answer = _asked(bucket, "HEAD", name, accepted=(200, 404))
    if answer.status == 404:
        return None
    try:
        return Found(int(answer.headers.get("content-length", "")))
    except ValueError:
        raise BucketFailed("bad_answer", "The bucket does not say how long an object is.") from None


def delete(bucket: Bucket, name: str) -> None:
    """Delete an object; it is no error when it is not there.

    Raises:
        BucketFailed: it may still be there.
    """
    _asked(bucket, "DELETE", name, accepted=(200, 204, 404))


def _asked(
    bucket: Bucket,
    method: str,
    name: str,
    *,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    limit: int = _ANSWER_BYTES,
    accepted: tuple[int, ...] = (200,),
) -> outbound.Answer:
    """Return the answer to a signed request; one that failed on the way is asked again, for all of them may be."""
    parts = urlsplit(bucket.url.rstrip("/"))
    path = sigv4.path_of(parts.path, bucket.name, name)
    written = sigv4.query_of(query or {})
    problem = BucketFailed("failed", "The bucket cannot be reached.")
    for _ in range(_ATTEMPTS):
        signed = sigv4.signed_headers(
            method,
            host=_authority(parts.hostname or "", parts.port, parts.scheme),
            path=path,
            query=written,
            headers=headers or {},
            body=body,
            access_key=bucket.access_key,
            secret_key=bucket.secret_key.reveal(),
            region=bucket.region,
            now=datetime.now(UTC),
        )
        try:
            answer = outbound.request(
                method,
                f"{parts.scheme}://{parts.netloc}{path}" + (f"?{written}" if written else ""),
                allowed_networks=bucket.allowed_networks,
                headers=signed,
                body=body,
                limit=limit,
                seconds=bucket.seconds,
            )
        except outbound.OutboundFailed as error:
            problem = BucketFailed(error.code, str(error))
            continue
        if answer.status in accepted:
            return answer
        problem = _refused(answer)
        if answer.status not in _RETRIED:
            break
    raise problem


def _authority(host: str, port: int | None, scheme: str) -> str:
    written = f"[{host}]" if ":" in host else host
    return written if port in {None, 443 if scheme == "https" else 80} else f"{written}:{port}"


def _refused(answer: outbound.Answer) -> BucketFailed:
    if answer.status == 404:
        return BucketFailed("missing", "The object is not in the bucket.")
    return BucketFailed("refused", f"The bucket answered {answer.status} {_code(answer.body)}".strip() + ".")


def _code(body: bytes) -> str:
    """Return the code of an error's XML, which is letters only; nothing else of the answer is repeated."""
    code = _text(body, "Code")
    return code if code.isascii() and code.isalnum() and len(code) <= 64 else ""


def _text(body: bytes, tag: str) -> str:
    try:
        root = etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False))
    except (etree.XMLSyntaxError, ValueError):
        return ""
    found = [root, *root] if root is not None else []
    return next((element.text or "" for element in found if etree.QName(element).localname == tag), "")


def _upload_id(body: bytes) -> str:
    upload = _text(body, "UploadId")
    if not upload:
        raise BucketFailed("bad_answer", "The bucket began no upload in parts.")
    return upload


def _completion(tags: Iterable[str]) -> bytes:
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
        for number, tag in enumerate(tags, start=1)
    )
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()


def _completed(body: bytes) -> None:
    # The service answers 200 before it has put the parts together, and may still say that it could not.
    if not _text(body, "ETag"):
        raise BucketFailed("refused", f"The bucket could not put an upload together {_code(body)}".strip() + ".")


def _forgotten(bucket: Bucket, name: str, upload: str) -> None:
    try:
        _asked(bucket, "DELETE", name, query={"uploadId": upload}, accepted=(200, 204, 404))
    except BucketFailed:
        return


def _parts(pieces: Iterable[bytes]) -> Iterator[bytes]:
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) > PART_BYTES:
            yield bytes(waiting[:PART_BYTES])
            del waiting[:PART_BYTES]
    yield bytes(waiting)


def _chained(first: bytes, second: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield second
    yield from rest
