"""People and groups as JSON: what is shown, its version, and which attributes of it were asked for (RFC 7643, 3; 7644, 3.9)."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any

from scim2_models import Path, SCIMException

from app.services.scim_directory import GroupView, Person

from .resources import ENTERPRISE, GROUP, LIST, USER


def moment(at: dt.datetime) -> str:
    """A moment in UTC, to the millisecond."""
    return at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _version(body: dict[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f'W/"{hashlib.sha256(text.encode()).hexdigest()[:20]}"'


def user(person: Person, base: str) -> dict[str, Any]:
    """A member. ``meta.version`` is a hash of what is shown, so nothing can change without it."""
    name = {"formatted": person.formatted or person.full_name}
    if person.family:
        name["familyName"] = person.family
    if person.given:
        name["givenName"] = person.given
    mails = [
        {"value": m.value, "type": m.type, "primary": m.primary, "display": m.display}
        for m in person.addresses
    ]
    body: dict[str, Any] = {
        "schemas": [USER, ENTERPRISE] if person.department else [USER],
        "id": str(person.public_id),
        "userName": person.email,
        "name": {k: v for k, v in name.items() if v},
        "displayName": person.shown,
        "active": person.active,
        "emails": [{k: v for k, v in m.items() if v is not None} for m in mails],
        "groups": [
            {
                "value": str(g.public_id),
                "$ref": f"{base}/Groups/{g.public_id}",
                "display": g.name,
                "type": "direct",
            }
            for g in person.groups
        ],
    }
    if person.external_id:
        body["externalId"] = person.external_id
    if person.department:
        body[ENTERPRISE] = {"department": person.department}
    for name_of_part in ("name", "groups", "emails", "displayName"):
        if not body[name_of_part]:
            del body[name_of_part]
    body["meta"] = {
        "resourceType": "User",
        "created": moment(person.created_at),
        "lastModified": moment(person.updated_at),
        "location": f"{base}/Users/{person.public_id}",
        "version": _version(body),
    }
    return body


def group(view: GroupView, base: str, *, names: bool = False) -> dict[str, Any]:
    """A group; its version counts its changes. *names*: with what its members are called."""
    body: dict[str, Any] = {
        "schemas": [GROUP],
        "id": str(view.public_id),
        "displayName": view.name,
    }
    if view.external_id:
        body["externalId"] = view.external_id
    if view.members:
        body["members"] = [
            {
                "value": str(m.public_id),
                "$ref": f"{base}/Users/{m.public_id}",
                "type": "User",
                **({"display": m.name} if names else {}),
            }
            for m in view.members
        ]
    body["meta"] = {
        "resourceType": "Group",
        "created": moment(view.created_at),
        "lastModified": moment(view.updated_at),
        "location": f"{base}/Groups/{view.public_id}",
        "version": f'W/"{view.version}"',
    }
    return body


def listing(total: int, start: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A ListResponse."""
    return {
        "schemas": [LIST],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": len(rows),
        "Resources": rows,
    }


class Projection:
    """``attributes`` and ``excludedAttributes``: which parts of a resource an answer holds; id and schemas always."""

    def __init__(self, included: str | None, excluded: str | None) -> None:
        self.included = _paths(included)
        self.excluded = [] if self.included else _paths(excluded)

    def wants(self, name: str) -> bool:
        """Whether the top-level attribute *name* is shown at all."""
        low = name.lower()
        if self.included:
            return any(p[0] == low for p in self.included)
        return (low,) not in self.excluded

    def names(self, attribute: str, sub: str) -> bool:
        """Whether *attribute*.*sub* was asked for by name."""
        return (attribute.lower(), sub.lower()) in self.included

    def apply(self, body: dict[str, Any]) -> dict[str, Any]:
        """*body* narrowed to what was asked for."""
        out: dict[str, Any] = {}
        if self.included:
            out = {str(k): body[k] for k in ("schemas", "id") if k in body}
            for key, value in body.items():
                parts = [p for p in self.included if p[0] == key.lower()]
                if not parts or key in out:
                    continue
                subs = {p[1] for p in parts if len(p) > 1}
                whole = any(len(p) == 1 for p in parts)
                kept = value if whole else _narrow(value, lambda s, subs=subs: s in subs)
                if kept not in ({}, [], None):
                    out[key] = kept
            return out
        if not self.excluded:
            return body
        for key, value in body.items():
            low = key.lower()
            if low in ("schemas", "id") or (low,) not in self.excluded:
                subs = {p[1] for p in self.excluded if len(p) > 1 and p[0] == low}
                out[key] = _narrow(value, lambda s, subs=subs: s not in subs) if subs else value
        return out


def _narrow(value: Any, keep: Any) -> Any:
    if isinstance(value, list):
        return [_narrow(v, keep) for v in value]
    if isinstance(value, dict):
        return {k: v for k, v in value.items() if keep(k.lower())}
    return value


def _paths(text: str | None) -> list[tuple[str, ...]]:
    """``name.familyName, emails[type eq "work"]`` as [("name", "familyname"), ("emails",)]; what is no path is nothing."""
    out: list[tuple[str, ...]] = []
    for part in (text or "")[:2000].split(","):
        raw = part.strip()
        low = raw.lower()
        if not raw:
            continue
        if low == ENTERPRISE.lower():
            out.append((low,))
            continue
        if low.startswith(ENTERPRISE.lower() + ":"):
            out.append((ENTERPRISE.lower(), low.removeprefix(ENTERPRISE.lower() + ":")))
            continue
        for schema in (USER, GROUP):
            raw = raw[len(schema) + 1 :] if low.startswith(schema.lower() + ":") else raw
        try:
            parts = Path(raw).parts
        except SCIMException:
            continue
        out.append(tuple(p.lower() for p in parts))
    return out
