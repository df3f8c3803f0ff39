"""Groups of organisations over REST: the parent, linking, and the figures of a subtree (chapter 1, 1.5)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Flask
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate

from app.extensions import db
from app.services import hierarchy, organizations

from .http import Api, gate, ok, payload


class ParentSchema(Schema):
    parent_id = fields.String(required=True, allow_none=True, validate=validate.Length(1, 63))


def parent_view() -> dict[str, Any]:
    """The organisation's place in its group."""
    session = db.session()
    row, above = organizations.current(session), hierarchy.parent(session)
    return {
        "parent": {"id": str(above.public_id), "name": above.name, "slug": above.slug} if above else None,
        "root_id": str(above.root_public_id) if above else str(row.public_id),
        "depth": row.depth,
    }


class HierarchyApi(Api):
    """The group an organisation belongs to."""

    route_base = "/api/organizations/<org_id>"
    resource_name = "hierarchy"
    openapi_spec_tag = "Organisations"

    @expose("/parent", methods=["GET"])
    @gate("hierarchy", "read")
    def parent(self) -> Any:
        """The parent
        ---
        get:
          summary: Parent, root and depth of the organisation
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: parent (null for a root), root_id, depth
            403:
              description: NOT_A_MEMBER, INSUFFICIENT_ROLE
        """
        return ok(parent_view())

    @expose("/parent", methods=["PUT"])
    @gate("hierarchy", "write")
    def link(self) -> Any:
        """Link to a parent
        ---
        put:
          summary: Put the organisation under a parent; null makes it a root. The caller owns both
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [parent_id]
                  properties:
                    parent_id: {type: string, nullable: true, description: id or slug}
          responses:
            200:
              description: parent, root_id, depth
            403:
              description: OWNER_REQUIRED, NOT_A_MEMBER, MEMBERSHIP_SUSPENDED, API_KEY_NOT_ALLOWED
            409:
              description: HIERARCHY_CYCLE, HIERARCHY_TOO_DEEP, ORG_NOT_VERIFIED, ORG_NOT_ACTIVE
        """
        hierarchy.set_parent(db.session(), payload(ParentSchema)["parent_id"])
        return ok(parent_view())

    @expose("/hierarchy", methods=["GET"])
    @gate("group", "read")
    def tree(self) -> Any:
        """The subtree with its figures
        ---
        get:
          summary: The organisation and all below it - members, seats, wallet, this month's spend, each and in sum
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: tree (parents before children), totals
            403:
              description: NOT_A_MEMBER, BILLING_ADMIN_OR_OWNER_REQUIRED
        """
        nodes, sums = hierarchy.group(db.session())
        ids = {node.id: str(node.public_id) for node in nodes}
        return ok(
            {
                "tree": [
                    {
                        **{k: v for k, v in asdict(node).items() if k not in ("id", "public_id")},
                        "id": str(node.public_id),
                        "parent_id": ids.get(node.parent_id or -1),
                    }
                    for node in nodes
                ],
                "totals": asdict(sums),
            }
        )


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resource."""
    appbuilder.add_api(HierarchyApi)
