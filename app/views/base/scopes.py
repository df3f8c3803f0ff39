"""Whose rows a view shows: the organisation in the address, or every organisation's for ADMIN and STAFF."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from flask import abort, current_app, g, request
from sqlalchemy import false

from app.schema.base import MaybeTenant, Owned, Tenant
from app.security.context import ctx, current_org_id, use
from app.security.matrix import NEEDS_HOST, NEEDS_SPONSOR, PLATFORM, can
from app.services import org_status

from .core import ConsoleView


class TenantView(ConsoleView):
    """Rows of the organisation in the address: /dashboard/organization/<org>/<resource>/."""

    scope: ClassVar[str] = "org"

    def __init__(self, **kwargs: Any) -> None:
        self.route_base = self.route_base or f"/dashboard/organization/<org_id>/{self.path or self.resource}"
        super().__init__(**kwargs)

    path: str = ""  # last part of the address where it differs from the resource

    def enter(self) -> Any:
        from flask_login import current_user

        from app.views.shell.context import organization

        if not current_user.is_authenticated:
            return None  # has_access sends the visitor to the sign-in page
        org = organization()
        if org is None:
            abort(404)
        if (
            (self.resource in NEEDS_SPONSOR and not org["can_sponsor"])
            or (self.resource in NEEDS_HOST and not org["can_host"])
            or not self.open_to(org)
        ):
            abort(404)
        if self.resource in NEEDS_HOST and not current_app.config["SETTINGS"].enable_host_orgs:
            from app.views.pages import locked

            return locked() if super().may("read") else None  # has_access refuses the others
        if request.method == "POST" or self._writes_here():
            org_status.require(org["status"], self.resource)
        return None

    def _writes_here(self) -> bool:
        return (request.endpoint or "").rpartition(".")[2] in ("add", "edit")

    def may(self, verb: str) -> bool:
        """The matrix, and what the organisation's status allows: no button is offered that would refuse."""
        status = (g.get("org") or {}).get("status") or "ACTIVE"
        return super().may(verb) and org_status.refusal(status, self.resource, verb) is None

    def open_to(self, org: Any) -> bool:
        """Whether this kind of organisation has the page (``when`` of the declaration)."""
        when = type(self).when
        return when is None or bool(when(org))

    def base_query(self) -> Any:
        model = self.datamodel.obj
        query = self.datamodel.session.query(model)
        if issubclass(model, (Tenant, MaybeTenant)):
            return query.filter(model.organization_id == current_org_id())
        if issubclass(model, Owned):
            return query.filter(model.user_id == (ctx().user_id or -1))
        if model.__tablename__ == "organization":
            return query.filter(model.id == current_org_id())
        return query.filter(self.rows_of_organization())

    def rows_of_organization(self) -> Any:
        """For a table without an organisation of its own: the condition that limits it. Default: nothing."""
        return false()

    def prepare(self, item: Any) -> None:
        if isinstance(item, (Tenant, MaybeTenant)):
            item.organization_id = current_org_id()


class PlatformView(ConsoleView):
    """Every organisation's rows, read under platform scope: /admin/data/<table>/. Writes only through actions."""

    scope: ClassVar[str] = "platform"
    resource = "platform-data"
    data_resource: str = ""  # narrower matrix row, such as system-events

    def __init__(self, **kwargs: Any) -> None:
        self.route_base = self.route_base or f"/admin/data/{self.datamodel.obj.__tablename__}"
        super().__init__(**kwargs)
        column = self.datamodel.column(self.base_order[0]) if self.base_order else None
        if column is None or not self.datamodel.leads_index(column):
            self.base_order = ("", "desc")  # by key: across organisations no other index may serve the order

    @property
    def permission_resource(self) -> str:
        return self.data_resource or self.resource

    def enter(self) -> None:
        from flask_login import current_user

        if not current_user.is_authenticated:
            return
        if not ctx().roles & PLATFORM:
            abort(404)  # as every page of the staff console: others do not learn that it exists
        if not can("read", self.permission_resource):
            abort(403)
        use(current_app.appbuilder.session(), replace(ctx(), scope="platform"))  # type: ignore[attr-defined]

    def base_query(self) -> Any:
        return self.datamodel.session.query(self.datamodel.obj)
