"""Addresses of pages that another domain may or may not offer to this reader."""

from __future__ import annotations

from flask import current_app, g
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from app.security import matrix


def existing(path: str) -> str | None:
    """*path* if the application answers it, else None: no page links to nowhere."""
    try:
        current_app.url_map.bind("").match(path)
    except RequestRedirect:
        return path
    except HTTPException:
        return None
    return path


def org_page(name: str, resource: str | None = None, verb: str = "read") -> str | None:
    """Address of the current organisation's page *name*, where it exists and the matrix opens it to the reader."""
    organization = g.get("org")
    if organization is None or not matrix.can(verb, resource or name):
        return None
    lacking = ((resource or name) in matrix.NEEDS_SPONSOR and not organization["can_sponsor"]) or (
        (resource or name) in matrix.NEEDS_HOST and not organization["can_host"]
    )
    if lacking:
        return None
    base = f"/dashboard/organization/{organization['slug']}/{name}"
    return existing(base) or existing(base + "/")
