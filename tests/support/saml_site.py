"""A SAML identity provider that this gateway trusts, and what a login at it looks like from both sides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.test import Client

from accounts import services
from accounts.models import IdentityProvider, SamlProvider
from accounts.saml.messages import Places
from accounts.services import saml
from tests.support.saml_idp import SamlIdp, posted, request_in

ISSUER = "https://login.example.com"
BROWSER = "b" * 43


@dataclass
class SamlSite:
    """The rows, the identity provider, and shortcuts to begin a login and to answer it."""

    idp: SamlIdp
    provider: IdentityProvider
    row: SamlProvider

    @property
    def places(self) -> Places:
        """Our URLs."""
        return saml.saml_places(self.row.pk)

    def begin(self, *, browser: str = BROWSER, next_path: str = "", is_proof: bool = False, now: datetime) -> str:
        """Begin a login, and return the id of the request."""
        url = saml.login_begin(
            saml_provider_id=self.row.pk, browser=browser, next_path=next_path, is_proof=is_proof, now=now
        )
        return str(request_in(url).get("ID"))

    def response(self, to: str | None, **values: Any) -> bytes:
        """Return an honest answer to the request `to`, but for `values`."""
        return self.idp.response(to=to, **{"acs": self.places.acs, "audience": self.places.entity_id, **values})

    def answer(self, document: bytes | str, *, now: datetime | None = None) -> str:
        """Bring an answer to the gateway."""
        return saml.login_answer(saml_provider_id=self.row.pk, encoded=posted(document), now=now or self.idp.now)

    def finish(self, request_id: str, *, browser: str = BROWSER, now: datetime | None = None) -> saml.Login:
        """Come back with the browser."""
        return saml.login_finish(
            saml_provider_id=self.row.pk, request_id=request_id, browser=browser, now=now or self.idp.now
        )

    def sent_to_idp(self, client: Client, **query: str) -> Any:
        """Follow the login button, and return the AuthnRequest that the identity provider gets."""
        answer = client.get(f"/saml/{self.row.pk}/login", query)
        assert answer.status_code == 302, answer.content
        return request_in(answer["Location"])

    def post(self, client: Client, document: bytes | str, **fields: str) -> Any:
        """Post an answer as a browser does that comes from another site: without cookies."""
        kept, client.cookies = client.cookies, type(client.cookies)()
        try:
            form = {"SAMLResponse": posted(document), **fields}
            return client.post(urlsplit(self.places.acs).path, form_body(form), "application/x-www-form-urlencoded")
        finally:
            client.cookies = kept


def form_body(form: dict[str, str]) -> str:
    """Return a form as a browser sends it."""
    return urlencode(form)


def saml_site(now: datetime, **values: Any) -> SamlSite:
    """Return a fresh site; `values` go to the SAML provider."""
    provider = services.provider_save(
        name="Main", issuer=ISSUER, jwks_url="https://login.example.com/keys", requires_nbf=False, now=now
    )
    idp = SamlIdp(now=now)
    given = {"name": "Main SAML", "metadata": idp.metadata(), "allows_token_exchange": True, **values}
    row = services.saml_provider_save(provider=provider, **given, now=now)
    return SamlSite(idp, provider, row)


def request_of(location: str) -> str:
    """Return the id of the request in the URL at which a login is finished."""
    return parse_qs(urlsplit(location).query)["request"][0]
