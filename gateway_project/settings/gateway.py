"""Every limit of the gateway, with its unit in the name.

Each can be set by an environment variable of the same name. The defaults are the figures of the threat model.
"""

from __future__ import annotations

from . import env

WARDGATE_PUBLIC_URL = env.text("WARDGATE_PUBLIC_URL", "http://127.0.0.1:8080").rstrip("/")
"""The origin under which clients reach the gateway; `resource` and links are made from it."""

WARDGATE_MASTER_KEYS = env.text("WARDGATE_MASTER_KEYS")
"""`id:base64` of 32 bytes, comma-separated; the first one encrypts, all decrypt. Never derived from SECRET_KEY."""

WARDGATE_ALLOWED_ORIGINS = env.listing("WARDGATE_ALLOWED_ORIGINS")
"""Browser origins that may call /mcp; a request with any other Origin header is refused."""

# What a request may be.
WARDGATE_BODY_BYTES = env.integer("WARDGATE_BODY_BYTES", 4 * 1024 * 1024, at_least=1024)
WARDGATE_HEADER_BYTES = env.integer("WARDGATE_HEADER_BYTES", 64 * 1024, at_least=1024)
WARDGATE_HEADER_COUNT = env.integer("WARDGATE_HEADER_COUNT", 100, at_least=10)
WARDGATE_TOKEN_BYTES = env.integer("WARDGATE_TOKEN_BYTES", 16 * 1024, at_least=512)
WARDGATE_BODY_SECONDS = env.integer("WARDGATE_BODY_SECONDS", 30, at_least=1)
WARDGATE_BATCH_ELEMENTS = env.integer("WARDGATE_BATCH_ELEMENTS", 50, at_least=1)

# What an answer may be.
WARDGATE_MESSAGE_BYTES = env.integer("WARDGATE_MESSAGE_BYTES", 8 * 1024 * 1024, at_least=1024)
WARDGATE_STREAM_BYTES = env.integer("WARDGATE_STREAM_BYTES", 256 * 1024 * 1024, at_least=1024)
WARDGATE_STREAM_SECONDS = env.integer("WARDGATE_STREAM_SECONDS", 24 * 3600, at_least=1)
WARDGATE_KEEPALIVE_SECONDS = env.integer("WARDGATE_KEEPALIVE_SECONDS", 15, at_least=1)
WARDGATE_WRITE_STALL_SECONDS = env.integer("WARDGATE_WRITE_STALL_SECONDS", 30, at_least=1)

# How the upstream is reached.
WARDGATE_CONNECT_SECONDS = env.integer("WARDGATE_CONNECT_SECONDS", 5, at_least=1)
WARDGATE_UPSTREAM_IDLE_SECONDS = env.integer("WARDGATE_UPSTREAM_IDLE_SECONDS", 4, at_least=1)
"""Shorter than the five seconds after which common servers close an idle connection, so that we close it first."""
WARDGATE_UPSTREAM_CONNECTIONS = env.integer("WARDGATE_UPSTREAM_CONNECTIONS", 256, at_least=1)

# How the record is kept.
WARDGATE_RECORD_QUEUE_EVENTS = env.integer("WARDGATE_RECORD_QUEUE_EVENTS", 20_000, at_least=100)
WARDGATE_RECORD_BATCH_EVENTS = env.integer("WARDGATE_RECORD_BATCH_EVENTS", 500, at_least=1)
WARDGATE_RECORD_REFUSE_MILLISECONDS = env.integer("WARDGATE_RECORD_REFUSE_MILLISECONDS", 800, at_least=50)
"""How long a new call waits for a record that cannot be written before it is refused."""
WARDGATE_RECORD_WITHHOLD_SECONDS = env.integer("WARDGATE_RECORD_WITHHOLD_SECONDS", 10, at_least=1)
"""How long an answer that cannot be recorded is withheld before the call ends with an error."""
WARDGATE_RECORD_NOTIFICATIONS_WAIT = env.boolean("WARDGATE_RECORD_NOTIFICATIONS_WAIT", default=False)
"""Whether a notification on a stream waits until it is durable, and not only until the database has it (ADR 0016)."""
WARDGATE_REQUIRE_DURABLE_DATABASE = env.boolean("WARDGATE_REQUIRE_DURABLE_DATABASE", default=True)
"""Refuse a PostgreSQL that may lose what it has acknowledged (`wardgate.E021` to `E023`). Off only for tests."""
WARDGATE_HEARTBEAT_SECONDS = env.integer("WARDGATE_HEARTBEAT_SECONDS", 2, at_least=1)
WARDGATE_INSTANCE_DEAD_SECONDS = env.integer("WARDGATE_INSTANCE_DEAD_SECONDS", 10, at_least=3)
WARDGATE_SESSION_IDLE_SECONDS = env.integer("WARDGATE_SESSION_IDLE_SECONDS", 1800, at_least=60)
WARDGATE_RESUME_SECONDS = env.integer("WARDGATE_RESUME_SECONDS", 600, at_least=1)
"""How long a legacy stream that broke may be resumed before its call is `outcome_unknown`."""

