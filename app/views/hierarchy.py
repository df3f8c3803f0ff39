"""The group of an organisation: its tree with figures, and linking (chapter 1, "Beyond the original" 1)."""

from __future__ import annotations

from typing import Any

from flask import flash, g, redirect, request, url_for
from flask_appbuilder import expose

from app.errors import DomainError
from app.extensions import db
from app.security import matrix
from app.security.context import acting, ctx
from app.services import hierarchy, org_status
from app.views.base import page as page_entry

from .pages import OrgPage, page


def may_link() -> bool:
    """Whether the reader may link the organisation acted for to others at all."""
    return (
        matrix.can("write", "hierarchy")
        and ctx().key_id is None
        and org_status.refusal(g.org["status"], "hierarchy", active=True) is None
    )


class GroupPage(OrgPage):
    """The subtree with its roll-ups; where one owns both sides, linking and unlinking."""

    route_base = "/dashboard/organization/<org_id>/group"
    resource = "group"

    @expose("")
    @expose("/")
    @page("group")
    def index(self) -> Any:
        session = db.session()
        nodes, sums = hierarchy.group(session)
        links = may_link()
        mine = {m["organization_id"]: m["role"] for m in g.memberships if m["membership_status"] == "ACTIVE"}
        above = hierarchy.parent(session)
        return self.render(
            "organizations/group.html",
            title="Group",
            nodes=nodes,
            sums=sums,
            parent=above,
            children={n.parent_id for n in nodes},
            links=links,
            owned={key for key, role in mine.items() if role == "OWNER"},
            member_of=set(mine),
            admin=ctx().is_admin,
            parents=hierarchy.possible_parents(session) if links and above is None else [],
            kids=hierarchy.possible_children(session) if links else [],
        )

    @expose("/parent", methods=["POST"])
    @page("hierarchy", "write")
    def link(self) -> Any:
        """Put this organisation under a parent, or take it out of its group."""
        chosen = request.form.get("parent", "").strip()[:63]
        row = hierarchy.set_parent(db.session(), chosen or None)
        flash(f"{row.name} {'joined the group' if chosen else 'stands on its own now'}.", "success")
        return redirect(url_for("GroupPage.index"))

    @expose("/child", methods=["POST"])
    @page("hierarchy", "write")
    def child(self) -> Any:
        """Put an organisation that the reader owns under this one, or (``leave``) take it out of this group."""
        wanted = request.form.get("child", "").strip()[:63]
        found = next((m for m in g.memberships if wanted in (m["slug"], m["public_id"])), None)
        if found is None or found["role"] != "OWNER" or found["membership_status"] != "ACTIVE":
            raise DomainError("OWNER_REQUIRED")
        here = str(g.org["public_id"])
        with acting(
            db.session(),
            org_id=found["organization_id"],
            role=found["role"],
            membership_id=found["membership_id"],
        ):
            hierarchy.set_parent(db.session(), None if "leave" in request.form else here)
        says = "left the group" if "leave" in request.form else "joined the group"
        flash(f"{found['name']} {says}.", "success")
        return redirect(url_for("GroupPage.index"))


def register(appbuilder: Any) -> None:
    """Put the page into the sidebar."""
    page_entry(
        appbuilder,
        GroupPage(),
        group="Insights",
        label="Group",
        resource="group",
        icon="folder-tree",
        keywords="hierarchy parent children subsidiaries rollup",
    )
