"""What two narrow ways in may reach, decided before any handler runs: API keys and support access.

Both name the right a route asks for (``route_right``): a hand-written one carries it as ``_gate``, a generated one in
its permission names. A route that names none is closed to keys, so a new one is closed until somebody opens it.
"""

from __future__ import annotations

from flask import Response, current_app, request

from app.errors import DomainError
from app.security import matrix
from app.security.context import ctx

FILES = frozenset(
    {
        "text/csv",
        "application/zip",
        "application/pdf",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    }
)
NOT_BY_KEY = frozenset({("organization", "delete")})  # what asks people to type its name first
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# the organisation's own locks and keys: for people who sign in, never for a key
NOT_FOR_KEYS = frozenset(
    {
        "api-keys",
        "ownership",
        "support-access",
        "leave",
        "sso",
        "domain-claims",
        "scim",
        "home",
        "settings",
        "my-program",
        "my-arrangement",
        "programs-page",
    }
)
# personal routes a key may use, because they keep to the memberships of the request; with the right they need
KEY_ROUTES = {
    "CheckoutApi.post": ("checkout", "write"),
    "OrganizationsApi.mine": ("organization", "read"),
}
CHECKOUT = "checkout"
KEY_RESOURCES = tuple(
    sorted([CHECKOUT, *(r for r in matrix.MATRIX if r not in matrix.PLATFORM_RESOURCES | NOT_FOR_KEYS)])
)


def route_right() -> tuple[str, str] | None:
    """(resource, verb) the requested route asks for, or None if it names none."""
    view = current_app.view_functions.get(request.endpoint or "")
    gate = getattr(view, "_gate", None)
    if gate is not None:
        return str(gate[0]), str(gate[1])
    owner, name = getattr(view, "__self__", None), getattr(view, "__name__", "")
    resource = getattr(owner, "class_permission_name", None)
    if resource is None or resource not in matrix.MATRIX:
        return None
    verb = (getattr(owner, "method_permission_name", None) or {}).get(name)
    return (str(resource), str(verb)) if verb else None


def check_viewer() -> None:
    """Support access looks and never touches. Raises SUPPORT_ACCESS_READ_ONLY for whatever is not reading."""
    if not ctx().viewing:
        return
    right = route_right()
    export = request.args.get("format", "json") != "json"
    if request.method not in SAFE or export or (right is not None and right[1] != "read"):
        raise DomainError("SUPPORT_ACCESS_READ_ONLY")


def carries_away(response: Response) -> bool:
    """Whether *response* is a file that a viewer may not take along, whatever the route called its right."""
    kept = "attachment" in response.headers.get("Content-Disposition", "")
    return ctx().viewing and (kept or response.mimetype in FILES)


def check_key() -> None:
    """Where an API key may go at all: REST of its organisation. Raises API_KEY_NOT_ALLOWED, API_KEY_READ_ONLY."""
    c = ctx()
    if c.key_id is None:
        return
    right = KEY_ROUTES.get(request.endpoint or "") or route_right()
    if (
        right is None
        or not request.path.startswith("/api/")
        or right[0] not in KEY_RESOURCES
        or right in NOT_BY_KEY
    ):
        raise DomainError("API_KEY_NOT_ALLOWED")
    if c.key_resources and right[0] not in c.key_resources:
        raise DomainError("API_KEY_NOT_ALLOWED", resource=right[0])
    if c.narrowed(right[1], right[0]):
        raise DomainError("API_KEY_READ_ONLY")