# How finished sessions are kept.
WARDGATE_COMPACT_AFTER_SECONDS = env.integer("WARDGATE_COMPACT_AFTER_SECONDS", 300, at_least=0)
"""How long after its end a session is sealed into a recording."""
WARDGATE_EVENT_DAYS = env.integer("WARDGATE_EVENT_DAYS", 30, at_least=1)
"""How long after its end a month of sealed events stays in the database."""
WARDGATE_RECORDING_STORAGE = env.text("WARDGATE_RECORDING_STORAGE", "local")
"""`local` or `s3`; recordings stay where they were written when it changes."""
WARDGATE_RECORDING_FOLDER = env.text("WARDGATE_RECORDING_FOLDER")
"""Folder of local recordings, and of those that are being written; `.wardgate/recordings` when empty."""
WARDGATE_RECORDING_S3_URL = env.text("WARDGATE_RECORDING_S3_URL")
WARDGATE_RECORDING_S3_BUCKET = env.text("WARDGATE_RECORDING_S3_BUCKET")
WARDGATE_RECORDING_S3_PREFIX = env.text("WARDGATE_RECORDING_S3_PREFIX")
WARDGATE_RECORDING_S3_REGION = env.text("WARDGATE_RECORDING_S3_REGION", "us-east-1")
WARDGATE_RECORDING_S3_ACCESS_KEY = env.text("WARDGATE_RECORDING_S3_ACCESS_KEY")
WARDGATE_RECORDING_S3_SECRET_KEY = env.text("WARDGATE_RECORDING_S3_SECRET_KEY")
WARDGATE_RECORDING_S3_NETWORKS = env.listing("WARDGATE_RECORDING_S3_NETWORKS")
"""Networks (CIDR) in which the bucket's service may be besides public addresses."""

# How the record is proved.
WARDGATE_CHECKPOINT_SECONDS = env.integer("WARDGATE_CHECKPOINT_SECONDS", 10, at_least=1)
"""Longest time until a new event is covered by a signed checkpoint."""
WARDGATE_CHECKPOINT_EVENTS = env.integer("WARDGATE_CHECKPOINT_EVENTS", 1_000, at_least=1)
"""New events after which a checkpoint is signed sooner; they are counted four times a second."""
WARDGATE_CHECKPOINT_IDLE_SECONDS = env.integer("WARDGATE_CHECKPOINT_IDLE_SECONDS", 3600, at_least=10)
"""How often a checkpoint is signed though nothing happened, which tells an idle gateway from a stopped one."""
WARDGATE_CHECKPOINT_KEY_DAYS = env.integer("WARDGATE_CHECKPOINT_KEY_DAYS", 90, at_least=1)
"""Age at which the key of the record is replaced by one that it vouches for."""
WARDGATE_CHECKPOINT_FOLDER = env.text("WARDGATE_CHECKPOINT_FOLDER")
"""Folder of this machine below which sinks of the kind `file` write; without it there are none."""
WARDGATE_RETENTION_DATABASE_URL = env.text("WARDGATE_RETENTION_DATABASE_URL")
"""`postgres://` URL of the role that may release months of events; without it the gateway's own role tries."""

