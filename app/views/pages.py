"""The frame of hand-written pages: guards by the matrix, one transaction, and refusals a person can act on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import abort, current_app, flash, g, redirect, render_template, request, url_for
from flask_appbuilder import BaseView

from app.api.http import check_gate, in_transaction
from app.errors import DomainError, Invalid
from app.extensions import db
from app.security import matrix
from app.security.context import ctx
from app.security.requests import require_organization

F = TypeVar("F", bound=Callable[..., Any])


class Page(BaseView):  # type: ignore[misc]
    """Base of hand-written pages; templates extend appbuilder/base.html."""

    default_view = "index"
    resource = "home"

    def __init__(self) -> None:
        self.class_permission_name: str = getattr(self, "class_permission_name", None) or self.resource
        super().__init__()

    def get_method_permission(self, method_name: str) -> str:
        return "read"

    def render(self, template: str, **values: Any) -> str:
        """The page as HTML, with the organisation acted for as ``org``."""
        return str(self.render_template(template, org=g.get("org"), **values))


class OrgPage(Page):
    """A page of one organisation, below /dashboard/organization/<org_id>."""


def safe_next(target: str | None, default: str) -> str:
    """*target* if it is a path of this site, else *default* (no open redirects)."""
    if not target:
        return default
    parts = urlsplit(target)
    if (
        parts.scheme
        or parts.netloc
        or not target.startswith("/")
        or target.startswith(("//", "/\\"))
        or any(ord(c) < 32 for c in target)  # browsers drop some of them, headers take none
    ):
        return default
    return target


def back(default: str = "/") -> Any:
    """Redirect to where the person came from on this site."""
    referrer = urlsplit(request.referrer or "")
    target = referrer.path + (f"?{referrer.query}" if referrer.query else "")
    same = referrer.netloc == request.host
    return redirect(safe_next(target if same else None, default))


def locked() -> str:
    """The card that stands where hosting would: the platform has not enabled it."""
    return render_template(
        "console/locked.html",
        title="Not enabled yet",
        link_to=url_for("HomePage.index"),
        appbuilder=current_app.appbuilder,  # type: ignore[attr-defined]
        base_template=current_app.appbuilder.base_template,  # type: ignore[attr-defined]
    )


def _to_login() -> Any:
    return redirect(url_for("AuthView.login", next=request.full_path.rstrip("?")))


def _run(fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    if request.method in ("GET", "HEAD"):
        return in_transaction(lambda: fn(*args, **kwargs))
    try:
        return in_transaction(lambda: fn(*args, **kwargs))
    except Invalid as error:
        flash(
            " ".join(
                f"{name.replace('_', ' ').capitalize()}: {' '.join(p)}" for name, p in error.fields.items()
            ),
            "danger",
        )
    except DomainError as error:
        if error.status >= 500:
            raise
        flash(error.message, "danger")
    return back()


def page(
    resource: str, verb: str = "read", *, active: bool = False, sponsor: bool = False, host: bool = False
) -> Callable[[F], F]:
    """Guard a page of an organisation. Signed out: to sign-in. Refused: 403; lacking the capability: 404."""

    def decorate(fn: F) -> F:
        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if g.get("identity") is None:
                return _to_login()
            require_organization()
            try:
                check_gate(resource, verb, active=active, sponsor=sponsor, host=host)
            except DomainError as error:
                if error.code in ("SPONSOR_CAPABILITY_REQUIRED", "HOST_CAPABILITY_REQUIRED"):
                    abort(404)
                if error.code == "HOST_ORGS_GATED":
                    return locked()
                if request.method != "GET" and error.status == 409:
                    flash(error.message, "danger")
                    return back()
                raise
            return _run(fn, args, kwargs)

        wrapper._gate = (resource, verb)  # type: ignore[attr-defined]
        return wrapper  # type: ignore[return-value]

    return decorate


def platform_page(resource: str, verb: str = "read") -> Callable[[F], F]:
    """Guard a page of the staff console; others do not learn that it exists."""

    def decorate(fn: F) -> F:
        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if g.get("identity") is None:
                return _to_login()
            if not ctx().roles & matrix.PLATFORM:
                abort(404)
            if not matrix.can(verb, resource):
                raise DomainError("INSUFFICIENT_ROLE")
            return _run(fn, args, kwargs)

        wrapper._gate = (resource, verb)  # type: ignore[attr-defined]
        return wrapper  # type: ignore[return-value]

    return decorate


def personal_page(fn: F) -> F:
    """Guard a page of the signed-in person."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if g.get("identity") is None:
            return _to_login()
        return _run(fn, args, kwargs)

    wrapper._gate = ("self", "read")  # type: ignore[attr-defined]
    return wrapper  # type: ignore[return-value]


def open_page(fn: F) -> F:
    """A page anybody may open."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return _run(fn, args, kwargs)

    wrapper._gate = ("public", "read")  # type: ignore[attr-defined]
    return wrapper  # type: ignore[return-value]


def field_errors(form: Any, error: Invalid) -> None:
    """Put a service's field problems onto the fields of a WTForms *form*; what has no field is flashed."""
    db.session.rollback()
    for name, problems in error.fields.items():
        if name in form:
            form[name].errors = [*form[name].errors, *problems]
        else:
            flash(" ".join(problems), "danger")
