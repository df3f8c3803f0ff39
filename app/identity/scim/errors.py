"""Refusals as SCIM says them (RFC 7644, 3.12): one envelope for everything under /scim, whoever refused."""

from __future__ import annotations

import json
from typing import Any

from flask import Response, g, request

from app.errors import DomainError

SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"
SCIM_JSON, JSON = "application/scim+json", "application/json"
_TYPES = {
    "VALIDATION_FAILED": "invalidValue",
    "EMAIL_TAKEN": "uniqueness",
    "CONFLICT": "uniqueness",
    "LEARNER_REQUIRES_CANSPONSOR": "invalidValue",
    "EXPERT_REQUIRES_CANHOST": "invalidValue",
}


class Refused(DomainError):
    """A refusal of the protocol's own: HTTP status, one of RFC 7644's scimTypes or none, and a sentence."""

    def __init__(self, status: int, detail: str, scim_type: str | None = None) -> None:
        code = {404: "NOT_FOUND", 401: "SCIM_TOKEN_INVALID", 409: "CONFLICT", 501: "NOT_IMPLEMENTED"}.get(
            status, "BAD_REQUEST"
        )
        super().__init__(code, http_status=status, message=detail)
        self.scim_type = scim_type


def invalid_value(detail: str) -> Refused:
    """400 invalidValue."""
    return Refused(400, detail, "invalidValue")


def media_type() -> str:
    """application/json for who accepts that and not SCIM's own type; else application/scim+json (RFC 7644, 8.2)."""
    accept = request.accept_mimetypes
    explicit = {mime.lower() for mime, quality in accept if quality > 0}
    if JSON in explicit and SCIM_JSON not in explicit:
        return JSON
    return JSON if explicit and accept[JSON] > accept[SCIM_JSON] else SCIM_JSON


def reply(body: dict[str, Any] | None, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in the type the caller wants; without a body none is named."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":")) if body is not None else ""
    response = Response(text, status, mimetype=media_type() if body is not None else None)
    if body is None:
        response.headers.pop("Content-Type", None)
    response.headers.extend(headers or {})
    response.headers["Cache-Control"] = "no-store"
    return response


def answer(code: str, status: int, message: str, details: dict[str, Any] | None = None) -> Response:
    """The error envelope; fields of a failed validation are named in its sentence."""
    scim_type = g.pop("scim_type", None) or _TYPES.get(code)
    fields = (details or {}).get("fields")
    if code == "VALIDATION_FAILED" and fields:
        said = [(name, " ".join(problems)) for name, problems in fields.items()]
        message = " ".join(text if text.startswith(name) else f"{name}: {text}" for name, text in said)
    body: dict[str, Any] = {"schemas": [SCHEMA], "status": str(status), "detail": message}
    if scim_type:
        body["scimType"] = scim_type
    g.scim_refusal = (scim_type, message)
    headers = {"WWW-Authenticate": 'Bearer realm="scim"'} if status == 401 else None
    return reply(body, status, headers)
