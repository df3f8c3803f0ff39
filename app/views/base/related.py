"""What hangs on a record: lists of other tables that point at it, its timeline, and choices for remote selects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import abort, current_app, request
from sqlalchemy import String, cast, false, inspect, or_, select
from sqlalchemy.orm import joinedload

from app.schema.base import MaybeTenant, Owned, Tenant
from app.security.context import ctx, current_org_id
from app.security.matrix import can
from app.views import format as f

from . import listing
from .filters import like
from .refs import label_of
from .rows import Rows, target_of

if TYPE_CHECKING:
    from .core import ConsoleView


def pointing(view: ConsoleView, other: ConsoleView) -> str | None:
    """The foreign-key column of *other*'s table that points at *view*'s table."""
    for name, column in other.datamodel.list_columns.items():
        if name != "organization_id" and target_of(column) is view.datamodel.obj:
            return name
    return None


def tabs(view: ConsoleView, item: Any) -> tuple[list[dict[str, Any]], listing.Listing | None]:
    """The related lists a reader may open, and the rows (at most ten) of the chosen one."""
    registry = current_app.extensions["console"]
    found = []
    for entry in view.related:
        label, name, fk = entry if isinstance(entry, tuple) else ("", entry, "")
        other = registry.named(name if isinstance(name, str) else name.__name__, view.scope)
        if other is None or not other.may("read"):
            continue
        fk = fk or pointing(view, other) or ""
        if fk:
            found.append(
                {"label": label or other.title, "name": type(other).__name__, "view": other, "fk": fk}
            )
    if not found:
        return [], None
    wanted = request.args.get("tab", "")
    chosen = next((t for t in found if t["name"] == wanted), found[0])
    for t in found:
        t.update(here=t is chosen, url=listing.here(tab=t["name"]) + "#related")
    other, fk = chosen["view"], chosen["fk"]
    column = getattr(other.datamodel.obj, fk)
    query = other.base_query().filter(column == item.id)
    order = other.datamodel.order_by(*(other.base_order or ("", "desc")))
    rows = query.options(*other.datamodel.loads(other.list_columns)).order_by(*order).limit(10).all()
    count = len(rows) if len(rows) < 10 else other.datamodel.count_capped(query)
    names = [
        n for n in other.list_columns if not _is_parent(other, n, fk)
    ]  # the record itself needs no column
    page = listing.Listing(
        other,
        listing.columns(other, names, sortable=False),
        listing.lines(other, rows, names),
        count,
        0,
        10,
        compact=True,
    )
    key = view.datamodel.public_key(item)
    chosen["more"] = (
        f"{other.list_url()}?_flt_0_{fk}={key}" if count > 10 and fk in other.filterable else None
    )
    return found, page


def _is_parent(view: ConsoleView, name: str, fk: str) -> bool:
    prop = view.datamodel.obj.__mapper__.relationships.get(name)
    return name == fk or (prop is not None and fk in {c.key for c in prop.local_columns})


def timeline(view: ConsoleView, item: Any, limit: int = 20) -> list[dict[str, Any]] | None:
    """The audit rows of the record and of what ``told_with`` it, newest first; None when the reader may not see the log."""
    from app.models import AuditLog

    if view.datamodel.obj is AuditLog or not (can("read", "audit") or view.scope == "platform"):
        return None
    owner = item.id if type(item).__name__ == "Organization" else getattr(item, "organization_id", None)
    if owner is None:
        return None
    keys = [
        str(k)
        for one in (item, *view.told_with(item))
        for k in (*inspect(one).identity, getattr(one, "public_id", None))
        if k is not None
    ]
    kinds = {type(item).__name__, type(item).__name__.lower(), item.__tablename__, item.__tablename__.upper()}
    log = current_app.extensions["console"].of_model(AuditLog, view.scope)  # its scope holds here too
    session = view.datamodel.session
    query = (
        (log.base_query() if log is not None else session.query(AuditLog))
        .filter(
            AuditLog.organization_id == owner,
            AuditLog.target_type.in_(sorted(kinds)),
            AuditLog.target_id.in_(keys),
        )
        .options(joinedload(AuditLog.actor))
        .order_by(AuditLog.created_at.desc(), AuditLog.id.desc())
        .limit(limit)
    )
    return [event(row) for row in query]


def event(row: Any) -> dict[str, Any]:
    """An audit row for the timeline and feed macros."""
    details = row.details or {}
    before, after = details.get("before") or {}, details.get("after") or {}
    changes = []
    if isinstance(before, dict) and isinstance(after, dict):
        changes = [
            (f.label(k), _shown(k, before.get(k)), _shown(k, after.get(k))) for k in {**before, **after}
        ]
    return {
        "text": row.description,
        "actor": str(row.actor) if row.actor else None,
        "at": row.created_at,
        "action": row.action,
        "changes": changes,
    }


def _shown(name: str, value: Any) -> str | None:
    return None if value is None or value in ([], {}) else f.kept(name, value)


def scoped_choice(view: ConsoleView, column: str, model: type[Any]) -> Any:
    """A query over *model* limited to what the reader's organisation may refer to; None when nothing says what."""
    from app.models import Membership, MembershipStatus, Organization
    from app.schema.people import Person

    query = view.datamodel.session.query(model)
    declared = view.option_scope.get(column)
    if declared is not None:
        return query.filter(declared())
    if view.scope == "platform":
        return query
    if issubclass(model, (Tenant, MaybeTenant)):
        page = current_app.extensions["console"].of_model(model, "org")
        query = page.base_query() if page is not None else query  # rows the page hides are no choices either
        return query.filter(model.organization_id == current_org_id())
    if issubclass(model, Owned):
        return query.filter(model.user_id == (ctx().user_id or -1))
    if model is Organization:
        return query.filter(Organization.id == current_org_id())
    if model is Person:
        members = select(Membership.user_id).where(
            Membership.organization_id == current_org_id(), Membership.status == MembershipStatus.ACTIVE
        )
        return query.filter(Person.id.in_(members))
    return None


def options(view: ConsoleView, column: str, model: type[Any], text: str, limit: int = 20) -> dict[str, Any]:
    """Choices for a remote select: {"result": [{"id": public id, "text": name}]}, at most *limit*."""
    rows = Rows(model)
    query = scoped_choice(view, column, model)
    if query is None:
        abort(404)
    text = text.replace("\x00", "").strip()[:100]
    names = rows.name_columns()
    people = "user" in model.__mapper__.relationships
    if people:
        query = query.options(joinedload(model.user))
    if text:
        fields = [cast(getattr(model, n), String) for n in names]
        if people:
            person = model.__mapper__.relationships["user"].mapper.class_
            query = query.join(model.user)
            fields += [person.first_name, person.last_name, person.email]
        query = (
            query.filter(or_(*[c.ilike(f"%{like(text)}%") for c in fields]))
            if fields
            else query.filter(false())
        )
    found = query.order_by(*rows.order_by("created_at", "desc")).limit(limit).all()
    return {"result": [{"id": rows.public_key(r), "text": label_of(r)} for r in found]}
