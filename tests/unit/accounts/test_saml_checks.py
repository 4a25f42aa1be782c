"""What a SAML message has to look like before a signature is looked at. Attacks are in tests/security/test_saml.py."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from accounts.saml import checks
from accounts.saml.checks import AssertionRefused
from tests.support.saml_idp import deflated, granted, posted


def refused(code: str):
    return pytest.raises(AssertionRefused, check=lambda error: error.code == code)


@given(st.binary(min_size=1, max_size=300))
def test_every_spelling_gives_the_message_back(message):
    assert checks.from_post(posted(message)) == message
    assert checks.from_grant(granted(message)) == message
    assert checks.from_grant(base64.urlsafe_b64encode(message)) == message
    assert checks.from_redirect(deflated(message)) == message


def test_the_line_breaks_of_mime_are_allowed_in_a_form():
    message = b"<x/>" * 50
    assert checks.from_post(base64.encodebytes(message).decode().replace("\n", "\r\n")) == message


@pytest.mark.parametrize(
    "text", ["", "=", "A", "AB", "AB=", "AB==C", "QR==", "A B=", "AA==\t", "AÄ==", "-_-_", "AAA=AAA="]
)
def test_a_form_has_one_spelling(text):
    with refused("saml_encoding"):
        checks.from_post(text)


@pytest.mark.parametrize("text", [b"", b"=", b"A", b"QR", b"QQ=", b"QQ===", b"AA+/", b"AA\n", b"AAAA="])
def test_a_token_request_has_two_spellings(text):
    with refused("saml_encoding"):
        checks.from_grant(text)


def test_what_is_not_one_whole_deflate_stream_is_refused():
    whole = base64.b64decode(deflated(b"<x/>"))
    for broken in (whole[:-1], whole + b"x", b"\x00\x00\x00", b"<x/>"):
        with refused("saml_encoding"):
            checks.from_redirect(base64.b64encode(broken).decode())


@pytest.mark.parametrize(
    "read", [checks.from_post, checks.from_redirect, lambda text: checks.from_grant(text.encode())]
)
def test_what_is_too_long_is_not_even_decoded(read):
    with refused("saml_too_large"):
        read("A" * (checks.MESSAGE_BYTES + 4))


@pytest.mark.parametrize(
    "declaration",
    [
        "",
        '<?xml version="1.0"?>',
        "<?xml version='1.0' encoding='UTF-8'?>",
        '<?xml version="1.0" encoding="utf-8" standalone="yes"?>\n',
    ],
)
def test_the_usual_xml_declarations_are_accepted(declaration):
    assert checks.document(f'{declaration}<a xmlns="urn:x" ID="i">ä</a>'.encode()).text == "ä"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<a", "saml_xml"),
        ("", "saml_xml"),
        ("<a>&b;</a>", "saml_xml"),
        ("<a/><a/>", "saml_xml"),
        ('<a b="1" b="2"/>', "saml_xml"),
        ("\ufeff<a/>", "saml_xml"),
        ("<a>\x0b</a>", "saml_xml"),
        ("<a><!----></a>", "saml_declaration"),
        ("<a><?p?></a>", "saml_declaration"),
        ("<a><![CDATA[x]]></a>", "saml_declaration"),
        ('<?xml version="1.0" encoding="latin1"?><a/>', "saml_declaration"),
        ('<a xmlns="x"/>', "saml_namespace"),
        ('<a xmlns:b = "x"/>', "saml_namespace"),
        ("<a xmlns:b='./x'/>", "saml_namespace"),
        ('<a ID="x"><b ID="x"/></a>', "saml_id"),
        ('<a ID="x"><b Id="x"/></a>', "saml_id"),
        ('<a ID="x"><b AssertionID="x"/></a>', "saml_id"),
        ('<a ID="1x"/>', "saml_id"),
        ('<a xml:id="x"/>', "saml_id"),
        ("<a>" * 41 + "</a>" * 41, "saml_structure"),
    ],
)
def test_anything_beyond_elements_attributes_and_text_is_refused(text, code):
    with refused(code):
        checks.document(text.encode())


@given(st.binary(max_size=400) | st.text(alphabet="<>/ab=\"'&;#x!?-[] \n", max_size=60).map(str.encode))
def test_any_bytes_are_a_tree_or_a_refusal(message):
    try:
        root = checks.document(message)
    except AssertionRefused:
        return
    assert isinstance(root.tag, str)
    assert etree.tostring(root)


def test_a_refusal_repeats_nothing_of_the_message():
    with pytest.raises(AssertionRefused) as refusal:
        checks.document(b"<canary-7>")
    assert "canary" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__
