"""The console's frame: sidebar, switcher, palette, bell, saved views, style guide, and Jinja's vocabulary."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Flask, flash, g, redirect, render_template, url_for
from jinja2 import pass_context

from app.views import format as f
from app.views.base.registry import Entry, finish, registry

from . import context
from .bell import NotificationBell, unread
from .saved import SavedViews
from .search import ConsoleSearch, search_url
from .style_guide import StyleGuide
from .tables import DataIndex

STATIC = Path(__file__).resolve().parents[2] / "static"

# Flask-AppBuilder's filters answer for the reader of this request. Jinja folds a filter call whose arguments are all
# constants at compile time and would serve the first visitor's answer to everyone; context filters are never folded.
PER_READER = (
    "is_item_visible",
    "is_menu_visible",
    "safe_url_for",
    "link_order",
    "link_page",
    "link_page_size",
    "get_link_order",
    "get_actions_on_list",
    "get_actions_on_show",
    "set_link_filters",
    "get_link_next",
    "get_link_back",
    "get_attr",
)


@lru_cache(maxsize=256)
def _digest(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]


def asset(name: str) -> str:
    """Address of a static file with its content's digest, so that it may be cached for ever."""
    return url_for("static", filename=name, v=_digest(name))


def flash_undo(message: str, url: str, label: str = "Undo") -> None:
    """A toast with a button that posts to *url* (a path of this site)."""
    flash(f"{message}\x1f{label}\x1f{url}", "success")


def toast(message: Any) -> dict[str, str]:
    """A flashed message apart: text, and the undo button if there is one."""
    parts = str(message).split("\x1f")
    if len(parts) == 3 and context_path(parts[2]):
        return {"text": parts[0], "label": parts[1], "url": parts[2]}
    return {"text": parts[0], "label": "", "url": ""}


def context_path(url: str) -> bool:
    return url.startswith("/") and not url.startswith(("//", "/\\"))


def spark(values: list[float]) -> str:
    """Path data of a sparkline in a 96 by 28 box."""
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1
    step = 92 / max(len(values) - 1, 1)
    return "M" + " L".join(
        f"{2 + i * step:.1f} {25 - 22 * (v - low) / span:.1f}" for i, v in enumerate(values)
    )


def install(app: Flask) -> None:
    """Register the frame's own views, filters and globals on *app*. Call after every other view is registered."""
    appbuilder = app.appbuilder  # type: ignore[attr-defined]
    env = app.jinja_env
    env.globals.update(
        asset=asset,
        nav=context.nav,
        switcher=context.switcher,
        frame=context.frame,
        crumbs=context.crumbs,
        search_url=search_url,
        unread_count=unread,
        toast=toast,
        link=context.link,
        NUMERIC_KINDS=f.NUMERIC_KINDS,
        tone_number=context.tone_number,
    )
    zone = context.zone
    env.filters.update(
        money=f.money,
        short_money=f.short_money,
        rupees=f.rupees,
        bps=f.bps,
        number=f.number,
        words=f.words,
        initials=f.initials,
        tone=f.tone,
        ago=f.ago,
        spark=spark,
        fmt=pass_context(lambda _, value, kind=None: f.fmt(value, kind, zone())),
        exact=pass_context(lambda _, value: f.exact(value, zone())),
    )
    for name in PER_READER:
        plain = env.filters.get(name)
        if plain is not None:
            env.filters[name] = pass_context(lambda _, *args, _plain=plain, **kw: _plain(*args, **kw))
    for view in (ConsoleSearch, NotificationBell, SavedViews, StyleGuide, DataIndex):
        appbuilder.add_view_no_menu(view)
    reg = registry()
    reg.entries.append(
        Entry(
            "Data", "All tables", "DataIndex.index", "platform-data", "database", scope="platform", order=-1
        )
    )
    reg.entries.append(
        Entry(
            "Operations",
            "Style guide",
            "StyleGuide.index",
            "style-guide",
            "palette",
            scope="platform",
            order=900,
        )
    )
    finish(appbuilder, {"system_event": "system-events"})


def render_error(code: int, title: str, text: str) -> tuple[str, int]:
    """An error as a page of the console."""
    return render_template("console/error.html", code=code, title=title, text=text), code


def to_sign_in() -> Any:
    """Redirect a signed-out visitor to the sign-in page and back afterwards; None when signed in."""
    from flask import request

    if g.get("identity") is None:
        return redirect(url_for("AuthView.login", next=request.full_path.rstrip("?")))
    return None
