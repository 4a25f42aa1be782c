"""The stand-alone verifier on sealed recordings: what it accepts, and that no changed byte passes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sessions.recording import DOMAIN, Signature
from sessions.statements import kid_of
from tests.support.verifying import tool
from tests.unit.sessions import test_recording as made

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return a small recording that is signed by a key with the name that the gateway would give it."""

    def sign(message: bytes) -> Signature:
        return Signature(kid_of(PUBLIC), PUBLIC, PRIVATE.sign(DOMAIN + message))

    monkeypatch.setattr(made, "sign", sign)
    return made.written(made.plain(5))


def report_of(data: bytes, tmp_path: Path, **options: Any) -> Any:
    file = tmp_path / "session.wgr"
    file.write_bytes(data)
    report = tool.Report()
    tool.verify_recording(str(file), report, **options)
    return report


def test_a_recording_that_nobody_touched_holds(sealed: bytes, tmp_path: Path) -> None:
    report = report_of(sealed, tmp_path, trusted=[kid_of(PUBLIC)])
    assert report.problems == []
    assert report.events == 5


def test_no_changed_byte_passes(sealed: bytes, tmp_path: Path) -> None:
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        try:
            report = report_of(bytes(changed), tmp_path, trusted=[kid_of(PUBLIC)])
        except tool.Unreadable:
            continue
        assert not report.holds, place


def test_no_cut_passes(sealed: bytes, tmp_path: Path) -> None:
    for length in range(8, len(sealed)):
        assert not report_of(sealed[:length], tmp_path).holds


def test_a_key_that_is_not_trusted_is_named(sealed: bytes, tmp_path: Path) -> None:
    assert report_of(sealed, tmp_path, trusted=["0" * 32]).problems[0].kind == "key"


def test_the_keys_of_an_export_are_good_for_its_recordings(sealed: bytes, tmp_path: Path) -> None:
    keys = tmp_path / "record.jsonl"
    entry = {"type": "key", "kid": kid_of(PUBLIC), "public_key": base64.b64encode(PUBLIC).decode()}
    keys.write_text(json.dumps({"type": "wardgate-record", "v": 1}) + "\n" + json.dumps(entry) + "\n")
    file = tmp_path / "session.wgr"
    file.write_bytes(sealed)
    assert tool.main(["--keys", str(keys), "--json", str(file)]) == 0
