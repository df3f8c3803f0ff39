"""The page behind an invitation's link: who invites to what, then sign in or sign up, and join."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import flash, g, redirect, request, session
from flask_appbuilder import expose

from app.errors import DomainError, Invalid
from app.extensions import db
from app.security import context, limits
from app.security.context import ctx
from app.services import images, invitation_answers, invitations, users
from app.services.member_rules import a_role

from .auth import begin_session
from .pages import Page, open_page, personal_page

INVITE = "/organizations/invite"


class InvitationLinkPage(Page):
    """Behind the link of a mail: who invites, to what; then sign in or sign up, and accept."""

    route_base = INVITE
    resource = "self"

    @expose("/<token>")
    @open_page
    def link(self, token: str) -> Any:
        """Remember the link and leave it: the address bar and what is loaded next never see the secret again."""
        limits.hit("invitation-accept", limits.client_ip())
        session["invite_token"] = invitations.token_hash(token[:200])
        session.permanent = True
        return redirect(INVITE)

    @expose("")
    @expose("/")
    @open_page
    def index(self) -> Any:
        return self._page()

    def _digest(self) -> str:
        digest = session.get("invite_token")
        if not digest:
            raise DomainError("INVITATION_NOT_FOUND")
        return str(digest)

    def _page(
        self, problem: str | None = None, errors: dict[str, list[str]] | None = None, status: int = 200
    ) -> Any:
        try:
            offer = invitation_answers.offer(db.session(), self._digest())
        except DomainError as error:
            return self.render(
                "people/invite_gone.html", title="Invitation", problem=error.message
            ), error.status
        if offer.problem:
            refusal = DomainError(offer.problem)
            mine = g.get("identity") is not None and any(
                m["organization_id"] == offer.organization.id and m["membership_status"] == "ACTIVE"
                for m in g.memberships
            )
            if mine:
                session.pop("invite_token", None)
                return redirect(f"/dashboard/organization/{offer.organization.slug}")
            return self.render(
                "people/invite_gone.html", title="Invitation", problem=refusal.message
            ), refusal.status
        person = g.identity.user if g.get("identity") else None
        session["invite_email"] = offer.invitation.email
        session["invite_name"] = offer.invitation.name or ""
        return self.render(
            "people/invite.html",
            title=f"Join {offer.organization.name}",
            offer=offer,
            address=images.address,
            me=person,
            problem=problem,
            errors=errors or {},
            role=a_role(offer.invitation.role),
            name=request.form.get("name", offer.invitation.name or ""),
            known=users.find_by_email(db.session(), offer.invitation.email) is not None,
            matches=person is not None and person.email.lower() == offer.invitation.email,
        ), status

    @expose("/join", methods=["POST"])
    @open_page
    def join(self) -> Any:
        """Sign up and accept in one step, for people without an account; the link proves the address."""
        if g.get("identity") is not None:
            return redirect(INVITE)
        try:
            limits.hit("auth", limits.client_ip())
            offer = invitation_answers.offer(db.session(), self._digest())
            if offer.problem:
                raise DomainError(offer.problem)
            user = users.create_user(
                db.session(),
                offer.invitation.email,
                request.form.get("password", ""),
                request.form.get("name", ""),
                email_verified=True,
            )
            context.use(db.session(), replace(ctx(), user_id=user.id))
            done = invitation_answers.accept(db.session(), self._digest())
        except Invalid as error:
            db.session.rollback()
            return self._page(errors=error.fields, status=400)
        except DomainError as error:
            db.session.rollback()
            return self._page(problem=error.message, status=error.status)
        begin_session(user)
        return self._landed(done)

    @expose("/accept", methods=["POST"])
    @personal_page
    def accept(self) -> Any:
        try:
            limits.hit("invitation-accept", limits.client_ip())
            done = invitation_answers.accept(db.session(), self._digest())
        except DomainError as error:
            db.session.rollback()
            return self._page(problem=error.message, status=error.status)
        return self._landed(done)

    def _landed(self, done: invitation_answers.Accepted) -> Any:
        session.pop("invite_token", None)
        session.pop("invite_email", None)
        session.pop("invite_name", None)
        flash(
            f"You are already a member of {done.organization.name}."
            if done.already_member
            else f"Welcome to {done.organization.name}.",
            "success",
        )
        return redirect(f"/dashboard/organization/{done.organization.slug}")

    @expose("/decline", methods=["POST"])
    @personal_page
    def decline(self) -> Any:
        organization = invitation_answers.decline(db.session(), self._digest())
        session.pop("invite_token", None)
        session.pop("invite_email", None)
        session.pop("invite_name", None)
        flash(f"You declined the invitation of {organization.name}.", "info")
        return redirect("/dashboard")
