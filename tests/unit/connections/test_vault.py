from __future__ import annotations

import base64
import copy
import json
import pickle  # noqa: TID251 - a secret must refuse it
import traceback
from dataclasses import replace
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connections.vault import (
    MAX_HEADER_VALUE,
    CannotOpen,
    CredentialRefused,
    KeyRing,
    Sealed,
    Secret,
    VaultSealed,
    header_for,
    open_sealed,
    rewrap,
    seal,
)

CANARY = b"SECRET-CANARY-4711"
AAD = b"connections_credential|ciphertext|row-1|connection-1"


def key_text(seed: int) -> str:
    return base64.b64encode(bytes((seed * 31 + place * 7) % 256 for place in range(32))).decode()


OLD = f"old:{key_text(1)}"
NEW = f"new:{key_text(2)}"
RING = KeyRing.parse(OLD)


def with_part(sealed: Sealed, part: str, blob: Any) -> Sealed:
    changes: dict[str, Any] = {part: blob}
    return replace(sealed, **changes)


class TestSecret:
    def test_gives_its_bytes_only_when_they_are_asked_for(self) -> None:
        assert Secret(CANARY).reveal() == CANARY

    def test_shows_nothing_of_itself(self) -> None:
        secret = Secret(CANARY)
        shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", "%s %r" % (secret, secret), repr([secret])]  # noqa: UP031
        shown += [repr({"s": secret}), format(secret, "x")]
        assert not any("CANARY" in text for text in shown)

    def test_shows_nothing_in_a_traceback_of_its_misuse(self) -> None:
        secret = Secret(CANARY)
        try:
            json.dumps({"secret": secret})
        except TypeError:
            assert "CANARY" not in traceback.format_exc()

    @pytest.mark.parametrize(
        "serialise",
        [json.dumps, orjson.dumps, msgspec.json.encode, msgspec.msgpack.encode, pickle.dumps, copy.copy, copy.deepcopy],
    )
    def test_cannot_be_serialised_or_copied(self, serialise: Any) -> None:
        with pytest.raises(TypeError):
            serialise(Secret(CANARY))

    @pytest.mark.parametrize(
        "misuse", [bytes, iter, len, vars, hash, lambda secret: secret + b"", lambda secret: secret[0]]
    )
    def test_does_not_pass_for_bytes_or_for_a_key(self, misuse: Any) -> None:
        with pytest.raises(TypeError):
            misuse(Secret(CANARY))

    def test_equals_another_secret_of_the_same_bytes_and_never_the_bytes_themselves(self) -> None:
        assert Secret(CANARY) == Secret(CANARY)
        assert Secret(CANARY) != Secret(CANARY + b"x")
        assert Secret(CANARY) != CANARY

    @pytest.mark.parametrize("value", ["text", None, 7, bytearray(b"x"), memoryview(b"x")])
    def test_is_made_of_bytes_only(self, value: Any) -> None:
        with pytest.raises(TypeError):
            Secret(value)


class TestKeyRing:
    def test_seals_with_the_first_key_and_opens_with_all(self) -> None:
        ring = KeyRing.parse(f" {NEW} , {OLD} ")
        assert ring.key_ids == ("new", "old")
        assert ring.first_id == "new"
        assert open_sealed(ring, seal(RING, CANARY, aad=AAD), aad=AAD) == Secret(CANARY)
        assert seal(ring, CANARY, aad=AAD).key_id == "new"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "No master key"),
            ("  ", "No master key"),
            (",", "key 1"),
            (f"{OLD},", "key 2"),
            ("no-colon", "key 1 is not of the form"),
            (f":{key_text(1)}", "key 1 is not of the form"),
            (f"two words:{key_text(1)}", "key 1 is not of the form"),
            ("a" * 65 + f":{key_text(1)}", "key 1 is not of the form"),
            ("id:", "does not have 32 bytes"),
            ("id:not base64", "not valid base64"),
            ("id:" + key_text(1)[:-1], "not valid base64"),
            (f"id:é{key_text(1)}", "not valid base64"),
            (f"id:{key_text(1)[:8]}!{key_text(1)[8:]}", "not valid base64"),
            (f"id:{key_text(1)[:8]} {key_text(1)[8:]}", "not valid base64"),
            ("id:" + base64.b64encode(b"a" * 31).decode(), "does not have 32 bytes"),
            ("id:" + base64.b64encode(bytes(range(7, 40))).decode(), "does not have 32 bytes"),
            ("id:" + base64.b64encode(bytes(range(9, 25))).decode(), "does not have 32 bytes"),
            ("id:" + base64.b64encode(b"\0" * 32).decode(), "not random"),
            ("id:" + base64.b64encode(b"change" * 5 + b"me").decode(), "not random"),
            (f"{OLD},old:{key_text(2)}", "key 2 has an id that is used already"),
            (f"{OLD},new:{key_text(1)}", "key 2 is the same key"),
        ],
    )
    def test_that_is_unusable_keeps_the_vault_sealed_and_says_why(self, text: str, said: str) -> None:
        with pytest.raises(VaultSealed, match=said) as caught:
            KeyRing.parse(text)
        assert str(caught.value).endswith(".")
        for entry in text.split(","):
            encoded = entry.strip().partition(":")[2]
            assert not encoded or encoded not in "".join(traceback.format_exception(caught.value)[-1:])

    def test_shows_ids_and_no_keys(self) -> None:
        ring = KeyRing.parse(f"{NEW},{OLD}")
        assert repr(ring) == str(ring) == f"{ring}" == "KeyRing(new, old)"

    @pytest.mark.parametrize("serialise", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, orjson.dumps])
    def test_cannot_be_serialised_or_copied(self, serialise: Any) -> None:
        with pytest.raises(TypeError):
            serialise(RING)


