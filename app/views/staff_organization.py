"""An organisation as the staff console shows it: what to check, the conversation, notes, members, what happened."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, request, url_for
from flask_appbuilder import expose
from sqlalchemy import case, func, select
from sqlalchemy.orm import joinedload

from app.api.http import parse_id
from app.api.platform_organizations import found
from app.errors import Invalid
from app.extensions import db
from app.models import AuditLog, BillingAccount, Membership, MembershipStatus, Organization, OrgRole
from app.security import matrix
from app.security.context import acting, ctx
from app.services import (
    lifecycle,
    staff_notes,
    verification,
    verification_checks,
    verification_queue,
    waivers,
)
from app.services.member_rules import GROWTH_CAP
from app.services.tax import STATES
from app.views.base import event
from app.views.forms import confirmed

from .links import existing
from .pages import Page, platform_page

DONE = {
    "VERIFY": "is verified",
    "REJECT": "is rejected; its owners read the reason",
    "SUSPEND": "is suspended",
    "REACTIVATE": "is active again",
    "DEACTIVATE": "is deactivated",
}
MAX_MEMBERS, MAX_EVENTS = 25, 20


def decided(row: Organization, action: str) -> Any:
    """Where staff go after a decision: to the next in the queue when they work through it, else back."""
    if request.form.get("queue") and action in ("VERIFY", "REJECT", "ASK"):
        following = verification_queue.next_after(db.session(), row)
        if following is None:
            flash("Nobody else waits: the queue is empty.", "info")
            return redirect(url_for("VerificationPage.index"))
        return redirect(url_for("StaffOrganizationPage.show", key=following.public_id, queue="y"))
    return redirect(url_for("StaffOrganizationPage.show", key=row.public_id))


class StaffOrganizationPage(Page):
    """``/admin/organizations/<key>``: everything staff need to know and do about one organisation."""

    route_base = "/admin/organizations"
    resource = "verification-queue"
    default_view = "show"

    @expose("/<key>")
    @platform_page("verification-queue")
    def show(self, key: str) -> Any:
        row = found(key)
        checks, owners = verification_checks.checks(db.session(), row)
        stage = verification.stage(row)
        following = verification_queue.next_after(db.session(), row) if stage != "done" else None
        with acting(db.session(), scope="platform"):
            account = db.session.scalars(
                select(BillingAccount).where(BillingAccount.organization_id == row.id)
            ).one_or_none()
            thread = verification.thread(db.session(), row.id)
            total = db.session.scalar(
                select(func.count(Membership.id)).where(
                    Membership.organization_id == row.id, Membership.status == MembershipStatus.ACTIVE
                )
            )
            events = [event(e) for e in _events(row)]
            members = _members(row)
        return self.render(
            "admin/organization.html",
            title=row.name,
            o=row,
            stage=stage,
            checks=checks,
            owners=owners,
            account=account,
            thread=thread,
            members=members,
            member_count=total or 0,
            events=events,
            notes=staff_notes.notes(db.session(), row.id),
            me=ctx().user_id,
            is_admin=ctx().is_admin,
            states=STATES,
            cap=GROWTH_CAP,
            queue=request.args.get("queue", "")[:1],
            following=following,
            may_decide=matrix.can("write", "verification-queue"),
            may_ask=matrix.can("ask", "verification-queue"),
            data_url=existing(f"/admin/data/organization/show/{row.public_id}"),
        )

    @expose("/<key>/decision", methods=["POST"])
    @platform_page("verification-queue", "write")
    def decide(self, key: str) -> Any:
        row = found(key)
        return decide(row, request.form.get("action", "")[:40])

    @expose("/<key>/question", methods=["POST"])
    @platform_page("verification-queue", "ask")
    def ask(self, key: str) -> Any:
        row = verification.ask(db.session(), found(key).id, request.form.get("message", ""))
        flash(f"Asked. {row.name} is back in the queue as soon as it answers.", "success")
        return decided(row, "ASK")

    @expose("/<key>/notes", methods=["POST"])
    @platform_page("staff-notes", "write")
    def note(self, key: str) -> Any:
        row = found(key)
        staff_notes.add(
            db.session(), row.id, request.form.get("body", ""), pinned=request.form.get("pinned") == "y"
        )
        flash("Noted. Only staff read it.", "success")
        return self._back(row)

    @expose("/<key>/notes/<note_id>/pin", methods=["POST"])
    @platform_page("staff-notes", "write")
    def pin(self, key: str, note_id: str) -> Any:
        row = found(key)
        staff_notes.pin(db.session(), row.id, parse_id(note_id), request.form.get("pinned") == "y")
        return self._back(row)

    @expose("/<key>/notes/<note_id>/delete", methods=["POST"])
    @platform_page("staff-notes", "write")
    def remove(self, key: str, note_id: str) -> Any:
        row = found(key)
        staff_notes.remove(db.session(), row.id, parse_id(note_id))
        flash("The note is gone.", "success")
        return self._back(row)

    @expose("/<key>/growth-cap", methods=["POST"])
    @platform_page("verification-queue", "write")
    def growth_cap(self, key: str) -> Any:
        row, reason = found(key), request.form.get("reason", "")
        if request.form.get("waived") == "y":
            waivers.waive(db.session(), row.id, reason)
            flash(f"{row.name} may grow past {GROWTH_CAP} people without a domain.", "success")
        else:
            waivers.restore(db.session(), row.id, reason)
            flash("The limit applies again.", "success")
        return self._back(row)

    def _back(self, row: Organization) -> Any:
        return redirect(
            url_for(
                "StaffOrganizationPage.show",
                key=row.public_id,
                queue="y" if request.form.get("queue") else None,
            )
        )


def decide(row: Organization, action: str) -> Any:
    """Apply a decision of a form and lead on. Raises Invalid when what cannot be undone was not typed out."""
    if action == "DEACTIVATE" and not confirmed(request.form, row.slug):
        raise Invalid({"confirm_word": [f"Type “{row.slug}” to confirm."]})
    row = lifecycle.decide(db.session(), row.id, action, request.form.get("reason", ""))
    flash(f"{row.name} {DONE[action]}.", "success")
    return decided(row, action)


def _members(row: Organization) -> list[Membership]:
    """Its first members by rank; the caller is in platform scope."""
    rank = case({OrgRole(role): -place for role, place in matrix.RANK.items()}, value=Membership.role)
    return list(
        db.session.scalars(
            select(Membership)
            .options(joinedload(Membership.user))
            .where(
                Membership.organization_id == row.id,
                Membership.status.in_(
                    [MembershipStatus.ACTIVE, MembershipStatus.SUSPENDED, MembershipStatus.PENDING]
                ),
            )
            .order_by(rank, Membership.id)
            .limit(MAX_MEMBERS)
        )
    )


def _events(row: Organization) -> list[AuditLog]:
    """The latest of its audit log; the caller is in platform scope."""
    return list(
        db.session.scalars(
            select(AuditLog)
            .options(joinedload(AuditLog.actor))
            .where(AuditLog.organization_id == row.id)
            .order_by(AuditLog.created_at.desc(), AuditLog.id.desc())
            .limit(MAX_EVENTS)
        )
    )
