"""Project Wycheproof's signed tokens against the gateway's own checks: `python -m tests.support.wycheproof FOLDER`.

FOLDER is `testvectors_v1` of https://github.com/C2SP/wycheproof; its files are not part of this repository. Their
payloads are no claims, so every vector is judged twice: as a token, which all have to fail, and by the checks up to and
with the signature alone, which only sound ones may pass. Prints what was found, and fails when an invalid one passed.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accounts import tokens
from accounts.keys import ALGORITHMS, KeySetRefused, decode_segment, key_set, load_object
from tests.support.idp import Issuer

FILES = ("json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json")


def vectors(folder: Path) -> Iterator[tuple[str, dict[str, Any], str, str]]:
    """Yield file, key set, token and expected result of every signed vector."""
    for name in FILES:
        for group in json.loads((folder / name).read_text())["testGroups"]:
            key = group.get("public") or group["private"]
            jwks = key if "keys" in key else {"keys": [key]}
            for test in group["tests"]:
                if "jws" in test:
                    yield name, jwks, _text(test["jws"]), test["result"]


def is_signed(raw: bytes, jwks: dict[str, Any]) -> bool:
    """Tell whether the token passes every check that stands before its claims."""
    try:
        keys = key_set(jwks, algorithms=ALGORITHMS)
        message, _, signature = raw.rpartition(b".")
        header, _, payload = message.partition(b".")
        found = load_object(decode_segment(header))
        decode_segment(payload)
        algorithm, key_id = found.get("alg"), found.get("kid")
        if raw.count(b".") != 2 or algorithm not in ALGORITHMS or not tokens._REFUSED_HEADERS.isdisjoint(found):
            return False
        key = keys.get(key_id, algorithm)
        return key is not None and key.verifies(algorithm, message, decode_segment(signature))
    except (ValueError, KeySetRefused):
        return False


def is_accepted(raw: bytes, jwks: dict[str, Any]) -> bool:
    """Tell whether the token is one that a caller could use."""
    issuer = Issuer("https://idp.example")
    try:
        keys = key_set(jwks, algorithms=ALGORITHMS)
    except KeySetRefused:
        return False
    verdict = tokens.verify(raw, provider=issuer.provider(), keys=keys, now=0, audience=issuer.audience)
    return isinstance(verdict, tokens.Identity)


def _text(jws: Any) -> str:
    """Return the compact form; a vector in another serialisation stands as its JSON."""
    return jws if isinstance(jws, str) else json.dumps(jws)


def main(folder: Path) -> int:
    """Judge every vector; return how many invalid ones passed."""
    counts: Counter[tuple[str, str, bool]] = Counter()
    accepted = 0
    for name, jwks, text, result in vectors(folder):
        raw = text.encode()
        counts[name, result, is_signed(raw, jwks)] += 1
        accepted += is_accepted(raw, jwks)
    for (name, result, passed), count in sorted(counts.items()):
        print(f"{name}: {count} {result}, {'passed' if passed else 'refused'}")
    print(f"accepted as tokens: {accepted}")
    return accepted + sum(count for (_, result, passed), count in counts.items() if passed and result == "invalid")


if __name__ == "__main__":
    sys.exit(1 if main(Path(sys.argv[1])) else 0)
