"""Fills an empty database for the benchmark and prints a token for it, as JSON.

    DATABASE_URL=... python -m bench.seed ORIGIN UPSTREAM_URL

Fifty rules (40 guardrails, of which none but the last allows the call, and 10 grants, of which only the last one is the
caller's) and twenty masking patterns, through the services that the console uses.
"""

from __future__ import annotations

import json
import os
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings.base")

GUARDRAILS, GRANTS, PATTERNS = 40, 10, 20
TOKEN_SECONDS = 6 * 3600


def main() -> None:
    """Migrate, seed and print `{"token": ...}`."""
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0, interactive=False)
    origin, upstream_url = sys.argv[1:3]
    sys.stdout.write(json.dumps({"token": _seed(origin, upstream_url)}) + "\n")


def _seed(origin: str, upstream_url: str) -> str:
    """Return an RS256 token of a new 2048 bit key that may call the connection `bench`."""
    from django.utils import timezone
    from joserfc import jwt
    from joserfc.jwk import RSAKey

    from accounts.services import group_save, provider_save
    from connections.services import connection_save, credential_set
    from policies.engine.packs import DEFAULT_PATTERNS
    from policies.services import grant_save, guardrail_save, masking_pattern_save

    now = timezone.now()
    key = RSAKey.generate_key(2048, parameters={"kid": "bench", "alg": "RS256", "use": "sig"}, private=True)
    provider = provider_save(
        name="Bench",
        issuer="https://idp.bench.example",
        pinned_jwks={"keys": [key.as_dict(private=False)]},
        algorithms=["RS256"],
        max_token_seconds=TOKEN_SECONDS,
        now=now,
    )
    groups = [group_save(provider=provider, name=f"team{number}", now=now) for number in range(GRANTS - 1)]
    groups.append(group_save(provider=provider, name="eng", now=now))
    connection = connection_save(
        slug="bench", name="Bench", upstream_url=upstream_url, allowed_networks=["127.0.0.0/8"], now=now
    )
    credential_set(connection=connection, kind="bearer", secret="bench-upstream-credential", now=now)
    for number, group in enumerate(groups, start=1):
        tools = ["*"] if group.name == "eng" else [f"team{number}.*", f"*.read{number}", f"exact{number}"]
        grant_save(connection=connection, group=group, tools=tools, now=now)
    for number in range(1, GUARDRAILS):
        guardrail_save(
            name=f"bench {number:02}",
            effect=("deny", "hold", "allow")[number % 3],
            connection=connection if number % 2 else None,
            methods=["tools/call"] if number % 4 else ["tools/*", "prompts/get"],
            names=[f"svc{number}.*", f"*.delete{number}", f"exact{number}", f"a*b?{number}"],
            reason="a rule of the benchmark",
            now=now,
        )
    guardrail_save(
        name=f"bench {GUARDRAILS:02}",
        effect="allow",
        connection=connection,
        methods=["tools/call"],
        names=["small", "large", "stream*"],
        now=now,
    )
    for pattern in DEFAULT_PATTERNS[:PATTERNS]:
        masking_pattern_save(name=pattern.name, pattern=pattern.pattern, check_kind=pattern.check, now=now)
    issued = int(time.time())
    claims = {
        "iss": provider.issuer,
        "aud": f"{origin}/mcp/bench",
        "sub": "alice",
        "groups": ["eng", "sre"],
        "iat": issued,
        "nbf": issued,
        "exp": issued + TOKEN_SECONDS - 60,
    }
    return jwt.encode({"alg": "RS256", "kid": "bench", "typ": "at+jwt"}, claims, key, algorithms=["RS256"])


if __name__ == "__main__":
    main()