class TestSealed:
    @given(st.binary(max_size=5000), st.binary(min_size=1, max_size=200))
    def test_opens_to_what_was_sealed(self, secret: bytes, aad: bytes) -> None:
        assert open_sealed(RING, seal(RING, secret, aad=aad), aad=aad).reveal() == secret

    def test_never_looks_the_same_twice(self) -> None:
        many = [seal(RING, CANARY, aad=AAD) for _ in range(200)]
        for blobs in ([sealed.ciphertext for sealed in many], [sealed.wrapped_key for sealed in many]):
            assert len(set(blobs)) == 200
            assert len({blob[1:13] for blob in blobs}) == 200
            assert not any(CANARY in blob for blob in blobs)

    def test_opens_from_the_memoryviews_of_a_database_driver(self) -> None:
        sealed = seal(RING, CANARY, aad=AAD)
        viewed = with_part(sealed, "wrapped_key", memoryview(sealed.wrapped_key))
        viewed = with_part(viewed, "ciphertext", memoryview(sealed.ciphertext))
        assert open_sealed(RING, viewed, aad=AAD).reveal() == CANARY

    @pytest.mark.parametrize("part", ["wrapped_key", "ciphertext"])
    def test_does_not_open_with_any_single_bit_changed(self, part: str) -> None:
        sealed = seal(RING, CANARY, aad=AAD)
        blob: bytes = getattr(sealed, part)
        for place in range(8 * len(blob)):
            changed = bytearray(blob)
            changed[place // 8] ^= 1 << place % 8
            with pytest.raises(CannotOpen):
                open_sealed(RING, with_part(sealed, part, bytes(changed)), aad=AAD)

    @pytest.mark.parametrize("part", ["wrapped_key", "ciphertext"])
    def test_does_not_open_when_cut_or_extended(self, part: str) -> None:
        sealed = seal(RING, CANARY, aad=AAD)
        blob: bytes = getattr(sealed, part)
        for wrong in [blob[:length] for length in range(len(blob))] + [blob + b"\0", b"\1" + blob]:
            with pytest.raises(CannotOpen):
                open_sealed(RING, with_part(sealed, part, wrong), aad=AAD)

    @pytest.mark.parametrize(
        "aad", [b"connections_credential|ciphertext|row-2|connection-1", AAD + b"x", AAD[:-1], AAD.upper()]
    )
    def test_does_not_open_in_another_place(self, aad: bytes) -> None:
        with pytest.raises(CannotOpen):
            open_sealed(RING, seal(RING, CANARY, aad=AAD), aad=aad)

    def test_does_not_open_with_parts_of_another_row(self) -> None:
        other_aad = AAD.replace(b"row-1", b"row-2")
        mine, other = seal(RING, CANARY, aad=AAD), seal(RING, b"other", aad=other_aad)
        for mixed in (
            other,
            replace(mine, ciphertext=other.ciphertext),
            replace(mine, wrapped_key=other.wrapped_key),
            replace(mine, ciphertext=mine.wrapped_key),
            replace(mine, wrapped_key=mine.ciphertext),
        ):
            with pytest.raises(CannotOpen):
                open_sealed(RING, mixed, aad=AAD)

    def test_does_not_open_with_an_earlier_ciphertext_of_the_same_row(self) -> None:
        first, second = seal(RING, b"first", aad=AAD), seal(RING, b"second", aad=AAD)
        with pytest.raises(CannotOpen):
            open_sealed(RING, replace(second, ciphertext=first.ciphertext), aad=AAD)

    @pytest.mark.parametrize("part", ["wrapped_key", "ciphertext"])
    def test_binds_each_of_its_parts_to_the_place(self, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("accounts.vault.AESGCM.generate_key", lambda bit_length: bytes(range(32)))
        mine, other = seal(RING, CANARY, aad=AAD), seal(RING, CANARY, aad=AAD + b"x")
        with pytest.raises(CannotOpen):
            open_sealed(RING, with_part(mine, part, getattr(other, part)), aad=AAD)

    def test_does_not_open_with_a_data_key_of_another_length(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("accounts.vault.AESGCM.generate_key", lambda bit_length: bytes(range(16)))
        sealed = seal(RING, CANARY, aad=AAD)
        with pytest.raises(CannotOpen):
            open_sealed(RING, sealed, aad=AAD)

    def test_does_not_open_under_another_key_or_under_another_name_of_its_key(self) -> None:
        sealed = seal(RING, CANARY, aad=AAD)
        renamed = KeyRing.parse(f"renamed:{key_text(1)}")
        for ring, row in (
            (KeyRing.parse(NEW), sealed),
            (KeyRing.parse(f"old:{key_text(3)}"), sealed),
            (renamed, replace(sealed, key_id="renamed")),
            (RING, replace(sealed, key_id="")),
        ):
            with pytest.raises(CannotOpen):
                open_sealed(ring, row, aad=AAD)

    def test_refuses_without_saying_anything(self) -> None:
        said = set()
        sealed = seal(RING, CANARY, aad=AAD)
        for row in (
            replace(sealed, key_id="unknown-key"),
            replace(sealed, ciphertext=b""),
            replace(sealed, wrapped_key=b"\1"),
        ):
            with pytest.raises(CannotOpen) as caught:
                open_sealed(RING, row, aad=AAD)
            assert caught.value.__cause__ is None
            said.add(str(caught.value))
        assert said == {"The secret cannot be opened."}

    def test_shows_only_the_id_of_its_key(self) -> None:
        assert repr(seal(RING, CANARY, aad=AAD)) == "Sealed(key_id='old')"

    def test_is_never_made_without_a_place(self) -> None:
        with pytest.raises(ValueError, match="bound"):
            seal(RING, CANARY, aad=b"")


class TestRewrap:
    BOTH = KeyRing.parse(f"{NEW},{OLD}")

    def test_moves_the_data_key_and_leaves_the_ciphertext(self) -> None:
        sealed = seal(RING, CANARY, aad=AAD)
        moved = rewrap(self.BOTH, sealed, aad=AAD)
        assert (moved.key_id, moved.ciphertext) == ("new", sealed.ciphertext)
        assert open_sealed(KeyRing.parse(NEW), moved, aad=AAD).reveal() == CANARY

    def test_leaves_the_old_key_useless(self) -> None:
        moved = rewrap(self.BOTH, seal(RING, CANARY, aad=AAD), aad=AAD)
        for row in (moved, replace(moved, key_id="old")):
            with pytest.raises(CannotOpen):
                open_sealed(RING, row, aad=AAD)

    def test_does_nothing_the_second_time(self) -> None:
        moved = rewrap(self.BOTH, seal(RING, CANARY, aad=AAD), aad=AAD)
        assert rewrap(self.BOTH, moved, aad=AAD) is moved

    @pytest.mark.parametrize("part", ["wrapped_key", "ciphertext"])
    def test_of_a_broken_row_is_refused(self, part: str) -> None:
        sealed = seal(RING, CANARY, aad=AAD)
        broken = with_part(sealed, part, bytes([*getattr(sealed, part)[:-1], getattr(sealed, part)[-1] ^ 1]))
        with pytest.raises(CannotOpen):
            rewrap(self.BOTH, broken, aad=AAD)

    def test_of_another_place_is_refused(self) -> None:
        with pytest.raises(CannotOpen):
            rewrap(self.BOTH, seal(RING, CANARY, aad=AAD), aad=b"elsewhere")


class TestHeader:
    @pytest.mark.parametrize(
        ("kind", "name", "secret", "expected"),
        [
            ("bearer", "", b"abc.DEF-_~+/=", (b"authorization", b"Bearer abc.DEF-_~+/=")),
            ("basic", "", b"user:pass word", (b"authorization", b"Basic dXNlcjpwYXNzIHdvcmQ=")),
            ("basic", "", "ü:ß:x".encode(), (b"authorization", b"Basic " + base64.b64encode("ü:ß:x".encode()))),
            ("basic", "", b"user:", (b"authorization", b"Basic dXNlcjo=")),
            ("header", "X-API-Key", b"k-123", (b"x-api-key", b"k-123")),
            ("header", "Authorization", b"Token abc def", (b"authorization", b"Token abc def")),
            ("bearer", "", b"x" * MAX_HEADER_VALUE, (b"authorization", b"Bearer " + b"x" * MAX_HEADER_VALUE)),
        ],
    )
    def test_presents_the_secret_as_its_kind_says(self, kind: str, name: str, secret: bytes, expected: Any) -> None:
        header, value = header_for(kind, name, Secret(secret))
        assert (header, value.reveal()) == expected
        assert secret.decode() not in repr(value)

    @pytest.mark.parametrize("kind", ["bearer", "basic", "header"])
    @pytest.mark.parametrize(
        "control", ["\r", "\n", "\r\nX-Evil: 1", "\x00", "\x01", "\t", "\x0b", "\x1b", "\x7f", "\x85", "\x9f", "\u2028"]
    )
    @pytest.mark.parametrize("form", ["{}user:pass", "user:pa{}ss", "user:pass{}"])
    def test_refuses_every_control_character_at_every_place(self, kind: str, control: str, form: str) -> None:
        with pytest.raises(CredentialRefused) as caught:
            header_for(kind, "X-Key", Secret(form.format(control).encode()))
        assert caught.value.code == "credential_characters"

    @pytest.mark.parametrize(
        ("kind", "name", "secret", "code"),
        [
            ("bearer", "", b"", "credential_characters"),
            ("bearer", "", b"a b", "credential_characters"),
            ("bearer", "", b"Bearer abc", "credential_characters"),
            ("bearer", "", b" abc", "credential_characters"),
            ("bearer", "", b"abc ", "credential_characters"),
            ("bearer", "", "tökén".encode(), "credential_characters"),
            ("bearer", "", b"\xff", "credential_characters"),
            ("bearer", "", b"x" * (MAX_HEADER_VALUE + 1), "credential_characters"),
            ("basic", "", b"\xff:x", "credential_characters"),
            ("basic", "", b"no-colon", "credential_basic"),
            ("basic", "", b"", "credential_basic"),
            ("basic", "", b"u:" + b"x" * MAX_HEADER_VALUE, "credential_basic"),
            ("header", "X-Key", b"", "credential_characters"),
            ("header", "X-Key", b" k", "credential_characters"),
            ("header", "", b"k", "credential_header"),
            ("header", "X Key", b"k", "credential_header"),
            ("header", "X-Key:", b"k", "credential_header"),
            ("header", "X-Key\r\nHost", b"k", "credential_header"),
            ("header", "X-Key\n", b"k", "credential_header"),
            ("header", "X_Key", b"k", "credential_header"),
            ("header", "X-Kéy", b"k", "credential_header"),
            ("header", "X-\u212aey", b"k", "credential_header"),
            ("header", "a" * 65, b"k", "credential_header"),
            ("header", "Host", b"k", "credential_header"),
            ("header", "Content-Length", b"5", "credential_header"),
            ("header", "Transfer-Encoding", b"chunked", "credential_header"),
            ("header", "Connection", b"close", "credential_header"),
            ("header", "Mcp-Session-Id", b"x", "credential_header"),
            ("header", "MCP-Protocol-Version", b"x", "credential_header"),
            ("header", "X-Forwarded-For", b"x", "credential_header"),
            ("header", "Proxy-Authorization", b"x", "credential_header"),
            ("other", "X-Key", b"k", "credential_kind"),
            ("", "", b"k", "credential_kind"),
        ],
    )
    def test_refuses_what_cannot_be_that_header(self, kind: str, name: str, secret: bytes, code: str) -> None:
        with pytest.raises(CredentialRefused) as caught:
            header_for(kind, name, Secret(secret))
        assert caught.value.code == code

    @given(
        st.sampled_from(["bearer", "basic", "header"]),
        st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    )
    def test_of_any_secret_never_breaks_its_line(self, kind: str, secret: bytes) -> None:
        try:
            name, value = header_for(kind, "X-Key", Secret(secret))
        except CredentialRefused:
            return
        line = name + b": " + value.reveal()
        assert all(0x20 <= byte <= 0x7E for byte in line)
        assert line == line.strip()

    def test_does_not_repeat_the_secret_in_a_refusal(self) -> None:
        for kind, secret in (("bearer", CANARY + b"\n"), ("basic", CANARY), ("header", CANARY + b"\0"), ("x", CANARY)):
            with pytest.raises(CredentialRefused) as caught:
                header_for(kind, "X-Key", Secret(secret))
            assert "CANARY" not in str(caught.value) + repr(caught.value) + caught.value.message
