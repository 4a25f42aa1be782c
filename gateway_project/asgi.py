"""The ASGI application: the data path first, Django behind it."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings.base")

from django.core.asgi import get_asgi_application

application = get_asgi_application()
