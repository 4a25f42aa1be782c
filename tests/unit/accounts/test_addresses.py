from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.addresses import (
    MAX_NETWORKS,
    NetworkRefused,
    Upstream,
    UrlRefused,
    is_public,
    parse_networks,
    parse_upstream_url,
    refusal,
)

# Addresses that must not be connected to unless somebody allowed them; the first ones are called global by `ipaddress`.
NOT_PUBLIC = [
    "::127.0.0.1",
    "::169.254.169.254",
    "::10.0.0.1",
    "::8.8.8.8",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:808:808::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::a00:1",
    "64:ff9b::0.0.0.0",
    "64:ff9b:1::1",
    "64:ff9b:1::808:808",
    "fec0::1",
    "feff::1",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.0.8",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.250",
    "ff02::1",
    "ff0e::1",
    "3fff::1",
    "3ffe::1",
    "5f00::1",
    "4000::1",
    "8000::1",
    # And the ordinary ones.
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.1.2.3",
    "::ffff:0:127.0.0.1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:10::1",
    "2001:1ff::1",
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
]
NOT_ADDRESSES = [
    "",
    " ",
    "localhost",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f.0.0.1",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.01",
    "１２７.0.0.1",
    "127。0。0。1",
    "①②⑦.0.0.1",
    "127.0.0.1 ",
    " 127.0.0.1",
    "127.0.0.1\n",
    "127.0.0.1:80",
    "127.0.0.1/32",
    "[::1]",
    "::1%lo",
    "fe80::1%eth0",
    "2606:4700::1111%1",
    "8.8.8.8%eth0",
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    ":::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "168.63.129.15",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2620:4f:8000::1",
    "2a00:1450:4001::1",
]


class TestAddress:
    def test_corpus_covers_what_the_standard_library_calls_global(self) -> None:
        misjudged = [address for address in NOT_PUBLIC if ipaddress.ip_address(address).is_global]
        assert len(misjudged) >= 15
        assert len(NOT_PUBLIC) >= 40

    @pytest.mark.parametrize("address", NOT_PUBLIC)
    def test_that_is_special_is_refused_with_a_sentence(self, address: str) -> None:
        assert is_public(address) is False
        said = refusal(address, [])
        assert said is not None
        assert said.endswith("lies in none of the allowed networks.")

    @pytest.mark.parametrize(
        ("address", "kind"),
        [
            ("::127.0.0.1", "an IPv4-compatible"),
            ("::1", "a loopback"),
            ("fec0::1", "a site-local"),
            ("64:ff9b::a9fe:a9fe", "a link-local or cloud metadata"),
            ("64:ff9b:1::1", "a local translation"),
            ("2001:0:7f00:1::", "a Teredo"),
            ("5f00::1", "an unassigned"),
        ],
    )
    def test_is_called_what_it_is(self, address: str, kind: str) -> None:
        assert f" is {kind} address" in (refusal(address, []) or "")

    @pytest.mark.parametrize("address", NOT_ADDRESSES)
    def test_in_any_other_spelling_is_refused_whatever_is_allowed(self, address: str) -> None:
        assert is_public(address) is False
        assert refusal(address, ["0.0.0.0/0", "::/0"]) == "What the name resolved to is not an IP address."

    @pytest.mark.parametrize("value", [None, 2130706433, b"\x7f\x00\x00\x01", ipaddress.ip_address("127.0.0.1")])
    def test_of_another_type_is_refused(self, value: Any) -> None:
        assert is_public(value) is False
        assert refusal(value, ["0.0.0.0/0"]) is not None

    @pytest.mark.parametrize("address", PUBLIC)
    def test_that_is_public_needs_no_permission(self, address: str) -> None:
        assert is_public(address) is True
        assert refusal(address, []) is None

    @given(st.ip_addresses())
    def test_that_the_standard_library_calls_private_is_never_public(self, address: Any) -> None:
        mapped = getattr(address, "ipv4_mapped", None)
        if not address.is_global and mapped is None:
            assert is_public(str(address)) is False

    @given(st.ip_addresses(v=4))
    def test_inside_an_ipv6_form_is_never_more_public_than_alone(self, inner: Any) -> None:
        number = int(inner)
        for base in ("::", "::ffff:0:0", "64:ff9b::", "64:ff9b:1::"):
            outer = ipaddress.IPv6Address(int(ipaddress.IPv6Address(base)) | number)
            assert not (is_public(str(outer)) and not is_public(str(inner)))
        for shifted in (0x2002 << 112 | number << 80, 0x20010000 << 96 | number << 64):
            assert is_public(str(ipaddress.IPv6Address(shifted))) is False


