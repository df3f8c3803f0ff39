"""OpenID Connect's addresses: sign-in, callback, third-party initiation, back-channel logout (chapter 3, "Sign-in")."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlencode, urlsplit

from authlib.common.security import generate_token
from flask import jsonify, redirect, request
from flask_appbuilder import BaseView, expose

from app import clock
from app.api.http import in_transaction
from app.errors import DomainError
from app.extensions import db
from app.identity import oidc
from app.identity.state import COOKIE, Pending, same_browser
from app.models import SsoProvider
from app.security import limits
from app.services import sso_providers, sso_sign_in
from app.views import sso_common as common
from app.views.pages import safe_next

HIDDEN = frozenset(
    {"nonce", "at_hash", "c_hash", "sid", "jti", "aud", "azp", "iss", "iat", "exp", "nbf", "rt_hash"}
)


def redirect_uri(provider_id: str) -> str:
    """Where the provider sends the browser back to."""
    return f"{common.settings().base_url}/sso/oidc/{provider_id}/callback"


class OidcDoors(BaseView):  # type: ignore[misc]
    """``/sso/oidc/<provider_id>``: what an identity provider is told about us."""

    route_base = "/sso/oidc/<provider_id>"
    default_view = "login"
    class_permission_name = "auth"

    @expose("/login", methods=["GET"])
    @common.door
    def login(self, provider_id: str) -> Any:
        """Begin: to the identity provider, with state, nonce and PKCE that this browser alone can finish."""
        common.hit()
        value, _ = common.binding()
        return self._begin(provider_id, common.pending(provider_id, value), value)

    def _begin(self, provider_id: str, record: Pending, value: str) -> Any:
        provider = common.provider_of(provider_id, "OIDC", enabled=record.kind != "test")
        if not provider.discovery:
            raise DomainError("SSO_PROVIDER_MISCONFIGURED")
        state, nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32), generate_token(64)
        filled = Pending(**{**record.__dict__, "nonce": nonce, "verifier": verifier})
        common.store().put(f"oidc:{state}", filled)
        address = oidc.request_url(
            provider,
            redirect_uri(provider_id),
            state=state,
            nonce=nonce,
            verifier=verifier,
            login_hint=request.values.get("login_hint", "")[:320] or None,
            force=record.kind == "confirm",
        )
        return common.with_binding(redirect(address), value)

    @expose("/initiate", methods=["GET", "POST"])
    @common.door
    def initiate(self, provider_id: str) -> Any:
        """A sign-in that the provider begins (OpenID Connect Core 4): an ordinary one, if its issuer is this provider's."""
        common.hit()
        provider = common.provider_of(provider_id, "OIDC")
        if not provider.allow_idp_initiated:
            raise DomainError("IDP_INITIATED_DISABLED")
        if request.values.get("iss") != provider.issuer:
            raise common.doubt("OIDC_RESPONSE_INVALID", "Another issuer wants to begin a sign-in.")
        value, _ = common.binding()
        target = _same_site(request.values.get("target_link_uri", ""))
        record = Pending(provider_id, "sign_in", common.bind(value), target)
        if request.method == "POST":  # a form of another site brings no cookie: begin anew by a link of ours
            return redirect(f"/sso/oidc/{provider_id}/login?{urlencode({'next': target})}", 303)
        return self._begin(provider_id, record, value)

    @expose("/callback", methods=["GET"])
    @common.door
    def callback(self, provider_id: str) -> Any:
        """The provider's answer."""
        common.hit()
        state = request.args.get("state", "")
        record = common.store().take(f"oidc:{state}") if state else None
        if record is None or record.provider_id != provider_id:
            raise DomainError("SSO_STATE_EXPIRED")
        kept: dict[str, str] = {}

        def judge(provider: SsoProvider, checks: list[dict[str, Any]]) -> Any:
            if not same_browser(record, request.cookies.get(COOKIE)):
                raise common.doubt("SSO_STATE_EXPIRED", "It answers the request of another browser.")
            try:
                oidc.check_issuer(provider, request.args.getlist("iss"))
                if request.args.get("error"):
                    shown = "".join(c for c in request.args["error"] if c.isalnum() or c in "_-")[:60]
                    raise common.doubt("SSO_IDP_REFUSED", f"The identity provider answered {shown}.")
                codes = request.args.getlist("code")
                if len(codes) != 1 or not 1 <= len(codes[0]) <= 4096:
                    raise oidc.Refused("The answer carries no code.")
                checks.append(
                    {"name": "Request", "ok": True, "message": "It answers the request of this browser."}
                )
                settings = common.settings()
                if "answer" not in kept:  # a code works once, also when the transaction is tried again
                    kept_answer["value"] = oidc.redeem(
                        settings,
                        provider,
                        sso_providers.client_secrets(settings, provider),
                        code=codes[0],
                        redirect_uri=redirect_uri(provider_id),
                        verifier=record.verifier,
                    )
                    kept["answer"] = "1"
                answer = kept_answer["value"]
                checks.append(
                    {"name": "Code", "ok": True, "message": "The token endpoint accepted code and PKCE."}
                )
                claims = oidc.read_id_token(
                    settings,
                    provider,
                    answer,
                    nonce=record.nonce,
                    now=clock.now(),
                    max_age=300 if record.kind == "confirm" else None,
                )
                kept["id_token"] = answer["id_token"]
                checks.append(
                    {
                        "name": "ID token",
                        "ok": True,
                        "message": "Signature, issuer, audience, nonce and times fit.",
                    }
                )
                found = oidc.person(oidc.with_userinfo(settings, provider, answer, claims))
            except oidc.Refused as error:
                raise common.doubt("OIDC_RESPONSE_INVALID", str(error)) from None
            return _answer(found), lambda: None

        kept_answer: dict[str, dict[str, Any]] = {}
        return common.finish(
            provider_id,
            "OIDC",
            record,
            judge,
            hint=lambda _: kept.get("id_token"),
        )

    @expose("/backchannel-logout", methods=["POST"])
    @common.door
    def backchannel_logout(self, provider_id: str) -> Any:
        """The provider ended a session: end ours (OpenID Connect Back-Channel Logout 2.5)."""
        limits.hit("sso-logout", limits.client_ip())

        def work() -> None:
            provider = common.provider_of(provider_id, "OIDC", enabled=False)
            asked = oidc.read_logout_token(
                common.settings(), provider, request.form.get("logout_token", ""), clock.now()
            )
            sso_sign_in.remember(
                db.session(),
                provider,
                f"logout:{asked.token_id}",
                asked.expires_at,
                code="OIDC_RESPONSE_INVALID",
            )
            ended = sso_sign_in.end_sessions(
                db.session(),
                provider,
                subject=asked.subject,
                indexes=[asked.session_id] if asked.session_id else None,
            )
            sso_sign_in.note(
                db.session(),
                provider,
                "logout",
                "OK",
                [{"name": "Back-channel logout", "ok": True, "message": f"{ended} sessions ended."}],
            )

        try:
            in_transaction(work)
        except oidc.Refused:
            db.session.rollback()
            return _bad_logout("invalid_request")
        except DomainError as error:
            if error.code in ("NOT_FOUND", "RATE_LIMITED"):
                raise
            return _bad_logout("invalid_request")
        return "", 200, {"Cache-Control": "no-store"}


def _bad_logout(code: str) -> Any:
    response = jsonify(error=code)
    response.status_code = 400
    response.headers["Cache-Control"] = "no-store"
    return response


def _answer(found: oidc.Claims) -> sso_sign_in.Answer:
    return sso_sign_in.Answer(
        subject=found.subject,
        email=found.email or "",
        email_verified=found.email_verified,
        hosted_domain=found.hosted_domain,
        name=found.name,
        session_index=found.session_id,
        authenticated_at=found.authenticated_at,
        raw={k: str(v)[:300] for k, v in list(found.raw.items())[:40] if k not in HIDDEN},
    )


def _same_site(target: str) -> str:
    """The path of *target* if it is of our site, else the home."""
    base, parts = urlsplit(common.settings().base_url), urlsplit(target[:2000])
    if (parts.scheme, parts.netloc) == (base.scheme, base.netloc):
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return safe_next(target, "/")


def register(appbuilder: Any) -> None:
    """Register the addresses."""
    appbuilder.add_view_no_menu(OidcDoors())
