"""Objects in a bucket, against a server that checks every signature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from accounts.vault import Secret
from sessions import s3
from tests.support.s3 import ACCESS_KEY, REGION, SECRET_KEY, S3Server, s3_server


@pytest.fixture(scope="module")
def serving() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def server(serving: S3Server) -> S3Server:
    serving.objects.clear()
    serving.requests.clear()
    serving.failures.clear()
    return serving


@pytest.fixture
def bucket(server: S3Server) -> s3.Bucket:
    return s3.Bucket(
        url=server.url,
        name="records",
        access_key=ACCESS_KEY,
        secret_key=Secret(SECRET_KEY.encode()),
        region=REGION,
        allowed_networks=["127.0.0.0/8"],
        seconds=5,
    )


def test_an_object_is_put_looked_at_read_in_part_and_deleted(server, bucket):
    s3.put(bucket, "2026/a b.wgr", [b"0123", b"456789"])
    assert server.objects == {"records/2026/a b.wgr": b"0123456789"}
    assert s3.look(bucket, "2026/a b.wgr") == s3.Found(10)
    assert s3.read(bucket, "2026/a b.wgr", offset=2, length=3) == b"234"
    assert s3.read(bucket, "2026/a b.wgr", offset=8, length=100) == b"89"
    assert s3.read(bucket, "2026/a b.wgr", offset=10, length=1) == b""
    s3.delete(bucket, "2026/a b.wgr")
    s3.delete(bucket, "2026/a b.wgr")
    assert s3.look(bucket, "2026/a b.wgr") is None


def test_a_long_object_is_put_in_parts_and_appears_as_a_whole(server, bucket, monkeypatch):
    monkeypatch.setattr(s3, "PART_BYTES", 1000)
    content = bytes(range(256)) * 20
    s3.put(bucket, "long", (content[at : at + 300] for at in range(0, len(content), 300)))
    assert server.objects["records/long"] == content
    assert server.requests.count("PUT") == 6


def test_an_upload_that_fails_leaves_nothing(server, bucket, monkeypatch):
    monkeypatch.setattr(s3, "PART_BYTES", 1000)

    def pieces() -> Iterator[bytes]:
        yield bytes(1500)
        server.fail_next(503, 3)
        yield bytes(1500)

    with pytest.raises(s3.BucketFailed):
        s3.put(bucket, "long", pieces())
    assert server.objects == {}
    assert server.uploads == {}


def test_a_failure_on_the_way_is_tried_again_and_a_refusal_is_not(server, bucket):
    server.fail_next(503, 2)
    s3.put(bucket, "a", [b"x"])
    assert server.requests == ["PUT"] * 3
    server.requests.clear()
    with pytest.raises(s3.BucketFailed) as refused:
        s3.put(replace(bucket, secret_key=Secret(b"wrong")), "b", [b"x"])
    assert "SignatureDoesNotMatch" in str(refused.value)
    assert server.requests == ["PUT"]
    assert "b" not in server.objects


def test_an_answer_that_breaks_off_is_asked_for_again(server, bucket):
    s3.put(bucket, "a", [b"x" * 1000])
    server.cut_next()
    assert s3.read(bucket, "a", offset=0, length=1000) == b"x" * 1000


def test_a_bucket_on_a_private_address_needs_its_network(bucket):
    with pytest.raises(s3.BucketFailed) as refused:
        s3.put(replace(bucket, allowed_networks=[]), "a", [b"x"])
    assert refused.value.code in {"plain_http", "address_refused"}


def test_what_is_not_there_is_said_to_be_missing(bucket):
    with pytest.raises(s3.BucketFailed) as missing:
        s3.read(bucket, "nothing", offset=0, length=1)
    assert missing.value.code == "missing"


def test_a_key_never_shows(bucket):
    assert SECRET_KEY not in repr(bucket)
