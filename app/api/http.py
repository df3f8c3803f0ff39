"""The frame of hand-written REST: authentication, gates, validation, transactions, idempotency, paging.

A resource is a class over ``Api`` with FAB's ``@expose``; its methods return ``ok(...)``. The gate decorators own the
transaction: they commit when the method returns and roll back when it raises.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import json
import uuid
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from flask import Response, current_app, g, jsonify, request
from flask_appbuilder.api import BaseApi
from marshmallow import EXCLUDE, RAISE, Schema, ValidationError
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app.errors import DomainError, Invalid
from app.extensions import db
from app.security import matrix
from app.security.context import ctx
from app.security.requests import require_organization
from app.services import idempotency, org_status, scopes

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M")
HOSTING_OFF = "Hosting is not enabled on this platform yet."
MAX_DEPTH = 20  # of a JSON body
MAX_ATTEMPTS = 4  # of a transaction that lost a race (serialization failure, deadlock)
_RETRY = frozenset({"40001", "40P01"})


class Api(BaseApi):  # type: ignore[misc]
    """Base of hand-written resources. ``route_base`` is the path; the OpenAPI text stands in the docstrings."""

    allow_browser_login = True
    openapi_spec_tag = "Consilium"
    csrf_exempt = False  # checked by kind of credential in app/security/requests.py

    def __init__(self) -> None:
        self.class_permission_name: str = getattr(self, "class_permission_name", None) or type(self).__name__
        super().__init__()


def ok(body: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    response = jsonify(body) if body is not None else Response(status=status)
    response.status_code = status
    response.headers.extend(headers or {})
    return response


def in_transaction(work: Callable[[], Any]) -> Any:
    """Run *work* and commit; a lost race is tried again, anything else rolls back. Raises CHECKOUT_CONTENTION."""
    for attempt in range(MAX_ATTEMPTS):
        try:
            result = work()
            db.session.commit()
            return result
        except OperationalError as error:
            db.session.rollback()
            if getattr(error.orig, "sqlstate", None) not in _RETRY:
                raise
            if attempt == MAX_ATTEMPTS - 1:
                raise DomainError("CHECKOUT_CONTENTION") from None
        except BaseException:
            db.session.rollback()
            raise
    raise AssertionError("unreachable")


def require_user() -> Any:
    """The signed-in person. Raises UNAUTHENTICATED."""
    if g.get("identity") is None:
        raise DomainError("UNAUTHENTICATED")
    return g.identity.user


def check_gate(
    resource: str, verb: str, *, active: bool = False, sponsor: bool = False, host: bool = False
) -> None:
    """Authentication, membership, matrix, capability, hosting's flag and status, in that order; raises the first refusal.

    Nobody outside learns what an organisation is; HOST_ORGS_GATED (501) tells only those who may use the resource of an
    organisation that hosts that the platform has switched hosting off.
    """
    require_user()
    require_organization()
    if not matrix.can(verb, resource):
        raise DomainError(matrix.refusal_code(resource, verb))
    if (sponsor or resource in matrix.NEEDS_SPONSOR) and not g.org["can_sponsor"]:
        raise DomainError("SPONSOR_CAPABILITY_REQUIRED")
    if host or resource in matrix.NEEDS_HOST:
        if not g.org["can_host"]:
            raise DomainError("HOST_CAPABILITY_REQUIRED")
        require_hosting()
    org_status.require(g.org["status"], resource, verb, active=active)


def hosting() -> bool:
    """The flag ENABLE_HOST_ORGS: whether organisations host experts on this platform."""
    return bool(current_app.config["SETTINGS"].enable_host_orgs)


def require_hosting() -> None:
    """Raises HOST_ORGS_GATED as a host resource answers it: 501 with the flag's name (chapter 1, 1.2)."""
    if not hosting():
        raise DomainError("HOST_ORGS_GATED", http_status=501, message=HOSTING_OFF, flag="ENABLE_HOST_ORGS")


def gate(
    resource: str, verb: str, *, active: bool = False, sponsor: bool = False, host: bool = False
) -> Callable[[F], F]:
    """Guard a method of an organisation's resource by the matrix; owns the transaction."""

    def decorate(fn: F) -> F:
        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            check_gate(resource, verb, active=active, sponsor=sponsor, host=host)
            return in_transaction(lambda: fn(*args, **kwargs))

        wrapper._gate = (resource, verb)  # type: ignore[attr-defined]
        return wrapper  # type: ignore[return-value]

    return decorate


def signed_in(fn: F) -> F:
    """Guard a personal method: anybody signed in; owns the transaction."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        require_user()
        return in_transaction(lambda: fn(*args, **kwargs))

    wrapper._gate = ("self", "write")  # type: ignore[attr-defined]
    return wrapper  # type: ignore[return-value]


def public(fn: F) -> F:
    """Mark a method that needs no identity; owns the transaction."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return in_transaction(lambda: fn(*args, **kwargs))

    wrapper._gate = ("public", "read")  # type: ignore[attr-defined]
    return wrapper  # type: ignore[return-value]


def platform(resource: str, verb: str) -> Callable[[F], F]:
    """Guard a method of the platform's own rooms (/api/admin) by the matrix; owns the transaction."""

    def decorate(fn: F) -> F:
        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            require_user()
            if not (ctx().roles & matrix.PLATFORM) or not matrix.can(verb, resource):
                raise DomainError("INSUFFICIENT_ROLE")
            return in_transaction(lambda: fn(*args, **kwargs))

        wrapper._gate = (resource, verb)  # type: ignore[attr-defined]
        return wrapper  # type: ignore[return-value]

    return decorate


