"""Notices by e-mail, through the mail server of the settings: text and HTML, and a link to look, not to decide."""

from __future__ import annotations

import smtplib
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from email.utils import getaddresses
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.validators import validate_email
from django.template.loader import render_to_string

from accounts.vault import Secret

from .message import Notice, NotSent, Sent

UPDATES: Final = False
MAX_ADDRESSES: Final = 5
MAIL_SECONDS: Final = 40.0
"""How long the exchange with the mail server may take altogether."""
FOOTER: Final = (
    "Whoever has this message can decide nothing with it: decisions are made in the inbox, after logging in."
)


def is_set_up() -> bool:
    """Tell whether there is a mail server."""
    return bool(settings.EMAIL_HOST)


def send(notice: Notice, target: str, secret: Secret, allowed_networks: Sequence[str], *, reference: str = "") -> Sent:
    """Send the notice to the addresses in `target`; of several nobody sees the others.

    Raises:
        NotSent: the mail server did not take it.
    """
    if not is_set_up():
        raise NotSent("There is no mail server: set EMAIL_HOST.")
    found = addresses_in(target)
    if not found:
        raise NotSent("There is no address.", is_final=True)
    host = urlsplit(settings.WARDGATE_PUBLIC_URL).hostname or "wardgate"
    message = EmailMultiAlternatives(
        subject=f"[Wardgate] {notice.title}",
        body=text(notice),
        from_email=settings.DEFAULT_FROM_EMAIL,
        bcc=found,
        alternatives=[(html(notice), "text/html")],
        headers={
            "To": found[0] if len(found) == 1 else "undisclosed-recipients:;",
            # Everything about one request is one thread, and no vacation answer comes back.
            **({"References": f"<{notice.code}@{host}>"} if notice.code else {}),
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "All",
        },
    )
    server: Any = get_connection(timeout=settings.EMAIL_TIMEOUT)
    cut_off = threading.Timer(MAIL_SECONDS, _cut_off, [server])
    cut_off.daemon = True
    cut_off.start()
    try:
        server.send_messages([message])
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        is_final = bool(codes) and all(code >= 500 for code in codes)
        raise NotSent(f"The mail server refused the address ({max(codes, default=0)}).", is_final=is_final) from None
    except smtplib.SMTPAuthenticationError:
        raise NotSent("The mail server refused EMAIL_HOST_USER and its password.") from None
    except smtplib.SMTPResponseException as error:
        raise NotSent(f"The mail server answered {error.smtp_code}.", is_final=error.smtp_code >= 500) from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotSent(f"The exchange with the mail server failed ({type(error).__name__}).") from None
    finally:
        cut_off.cancel()
    return Sent()


def _cut_off(server: Any) -> None:
    """End an exchange that takes too long: each step has its own time, and a slow server has many steps."""
    with suppress(AttributeError, OSError):
        server.connection.sock.shutdown(socket.SHUT_RDWR)


def text(notice: Notice) -> str:
    """Return the text part."""
    lines = [notice.title, ""]
    lines += [f"{label}: {value}" for label, value in notice.facts()]
    return "\n".join([*lines, "", f"Look at it: {notice.link}", "", FOOTER, ""])


def html(notice: Notice) -> str:
    """Return the HTML part; every value is escaped, and nothing is loaded from anywhere."""
    return render_to_string("notices/email.html", {"notice": notice, "facts": notice.facts(), "footer": FOOTER})


def addresses_in(target: str) -> list[str]:
    """Return the addresses of a list with commas, without names and repetitions."""
    found = [address for _, address in getaddresses([target]) if _is_address(address)]
    return list(dict.fromkeys(found))


def refusal(target: str, secret: str | None, allowed_networks: Sequence[str]) -> tuple[str, str] | None:
    """Return what of the settings of a mailbox cannot be."""
    parts = [part.strip() for part in target.split(",")]
    if not all(_is_address(part) for part in parts):
        return "target", "Write addresses with commas between them, such as approvers@example.com."
    if len(parts) > MAX_ADDRESSES:
        return "target", f"Write at most {MAX_ADDRESSES} addresses; better one of a mailing list."
    return ("secret", "E-mail needs no secret; leave it empty.") if secret else None


def _is_address(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return text.isascii() and text.isprintable()
