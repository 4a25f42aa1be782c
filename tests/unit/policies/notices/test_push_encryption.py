"""Message Encryption for Web Push: the vector of RFC 8291, and that only the browser reads what it gets."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.notices import push_encryption as push
from policies.notices.push_encryption import BrowserKeys, SubscriptionRefused, decoded, encoded
from tests.support.push import Browser

# RFC 8291, Appendix A.
PLAIN = decoded("V2hlbiBJIGdyb3cgdXAsIEkgd2FudCB0byBiZSBhIHdhdGVybWVsb24")
SENDER_PUBLIC = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"
SENDER_PRIVATE = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
BROWSER_PUBLIC = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
BROWSER_PRIVATE = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
    "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def private(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(decoded(text), "big"), ec.SECP256R1())


def test_the_vector_of_the_standard_comes_out_byte_for_byte():
    sender = private(SENDER_PRIVATE)
    point = sender.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert encoded(point) == SENDER_PUBLIC
    keys = BrowserKeys.read(BROWSER_PUBLIC, AUTH)
    assert encoded(push.encrypted(PLAIN, keys, sender=sender, salt=decoded(SALT))) == BODY


def test_the_browser_of_the_standard_reads_the_vector():
    browser = Browser(private(BROWSER_PRIVATE), decoded(AUTH))
    assert browser.read(decoded(BODY)) == PLAIN


@settings(max_examples=30)
@given(st.binary(max_size=push.MAX_PLAIN_BYTES))
def test_every_browser_reads_its_own_messages_and_no_body_is_larger_than_push_services_take(plain):
    browser, other = Browser.new(), Browser.new()
    body = push.encrypted(plain, BrowserKeys.read(browser.p256dh, browser.auth))
    assert browser.read(body) == plain
    assert len(body) <= push.RECORD_BYTES
    with pytest.raises(InvalidTag):
        other.read(body)


def test_two_messages_share_no_key_and_no_salt():
    browser = Browser.new()
    keys = BrowserKeys.read(browser.p256dh, browser.auth)
    first, second = push.encrypted(b"same", keys), push.encrypted(b"same", keys)
    assert first[:86] != second[:86]
    assert first[:16] != second[:16]
    assert first[21:86] != second[21:86]


def test_a_message_that_is_too_long_is_not_sent_cut():
    browser = Browser.new()
    with pytest.raises(ValueError, match="longer"):
        push.encrypted(b"x" * (push.MAX_PLAIN_BYTES + 1), BrowserKeys.read(browser.p256dh, browser.auth))


@pytest.mark.parametrize(
    ("p256dh", "auth"),
    [
        ("", AUTH),
        (BROWSER_PUBLIC, ""),
        (BROWSER_PUBLIC, AUTH[:-4]),
        (BROWSER_PUBLIC[:-4], AUTH),
        # Not a point of the curve: the y coordinate is another one.
        (BROWSER_PUBLIC[:-2] + "xx", AUTH),
        ("BAAA" + "A" * 83, AUTH),
        ("A" * 87, AUTH),
        ("<script>" * 11, AUTH),
        ("é" * 87, AUTH),
        (BROWSER_PUBLIC, "!" * 22),
    ],
)
def test_keys_that_no_browser_makes_are_refused(p256dh, auth):
    with pytest.raises(SubscriptionRefused):
        BrowserKeys.read(p256dh, auth)


def test_the_shared_bytes_of_a_subscription_are_not_shown():
    keys = BrowserKeys.read(BROWSER_PUBLIC, AUTH)
    assert str(decoded(AUTH)) not in repr(keys)