def payload(schema: type[Schema], *, partial: bool = False) -> dict[str, Any]:
    """The JSON body validated by *schema*; unknown fields are refused. Raises Invalid naming every field."""
    data = request.get_json(silent=True)
    if not isinstance(data, dict):
        raise Invalid({"body": ["Send a JSON object."]})
    return validate(schema, data, partial=partial)


def validate(
    schema: type[Schema],
    data: dict[str, Any],
    *,
    partial: bool = False,
    unknown: Literal["raise", "exclude"] = RAISE,
) -> dict[str, Any]:
    """*data* loaded by *schema*. Raises Invalid."""
    problem = _unusable(data)
    if problem:
        raise Invalid({"body": [problem]})
    try:
        return dict(_schema(schema).load(data, partial=partial, unknown=unknown))
    except ValidationError as error:
        raise Invalid(_flatten(error.messages)) from None


@functools.cache
def _schema(schema: type[Schema]) -> Schema:
    """One instance of each schema: loading keeps nothing in it, making it copies every field."""
    return schema()


def query(schema: type[Schema]) -> dict[str, Any]:
    """The query string validated by *schema*; unknown arguments are ignored. Raises Invalid."""
    return validate(schema, request.args.to_dict(), unknown=EXCLUDE)


def _unusable(data: Any) -> str | None:
    """Why *data* cannot be kept: nested too deep, or text that PostgreSQL has no place for."""
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            return f"Nested deeper than {MAX_DEPTH} levels."
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                if "\x00" in value:
                    return "Text must not contain NUL characters."
                try:
                    value.encode()
                except UnicodeEncodeError:
                    return "Text must be valid Unicode."
            elif isinstance(value, dict):
                below += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                below += value
        level = below
    return None


def _flatten(messages: Any, prefix: str = "") -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for name, problem in messages.items():
        path = f"{prefix}{name}"
        if isinstance(problem, dict):
            out.update(_flatten(problem, f"{path}."))
        else:
            out[path] = [str(p) for p in problem]
    return out


def parse_id(value: Any) -> uuid.UUID:
    """A public id. Raises NOT_FOUND for anything that is none."""
    try:
        return uuid.UUID(str(value))
    except ValueError:
        raise DomainError("NOT_FOUND") from None


def find(model: type[M], public_id: Any, *options: Any, code: str = "NOT_FOUND") -> M:
    """The row of *model* with this public id inside the current scope. Raises NOT_FOUND (or *code*)."""
    statement = select(model).where(model.public_id == parse_id(public_id)).options(*options)  # type: ignore[attr-defined]
    row = db.session.scalars(statement).one_or_none()
    if row is None:
        raise DomainError(code)
    return row


def page_args(default: int = 25, most: int = 100) -> tuple[dict[str, Any] | None, int]:
    """(cursor, limit) of ``?cursor=&limit=``; a cursor is opaque. Raises Invalid."""
    limit = number_arg("limit", default, most)
    raw = request.args.get("cursor", "")
    if not raw:
        return None, limit
    try:
        cursor = json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))
        if not isinstance(cursor, dict):
            raise ValueError
    except (ValueError, RecursionError):
        raise bad_cursor() from None
    return cursor, limit


def scope() -> scopes.OrgScope:
    """``?org_scope=`` of a personal list. Raises INVALID_SCOPE, ORG_MEMBERSHIP_REQUIRED, ALL_REQUIRES_PRIVILEGED_ROLE."""
    return scopes.parse(request.args.get("org_scope"), g.memberships)


def number_arg(name: str, default: int, most: int) -> int:
    """The query argument *name* as a number from 1 to *most*. Raises Invalid."""
    raw = request.args.get(name, str(default))
    if not (raw.isascii() and raw.isdigit() and len(raw) <= 18 and 1 <= int(raw) <= most):
        raise Invalid({name: [f"Must be a number from 1 to {most}."]})
    return int(raw)


def bad_cursor() -> Invalid:
    """What a cursor answers that no page gave out."""
    return Invalid({"cursor": ["This cursor is not valid."]})


def cursor_key(cursor: dict[str, Any], name: str = "id") -> int:
    """The inner key *name* of a cursor. Raises Invalid."""
    value = cursor.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise bad_cursor()
    return value


def cursor_moment(cursor: dict[str, Any]) -> tuple[dt.datetime, int]:
    """Moment and inner key of a cursor of ``{"at", "n"}``. Raises Invalid."""
    try:
        at = dt.datetime.fromisoformat(str(cursor.get("at")))
        if at.tzinfo is None or not 1900 <= at.year <= 2900:
            raise ValueError
    except ValueError:
        raise bad_cursor() from None
    return at, cursor_key(cursor, "n")


def cursor_of(values: dict[str, Any]) -> str:
    """An opaque cursor holding *values*."""
    return base64.urlsafe_b64encode(json.dumps(values, default=str).encode()).decode().rstrip("=")


def idempotent(scope: str, body: Any, work: Callable[[], tuple[int, dict[str, Any]]]) -> Response:
    """Run *work* once per Idempotency-Key: the first answer has its own status, a replay 200 and the same body."""
    key = request.headers.get("Idempotency-Key")
    stored = idempotency.claim(db.session(), scope, key, body)
    if stored is not None:
        return ok(stored[1], 200 if stored[0] < 300 else stored[0], {"Idempotent-Replay": "true"})
    status, answer = work()
    idempotency.store(db.session(), scope, str(key), status, answer)
    return ok(answer, status)
