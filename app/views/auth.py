"""Signing in, signing up, resetting a password."""

from __future__ import annotations

from typing import Any

from flask import current_app, flash, g, redirect, request, session
from flask_appbuilder import BaseView, expose
from flask_wtf import FlaskForm
from wtforms import EmailField, PasswordField, StringField
from wtforms.validators import InputRequired, Length

from app.errors import REGISTRY, DomainError, Invalid
from app.extensions import db
from app.models import User
from app.security import limits, sessions
from app.services import outbox, users

from .pages import field_errors, open_page, safe_next

REQUIRED = "This field is required."


class SignInForm(FlaskForm):  # type: ignore[misc]
    email = EmailField("Work e-mail", validators=[InputRequired(REQUIRED), Length(max=320)])
    password = PasswordField("Password", validators=[InputRequired(REQUIRED), Length(max=200)])


class SignUpForm(FlaskForm):  # type: ignore[misc]
    name = StringField("Full name", validators=[InputRequired(REQUIRED), Length(max=100)])
    email = EmailField("Work e-mail", validators=[InputRequired(REQUIRED), Length(max=320)])
    password = PasswordField(
        "Password",
        validators=[InputRequired(REQUIRED), Length(max=200)],
        description="At least 8 characters.",
    )


class ForgotForm(FlaskForm):  # type: ignore[misc]
    email = EmailField("Work e-mail", validators=[InputRequired(REQUIRED), Length(max=320)])


class ResetForm(FlaskForm):  # type: ignore[misc]
    password = PasswordField(
        "New password",
        validators=[InputRequired(REQUIRED), Length(max=200)],
        description="At least 8 characters.",
    )


def begin_session(user: User, method: str = "password", **through: Any) -> None:
    """Sign *user* in on this browser: a fresh cookie, nothing carried over but a pending invitation and the draft.

    *through*: what ``sessions.start`` takes besides. Raises SSO_REQUIRED.
    """
    raw = sessions.start(
        db.session(),
        user,
        current_app.config["SETTINGS"],
        method=method,
        ip=limits.client_ip(),
        user_agent=request.user_agent.string,
        **through,
    )
    kept = {name: session[name] for name in ("invite_token", "wizard") if name in session}
    session.clear()
    session.update(kept)
    session["sid"] = raw
    session.permanent = True


def _told() -> str | None:
    """The copy of ``?error=``: what a refused sign-in said, from the registry, never the text of an address."""
    code = request.args.get("error", "")
    if not code:
        return None
    return REGISTRY[code][1] if code in REGISTRY else REGISTRY["SSO_IDP_REFUSED"][1]


class AuthView(BaseView):  # type: ignore[misc]
    """The doors. The name is the one Flask-AppBuilder asks for."""

    route_base = ""
    default_view = "login"
    class_permission_name = "auth"

    def _next(self) -> str:
        return safe_next(request.args.get("next"), "/")

    def _page(self, template: str, status: int = 200, **values: Any) -> Any:
        return self.render_template(template, next=request.args.get("next", ""), **values), status

    @expose("/login", methods=["GET", "POST"])
    @expose("/login/", methods=["GET", "POST"])
    @open_page
    def login(self) -> Any:
        if g.get("identity") is not None:
            return redirect(self._next())
        form = SignInForm(email=request.args.get("email", "")[:320])
        if form.validate_on_submit():
            try:
                limits.hit("auth", limits.client_ip())
                begin_session(users.authenticate(db.session(), form.email.data, form.password.data))
                return redirect(self._next())
            except DomainError as error:
                db.session.rollback()
                return self._page(
                    "auth/login.html",
                    error.status,
                    form=form,
                    problem=error.message,
                    sso_url=error.details.get("sign_in_url"),
                    sso_name=error.details.get("organization_name"),
                )
        return self._page("auth/login.html", 400 if form.errors else 200, form=form, problem=_told())

    @expose("/signup", methods=["GET", "POST"])
    @open_page
    def signup(self) -> Any:
        if g.get("identity") is not None:
            return redirect(self._next())
        form = SignUpForm(email=session.get("invite_email", ""), name=session.get("invite_name", ""))
        founding = (
            request.args.get("for") == "organisation"
        )  # onboarding follows: person, organisation, review
        if form.validate_on_submit():
            try:
                limits.hit("auth", limits.client_ip())
                user = users.create_user(
                    db.session(), form.email.data, form.password.data, form.name.data, onboarded=not founding
                )
                outbox.mail(db.session(), user.email, "welcome", name=user.name)
                begin_session(user)
                return redirect("/onboarding" if founding else self._next())
            except Invalid as error:
                field_errors(form, error)
            except DomainError as error:
                db.session.rollback()
                return self._page(
                    "auth/signup.html",
                    error.status,
                    form=form,
                    problem=error.message,
                    sso_url=error.details.get("sign_in_url"),
                )
        return self._page("auth/signup.html", 400 if form.errors else 200, form=form, problem=None)

    @expose("/forgot-password", methods=["GET", "POST"])
    @open_page
    def forgot(self) -> Any:
        form = ForgotForm()
        if form.validate_on_submit():
            try:
                limits.hit("auth", limits.client_ip())
            except DomainError as error:
                return self._page(
                    "auth/forgot.html", error.status, form=form, sent=False, problem=error.message
                )
            users.request_reset(db.session(), form.email.data)
            return self._page("auth/forgot.html", form=form, sent=True, problem=None)
        return self._page(
            "auth/forgot.html", 400 if form.errors else 200, form=form, sent=False, problem=None
        )

    @expose("/reset-password/<token>", methods=["GET", "POST"])
    @open_page
    def reset(self, token: str) -> Any:
        form, problem, status = ResetForm(), None, 200
        try:
            users.reset_user(db.session(), token)
            if form.validate_on_submit():
                limits.hit("auth", limits.client_ip())
                begin_session(users.reset_password(db.session(), token, form.password.data))
                flash("Your password is changed and you are signed in.", "success")
                return redirect("/")
        except Invalid as error:
            field_errors(form, error)
        except DomainError as error:
            db.session.rollback()
            problem, status = error, error.status
        return self._page("auth/reset.html", 400 if form.errors else status, form=form, problem=problem)

    @expose("/logout", methods=["POST"])
    @open_page
    def logout(self) -> Any:
        from .sso_start import end_everywhere  # late: it needs begin_session above

        return end_everywhere()


def register(appbuilder: Any) -> None:
    """The sign-in view is registered by the security manager."""
