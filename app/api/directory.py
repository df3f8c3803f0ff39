"""The public directory over REST: no identity needed, nothing of anybody who did not choose to be listed."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, g, request
from flask_appbuilder.api import expose

from app.errors import Invalid
from app.extensions import db
from app.models import Plan
from app.security import limits
from app.services import directory, images
from app.services.text import one_line

from .http import Api, bad_cursor, cursor_key, cursor_of, ok, page_args, public


def counted() -> None:
    """One look at the directory from this address. Raises RATE_LIMITED."""
    limits.hit("directory", limits.client_ip())


def asked() -> dict[str, Any]:
    """Search and industry of the query string, bounded."""
    out: dict[str, Any] = {}
    for name, key in (("q", "text_"), ("industry", "industry")):
        value = one_line(request.args.get(name, ""))
        if len(value) > 120:
            raise Invalid({name: ["At most 120 characters."]})
        out[key] = value or None
    return out


def start(cursor: dict[str, Any] | None) -> tuple[str, int] | None:
    """Where a cursor of this list continues. Raises Invalid."""
    if cursor is None:
        return None
    name = cursor.get("name")
    if not isinstance(name, str) or len(name) > 200 or "\x00" in name:
        raise bad_cursor()
    return name, cursor_key(cursor)


def host_json(host: directory.Host) -> dict[str, Any]:
    """A host as the directory shows it."""
    return {
        "id": str(host.public_id),
        "name": host.name,
        "slug": host.slug,
        "kind": host.kind,
        "description": host.description,
        "industry": host.industry,
        "website": host.website,
        "size_bucket": host.size_bucket,
        "logo": images.address(host.logo),
        "banner_image": images.address(host.banner_image),
        "primary_color": host.primary_color,
        "secondary_color": host.secondary_color,
        "expert_count": host.experts,
    }


def plan_card(plan: Plan) -> dict[str, Any]:
    """A public plan, short."""
    return {
        "id": str(plan.public_id),
        "title": plan.title,
        "type": plan.type.value,
        "category": plan.category,
        "price_paise": plan.price_paise,
        "duration_minutes": plan.duration_minutes,
        "expert": {"name": plan.expert.user.name, "headline": plan.expert.headline},
    }


def cached(response: Response) -> Response:
    """The same for everybody, and fresh within a minute; a signed-in reader's copy stays with the reader."""
    shared = g.get("identity") is None
    response.headers["Cache-Control"] = f"{'public' if shared else 'private'}, max-age=60"
    return response


class HostsApi(Api):
    """Organisations that host experts, for everybody."""

    route_base = "/api/organizations/public"
    resource_name = "directory"
    openapi_spec_tag = "Directory"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @public
    def search(self) -> Any:
        """The directory
        ---
        get:
          summary: Public hosts by name; no identity needed
          security: []
          parameters:
          - {in: query, name: q, schema: {type: string, maxLength: 120}}
          - {in: query, name: industry, schema: {type: string, maxLength: 120}}
          - {in: query, name: limit, schema: {type: integer, maximum: 50, default: 12}}
          - {in: query, name: cursor, schema: {type: string}}
          responses:
            200:
              description: organizations, next_cursor
            400:
              description: VALIDATION_FAILED
            429:
              description: RATE_LIMITED
        """
        counted()
        cursor, limit = page_args(12, directory.MAX_PAGE)
        rows, more = directory.search(db.session(), **asked(), limit=limit, after=start(cursor))
        return cached(
            ok(
                {
                    "organizations": [host_json(row) for row in rows],
                    "next_cursor": cursor_of({"name": more[0], "id": more[1]}) if more else None,
                }
            )
        )

    @expose("/<slug>", methods=["GET"])
    @public
    def detail(self, slug: str) -> Any:
        """One host
        ---
        get:
          summary: A public host with at most six public plans of each type
          security: []
          parameters:
          - {in: path, name: slug, required: true, schema: {type: string}, description: slug or id}
          responses:
            200:
              description: organization, plans by type
            404:
              description: NOT_FOUND
        """
        counted()
        host = directory.find(db.session(), slug)
        found = directory.plans(db.session(), host)
        return cached(
            ok(
                {
                    "organization": host_json(host),
                    "plans": {kind: [plan_card(p) for p in rows] for kind, rows in found.items()},
                }
            )
        )


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(HostsApi)
