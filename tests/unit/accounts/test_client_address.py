"""From which address a request comes."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.client_address import TrustedProxies

ONE = TrustedProxies.parse(["10.0.0.0/8", "2001:db8:1::/48"], 1)
TWO = TrustedProxies.parse(["10.0.0.0/8"], 2)
ADDRESSES = st.ip_addresses().map(str)


def test_without_trusted_proxies_the_header_means_nothing() -> None:
    assert TrustedProxies().client_address("203.0.113.9", "198.51.100.1") == "203.0.113.9"


def test_a_peer_that_is_no_trusted_proxy_speaks_for_itself() -> None:
    assert ONE.client_address("203.0.113.9", "198.51.100.1") == "203.0.113.9"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("10.0.0.1, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1,198.51.100.1", "198.51.100.1"),
        ("unknown, 198.51.100.1", "198.51.100.1"),
        (" \t198.51.100.1 ", "198.51.100.1"),
        ("198.51.100.1:4711", "198.51.100.1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("[2001:db8::5]:443", "2001:db8::5"),
        ("[2001:db8::5]", "2001:db8::5"),
        ("2001:DB8::0005", "2001:db8::5"),
        ("10.9.9.9", "10.9.9.9"),
    ],
)
def test_the_last_entry_is_the_client_of_one_proxy(forwarded: str, client: str) -> None:
    assert ONE.client_address("10.0.0.7", forwarded) == client
    assert ONE.client_address("::ffff:10.0.0.7", forwarded) == client


@pytest.mark.parametrize(
    "forwarded",
    [
        "",
        ",",
        "198.51.100.1,",
        "unknown",
        "_hidden",
        "198.51.100.1 10.0.0.1",
        "198.51.100.256",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "2130706433",
        "127.1",
        "fe80::1%eth0",
        "198.51.100.1:",
        "198.51.100.1:http",
        "[2001:db8::5]443",
        "[2001:db8::5",
        "for=198.51.100.1",
        '"198.51.100.1"',
        "198.51.100.1;198.51.100.2",
        "１９８.51.100.1",
        "198.51.100.1\x00",
        "1," * 4000 + "198.51.100.1",
    ],
)
def test_a_header_that_does_not_tell_leaves_the_address_unknown(forwarded: str) -> None:
    assert ONE.client_address("10.0.0.7", forwarded) is None


def test_of_two_proxies_the_nearer_one_has_to_be_trusted_too() -> None:
    assert TWO.client_address("10.0.0.7", "198.51.100.1, 10.0.0.8") == "198.51.100.1"
    assert TWO.client_address("10.0.0.7", "192.0.2.9, 198.51.100.1, 10.0.0.8") == "198.51.100.1"
    assert TWO.client_address("10.0.0.7", "10.0.0.8, 198.51.100.1") is None
    assert TWO.client_address("10.0.0.7", "198.51.100.1") is None


@given(
    lies=st.lists(st.text(st.characters(exclude_characters=",", codec="latin-1"), max_size=30), max_size=5),
    client=ADDRESSES,
)
def test_nothing_that_a_client_writes_changes_what_its_proxy_says(lies: list[str], client: str) -> None:
    forwarded = ",".join([*lies, client])
    expected = ip_address(client)
    mapped = getattr(expected, "ipv4_mapped", None)
    assert ONE.client_address("10.0.0.7", forwarded) == str(mapped or expected)


@given(text=st.text(max_size=200), peer=st.one_of(ADDRESSES, st.text(max_size=20)))
def test_whatever_is_sent_the_answer_is_an_address_the_peer_or_unknown(text: str, peer: str) -> None:
    found = TWO.client_address(peer, text)
    if found is not None and found != peer:
        ip_address(found)
