"""The starter patterns of the product: what a gateway should mask before anybody has written a pattern.

The expressions look ahead no further than a bounded way beyond what they match, so that finding all places in a long
text is linear as well; and they avoid bounded repetitions where they can, because RE2 writes those out.
"""

from __future__ import annotations

from .masking import Pattern

DEFAULT_PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        "email",
        r"[\w.%+\x{C0}-\x{24F}-]+@[\w\x{C0}-\x{24F}-]+(?:\.[\w\x{C0}-\x{24F}-]+)+",
    ),
    Pattern("payment-card", r"\b[0-9](?:[ -]?[0-9]){12,18}\b", check="luhn"),
    Pattern("us-ssn", r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"),
    Pattern("iban", r"\b[A-Z]{2}[0-9]{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?)\b"),
    Pattern("phone", r"\+[0-9]{1,3}[ .-]?(?:\([0-9]{1,4}\)[ .-]?)?[0-9]{1,4}(?:[ .-]?[0-9]{2,4}){2,4}\b"),
    Pattern(
        "ipv4",
        r"\b(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\b",
    ),
    Pattern("mac-address", r"\b[0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5})\b"),
    Pattern("uk-nino", r"\b[A-CEGHJ-PR-TW-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b"),
    Pattern("aws-access-key-id", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    Pattern(
        "aws-secret-key",
        r"(?i)aws.{0,20}(?:secret|key)[\w\"' ]{0,20}[=:]{1,2}>?\s{0,4}[\"']?[a-z0-9/+]{40}\b",
    ),
    Pattern("jwt", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    Pattern(
        "private-key",
        # The whole block; without its end, everything that could belong to it.
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[\w+/=\s:,.()\\-]*?-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|[\w+/=\s:,.()\\-]*)",
    ),
    Pattern("github-token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})"),
    Pattern("gitlab-token", r"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_.-]{20,}"),
    Pattern(
        "slack-token",
        r"\bxox[abcdeoprs]-[A-Za-z0-9-]{10,}|\bxapp-[0-9]-[A-Za-z0-9-]{10,}"
        r"|https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{20,}",
    ),
    Pattern("stripe-key", r"\b(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]{16,}"),
    Pattern("google-api-key", r"\bAIza[A-Za-z0-9_-]{35}|\bya29\.[A-Za-z0-9_-]{20,}|\bGOCSPX-[A-Za-z0-9_-]{20,}"),
    Pattern("ai-api-key", r"\bsk-[A-Za-z0-9_-]{20,}"),
    Pattern("bearer-token", r"(?i)\bbearer\s{1,4}[a-z0-9._~+/-]{16,}={0,2}"),
    Pattern("basic-credentials", r"(?i)\bbasic\s{1,4}[a-z0-9+/]{16,}={0,2}"),
    Pattern("url-password", r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*:[^\s/@]+@"),
    Pattern(
        "password",
        r"(?i)\b(?:\w*[_-])?(?:password|passwd|passphrase|pwd|secret|api[_-]?key|access[_-]?key|private[_-]?key"
        r"|client[_-]?secret|auth[_-]?token|access[_-]?token|refresh[_-]?token)[\\\"']{0,3}\s{0,4}(?:=|:|=>|:=)\s{0,4}"
        r"(?:\\?\"[^\"\n\\]{4,}|'[^'\n]{4,}|[^\s\"',;&<>\\\[]{6,})",
    ),
)
