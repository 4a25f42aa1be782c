"""How a receiver reads a body: of one content type, of bounded size, with every form field at most once."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from django.http import HttpRequest

BODY_BYTES: Final = 20 * 1024
"""The largest token that is looked at (16 KiB), and room for a form around it."""
MAX_FIELDS: Final = 16


class BodyRefused(Exception):
    """The body cannot be read. The text is a sentence that repeats nothing of it."""


def read_body(request: HttpRequest, content_type: str, *, limit: int = BODY_BYTES) -> bytes:
    """Return the body, which has to be of `content_type` and of at most `limit` bytes.

    Raises:
        BodyRefused: another content type, an encoding, or too large.
    """
    if (request.content_type or "").lower() != content_type:
        raise BodyRefused(f"The content type has to be {content_type}.")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BodyRefused("The body may not be encoded.")
    body: bytes = request.read(limit + 1)
    if len(body) > limit:
        raise BodyRefused(f"The body is larger than {limit} bytes.")
    return body


def read_form(request: HttpRequest, *, limit: int = BODY_BYTES) -> dict[str, str]:
    """Return the fields of a form; RFC 6749 section 3.1: none may be there twice.

    Raises:
        BodyRefused: it is not a form, or can be read in two ways.
    """
    body = read_body(request, "application/x-www-form-urlencoded", limit=limit)
    try:
        text = body.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(body), max_num_fields=MAX_FIELDS)
    except ValueError:
        raise BodyRefused("The body is not a form.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise BodyRefused("A field of the form is there twice.")
    return form
