"""From an address to its identity provider; recovery codes when that is down; signing out there too."""

from __future__ import annotations

import json
from typing import Any

from flask import current_app, flash, redirect, request, session, url_for
from flask_appbuilder import BaseView, expose
from sqlalchemy import select

from app.errors import DomainError, Invalid
from app.extensions import db
from app.identity import oidc, saml_sp
from app.models import SsoProtocol, UserSession
from app.security import keyring, limits, sessions, sso_policy
from app.services import break_glass, sso_providers
from app.views import sso_common as common
from app.views.pages import open_page, safe_next


class SsoStart(BaseView):  # type: ignore[misc]
    """``/sso``: what people meet before their identity provider."""

    route_base = "/sso"
    default_view = "start"
    class_permission_name = "auth"

    @expose("/start", methods=["GET"])
    @open_page
    def start(self) -> Any:
        """Find the provider of ``?email=`` and lead there; without one, back to the sign-in page with a word."""
        target = safe_next(request.args.get("next"), "/")
        email = request.args.get("email", "").strip()[:320]
        if not email:
            return self.render_template(
                "sso/start.html", title="Single sign-on", next=target, email="", problem=None
            )
        try:
            limits.hit("sso", limits.client_ip())
        except DomainError as error:
            return self._start(email, target, error.message), error.status
        rule = sso_policy.verdict(db.session(), email)
        if rule.misconfigured:
            return self._start(email, target, DomainError("SSO_PROVIDER_MISCONFIGURED").message), 422
        url = rule.sign_in_url(next=target, login_hint=email)
        if url is None:
            return self._start(
                email,
                target,
                "No organisation signs in this address. Use your password, or check the address.",
            )
        return common.interstitial(
            url,
            f"To {rule.organization_name}",
            "Your organisation's identity provider signs you in.",
            f"Continue to {rule.organization_name}",
        )

    def _start(self, email: str, target: str, problem: str) -> Any:
        return self.render_template(
            "sso/start.html", title="Single sign-on", next=target, email=email, problem=problem
        )

    @expose("/recovery", methods=["GET", "POST"])
    @open_page
    def recovery(self) -> Any:
        """An owner's recovery code opens break-glass: then passwords work for four hours."""
        given = {k: request.form.get(k, "")[:500] for k in ("email", "recovery_code", "reason")}
        errors: dict[str, list[str]] = {}
        problem, status = None, 200
        if request.method == "POST":
            try:
                limits.hit("auth", limits.client_ip())
                break_glass.open_with_code(
                    db.session(), given["email"], given["recovery_code"], given["reason"]
                )
                flash("Passwords work again for four hours. Sign in with yours.", "success")
                return redirect(url_for("AuthView.login"))
            except Invalid as error:
                db.session.rollback()
                errors, status = error.fields, 400
            except DomainError as error:
                db.session.rollback()
                problem, status = error.message, error.status
        return self.render_template(
            "sso/recovery.html", title="Recovery", given=given, errors=errors, problem=problem
        ), status


def begin_confirmation(target: str, user_id: int, session_id: int, provider_id: str) -> str | None:
    """Where a session of single sign-on confirms that it is still the same person, or None without its provider."""
    try:
        with_org = sso_providers_of(provider_id)
    except DomainError:
        return None
    if with_org is None:
        return None
    key = common.ticket("confirm", provider_id, user_id=user_id, session_id=session_id, back=target)
    return f"/sso/{with_org}/{provider_id}/login?ticket={key}"


def sso_providers_of(provider_id: str) -> str | None:
    """The protocol of an enabled provider in small letters, read in its own organisation."""
    from app.security import context
    from app.services import sso_sign_in

    organization_id = sso_sign_in.organization_of(db.session(), provider_id)
    with context.acting(db.session(), org_id=organization_id, user_id=None, membership_id=None, role=None):
        row = sso_providers.find(db.session(), provider_id)
        return row.protocol.value.lower() if row.enabled else None


def logout_address(raw: str) -> str | None:
    """Where signing out goes on at the identity provider that signed this session in, or None. The session is still open."""
    from app.security import context
    from app.services import sso_sign_in

    row = db.session.scalars(
        select(UserSession).where(
            UserSession.key_hash == sessions.hash_key(raw), UserSession.revoked_at.is_(None)
        )
    ).one_or_none()
    if row is None or row.method != sso_policy.METHOD or not row.provider_id:
        return None
    settings = current_app.config["SETTINGS"]
    try:
        organization_id = sso_sign_in.organization_of(db.session(), row.provider_id)
        with context.acting(
            db.session(), org_id=organization_id, user_id=None, membership_id=None, role=None
        ):
            provider = sso_providers.find(db.session(), row.provider_id)
            hint = (
                keyring.unseal(settings, row.sso_hint_encrypted, f"user_session:{provider.provider_id}")
                if row.sso_hint_encrypted
                else None
            )
            if provider.protocol == SsoProtocol.OIDC:
                return oidc.logout_url(provider, hint=hint, back=f"{settings.base_url}/login")
            if not provider.slo_url or not hint:
                return None
            said = json.loads(hint)
            pems = [c.pem for c in provider.certificates]
            return saml_sp.logout_url(
                provider,
                settings.base_url,
                pems[0] if pems else None,
                sso_providers.sp_key(settings, provider),
                name_id=str(said["name_id"]),
                name_id_format=provider.name_id_format,
                session_index=said.get("index"),
                relay="/login",
            )
    except (DomainError, ValueError, KeyError):
        return None  # signing out here never fails for the sake of there


def end_everywhere() -> Any:
    """Sign this browser out, and lead on to the provider's own sign-out where it has one."""
    raw = str(session.get("sid") or "")
    address = logout_address(raw) if raw else None
    if raw:
        sessions.end(db.session(), raw)
    session.clear()
    if address is None:
        flash("You are signed out.", "info")
        return redirect(url_for("AuthView.login"))
    return common.interstitial(
        address,
        "Signing you out",
        "You are signed out here. Your identity provider is next.",
        "Sign out there too",
    )


def register(appbuilder: Any) -> None:
    """Register the pages."""
    appbuilder.add_view_no_menu(SsoStart())
