"""A real browser on a real web process: one page that complains of nothing, or many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from streams.identity.seal import KeyRing
from tests.worklist.web_client import TOKENS, serving, wait_for, web_settings


@dataclass
class Screens:
    """A browser, and the web process that it looks at; `complaints`: what any page said on its
    console, or asked in a dialog.
    """

    browser: Any
    app: FastAPI
    client: httpx.Client
    complaints: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    def context(self, **more: Any) -> Any:
        """A browser of its own: its cookies, its worker."""
        shape = {"viewport": {"width": 1500, "height": 900}, "reduced_motion": "reduce"}
        context = self.browser.new_context(**(shape | more))
        context.set_default_timeout(8_000)
        return context

    def watch(self, page: Any) -> Any:
        """Notes what the page complains of."""
        page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        return page

    def open(self, context: Any, path: str = "", state: str = "live") -> Any:
        """A page of that browser, once its line of truth is in that state."""
        page = self.watch(context.new_page())
        page.goto(self.url + path)
        page.wait_for_selector(f'#truth[data-state="{state}"]')
        return page

    def sign_in(self, role: str = "reader", more: str = "", **shape: Any) -> Any:
        """A browser in which a reader logged in; its page shows the list."""
        context = self.context(**shape)
        page = self.watch(context.new_page())
        page.goto(self.url + "/login")
        page.fill('input[name="token"]', TOKENS[role] + more)
        page.keyboard.press("Enter")
        page.wait_for_selector('#truth[data-state="live"]')
        return page


Opened = Callable[..., Screens]


@pytest.fixture
def opened(database_url: str, ring: KeyRing, tmp_path: Path) -> Iterator[Opened]:
    """Starts web process and browser; `open_demo`: a browser here is a lead without a token."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with ExitStack() as stack:

        def start(*, open_demo: bool = True, url: str = "", **more: Any) -> Screens:
            settings = web_settings(url or database_url, tmp_path, ring, open_demo=open_demo)
            app, client = stack.enter_context(serving(settings.model_copy(update=more)))
            tool = stack.enter_context(sync_api.sync_playwright())
            chromium = tool.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox"]
            )
            stack.callback(chromium.close)
            wait_for(lambda: client.get("/readyz").status_code == 200)
            return Screens(chromium, app, client)

        yield start


@pytest.fixture
def browser_page(opened: Opened) -> tuple[Any, list[str]]:
    screens = opened()
    return screens.open(screens.context()), screens.complaints


def names(page: Any) -> list[str]:
    """The patients of the table, as it stands."""
    found: list[str] = page.locator("tr.study .name").all_inner_texts()
    return found


@pytest.fixture
def fragile_url(database_url: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The test database by way of a link that a test can take away."""
    real = Path(database_url.split("host=")[1])
    link = tmp_path / "db"
    link.symlink_to(real)
    yield database_url.replace(str(real), str(link)), link
    if link.is_symlink():
        link.unlink()
