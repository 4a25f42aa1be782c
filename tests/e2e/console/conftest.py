"""A real browser on the console."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.tools import find_chromium

WAIT_MILLISECONDS = 10_000
SIZES = {"desktop": {"width": 1360, "height": 860}, "phone": {"width": 390, "height": 844}}


@contextmanager
def _browser() -> Iterator[Browser]:
    # Chromium's own sandbox refuses to run for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_chromium()), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def open_page(live_server, admin_client, settings) -> Callable[..., AbstractContextManager[Page]]:
    """Return a context manager that opens a page of the console, logged in as an administrator.

    While it is open the database must not be used: Playwright runs an event loop in this thread. `page.problems` lists
    what the browser complained about: errors, refused scripts and dialogs.
    """
    return opening(live_server.url, admin_client, settings)


@pytest.fixture
def open_live_page(transactional_db, admin_client, settings) -> Iterator[Callable[..., AbstractContextManager[Page]]]:
    """Return the same as `open_page`, for pages of a whole gateway: with sockets, and the bell of the database."""
    from tests.support.live_console import live_console

    settings.ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
    with live_console() as url:
        yield opening(url, admin_client, settings)


def opening(url: str, client: Client, settings: Any) -> Callable[..., AbstractContextManager[Page]]:
    """Return a context manager that opens a page of `url` with the login of `client`."""
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value

    @contextmanager
    def opened(
        path: str, *, scheme: str = "light", size: str = "desktop", scripts: bool = True, login: bool = True
    ) -> Iterator[Page]:
        with _browser() as browser:
            context = browser.new_context(
                base_url=url,
                color_scheme=scheme,
                viewport=SIZES[size],
                java_script_enabled=scripts,
            )
            context.set_default_timeout(WAIT_MILLISECONDS)
            if login:
                context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": url}])
            page = context.new_page()
            page.problems = []
            page.on(
                "console",
                lambda message: message.type in {"error", "warning"} and page.problems.append(message.text),
            )
            page.on("pageerror", lambda error: page.problems.append(str(error)))
            page.on("dialog", lambda dialog: (page.problems.append(dialog.message), dialog.dismiss()))
            page.goto(path)
            yield page

    return opened
