"""PURE: AWS Signature Version 4, as far as a request to an S3-compatible bucket needs it.

Source: "Signature Calculations for the Authorization Header" of the Amazon S3 API reference.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final
from urllib.parse import quote

ALGORITHM: Final = "AWS4-HMAC-SHA256"
SERVICE: Final = "s3"


def path_of(*parts: str) -> str:
    """Return the parts as the path of a URL, as it is signed and sent."""
    return "/" + "/".join(quote(part.strip("/"), safe="/-_.~") for part in parts if part.strip("/"))


def query_of(parameters: Mapping[str, str]) -> str:
    """Return the parameters as a query, in the order in which they are signed."""
    return "&".join(f"{quote(name, safe='-_.~')}={quote(parameters[name], safe='-_.~')}" for name in sorted(parameters))


def signed_headers(
    method: str,
    *,
    host: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    access_key: str,
    secret_key: bytes,
    region: str,
    now: datetime,
) -> dict[str, str]:
    """Return the headers of a request, signed: those that are given, and those of the signature.

    Args:
        method: in upper case.
        host: as the Host header has it.
        path: from `path_of`.
        query: from `query_of`.
        headers: which are signed too.
        body: what is sent.
        access_key: the id of the key.
        secret_key: the key itself.
        region: such as us-east-1.
        now: the server refuses what differs by more than 15 minutes.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    digest = sha256(body).hexdigest()
    sent = {**headers, "x-amz-date": stamp, "x-amz-content-sha256": digest}
    signed = {name.lower(): " ".join(value.split()) for name, value in sent.items()} | {"host": host}
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        (method, path, query, *(f"{name}:{signed[name]}" for name in sorted(signed)), "", names, digest)
    )
    scope = f"{stamp[:8]}/{region}/{SERVICE}/aws4_request"
    to_sign = "\n".join((ALGORITHM, stamp, scope, sha256(canonical.encode()).hexdigest()))
    key = b"AWS4" + secret_key
    for part in (stamp[:8], region, SERVICE, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, to_sign.encode(), "sha256").hexdigest()
    sent["Authorization"] = f"{ALGORITHM} Credential={access_key}/{scope},SignedHeaders={names},Signature={signature}"
    return sent
