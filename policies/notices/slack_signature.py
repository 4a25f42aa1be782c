"""Whether a request really comes from Slack: its signature over the time and the body. Pure.

Source: Slack, "Verifying requests from Slack" (scheme v0).
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import Final

WINDOW_SECONDS: Final = 300
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"v0=[0-9a-f]{64}", re.ASCII)


class SignatureRefused(Exception):
    """The request is not signed as it has to be. The text is a sentence that repeats nothing of it."""


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return `X-Slack-Signature` of a body that is sent at `timestamp`."""
    return "v0=" + hmac.new(secret, b"v0:" + timestamp.encode("ascii") + b":" + body, sha256).hexdigest()


def check(secret: bytes, *, timestamp: str, given: str, body: bytes, now: float) -> None:
    """Pass if `given` is the signature of `body`, made within five minutes of `now` (epoch seconds).

    Raises:
        SignatureRefused: it is missing, malformed, too old, too new, or of something else; without a secret always.
    """
    check_form(timestamp=timestamp, given=given, now=now)
    if not secret or not hmac.compare_digest(signature(secret, timestamp, body), given):
        raise SignatureRefused("The signature is of another secret or another body.")


def check_form(*, timestamp: str, given: str, now: float) -> None:
    """Pass if this may be a signature of now at all: what can be said without a secret, before one is opened.

    Raises:
        SignatureRefused: it is missing, malformed, too old or too new.
    """
    if not _TIMESTAMP.fullmatch(timestamp) or not _SIGNATURE.fullmatch(given):
        raise SignatureRefused("The request has no signature of Slack.")
    if abs(now - int(timestamp)) > WINDOW_SECONDS:
        raise SignatureRefused("The signature is older than five minutes, or of the future.")
