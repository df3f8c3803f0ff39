"""One's own account: profile, password, signed-in browsers, and “confirm that it is you”."""

from __future__ import annotations

import zoneinfo
from functools import lru_cache
from typing import Any

from flask import flash, g, redirect, request, session, url_for
from flask_appbuilder import expose
from flask_wtf import FlaskForm
from wtforms import PasswordField
from wtforms.validators import InputRequired, Length

from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import User
from app.security import confirm
from app.services import browsers, onboarding, users

from .pages import Page, field_errors, personal_page, safe_next
from .sso_common import interstitial
from .sso_start import begin_confirmation

REQUIRED = "This field is required."


class ChangePasswordForm(FlaskForm):  # type: ignore[misc]
    current = PasswordField("Current password", validators=[InputRequired(REQUIRED), Length(max=200)])
    password = PasswordField("New password", validators=[InputRequired(REQUIRED), Length(max=200)])


@lru_cache(maxsize=1)
def zones() -> list[tuple[str, str]]:
    """Time zones to choose from: India first, then by name."""
    names = sorted(
        z for z in zoneinfo.available_timezones() if "/" in z and not z.startswith(("Etc/", "posix", "right"))
    )
    first = ["Asia/Kolkata", "UTC"]
    return [(n, n.replace("_", " ")) for n in [*first, *(n for n in names if n not in first)]]


class AccountPage(Page):
    """``/account``: everything a person may change about themselves."""

    route_base = "/account"
    resource = "self"

    @expose("/", methods=["GET", "POST"])
    @personal_page
    def index(self) -> Any:
        form = ChangePasswordForm()
        if form.validate_on_submit():
            try:
                users.change_password(
                    db.session(),
                    g.identity.user.id,
                    form.current.data,
                    form.password.data,
                    keep_session=session.get("sid"),
                )
                flash("Your password is changed. Your other sessions have ended.", "success")
                return redirect(url_for("AccountPage.index"))
            except Invalid as error:
                field_errors(form, error)
            except DomainError as error:
                db.session.rollback()
                form.current.errors = [error.message]
        return self._page(form), 400 if form.errors else 200

    @expose("/profile", methods=["POST"])
    @personal_page
    def profile(self) -> Any:
        given = {name: request.form.get(name, "") for name in ("name", "phone", "timezone")}
        try:
            onboarding.update_person(db.session(), given)
        except Invalid as error:
            db.session.rollback()
            return self._page(ChangePasswordForm(formdata=None), given, error.fields), 400
        flash("Your profile is saved.", "success")
        return redirect(url_for("AccountPage.index"))

    @expose("/sessions/others/end", methods=["POST"])
    @personal_page
    def end_others(self) -> Any:
        ended = browsers.end_others(db.session(), g.identity.user.id, g.identity.session_id)
        flash(
            f"{ended} other session{'' if ended == 1 else 's'} ended."
            if ended
            else "There was no other session.",
            "success",
        )
        return redirect(url_for("AccountPage.index"))

    @expose("/sessions/<key>/end", methods=["POST"])
    @personal_page
    def end(self, key: str) -> Any:
        browsers.end(db.session(), g.identity.user.id, key)
        flash("That session has ended.", "success")
        return redirect(url_for("AccountPage.index"))

    def _page(
        self, form: Any, given: dict[str, str] | None = None, errors: dict[str, list[str]] | None = None
    ) -> str:
        me = db.session.get_one(User, g.identity.user.id)
        return self.render(
            "auth/account.html",
            title="Account",
            form=form,
            me=me,
            given=given or {"name": me.name, "phone": me.phone or "", "timezone": me.timezone},
            errors=errors or {},
            zones=zones(),
            browsers=browsers.of_person(db.session(), me.id, g.identity.session_id),
            has_password=bool(me.password),
        )


class ConfirmPage(Page):
    """``/confirm``: the password once more, before what cannot be undone."""

    route_base = "/confirm"
    resource = "self"

    @expose("", methods=["GET", "POST"])
    @personal_page
    def index(self) -> Any:
        target = safe_next(request.args.get("next"), "/")
        problem, status = None, 200
        if request.method == "POST":
            try:
                confirm.with_password(db.session(), request.form.get("password", ""))
                return redirect(target)
            except DomainError as error:
                db.session.rollback()
                problem, status = error.message, error.status
        return self.render(
            "auth/confirm.html",
            title="Confirm that it is you",
            next=target,
            problem=problem,
            by_password=confirm.can_use_password(),
            again_url=url_for("ConfirmPage.again", next=target),
        ), status

    @expose("/sso", methods=["POST"])
    @personal_page
    def again(self) -> Any:
        """A session of single sign-on proves who it is at its identity provider, which asks the person anew."""
        target = safe_next(request.args.get("next"), "/")
        url = begin_confirmation(
            target, g.identity.user.id, g.identity.session_id, str(g.identity.provider_id or "")
        )
        if url is None:
            raise DomainError("SSO_PROVIDER_MISCONFIGURED")
        return interstitial(
            url, "Confirm that it is you", "Sign in once more; then you come back.", "Sign in again"
        )


def to_confirm(back: str) -> Any:
    """Ask for the password first, then come back to the page *back*."""
    return redirect(url_for("ConfirmPage.index", next=back))


def register(appbuilder: Any) -> None:
    """Register the pages."""
    appbuilder.add_view_no_menu(AccountPage())
    appbuilder.add_view_no_menu(ConfirmPage())
