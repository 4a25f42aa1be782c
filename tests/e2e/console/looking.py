"""What every page has to be, whatever it shows: accessible, and no wider than its window."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

FOLDER = os.environ.get("WARDGATE_TEST_SCREENSHOTS", "")
"""Where pages are kept as pictures, for a person to look at; empty: nowhere."""

LOOKS = [("light", "desktop"), ("dark", "phone"), *([("dark", "desktop"), ("light", "phone")] if FOLDER else [])]
"""In which colours and windows pages are looked at; all four only when somebody will look at the pictures."""


class Looked:
    """Pages that were looked at, and what is wrong with them."""

    def __init__(self, suffix: str = "") -> None:
        self._suffix = suffix
        self.problems: dict[str, Any] = {}

    def assert_fine(self) -> None:
        """Fail with all that is wrong."""
        assert not self.problems, "\n".join(f"{name}: {problem}" for name, problem in self.problems.items())

    def at(self, page: Page, name: str) -> None:
        """Look at a page as it is now."""
        if FOLDER:
            page.screenshot(path=Path(FOLDER) / f"{name}{self._suffix}.png", full_page=True)
        found = Axe().run(page)
        if found.violations_count:
            self.problems[name] = found.generate_report()
        if not page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"):
            self.problems[f"{name}, width"] = page.evaluate("document.documentElement.scrollWidth")
