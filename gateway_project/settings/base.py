"""Settings of every deployment. What differs between deployments comes from the environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF, UNSAFE_EVAL
from django.templatetags.static import static
from django.urls import reverse_lazy

from . import env
from .gateway import *  # noqa: F403  (the gateway's limits are settings like any other)

BASE_DIR = Path(__file__).resolve().parents[2]

SECRET_KEY = env.text("SECRET_KEY")
DEBUG = env.boolean("DEBUG", default=False)
ALLOWED_HOSTS = env.listing("ALLOWED_HOSTS", ["127.0.0.1", "localhost"])
CSRF_TRUSTED_ORIGINS = env.listing("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    # For runserver alone, before staticfiles: with Twisted it would be a quarter of what every process imports.
    *(["daphne"] if sys.argv[1:2] == ["runserver"] else []),
    # Before django.contrib.admin.
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "axes",
    "csp",
    # Only the models and ceremonies of second factors; none of its URLs is routed. `account` is what `mfa` stands on.
    "allauth.account",
    "allauth.mfa",
    "accounts.apps.AccountsConfig",
    "connections.apps.ConnectionsConfig",
    "sessions.apps.SessionsConfig",
    "policies.apps.PoliciesConfig",
    "proxy.apps.ProxyConfig",
    "gateway_project.apps.GatewayProjectConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.console_sessions.ConsoleSessionMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "gateway_project.urls"
ASGI_APPLICATION = "gateway_project.asgi.application"
AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **env.database("DATABASE_URL"),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"application_name": "wardgate"},
    }
}

REDIS_URL = env.text("REDIS_URL")
CHANNEL_PREFIX = env.text("WARDGATE_CHANNEL_PREFIX", "wardgate")
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": CHANNEL_PREFIX},
    },
}

CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE = {
    "end idle sessions": {
        "task": "sessions.tasks.end_idle_sessions",
        "schedule": 60.0,
        "options": {"expires": 50},
    },
    "index calls": {
        "task": "sessions.tasks.index_calls",
        "schedule": 10.0,
        "options": {"expires": 9},
    },
    "forget activity": {
        "task": "sessions.tasks.forget_activity",
        "schedule": 300.0,
        "options": {"expires": 50},
    },
    "export events": {
        "task": "sessions.tasks.export_events",
        "schedule": 10.0,
        "options": {"expires": 9},
    },
    "compact recordings": {
        "task": "sessions.tasks.compact_recordings",
        "schedule": 60.0,
        "options": {"expires": 55},
    },
    "apply retention": {
        "task": "sessions.tasks.apply_retention",
        "schedule": 3600.0,
        "options": {"expires": 3500},
    },
    "expire approvals": {
        "task": "policies.tasks.expire_approvals",
        "schedule": 10.0,
        "options": {"expires": 9},
    },
    "send notices": {
        "task": "policies.tasks.send_notices",
        "schedule": 5.0,
        "options": {"expires": 4},
    },
    "forget notices": {
        "task": "policies.tasks.forget_notices",
        "schedule": 3600.0,
        "options": {"expires": 3500},
    },
    "watch reviews": {
        "task": "policies.tasks.watch_reviews",
        "schedule": 3600.0,
        "options": {"expires": 3500},
    },
    "resume back-tests": {
        "task": "policies.tasks.resume_back_tests",
        "schedule": 60.0,
        "options": {"expires": 50},
    },
    "forget expired identity rows": {
        "task": "accounts.tasks.forget_expired",
        "schedule": 300.0,
        "options": {"expires": 290},
    },
    "tend signing keys": {
        "task": "accounts.tasks.tend_signing_keys",
        "schedule": 3600.0,
        "options": {"expires": 3500},
    },
    "lock dormant principals": {
        "task": "accounts.tasks.lock_dormant",
        "schedule": 3600.0,
        "options": {"expires": 3500},
    },
}

# Mail is off as long as no server is named.
EMAIL_HOST = env.text("EMAIL_HOST")
EMAIL_PORT = env.integer("EMAIL_PORT", 587, at_least=1, at_most=65_535)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.text("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env.boolean("EMAIL_USE_TLS", default=EMAIL_PORT == 587)
EMAIL_USE_SSL = env.boolean("EMAIL_USE_SSL", default=EMAIL_PORT == 465)
EMAIL_TIMEOUT = env.integer("EMAIL_TIMEOUT", 10, at_least=1, at_most=15)
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "Wardgate <wardgate@localhost>")

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "accounts.backends.RoleBackend",
    "accounts.backends.LocalBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
# Each by itself: five failures against one account from anywhere, or from one address against any account.
AXES_LOCKOUT_PARAMETERS = ["username", "ip_address"]
# Our own login clears the failures of the account that got in, and of no other from the same address.
AXES_RESET_ON_SUCCESS = False
AXES_CLIENT_IP_CALLABLE = "accounts.client_address.address_of"
AXES_LOCKOUT_CALLABLE = "accounts.views.login.locked_out"
AXES_VERBOSE = False
MFA_ADAPTER = "accounts.services.factors.SealedAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_WEBAUTHN_USER_VERIFICATION = "preferred"
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")

IS_SERVED_OVER_TLS = WARDGATE_PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_SERVED_OVER_TLS
SESSION_COOKIE_NAME = "__Host-wardgate" if IS_SERVED_OVER_TLS else "wardgate"
CSRF_COOKIE_NAME = "__Host-wardgate-csrf" if IS_SERVED_OVER_TLS else "wardgate-csrf"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = WARDGATE_CONSOLE_SESSION_SECONDS
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if IS_SERVED_OVER_TLS else 0
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        # unfold's Alpine evaluates attribute expressions; the replay page and the API answer with a stricter policy.
        "script-src": [SELF, UNSAFE_EVAL],
        "style-src": [SELF, "'unsafe-inline'"],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    },
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.rest_authentication.ApiTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.CursorPagination",
    "PAGE_SIZE": 50,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "gateway_project.errors.handle",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Wardgate API",
    "DESCRIPTION": "Connections, policy and the record of the MCP gateway.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    # Choices that several resources have under one name.
    "ENUM_NAME_OVERRIDES": {
        "EffectEnum": "policies.models.Guardrail.Effect",
        "LockSourceEnum": "accounts.models.Lock.Source",
        "PolicySourceEnum": "policies.models.PolicyVersion.Source",
        "PrincipalKindEnum": "accounts.models.Principal.Kind",
    },
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
FORMAT_MODULE_PATH = ["gateway_project.formats"]

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
SERVESTATIC_USE_FINDERS = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

UNFOLD = {
    "SITE_TITLE": "Wardgate",
    "SITE_HEADER": "Wardgate",
    "SITE_SUBHEADER": "MCP gateway",
    "SITE_URL": None,
    "SITE_ICON": lambda request: static("console/wardgate.svg"),
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("console/wardgate.svg")},
    ],
    "STYLES": [lambda request: static("console/console.css"), lambda request: static("console/policy.css")],
    "SCRIPTS": [lambda request: static("console/console.js")],
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(70.7% .165 254.624)",
            "600": "oklch(54.6% .245 262.881)",
            "700": "oklch(48.8% .243 264.376)",
            "800": "oklch(42.4% .199 265.638)",
            "900": "oklch(37.9% .146 265.522)",
            "950": "oklch(28.2% .091 267.935)",
        },
    },
    "DASHBOARD_CALLBACK": "gateway_project.overview.dashboard",
    "SIDEBAR": {"navigation": "gateway_project.navigation.groups"},
    "ACCOUNT": {
        "navigation": [
            {"title": "My account", "link": reverse_lazy("console_account")},
            {"title": "My notifications", "link": reverse_lazy("console_notifications")},
        ]
    },
}

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "gateway_project.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": env.text("LOG_LEVEL", "INFO")},
    "loggers": {"django.request": {"level": "ERROR"}},
}
