from __future__ import annotations

import orjson
import pytest

from policies.engine.masking import Masker
from policies.engine.packs import DEFAULT_PATTERNS

PACK = {pattern.name: pattern for pattern in DEFAULT_PATTERNS}
ALL = Masker.compile(DEFAULT_PATTERNS)
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA75n+/=\nabcd\n-----END RSA PRIVATE KEY-----"

SAMPLES = {
    "email": (
        ["a.b@example.com", "first+tag@sub.example.co.uk", "jörg@exämple.de", "o_x%y@a-b.io"],
        ["user@localhost", "@handle", "a @ b.com", "v1.2.3"],
    ),
    "payment-card": (
        ["4111 1111 1111 1111", "5500-0055-5555-5559", "378282246310005"],
        ["4111 1111 1111 1112", "1234567890", "12345678901234567890123"],
    ),
    "us-ssn": (["123-45-6789"], ["123-456-789", "1123-45-6789", "2026-03-02"]),
    "iban": (
        ["DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19", "NO9386011117947"],
        ["DE89", "de89370400440532013000", "ABCD37040044"],
    ),
    "phone": (["+49 170 123 4567", "+1 (555) 010-9999", "+442071838750"], ["+1", "1 + 1 = 2", "+12-3", "170 123 4567"]),
    "ipv4": (["10.20.30.40", "255.255.255.255"], ["1.2.3", "256.1.1.1", "1.2.3.400"]),
    "mac-address": (["00:1a:2b:3c:4d:5e", "00-1A-2B-3C-4D-5E"], ["00:1a:2b:3c:4d", "10:05:35", "00:1a-2b:3c-4d:5e"]),
    "uk-nino": (["AB123456C", "AB 12 34 56 C"], ["DB123456C", "AB123456E", "AB12345C"]),
    "aws-access-key-id": (["AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"], ["AKIA", "XAKIAIOSFODNN7EXAMPLE"]),
    "aws-secret-key": (
        [
            "aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12",
            'AWS_SECRET_ACCESS_KEY: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"',
            '"awsSecretKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"',
        ],
        ["aws_secret_access_key = short", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"],
    ),
    "jwt": (
        [
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
        ],
        ["eyJhbGciOiJIUzI1NiJ9", "a.b.c"],
    ),
    "private-key": (
        [PEM, "-----BEGIN PRIVATE KEY-----\nMII", "-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNz\\n-----END"],
        ["-----BEGIN CERTIFICATE-----", "BEGIN PRIVATE KEY"],
    ),
    "github-token": (["ghp_" + "a1" * 18, "github_pat_" + "A" * 30], ["ghp_short", "xghp_" + "a" * 3]),
    "gitlab-token": (["glpat-" + "a" * 20], ["glpat-x"]),
    "slack-token": (
        ["xoxb-123456789012-abcdef", "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXX"],
        ["xoxo", "https://slack.com/help"],
    ),
    "stripe-key": (
        ["sk_live_" + "a1b2" * 6, "rk_test_" + "a" * 24, "whsec_" + "a" * 32],
        ["sk_live_x", "pk_live_" + "a" * 24],
    ),
    "google-api-key": (["AIza" + "B" * 35, "ya29." + "a" * 30, "GOCSPX-" + "a" * 28], ["AIza"]),
    "ai-api-key": (["sk-" + "a" * 40, "sk-proj-" + "A_b-" * 10], ["sk-short", "task-" + "a" * 40]),
    "bearer-token": (
        ["Bearer abcdefghijklmnopqrstuvwxyz", "authorization: bearer a.b-c_d~e+f/g1234=="],
        ["Bearer token", "bearers"],
    ),
    "basic-credentials": (["Basic dXNlcjpwYXNzd29yZA=="], ["basic usage", "BASIC"]),
    "url-password": (
        ["postgres://u:p4ss@h/db", "redis://:p4ss@h"],
        ["http://h:80/a", "http://h/a@b", "https://user@host"],
    ),
    "password": (
        [
            "password=hunter22",
            "DB_PASSWORD: hunter22",
            '"api_key": "abc def 1"',
            '{\\"client_secret\\": \\"hunter22\\"}',
            "pwd='with space'",
            "access-token => abcdef1",
        ],
        ["password", "the password is not said", "password = ", "passwords: none"],
    ),
}


def test_every_pattern_has_samples():
    assert set(SAMPLES) == set(PACK)


@pytest.mark.parametrize(("name", "sample"), [(name, s) for name, (samples, _) in SAMPLES.items() for s in samples])
def test_what_a_pattern_is_for_is_masked_whole(name, sample):
    secret = sample.rpartition(": ")[2] if name == "bearer-token" else sample
    masked = Masker.compile([PACK[name]]).mask(orjson.dumps({"text": f"before; {sample} ;after"}))
    assert masked.hits == {name: 1}
    assert secret.encode() not in masked.value
    assert masked.value.startswith(b'{"text":"before; ')


@pytest.mark.parametrize(("name", "sample"), [(name, s) for name, (_, samples) in SAMPLES.items() for s in samples])
def test_what_only_looks_like_it_stays(name, sample):
    message = orjson.dumps({"text": f"before; {sample} ;after"})
    assert Masker.compile([PACK[name]]).mask(message).value is message


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("password=hunter22", "hunter22"),
        ('{"api_key": "abc def 1"}', "abc def 1"),
        ("pwd='with space'", "with space"),
        ("redis://:p4ss@h", "p4ss"),
        (PEM, "MIIEpAIBAAKCAQEA75n"),
        (PEM.replace("\n", "\\n"), "abcd"),
        ("Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA"),
        ("2 4111 1111 1111 1111 27", "4111 1111 1111 1111"),
    ],
)
def test_nothing_of_the_secret_itself_is_left(text, secret):
    assert secret.encode() not in ALL.mask(orjson.dumps([text])).value


def test_the_text_around_a_private_key_stays():
    masked = ALL.mask_text(f"Here it is:\n{PEM}\nKeep it safe. Bye".encode())
    assert masked.value == b"Here it is:\n[MASKED:private-key]\nKeep it safe. Bye"


def test_the_protocol_itself_is_left_alone():
    for message in (
        b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},'
        b'"serverInfo":{"name":"demo","version":"1.2.3"},"resultType":"complete","ttlMs":1000,"cacheScope":"private"}}',
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"b5b3c2f2","progress":1.5}}',
        b'{"jsonrpc":"2.0","id":"9f1c8a52-6a0e-4b51-9d44-0d1f6a0c","error":{"code":-32602,"message":"Unknown tool"}}',
    ):
        assert ALL.mask(message).value is message


def test_masking_a_masked_answer_again_changes_nothing():
    text = "; ".join(sample for samples, _ in SAMPLES.values() for sample in samples)
    once = ALL.mask(orjson.dumps([text])).value
    assert ALL.mask(once).value is once
