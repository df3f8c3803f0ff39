"""The OpenAPI document of every REST resource, at /api/v1/_openapi, and the page that reads it to people."""

from __future__ import annotations

import re
import warnings
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask, current_app
from flask_appbuilder.api import BaseApi, expose
from flask_appbuilder.api.manager import resolver

from app.errors import DomainError
from app.views.pages import Page, personal_page

from .http import Api, ok, signed_in

# Flask-AppBuilder adds a resource's schemas once for each of its methods
warnings.filterwarnings("ignore", message=".*has already been added to the spec.*")

METHODS = ("get", "post", "put", "patch", "delete")
ERROR = {
    "type": "object",
    "required": ["code", "message", "details"],
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}, "details": {"type": "object"}},
}
PARAMETERS = {
    "org_id": "Slug or id of the organisation acted for",
    "pk": "Id of the row",
    "public_id": "Id of the row",
}
ORGANIZATION = {
    "in": "header",
    "name": "X-Organization",
    "schema": {"type": "string"},
    "description": "Slug or id of the organisation acted for",
}


def document(version: str) -> dict[str, Any]:
    """The document of one API version. Raises NOT_FOUND for a version nobody serves."""
    settings = current_app.config["SETTINGS"]
    spec = APISpec(
        title="Consilium",
        version=settings.app_version,
        openapi_version="3.0.3",
        info={
            "description": "Organisations, people and money of the expert-consultation marketplace. Amounts are "
            "integer paise, times ISO 8601 in UTC, ids UUIDs. Errors are {code, message, details}."
        },
        plugins=[MarshmallowPlugin(schema_name_resolver=resolver)],
        servers=[{"url": settings.base_url}],
    )
    found = False
    for resource in current_app.appbuilder.baseviews:  # type: ignore[attr-defined]
        if isinstance(resource, BaseApi) and resource.version == version:
            resource.add_api_spec(spec)
            found = True
    if not found:
        raise DomainError("NOT_FOUND")
    spec.components.schema("Error", ERROR)
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    out = dict(spec.to_dict())
    out["security"] = [{"bearer": []}]
    paths: dict[str, Any] = {}
    for path, operations in out[
        "paths"
    ].items():  # Flask's <org_id> of a route base becomes OpenAPI's {org_id}
        paths.setdefault(re.sub(r"<(?:[^:>]+:)?([^>]+)>", r"{\1}", path), {}).update(operations)
    out["paths"] = paths
    for path, operations in out["paths"].items():
        for method in METHODS:
            if method in operations:
                _describe(path, method, operations)
                _complete(path, operations[method])
    return out


def _describe(path: str, method: str, operations: dict[str, Any]) -> None:
    """Words for what has none: generated resources, and a second verb of a method that is described under the first."""
    operation = operations[method]
    if operation.get("summary") or operation.get("description"):
        return
    twin = next((o for o in operations.values() if isinstance(o, dict) and o.get("summary")), None)
    if twin is not None:
        operation.update({k: v for k, v in twin.items() if k not in operation or not operation[k]})
    elif path.startswith("/api/v1/"):
        name = path.split("/")[3].replace("-", " ")
        one = path.endswith("}")
        operation["summary"] = f"One row of {name}" if one else f"Rows of {name}, newest first"
        if not one:
            operation["description"] = "Filter, order and page with `q`, as Flask-AppBuilder's resources do."
            operation.setdefault("parameters", []).append(
                {
                    "in": "query",
                    "name": "q",
                    "schema": {"type": "string"},
                    "example": "(page:0,page_size:25,order_column:created_at,order_direction:desc)",
                }
            )
        operation["responses"] = {
            "200": {"description": "result" if one else "count and result"},
            "401": {"description": "UNAUTHENTICATED"},
            "403": {"description": "NOT_A_MEMBER"},
            "404" if one else "400": {"description": "NOT_FOUND" if one else "BAD_REQUEST"},
        }


def _complete(path: str, operation: dict[str, Any]) -> None:
    """Declare what every operation has: its path's parameters, the organisation's header, the error's shape."""
    given = operation.setdefault("parameters", [])
    known = {p.get("name") for p in given}
    for name in re.findall(r"\{([^}]+)\}", path):
        if name not in known:
            key = {"format": "uuid"} if name.endswith("_id") and name != "org_id" else {}
            given.append(
                {
                    "in": "path",
                    "name": name,
                    "required": True,
                    "schema": {"type": "string", **key},
                    "description": PARAMETERS.get(name, ""),
                }
            )
    if (
        path.startswith("/api/v1/")
        and not path.startswith("/api/v1/security")
        and "X-Organization" not in known
    ):
        given.append(ORGANIZATION)
    answers = operation.setdefault("responses", {})
    for status, answer in answers.items():
        if (
            str(status)[:1] in "45"
            and isinstance(answer, dict)
            and "$ref" not in answer
            and "content" not in answer
        ):
            answer["content"] = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


class OpenApiDocument(Api):
    """The document itself."""

    route_base = "/api"
    resource_name = "openapi"
    openapi_spec_tag = "OpenAPI"

    @expose("/<version>/_openapi", methods=["GET"])
    @signed_in
    def get(self, version: str) -> Any:
        """The OpenAPI document
        ---
        get:
          summary: This document
          responses:
            200:
              description: OpenAPI 3.0
        """
        return ok(document(version))


class ApiDocs(Page):
    """Swagger's page over the document."""

    route_base = "/api-docs"
    resource = "self"

    @expose("/")
    @personal_page
    def index(self) -> Any:
        return self.render("operations/api_docs.html", title="REST API")


def register(app: Flask, appbuilder: Any) -> None:
    """Register document and page."""
    appbuilder.add_api(OpenApiDocument)
    appbuilder.add_view_no_menu(ApiDocs())