# How identity is checked.
WARDGATE_IDENTITY_CACHE_SECONDS = env.integer("WARDGATE_IDENTITY_CACHE_SECONDS", 30, at_least=0)
WARDGATE_JWKS_BYTES = env.integer("WARDGATE_JWKS_BYTES", 512 * 1024, at_least=1024)
WARDGATE_JWKS_FETCH_SECONDS = env.integer("WARDGATE_JWKS_FETCH_SECONDS", 3, at_least=1)
WARDGATE_JWKS_FRESH_SECONDS = env.integer("WARDGATE_JWKS_FRESH_SECONDS", 300, at_least=1)
WARDGATE_JWKS_OUTAGE_SECONDS = env.integer("WARDGATE_JWKS_OUTAGE_SECONDS", 3600, at_least=1)
WARDGATE_JWKS_RETRY_SECONDS = env.integer("WARDGATE_JWKS_RETRY_SECONDS", 30, at_least=1)
"""Least time between two fetches that an unknown key id may cause: at most two in a minute for each issuer."""
WARDGATE_INTROSPECTION_EVERY_SECONDS = env.integer("WARDGATE_INTROSPECTION_EVERY_SECONDS", 60, at_least=1)
WARDGATE_INTROSPECTION_OUTAGE_SECONDS = env.integer("WARDGATE_INTROSPECTION_OUTAGE_SECONDS", 300, at_least=0)
WARDGATE_INTROSPECTION_SECONDS = env.integer("WARDGATE_INTROSPECTION_SECONDS", 3, at_least=1)

# What the gateway itself gives out.
WARDGATE_API_TOKEN_DAYS = env.integer("WARDGATE_API_TOKEN_DAYS", 90, at_least=1)
"""Longest life of a token for the REST API."""
WARDGATE_EXCHANGED_TOKEN_SECONDS = env.integer("WARDGATE_EXCHANGED_TOKEN_SECONDS", 300, at_least=30, at_most=900)
"""Longest life of a token that `/oauth/token` gives out."""
WARDGATE_EXCHANGES_PER_MINUTE = env.integer("WARDGATE_EXCHANGES_PER_MINUTE", 60, at_least=1)
"""Tokens that one principal may get from `/oauth/token` in a minute."""
WARDGATE_SIGNING_KEY_DAYS = env.integer("WARDGATE_SIGNING_KEY_DAYS", 30, at_least=1)
"""Age at which the key that signs those tokens is replaced."""

# How much one process takes from whom, before it allocates anything. A rate of 0 is no limit.
WARDGATE_ADDRESS_FAILURES_PER_SECOND = env.integer("WARDGATE_ADDRESS_FAILURES_PER_SECOND", 2000, at_least=1)
"""Failed authentications of one address; one that fails at the signature counts four. Then 429 before a look."""
WARDGATE_ADDRESS_REQUESTS_PER_SECOND = env.integer("WARDGATE_ADDRESS_REQUESTS_PER_SECOND", 0, at_least=0)
WARDGATE_ADDRESS_DOOR_REQUESTS_PER_SECOND = env.integer("WARDGATE_ADDRESS_DOOR_REQUESTS_PER_SECOND", 50, at_least=0)
"""Requests of one address to where nobody is known yet: the token endpoint, the receivers, and logins."""
WARDGATE_PRINCIPAL_REQUESTS_PER_SECOND = env.integer("WARDGATE_PRINCIPAL_REQUESTS_PER_SECOND", 0, at_least=0)
WARDGATE_PRINCIPAL_CALLS = env.integer("WARDGATE_PRINCIPAL_CALLS", 200, at_least=1)
"""Requests of one principal that are under way at the same time, streams included."""
WARDGATE_CONNECTION_CALLS = env.integer("WARDGATE_CONNECTION_CALLS", 256, at_least=1)
WARDGATE_SESSIONS = env.integer("WARDGATE_SESSIONS", 10_000, at_least=1)
WARDGATE_PRINCIPAL_SESSIONS = env.integer("WARDGATE_PRINCIPAL_SESSIONS", 200, at_least=1)

