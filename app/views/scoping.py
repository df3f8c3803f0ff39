"""The scope switch of personal pages: everything of mine, personal, or one of my organisations (chapter 1, 1.6)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import g, request

from app.security.context import ctx
from app.services import scopes
from app.services.scopes import MINE, OrgScope


def page_scope() -> OrgScope:
    """The scope a page was asked for; everything of the reader's before they chose one."""
    raw = request.args.get("org_scope")
    return scopes.parse(raw, g.memberships) if raw else MINE


def scope_chips(scope: OrgScope, path: str = "", **kept: Any) -> list[dict[str, Any]]:
    """Links of the switch, the current one marked; empty for somebody who has nothing to switch between."""
    active = [m for m in g.memberships if m["membership_status"] == "ACTIVE"]
    admin = ctx().platform_role == "ADMIN"
    if not active and not admin:
        return []
    values = [("Everything of mine", ""), ("Personal", "personal")]
    values += [(m["name"], f"org:{m['slug']}") for m in active]
    values += [("All organisations", "all")] if admin else []
    out = []
    for label, value in values:
        query = {k: v for k, v in {**kept, "org_scope": value}.items() if v}
        url = (path or request.path) + (f"?{urlencode(query)}" if query else "")
        out.append({"label": label, "url": url, "here": value == scope.value})
    return out