class TestAllowedNetworks:
    @pytest.mark.parametrize(
        ("address", "network"),
        [
            ("10.1.2.3", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("127.0.0.1", "127.0.0.0/8"),
            ("::1", "::1/128"),
            ("::ffff:10.1.2.3", "10.0.0.0/8"),
            ("fd00::1", "fc00::/7"),
            ("64:ff9b::a00:1", "64:ff9b::/96"),
        ],
    )
    def test_open_exactly_what_lies_in_them(self, address: str, network: str) -> None:
        assert refusal(address, [network]) is None
        assert refusal(address, ["192.168.0.0/16", network]) is None
        assert refusal(address, ["192.168.0.0/16"]) is not None

    @pytest.mark.parametrize(
        ("address", "network"),
        [
            ("11.0.0.1", "10.0.0.0/8"),
            ("127.0.0.1", "::/0"),
            ("::ffff:127.0.0.1", "::/0"),
            ("::7f00:1", "127.0.0.0/8"),
            ("64:ff9b::7f00:1", "127.0.0.0/8"),
            ("2002:a00:1::", "10.0.0.0/8"),
        ],
    )
    def test_open_no_other_form_of_an_address(self, address: str, network: str) -> None:
        assert (refusal(address, [network]) is None) == is_public(address)

    @pytest.mark.parametrize(
        "networks", [["10.0.0.1/8"], ["rubbish"], ["10.0.0.0/8", ""], [None], ["::ffff:10.0.0.0/104"]]
    )
    def test_that_cannot_be_read_open_nothing_but_what_is_public(self, networks: list[Any]) -> None:
        assert refusal("10.1.2.3", networks) == "The allowed networks cannot be read."
        assert refusal("8.8.8.8", networks) is None

    def test_are_parsed_in_order(self) -> None:
        assert [str(network) for network in parse_networks(["10.0.0.0/8", "fd00::/8", "192.168.1.1"])] == [
            "10.0.0.0/8",
            "fd00::/8",
            "192.168.1.1/32",
        ]
        assert parse_networks(()) == ()

    @pytest.mark.parametrize(
        ("values", "place"),
        [
            (["10.0.0.0/8", "10.0.0.1/8"], 2),
            (["10.0.0.0/33"], 1),
            (["10.0.0.0/8", "fd00::/8", "::/129"], 3),
            (["10.0.0.0/8 "], 1),
            (["example.org"], 1),
            ([10], 1),
            ([None], 1),
            ([["10.0.0.0/8"]], 1),
            (["::ffff:10.0.0.0/104"], 1),
            ("10.0.0.0/8", 0),
            (None, 0),
            ({"10.0.0.0/8": 1}, 0),
            (["10.0.0.0/8"] * (MAX_NETWORKS + 1), 0),
        ],
    )
    def test_that_are_malformed_are_refused_with_their_place(self, values: Any, place: int) -> None:
        with pytest.raises(NetworkRefused) as caught:
            parse_networks(values)
        assert caught.value.place == place
        assert caught.value.message.endswith(".")


class TestUrl:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("https://mcp.example.com/mcp", ("https", "mcp.example.com", 443, b"/mcp", b"mcp.example.com")),
            ("http://mcp.example.com", ("http", "mcp.example.com", 80, b"/", b"mcp.example.com")),
            ("HTTPS://MCP.Example.COM/Mcp", ("https", "mcp.example.com", 443, b"/Mcp", b"mcp.example.com")),
            ("https://h.example:8443/a?b=c&d", ("https", "h.example", 8443, b"/a?b=c&d", b"h.example:8443")),
            ("https://h.example:443/", ("https", "h.example", 443, b"/", b"h.example")),
            ("http://h.example:443/", ("http", "h.example", 443, b"/", b"h.example:443")),
            ("https://h.example?x=1", ("https", "h.example", 443, b"/?x=1", b"h.example")),
            ("https://h.example/a%20b/%2F", ("https", "h.example", 443, b"/a%20b/%2F", b"h.example")),
            ("http://127.0.0.1:8000/mcp", ("http", "127.0.0.1", 8000, b"/mcp", b"127.0.0.1:8000")),
            ("http://[::1]:8000/mcp", ("http", "::1", 8000, b"/mcp", b"[::1]:8000")),
            ("https://[2606:4700:0:0::1111]/", ("https", "2606:4700::1111", 443, b"/", b"[2606:4700::1111]")),
            ("http://orders_mcp:9000/mcp", ("http", "orders_mcp", 9000, b"/mcp", b"orders_mcp:9000")),
            ("http://localhost/mcp", ("http", "localhost", 80, b"/mcp", b"localhost")),
            ("https://xn--bcher-kva.example/", ("https", "xn--bcher-kva.example", 443, b"/", b"xn--bcher-kva.example")),
            ("https://1password.com/", ("https", "1password.com", 443, b"/", b"1password.com")),
        ],
    )
    def test_is_taken_apart_for_socket_request_line_and_host_header(self, url: str, expected: tuple[Any, ...]) -> None:
        assert parse_upstream_url(url) == Upstream(*expected)

    @pytest.mark.parametrize(
        ("url", "code"),
        [
            ("", "url_length"),
            ("https://h.example/" + "a" * 2048, "url_length"),
            (None, "url_length"),
            ("https://h.example/a b", "url_characters"),
            (" https://h.example/", "url_characters"),
            ("https://h.example/\r\nX: y", "url_characters"),
            ("https://h.example/\tx", "url_characters"),
            ("htt\nps://h.example/", "url_characters"),
            ("https://h.example/\x00", "url_characters"),
            ("https://h.example\\@evil.example/", "url_characters"),
            ("https://bücher.example/", "url_characters"),
            ("https://１２７.0.0.1/", "url_characters"),
            ("https://evil。example/", "url_characters"),
            ("h.example/mcp", "url_scheme"),
            ("//h.example/mcp", "url_scheme"),
            ("ftp://h.example/", "url_scheme"),
            ("file:///etc/passwd", "url_scheme"),
            ("unix:///run/x.sock", "url_scheme"),
            ("javascript:alert(1)", "url_scheme"),
            ("https:/h.example/", "url_scheme"),
            ("https:h.example", "url_scheme"),
            ("https://user@h.example/", "url_userinfo"),
            ("https://user:secret@h.example/", "url_userinfo"),
            ("https://h.example:80@evil.example/", "url_userinfo"),
            ("https://h.example/#frag", "url_fragment"),
            ("https://h.example#@evil.example/", "url_fragment"),
            ("https:///mcp", "url_host"),
            ("https://?x", "url_host"),
            ("https://h..example/", "url_host"),
            ("https://.example/", "url_host"),
            ("https://h.example./", "url_host"),
            ("https://-h.example/", "url_host"),
            ("https://h-.example/", "url_host"),
            ("https://" + "a" * 64 + ".example/", "url_host"),
            ("https://" + "a." * 130 + "example/", "url_host"),
            ("https://%31%32%37.0.0.1/", "url_host"),
            ("https://h.example%00.evil/", "url_host"),
            ("https://h.example,evil.example/", "url_host"),
            ("https://h.example;evil.example/", "url_host"),
            ("https://127.1/", "url_host"),
            ("https://2130706433/", "url_host"),
            ("https://0x7f.0.0.1/", "url_host"),
            ("https://0x7f000001/", "url_host"),
            ("https://0177.0.0.1/", "url_host"),
            ("https://127.0.0.0x1/", "url_host"),
            ("https://127.0.0.1.5/", "url_host"),
            ("https://1.2.3.256/", "url_host"),
            ("https://h.example.0x/", "url_host"),
            ("https://[::1/", "url_host"),
            ("https://::1/", "url_host"),
            ("https://[::1]x/", "url_host"),
            ("https://[fe80::1%25eth0]/", "url_host"),
            ("https://[v1.x]/", "url_host"),
            ("https://[127.0.0.1]/", "url_host"),
            ("https://h.example:/", "url_port"),
            ("https://h.example:0/", "url_port"),
            ("https://h.example:65536/", "url_port"),
            ("https://h.example:99999999/", "url_port"),
            ("https://h.example:+80/", "url_port"),
            ("https://h.example:-1/", "url_port"),
            ("https://h.example:8a/", "url_port"),
            ("https://h.example:80:80/", "url_port"),
            ("https://h.example/%", "url_target"),
            ("https://h.example/%zz", "url_target"),
            ("https://h.example/a\"b", "url_target"),
            ("https://h.example/<b>", "url_target"),
            ("https://h.example/{id}", "url_target"),
        ],
    )  # fmt: skip
    def test_that_two_parsers_could_read_differently_is_refused(self, url: Any, code: str) -> None:
        with pytest.raises(UrlRefused) as caught:
            parse_upstream_url(url)
        assert caught.value.code == code
        assert caught.value.message.endswith(".")

    def test_is_not_repeated_in_the_refusal(self) -> None:
        with pytest.raises(UrlRefused) as caught:
            parse_upstream_url("https://user:SECRET-CANARY@h.example/")
        assert "SECRET-CANARY" not in str(caught.value) + repr(caught.value)

    @given(
        st.text(alphabet="htps:/@.[]%#?\\ \t\n0123456789abcxX-_é", max_size=40).map("http://".__add__)
        | st.text(max_size=60)
    )
    def test_of_any_form_gives_parts_that_are_safe_on_the_wire_or_is_refused(self, url: str) -> None:
        try:
            upstream = parse_upstream_url(url)
        except UrlRefused:
            return
        other = urlsplit(url)
        assert (other.hostname or "").lower() == upstream.host or ":" in upstream.host
        assert (other.port or {"http": 80, "https": 443}[upstream.scheme]) == upstream.port
        assert upstream.target.startswith(b"/")
        assert not any(byte <= 0x20 or byte >= 0x7F for byte in upstream.target + upstream.authority)

    @given(st.from_regex(r"[0-9a-fA-FxX.]{1,15}", fullmatch=True))
    def test_whose_host_the_system_reads_as_ipv4_has_that_very_address(self, host: str) -> None:
        try:
            upstream = parse_upstream_url(f"http://{host}/")
        except UrlRefused:
            return
        try:
            read = socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            return
        assert upstream.host == read
