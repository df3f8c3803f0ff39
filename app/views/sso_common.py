"""What the doors of SAML and OIDC share: the browser's binding, refusals people can read, sessions that begin."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from flask import Response, current_app, jsonify, make_response, redirect, render_template, request, session

from app.api.http import in_transaction
from app.errors import DomainError
from app.extensions import db
from app.identity.state import COOKIE, PATH, SECONDS, Pending, Store, bind, new_binding
from app.models import SsoProvider, User
from app.security import context, keyring, limits, sessions, sso_policy
from app.services import sso_providers, sso_sign_in
from app.views.auth import begin_session
from app.views.pages import safe_next
from config import Settings

DOOR = ("public", "write")


def settings() -> Settings:
    found: Settings = current_app.config["SETTINGS"]
    return found


def store() -> Store:
    return Store(current_app.extensions["redis"])


def wants_page() -> bool:
    """Whether a person's browser asks: it names text/html. Programs get JSON with the status of the refusal."""
    return "text/html" in request.headers.get("Accept", "")


def door(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Guard of a protocol's address: anybody may come; refusals lead to the sign-in page, or answer JSON."""
    import functools

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except DomainError as error:
            db.session.rollback()
            if error.code == "RATE_LIMITED":
                raise  # 429 with Retry-After, to people too
            return refuse(error)

    wrapper._gate = DOOR  # type: ignore[attr-defined]
    return wrapper


def refuse(error: DomainError, back: str = "") -> Any:
    """Lead to the sign-in page with the code, where its copy stands; programs get the code itself."""
    if not wants_page():
        return jsonify(error.body()), error.status
    return redirect(back or f"/login?{urlencode({'error': error.code})}")


def enter(provider_id: str) -> int:
    """Act for the organisation of a provider, as nobody. Raises NOT_FOUND."""
    organization_id = sso_sign_in.organization_of(db.session(), provider_id)
    before = context.ctx()
    context.use(
        db.session(),
        context.Ctx(org_id=organization_id, ip=before.ip, correlation_id=before.correlation_id),
    )
    return organization_id


def provider_of(provider_id: str, protocol: str, *, enabled: bool = True) -> SsoProvider:
    """The provider behind an address, its organisation acted for. Raises NOT_FOUND."""
    enter(provider_id)
    row = sso_providers.find(db.session(), provider_id)
    if row.protocol.value != protocol or (enabled and not row.enabled):
        raise DomainError("NOT_FOUND")
    return row


# ---- the browser's binding ------------------------------------------------------------------------------------------


def binding() -> tuple[str, bool]:
    """(the browser's value, whether it is new)."""
    value = request.cookies.get(COOKIE, "")
    return (value, False) if 40 <= len(value) <= 60 else (new_binding(), True)


def with_binding(response: Any, value: str) -> Response:
    """*response* that keeps the browser's value for the time of a sign-in."""
    answer = make_response(response)
    secure = settings().base_url.startswith("https://")
    answer.set_cookie(
        COOKIE,
        value,
        max_age=SECONDS,
        path=PATH,
        httponly=True,
        secure=secure,
        samesite="None" if secure else "Lax",
    )
    return answer


# ---- beginning ------------------------------------------------------------------------------------------------------


def ticket(kind: str, provider_id: str, *, user_id: int | None, session_id: int | None, back: str) -> str:
    """A single-use key that begins a test or a confirmation in whatever browser opens it."""
    record = Pending(provider_id, kind, "", back, user_id=user_id, session_id=session_id, back=back)
    return store().park(json.dumps(record.__dict__))


def pending(provider_id: str, value: str) -> Pending:
    """The record of a sign-in that begins now: of a ticket in the query, or an ordinary one. Raises SSO_STATE_EXPIRED."""
    given = request.args.get("ticket", "")
    if given:
        raw = store().unpark(given)
        made = Pending(**json.loads(raw)) if raw else None
        if made is None or made.provider_id != provider_id:
            raise DomainError("SSO_STATE_EXPIRED")
        return Pending(**{**made.__dict__, "binding": bind(value)})
    return Pending(provider_id, "sign_in", bind(value), safe_next(request.args.get("next"), "/"))


# ---- ending ---------------------------------------------------------------------------------------------------------


def finish(
    provider_id: str,
    protocol: str,
    record: Pending | None,
    judge: Callable[[SsoProvider, list[dict[str, Any]]], tuple[sso_sign_in.Answer, Callable[[], None]]],
    *,
    target: str = "/",
    hint: Callable[[sso_sign_in.Answer], str | None] = lambda _: None,
) -> Any:
    """End a sign-in: *judge* gives the provider's answer and what to do when it is accepted (remember it, say).

    In one transaction: acceptance, link, membership, session. A refusal changes nothing, but is kept as an attempt.
    """
    checks: list[dict[str, Any]] = []
    kind = record.kind if record is not None else "unsolicited"
    known: dict[str, Any] = {"answer": None}

    def work() -> tuple[User | None, dict[str, Any]]:
        checks.clear()
        provider = provider_of(provider_id, protocol, enabled=kind != "test")
        answer, accept = judge(provider, checks)
        known["answer"] = answer
        s = db.session()
        if kind == "test":
            email = sso_sign_in.trust(s, provider, answer)
            accept()
            checks.append(
                {"name": "Address", "ok": True, "message": f"{email} is on a domain of this provider."}
            )
            sso_sign_in.test_result(s, provider, answer, None, record.user_id if record else None, checks)
            sso_sign_in.note(s, provider, kind, "OK", checks, email)
            return None, {}
        accept()
        done = sso_sign_in.sign_in(s, provider, answer)
        checks.append({"name": "Person", "ok": True, "message": f"{done.user.email} is signed in."})
        if kind == "confirm" and record is not None and record.user_id != done.user.id:
            raise DomainError("SSO_IDP_REFUSED", message="Sign in as yourself to confirm that it is you.")
        if done.problem:
            checks.append({"name": "Membership", "ok": False, "message": f"Not a member: {done.problem}."})
        sso_sign_in.note(s, provider, kind, "OK", checks, done.user.email)
        sealed = None
        text = hint(answer)
        if text and keyring.available(settings()):
            sealed = keyring.seal(settings(), text, f"user_session:{provider.provider_id}")
        if kind == "confirm" and session.get("sid"):
            sessions.end(s, str(session["sid"]))
        begin_session(
            done.user,
            sso_policy.METHOD,
            confirmed=kind == "confirm",
            provider_id=provider.provider_id,
            sso={"subject": answer.subject, "index": answer.session_index, "hint_encrypted": sealed},
        )
        return done.user, {}

    try:
        in_transaction(work)
    except DomainError as error:
        _keep_refusal(provider_id, protocol, kind, error, checks, known["answer"], record)
        if kind == "test" and record is not None and record.back and wants_page():
            return redirect(record.back)
        return refuse(error)
    if kind == "test" and record is not None:
        return redirect(record.back or "/")
    return redirect(record.next if record is not None else target)


def _keep_refusal(
    provider_id: str,
    protocol: str,
    kind: str,
    error: DomainError,
    checks: list[dict[str, Any]],
    answer: sso_sign_in.Answer | None,
    record: Pending | None,
) -> None:
    reason = str(error.details.get("reason") or error.message)
    shown = [*checks, {"name": "Result", "ok": False, "message": reason}]

    def work() -> None:
        s = db.session()
        provider = provider_of(provider_id, protocol, enabled=False)
        if kind == "test":
            sso_sign_in.test_result(
                s,
                provider,
                answer,
                DomainError(error.code, message=reason),
                record.user_id if record else None,
                checks,
            )
        sso_sign_in.note(
            s,
            provider,
            kind,
            error.code,
            shown,
            answer.email if answer else None,
            authentic=answer is not None,
        )

    try:
        in_transaction(work)
    except DomainError:
        db.session.rollback()  # there is no such provider: nothing to keep, nobody to tell


def doubt(code: str, reason: str) -> DomainError:
    """A refusal whose reason is for the owners' trace, not for the stranger who caused it."""
    return DomainError(code, reason=reason)


def interstitial(address: str, title: str, text: str, link: str) -> Any:
    """A page that leads on by itself: forms may not lead to other sites, and after two seconds it offers the link."""
    return make_response(
        render_template("sso/onward.html", address=address, title=title, text=text, link=link), 200
    )


def hit() -> None:
    """Count a sign-in or callback. Raises RATE_LIMITED."""
    limits.hit("sso", limits.client_ip())
