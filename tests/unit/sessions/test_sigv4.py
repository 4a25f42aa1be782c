"""Signature Version 4 against the examples of the Amazon S3 documentation."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sessions import sigv4

NOW = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "examplebucket.s3.amazonaws.com"


def signature(method: str, path: str, *, query: str = "", body: bytes = b"", **headers: str) -> str:
    signed = sigv4.signed_headers(
        method,
        host=HOST,
        path=path,
        query=query,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body,
        access_key="AKIAIOSFODNN7EXAMPLE",
        secret_key=b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        region="us-east-1",
        now=NOW,
    )
    return signed["Authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize(
    ("found", "documented"),
    [
        (
            lambda: signature("GET", "/test.txt", Range="bytes=0-9"),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            lambda: signature(
                "PUT",
                "/test%24file.text",
                body=b"Welcome to Amazon S3.",
                Date="Fri, 24 May 2013 00:00:00 GMT",
                x_amz_storage_class="REDUCED_REDUNDANCY",
            ),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            lambda: signature("GET", "/", query="lifecycle="),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            lambda: signature("GET", "/", query="max-keys=2&prefix=J"),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_documented_examples_get_the_documented_signatures(found, documented):
    assert found() == documented


def test_paths_and_queries_are_written_as_they_are_signed():
    assert sigv4.path_of("", "bucket", "a b/c$+.wgr") == "/bucket/a%20b/c%24%2B.wgr"
    assert sigv4.query_of({"uploadId": "a&b/c", "partNumber": "2"}) == "partNumber=2&uploadId=a%26b%2Fc"
