"""The login page of the demo's identity provider, and the codes that it gives out (authorization code with PKCE).

One client is known, the console of the gateway that was started with it, and it has no secret: PKCE with S256 proves
that whoever redeems a code has asked for it. A code is good once, for a minute, in this process.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from gateway_project.demo.people import CLIENT_ID, PEOPLE

CODE_SECONDS = 60
MAX_CODES = 1000
_ASKED = ("client_id", "redirect_uri", "state", "nonce", "code_challenge")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Demo identity provider</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 24rem; margin: 4rem auto; padding: 0 1rem }}
form {{ display: grid; gap: .75rem }}
input, button {{ font: inherit; padding: .5rem; width: 100%; box-sizing: border-box }}
[role=alert] {{ border-left: .25rem solid #be123c; padding-left: .75rem }}
</style></head><body><main><h1>Demo identity provider</h1>
<p>Log in to Wardgate as one of {names}.</p>{alert}
<form method="post" action="/authorize">{hidden}
<label>User name <input name="username" autocomplete="username" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button></form>
<p>The command <code>python3 run.py password alice</code> prints a password.</p></main></body></html>
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the console asked for when it sent the browser here (RFC 6749 section 4.1.1, RFC 7636 section 4.3)."""

    client_id: str
    redirect_uri: str
    state: str
    nonce: str
    code_challenge: str

    def back(self, parameters: Mapping[str, str]) -> str:
        """Return where the browser goes now, with `parameters`."""
        return f"{self.redirect_uri}?{urlencode({**parameters, 'state': self.state})}"


@dataclass(frozen=True, slots=True)
class Given:
    """A code that was given out: to which request, for whom, when."""

    asked: Asked
    name: str
    at: int


@dataclass(slots=True)
class Logins:
    """The codes that wait to be redeemed, and the origin of the console that may ask for them."""

    console: str
    _codes: dict[str, Given] = field(default_factory=dict, repr=False)

    def asked(self, parameters: Mapping[str, str]) -> Asked | None:
        """Return the request in `parameters`; None when it is not one of the console's, or without PKCE."""
        if parameters.get("response_type") != "code" or parameters.get("code_challenge_method") != "S256":
            return None
        asked = Asked(**{name: parameters.get(name, "") for name in _ASKED})
        place = urlsplit(asked.redirect_uri)
        is_console = bool(self.console) and f"{place.scheme}://{place.netloc}" == self.console
        is_callback = place.path.startswith("/admin/login/oidc/") and not (place.query or place.fragment)
        is_known = hmac.compare_digest(asked.client_id.encode(), CLIENT_ID.encode())
        return asked if is_console and is_callback and is_known and asked.code_challenge else None

    def give(self, asked: Asked, name: str, *, now: int) -> str:
        """Return a code for the person `name`."""
        self._codes = {code: given for code, given in self._codes.items() if now - given.at <= CODE_SECONDS}
        while len(self._codes) >= MAX_CODES:
            del self._codes[next(iter(self._codes))]
        code = secrets.token_urlsafe(32)
        self._codes[code] = Given(asked, name, now)
        return code

    def redeem(self, form: Mapping[str, str], *, now: int) -> Given | None:
        """Return what the code in `form` was given out for; it is used up, whatever comes of it."""
        given = self._codes.pop(form.get("code", ""), None)
        if given is None or now - given.at > CODE_SECONDS:
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        is_same = (form.get("client_id"), form.get("redirect_uri")) == (given.asked.client_id, given.asked.redirect_uri)
        return given if is_same and hmac.compare_digest(challenge, given.asked.code_challenge) else None


def page(parameters: Mapping[str, str], *, has_failed: bool) -> str:
    """Return the login page, which sends the request along with the password."""
    names = ("response_type", "code_challenge_method", *_ASKED)
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(parameters.get(name, ""))}">' for name in names
    )
    people = ", ".join(name for name, person in PEOPLE.items() if not person.is_machine)
    alert = '<p role="alert">User name or password is wrong.</p>' if has_failed else ""
    return _PAGE.format(names=people, alert=alert, hidden=hidden)
