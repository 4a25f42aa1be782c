"""A login at a SAML identity provider of another site, in a real browser, which lets through the cookies it likes."""

from __future__ import annotations

import base64
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import quoteattr

import pytest
from lxml import etree

from accounts import services
from accounts.models import ConsoleSession, Group, RoleGrant
from accounts.services import saml
from tests.support.saml_idp import SamlIdp, posted
from tests.support.saml_site import ISSUER

pytestmark = [pytest.mark.needs_chromium, pytest.mark.django_db(transaction=True)]


@contextmanager
def serving(idp: SamlIdp) -> Iterator[str]:
    """Serve a login page whose button posts the answer; yield its URL, on another site than localhost."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parameters = parse_qs(urlsplit(self.path).query)
            if "SAMLRequest" not in parameters:
                self.send_error(404)
                return
            request = etree.fromstring(zlib.decompress(base64.b64decode(parameters["SAMLRequest"][0]), -15))
            acs = request.get("AssertionConsumerServiceURL")
            idp.now = datetime.now(UTC).replace(microsecond=0)
            audience = request.findtext("{urn:oasis:names:tc:SAML:2.0:assertion}Issuer")
            response = idp.response(to=request.get("ID"), acs=acs, audience=audience)
            body = (
                f'<!doctype html><form method="post" action={quoteattr(acs)}>'
                f'<input type="hidden" name="SAMLResponse" value="{posted(response)}">'
                '<input type="hidden" name="RelayState" value="https://evil.example/"><button>Log in</button></form>'
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/sso"
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()


def test_a_person_comes_back_from_another_site_and_is_logged_in(open_page, live_server, settings):
    assert urlsplit(live_server.url).hostname == "localhost"
    settings.WARDGATE_PUBLIC_URL = live_server.url
    idp, now = SamlIdp(), datetime.now(UTC)
    provider = services.provider_save(
        name="Main",
        issuer=ISSUER,
        jwks_url="https://login.example.com/keys",
        allowed_networks=["127.0.0.0/8"],
        now=now,
    )
    group = Group.objects.create(provider=provider, name="staff")
    RoleGrant.objects.create(group=group, role=RoleGrant.Role.VIEWER)
    with serving(idp) as sso_url:
        row = services.saml_provider_save(
            name="Main SAML", provider=provider, metadata=idp.metadata(sso_url=sso_url), now=now
        )
        with open_page("/admin/login/?next=/admin/accounts/principal/", login=False) as page:
            page.get_by_role("link", name="Log in with Main SAML").click()
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url("**/admin/accounts/principal/")
            names = {cookie["name"] for cookie in page.context.cookies()}
            page.goto(f"/saml/{row.pk}/continue?request=_{'a' * 40}")
            assert page.get_by_role("alert").inner_text().startswith("This login was not begun in this browser")
    assert "wardgate-saml" not in names
    assert ConsoleSession.objects.filter(method="saml", subject="u-17").count() == 1
    assert saml.saml_places(row.pk).acs.startswith(live_server.url)