# Pages that are told when something moves, in one process.
WARDGATE_LIVE_PAGES = env.integer("WARDGATE_LIVE_PAGES", 1000, at_least=1)
WARDGATE_PERSON_LIVE_PAGES = env.integer("WARDGATE_PERSON_LIVE_PAGES", 20, at_least=1)

# How far back rules about the past look.
WARDGATE_HISTORY_SECONDS = env.integer("WARDGATE_HISTORY_SECONDS", 8 * 3600, at_least=60)
WARDGATE_HISTORY_CALLS = env.integer("WARDGATE_HISTORY_CALLS", 5_000, at_least=10)
"""A caller with more calls than this in that time is denied what a rule about the past has to decide."""
WARDGATE_HISTORY_WAIT_MILLISECONDS = env.integer("WARDGATE_HISTORY_WAIT_MILLISECONDS", 800, at_least=50)

# How policy reaches the gateway.
WARDGATE_POLICY_POLL_MILLISECONDS = env.integer("WARDGATE_POLICY_POLL_MILLISECONDS", 1000, at_least=50)
WARDGATE_POLICY_STALE_SECONDS = env.integer("WARDGATE_POLICY_STALE_SECONDS", 10, at_least=1)
"""With no readable policy version for this long, nothing is allowed."""

# Held calls.
WARDGATE_APPROVALS_PER_PRINCIPAL = env.integer("WARDGATE_APPROVALS_PER_PRINCIPAL", 5, at_least=1)
WARDGATE_APPROVALS_PER_CONNECTION = env.integer("WARDGATE_APPROVALS_PER_CONNECTION", 50, at_least=1)
"""Requests that may wait for a decision at a time; one more is refused."""
WARDGATE_APPROVAL_COOLDOWN_SECONDS = env.integer("WARDGATE_APPROVAL_COOLDOWN_SECONDS", 60, at_least=0)
"""How long after a denial the very same call gets that denial again, and asks nobody."""
WARDGATE_APPROVAL_POLL_MILLISECONDS = env.integer("WARDGATE_APPROVAL_POLL_MILLISECONDS", 1000, at_least=50)

# How people are told.
WARDGATE_NOTICE_DAYS = env.integer("WARDGATE_NOTICE_DAYS", 90, at_least=1)
"""How long the log of notifications is kept."""

# Slack.
WARDGATE_SLACK_API_URL = env.text("WARDGATE_SLACK_API_URL", "https://slack.com/api/")
"""Where Slack's Web API is, with the slash at the end; another one for tests and for a proxy of one's own."""
WARDGATE_SLACK_LINK_DAYS = env.integer("WARDGATE_SLACK_LINK_DAYS", 90, at_least=1)
"""How long a person of the console stays linked to a user of Slack; then they enter a new code."""

# Web push.
WARDGATE_PUSH_NETWORKS = env.listing("WARDGATE_PUSH_NETWORKS")
"""Networks (CIDR) in which push services may be besides public addresses: for a push service of one's own."""

# How people log in to the console.
WARDGATE_REQUIRE_SECOND_FACTOR = env.boolean("WARDGATE_REQUIRE_SECOND_FACTOR", default=True)
"""Local accounts need a second factor, enrolled at the first login. Off only on loopback (`wardgate.E030`)."""
WARDGATE_CONSOLE_IDLE_SECONDS = env.integer("WARDGATE_CONSOLE_IDLE_SECONDS", 1800, at_least=120)
WARDGATE_CONSOLE_SESSION_SECONDS = env.integer("WARDGATE_CONSOLE_SESSION_SECONDS", 43_200, at_least=300)
WARDGATE_CONSOLE_PROOF_SECONDS = env.integer("WARDGATE_CONSOLE_PROOF_SECONDS", 300, at_least=30)
"""How recently a person must have proved who they are for a dangerous action."""
WARDGATE_TRUSTED_PROXIES = env.listing("WARDGATE_TRUSTED_PROXIES")
"""Networks (CIDR) of reverse proxies whose X-Forwarded-For is believed; without any the socket's peer is the client."""
WARDGATE_PROXY_HOPS = env.integer("WARDGATE_PROXY_HOPS", 1, at_least=1)
"""How many trusted proxies every request passes: so many entries from the end of X-Forwarded-For stands the client."""
