"""The signature of Slack: what is changed, old, new, empty or somebody else's does not pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.notices.slack_signature import WINDOW_SECONDS, SignatureRefused, check, signature

SECRET = b"8f742231b10e8888abcd99yyyzzz85a5"
# The example of Slack's documentation.
BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14"
    b"d10d2c447fce8b6703c"
)
AT = "1531420618"
GIVEN = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"


def passes(**changes: object) -> bool:
    values = {"timestamp": AT, "given": GIVEN, "body": BODY, "now": float(AT), **changes}
    secret = values.pop("secret", SECRET)
    try:
        check(secret, **values)
    except SignatureRefused:
        return False
    return True


def test_the_example_of_the_documentation_passes():
    assert signature(SECRET, AT, BODY) == GIVEN
    assert passes()


@pytest.mark.parametrize("seconds", [-WINDOW_SECONDS, 0, WINDOW_SECONDS])
def test_it_is_good_for_five_minutes(seconds):
    assert passes(now=float(AT) + seconds)


@pytest.mark.parametrize("seconds", [-WINDOW_SECONDS - 1, WINDOW_SECONDS + 1, 10**9])
def test_it_is_not_good_before_and_after(seconds):
    assert not passes(now=float(AT) + seconds)


@pytest.mark.parametrize(
    "changes",
    [
        {"given": ""},
        {"given": GIVEN[3:]},
        {"given": GIVEN.upper()},
        {"given": "v1" + GIVEN[2:]},
        {"given": GIVEN + "\n"},
        {"timestamp": ""},
        {"timestamp": AT + " "},
        {"timestamp": "-" + AT},
        {"timestamp": "1531420618.0"},
        {"timestamp": "\u0661531420618"},
        {"timestamp": "1531420619"},
        {"timestamp": "0" + AT},
        {"timestamp": "9" * 400},
        {"secret": b"another"},
        {"secret": b"", "given": "v0=" + "0" * 64},
        {"body": BODY + b"&x=1"},
        {"body": b""},
    ],
)
def test_whatever_else_is_signed_or_not_does_not_pass(changes):
    assert not passes(**changes)


def test_a_signature_with_an_empty_secret_does_not_pass_where_none_is_configured():
    assert not passes(secret=b"", given=signature(b"", AT, BODY))


@given(st.binary(max_size=300), st.binary(min_size=1, max_size=64))
def test_any_body_passes_with_its_own_signature_and_with_no_other_secret(body, secret):
    given_ = signature(secret, AT, body)
    assert passes(secret=secret, given=given_, body=body)
    assert not passes(secret=secret + b"x", given=given_, body=body)
