"""What the frame around every page knows: reader, organisation, switcher, sidebar, breadcrumbs, banner."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import g, request, url_for
from werkzeug.routing import BuildError

from app import clock
from app.security.context import ctx
from app.security.matrix import RANK
from app.services import images
from app.views import format as f
from app.views.base.registry import GROUPS, Entry, here, registry
from app.views.links import existing

WORKSPACE = ("/dashboard/org-workspace", "/dashboard/org-workspace/", "/dashboard/org-workspace/create")
OPEN_OPERATIONS = frozenset({"MANAGER", "SUPPORT"})
STATUS_BANNERS = {
    "PENDING_VERIFICATION": (
        "warn",
        "Verification is pending.",
        "Paid bookings open as soon as the platform team has verified this organisation.",
    ),
    "SUSPENDED": (
        "bad",
        "This organisation is suspended.",
        "Everything is read-only. Contact support to have it lifted.",
    ),
    "DEACTIVATED": (
        "bad",
        "This organisation is deactivated.",
        "Its records are kept for the statutory period.",
    ),
}


def zone() -> dt.tzinfo:
    """The reader's time zone; Asia/Kolkata when unknown."""
    if "_zone" not in g:
        g._zone = f.zone_named(getattr(g.get("user"), "timezone", None)) if g.get("identity") else clock.IST
    return g._zone  # type: ignore[no-any-return]


def organization() -> dict[str, Any] | None:
    """The organisation acted for, as sessions.identify found it; None on personal and platform pages."""
    return g.get("org")


def kind(org: dict[str, Any]) -> str:
    """Sponsor, Host or Hybrid."""
    if org.get("can_sponsor") and org.get("can_host"):
        return "Hybrid"
    return "Host" if org.get("can_host") else "Sponsor"


def tone_number(key: Any) -> int:
    """A stable colour (1 to 6) for a tile."""
    return sum(map(ord, str(key))) % 6 + 1


def org_url(slug: str) -> str:
    return f"/dashboard/organization/{slug}"


def logo(org: dict[str, Any]) -> str | None:
    """Address of an organisation's logo on this site."""
    return images.address(org.get("logo"))


def switcher() -> dict[str, Any]:
    """Rows of the organisation switcher: rank descending, then slug; and whether it is shown at all."""
    org = organization()
    rows = sorted(
        (m for m in g.get("memberships") or [] if m.get("membership_status") == "ACTIVE"),
        key=lambda m: (-RANK.get(m["role"], 0), m["slug"]),
    )
    out = [
        {
            "name": m["name"],
            "slug": m["slug"],
            "kind": kind(m),
            "role": f.words(m["role"]),
            "url": org_url(m["slug"]),
            "here": org is not None and m["organization_id"] == org["organization_id"],
            "tone": tone_number(m["slug"]),
            "status": m.get("status"),
            "logo": logo(m),
            "color": m.get("primary_color"),
        }
        for m in rows
    ]
    current = None
    if org is not None:
        role = (
            f.words(org["role"])
            if org.get("role") and org.get("membership_status") == "ACTIVE"
            else "Support access"
            if ctx().viewing
            else "Platform"
        )
        current = {
            "name": org["name"],
            "slug": org["slug"],
            "kind": kind(org),
            "role": role,
            "tone": tone_number(org["slug"]),
            "color": org.get("primary_color"),
            "logo": logo(org),
            "url": org_url(org["slug"]),
        }
    manage = next(filter(None, map(existing, WORKSPACE)), WORKSPACE[-1])
    founder = g.get("identity") is not None and g.identity.user.platform_role == "ORG_ADMIN"
    return {
        "rows": out,
        "current": current,
        "shown": bool(out) or founder,
        "manage": manage,
    }  # chapter 1, 1.6


def _best(entries: list[tuple[Entry, str]]) -> tuple[str, str]:
    """(how it was found, address) of the entry the request lies at or below; the longest, where several are."""
    return max(
        ((place, url) for entry, url in entries for place in (url, *entry.also) if here(place)),
        key=lambda found: len(found[0]),
        default=("", ""),
    )


def room() -> str:
    """Where the reader is: org, platform (staff outside an organisation) or personal."""
    if "_room" not in g:
        if organization() is not None:
            g._room = "org"
        elif not ctx().platform_role:
            g._room = "personal"
        else:  # staff have a personal side too: its pages keep its sidebar
            mine, house = (registry().visible((scope,), None) for scope in ("personal", "platform"))
            g._room = "personal" if len(_best(mine)[0]) > len(_best(house)[0]) else "platform"
    return g._room  # type: ignore[no-any-return]


def in_staff_console() -> bool:
    return room() == "platform"


def nav() -> list[dict[str, Any]]:
    """The sidebar's groups with their open entries, for the place the reader is in. Built once per request."""
    if "_nav" in g:
        return g._nav  # type: ignore[no-any-return]
    entries = [(e, url) for e, url in registry().visible((room(),), organization()) if e.listed]
    _, current = _best(entries)
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry, url in entries:
        groups.setdefault(entry.group, []).append(
            {
                "label": entry.label,
                "url": url,
                "icon": entry.icon,
                "here": url == current,
                "group": entry.group,
            }
        )
    closed = set() if ctx().role in OPEN_OPERATIONS or ctx().role is None else {"Operations"}
    g._nav = [
        {
            "label": name,
            "items": groups[name],
            "open": name not in closed or any(i["here"] for i in groups[name]),
        }
        for name in [*GROUPS, *[k for k in groups if k not in GROUPS]]
        if groups.get(name)
    ]
    return g._nav  # type: ignore[no-any-return]


def crumbs(title: str = "") -> list[tuple[str, str | None]]:
    """Breadcrumbs: group, page, record."""
    out: list[tuple[str, str | None]] = []
    for group in nav():
        for item in group["items"]:
            if item["here"]:
                if group["label"]:
                    out.append((group["label"], None))
                out.append((item["label"], item["url"]))
    if out and out[-1][1] and (out[-1][0] == title or request.path.rstrip("/") == out[-1][1].rstrip("/")):
        return out
    if title:
        out.append((title, None))
    return out


def link(endpoint: str, **values: Any) -> str | None:
    """url_for, or None while the endpoint does not exist."""
    try:
        return url_for(endpoint, **values)
    except (BuildError, KeyError):  # a default may ask about an endpoint that does not exist
        return None


def frame() -> dict[str, Any]:
    """Everything base.html shows around the content."""
    org = organization()
    funding = (org or {}).get("funding_source")
    banner = STATUS_BANNERS.get((org or {}).get("status", ""))
    return {
        "org": org,
        "kind": kind(org) if org else None,
        "funding": f.words(funding) if funding else None,
        "banner": banner,
        "staff": in_staff_console(),
        "is_staff": bool(ctx().platform_role),
        "personal_url": "/dashboard/personal" if org else None,
        "acting_as_platform": org is not None and ctx().role is None and ctx().platform_role,
        "looking": looking() if org else None,
    }


def looking() -> dict[str, Any] | None:
    """The support access this page is seen through: its end, its reason, and the seconds that are left."""
    if not ctx().viewing:
        return None
    support = g.identity.support
    left = int((support["expires_at"] - clock.now()).total_seconds())
    return {**support, "left": max(left, 0)}
