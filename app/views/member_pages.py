"""Pages about one member: the form with everything, the removal; and the directory for everybody."""

from __future__ import annotations

import uuid
from typing import Any

from flask import abort, flash, redirect, request, url_for
from flask_appbuilder import expose

from app.api.members import find_member
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import Membership, MembershipStatus, OrgRole, PayoutRecipient
from app.security import matrix
from app.services import departments, members, obligations, rosters
from app.services.member_rules import CLIENTS, is_owner, words

from .forms import parse_rupees
from .pages import OrgPage, page
from .people import may_touch, moved_with_undo, offered_roles

DIRECTORY_ROWS = 50


def member_or_404(key: str) -> Membership:
    """The member behind *key* whom the reader may change. Aborts with 404."""
    try:
        row = find_member(key)
    except DomainError:
        abort(404)
    if not may_touch(row) or row.status not in rosters.HERE:
        abort(404)
    return row


def shown(row: Membership) -> str:
    return url_for("Members.show", pk=row.public_id)


def roles_for(row: Membership) -> list[tuple[str, str]]:
    """The member's role and those it may become (chapter 1, "Roles"): no choice that would be refused."""
    now = (row.role.value, words(row.role).capitalize())
    session = db.session()
    if row.role in CLIENTS and obligations.has_history(session, row):
        return [now]
    out = [r for r in offered_roles() if r[0] not in CLIENTS or row.role not in CLIENTS or r == now]
    if row.role != OrgRole.EXPERT and not rosters.has_profile(session, row.user_id):
        out = [r for r in out if r[0] != OrgRole.EXPERT]
    return out if now in out else [now, *out]


class MemberEditPage(OrgPage):
    """Role, department, spend limit and payout routing in one form."""

    route_base = "/dashboard/organization/<org_id>/members/edit"
    resource = "members"

    @expose("/<key>", methods=["GET", "POST"])
    @page("members", "write")
    def form(self, key: str) -> Any:
        row = member_or_404(key)
        if request.method == "GET":
            return self._show(row, {}, {})
        values, problems, was = request.form, {}, row.department_label
        try:
            self._save(row)
        except Invalid as error:
            problems = error.fields
        except DomainError as error:
            problems = {"role": [error.message]}
        if problems:
            db.session.rollback()
            return self._show(member_or_404(key), values, problems), 422
        if row.department_label != was:
            moved_with_undo(row, was)
        else:
            flash(f"{row.user.name} saved.", "success")
        return redirect(shown(row))

    def _show(self, row: Membership, values: Any, problems: dict[str, list[str]]) -> str:
        return self.render(
            "people/member_form.html",
            title=f"Edit {row.user.name}",
            row=row,
            values=values,
            problems=problems,
            roles=roles_for(row),
            departments=departments.labels(db.session()),
            limit=matrix.can("write", "spend-limit") and row.role == OrgRole.LEARNER,
            routing=row.role == OrgRole.EXPERT,
            kept=row.role in CLIENTS and len(roles_for(row)) == 1,
            back=shown(row),
        )

    def _save(self, row: Membership) -> None:
        form, session = request.form, db.session()
        problems: dict[str, list[str]] = {}
        role, recipient, paise = row.role, None, row.spend_limit_paise
        try:
            role = OrgRole(form.get("role") or row.role)
        except ValueError:
            problems["role"] = ["Choose a role."]
        if form.get("recipient"):
            try:
                recipient = PayoutRecipient(form["recipient"])
            except ValueError:
                problems["recipient"] = ["Choose one of the two."]
        if "amount" in form and matrix.can("write", "spend-limit"):
            try:
                paise = parse_rupees(form["amount"]) if form["amount"].strip() else None
            except ValueError as error:
                problems["amount"] = [f"{str(error)[:1].upper()}{str(error)[1:]}."]
        if problems:
            raise Invalid(problems)
        if paise != row.spend_limit_paise:
            try:
                members.set_spend_limit(session, row, paise)
            except Invalid as error:
                raise Invalid({"amount": error.fields["spend_limit_paise"]}) from None
        members.change_member(
            session,
            row,
            role=role,
            department_label=form.get("department", row.department_label),
            payout_recipient=recipient if role == OrgRole.EXPERT else None,
        )

    @expose("/undo-department/<key>", methods=["POST"])
    @page("members", "write")
    def undo_department(self, key: str) -> Any:
        row = member_or_404(key)
        members.change_member(db.session(), row, department_label=request.args.get("was", "")[:200])
        flash(f"{row.user.name} is back in {row.department_label or 'no department'}.", "success")
        return redirect(shown(row))


class MemberRemovePage(OrgPage):
    """Before somebody is removed: what is still open, and what a removal does."""

    route_base = "/dashboard/organization/<org_id>/members/remove"
    resource = "members"

    @expose("/<key>")
    @page("members", "write")
    def form(self, key: str) -> Any:
        row = member_or_404(key)
        return self.render(
            "people/member_remove.html",
            title=f"Remove {row.user.name}",
            row=row,
            counts=obligations.of(db.session(), row),
            may_force=is_owner(),
            back=shown(row),
        )


class DirectoryPage(OrgPage):
    """Who is who: names and roles, for every member."""

    route_base = "/dashboard/organization/<org_id>/directory"
    resource = "directory"

    @expose("/")
    @page("directory")
    def index(self) -> Any:
        q, raw = request.args.get("q", "").strip()[:100], request.args.get("role", "")
        role = OrgRole(raw) if raw in set(OrgRole) else None
        rows, more = rosters.people(
            db.session(),
            role=role,
            statuses=[MembershipStatus.ACTIVE],
            q=q,
            by_email=False,
            after=after(),
            limit=DIRECTORY_ROWS,
        )
        query: dict[str, Any] = {k: v for k, v in (("q", q), ("role", raw)) if v}
        return self.render(
            "people/directory.html",
            title="Directory",
            rows=rows,
            q=q,
            role=raw,
            roles=[(r.value, words(r).capitalize()) for r in sorted(OrgRole, key=lambda r: -matrix.RANK[r])],
            more=url_for("DirectoryPage.index", **query, after=rows[-1].public_id) if more else "",
        )


def after() -> Any:
    """The public id in ``?after=`` that closed the page before, or None."""
    try:
        return uuid.UUID(request.args.get("after", ""))
    except ValueError:
        return None
