"""The Celery application. Tasks carry ids, are idempotent and only tidy: a dead worker opens nothing."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings.base")

app = Celery("wardgate")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["accounts", "connections", "sessions", "policies"])
