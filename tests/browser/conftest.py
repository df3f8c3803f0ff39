"""A real browser against the real application on loopback: Debian's Chromium driven by Playwright."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright
from werkzeug.serving import make_server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 15_000  # milliseconds; a busy machine makes nothing wrong
AXE = Path(__file__).resolve().parents[1] / "vendor" / "axe.min.js"


@pytest.fixture(scope="session")
def server(settings: Any) -> Iterator[Any]:
    """The application served on a free port; ``server.url``, ``server.app``."""
    from app import create_app

    listener = socket.socket()  # kept, or another program could take the port meanwhile
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    port = listener.getsockname()[1]
    application = create_app(
        dataclasses.replace(
            settings, base_url=f"http://127.0.0.1:{port}", rate_limits=False, enable_csp_enforce=True
        )
    )
    http = make_server("127.0.0.1", port, application, threaded=True, fd=listener.detach())
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    http.url, http.app = f"http://127.0.0.1:{port}", application  # type: ignore[attr-defined]
    yield http
    http.shutdown()
    thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; skipped with a reason where there is none, except under CI=true."""
    if not CHROMIUM:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium, and CI=true forbids skipping the browser tests")
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    expect.set_options(timeout=WAIT)
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as patch:
        for action in ("click", "fill", "press", "check", "uncheck", "select_option", "set_input_files"):
            patch.setattr(Locator, action, _once_loaded(getattr(Locator, action)))
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


def _once_loaded(act: Callable[..., Any]) -> Callable[..., Any]:
    """*act* on a page whose scripts have run: a person is never quicker than they are, Playwright is."""

    def patient(self: Locator, *args: Any, **kw: Any) -> Any:
        self.page.wait_for_load_state("load")
        return act(self, *args, **kw)

    return patient


@pytest.fixture
def browse(browser: Browser, server: Any) -> Iterator[Callable[..., Page]]:
    """Open a fresh browser window: ``browse(width=390, height=844, dark=True)``; console errors fail the test."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def open_page(width: int = 1440, height: int = 900, dark: bool = False) -> Page:
        context = browser.new_context(
            base_url=server.url,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            locale="en-IN",
            timezone_id="Asia/Kolkata",
            reduced_motion="reduce",
        )
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda e: problems.append(f"{page.url}: {e}"))
        page.on("console", lambda m: problems.append(f"{page.url}: {m.text}") if m.type == "error" else None)
        return page

    yield open_page
    for context in contexts:
        context.close()
    noise = ("Failed to load resource",)  # a refused request is asserted by the test that makes it
    assert [p for p in problems if not any(n in p for n in noise)] == []


@pytest.fixture
def run_job(server: Any) -> Callable[[str], dict[str, Any]]:
    """Run a job as the worker would."""
    from app.jobs import runner

    def run(name: str) -> dict[str, Any]:
        with server.app.app_context():
            return runner.execute(name)

    return run


@pytest.fixture
def sign_in(make: Any) -> Callable[..., None]:
    """Sign a person in through the page's form."""
    from tests.factories import PASSWORD

    def enter(page: Page, email: str, password: str = PASSWORD) -> None:
        page.goto("/login")
        page.get_by_label("Work e-mail").fill(email)
        page.get_by_label("Password", exact=False).first.fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "/login" not in url)

    return enter


@pytest.fixture
def axe() -> Callable[[Page], list[str]]:
    """Serious and critical findings of axe-core on a page."""
    source = AXE.read_text(encoding="utf-8")

    def check(page: Page) -> list[str]:
        # evaluated by the debugger protocol, so the page's content security policy stays in force
        page.evaluate(source)
        result = page.evaluate("() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']})")
        return [
            f"{page.url} {v['id']}: {v['nodes'][0]['html'][:150]}"
            for v in result["violations"]
            if v["impact"] in ("serious", "critical")
        ]

    return check
