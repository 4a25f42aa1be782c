"""Settings of the test suite: real PostgreSQL and real Valkey, quick password hashing, no console log noise."""

from __future__ import annotations

import os

os.environ.setdefault("SECRET_KEY", "test-only-8f3b1c6d2e9a4b7f8c1d3e5a7b9c0d2e4f6a8b0c2d4e6f80")
os.environ.setdefault("WARDGATE_MASTER_KEYS", "test:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")

from .base import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DATABASES["default"]["CONN_MAX_AGE"] = 0
AXES_ENABLED = False
LOGGING["root"]["level"] = "WARNING"
WARDGATE_REQUIRE_DURABLE_DATABASE = False
WARDGATE_REQUIRE_SECOND_FACTOR = False
