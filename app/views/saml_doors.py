"""SAML's addresses: sign-in, assertion consumer, metadata, single logout (chapter 3, "Sign-in")."""

from __future__ import annotations

import json
from typing import Any

from flask import Response, flash, redirect, request
from flask_appbuilder import BaseView, expose

from app import clock
from app.api.http import in_transaction
from app.errors import DomainError
from app.extensions import db
from app.identity import saml_logout, saml_response, saml_sp
from app.identity import saml_signature as sig
from app.identity.safe_xml import Refused
from app.identity.state import COOKIE, Pending, same_browser
from app.models import SsoProvider
from app.security import limits, x509
from app.services import sso_providers, sso_sign_in
from app.views import sso_common as common
from app.views.pages import safe_next

EMAIL_NAMES = (
    "email",
    "mail",
    "emailaddress",
    "emailAddress",
    "Email",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
    "urn:oid:0.9.2342.19200300.100.1.3",
    "urn:oid:1.2.840.113549.1.9.1",
)
FIRST_NAMES = (
    "first_name",
    "firstName",
    "givenName",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/givenname",
    "urn:oid:2.5.4.42",
)
LAST_NAMES = (
    "last_name",
    "lastName",
    "sn",
    "surname",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/surname",
    "urn:oid:2.5.4.4",
)
FULL_NAMES = ("name", "displayName", "cn", "urn:oid:2.16.840.1.113730.3.1.241", "urn:oid:2.5.4.3")


def usable_pems(provider: SsoProvider) -> list[str]:
    """Certificates that may have signed: those that have not expired."""
    return [c.pem for c in provider.certificates if x509.usable(c.pem, clock.now())]


def answer_of(provider: SsoProvider, found: saml_response.Assertion) -> sso_sign_in.Answer:
    """The person of an assertion. Raises Refused for an address that comes twice and differs."""

    def attribute(key: str, names: tuple[str, ...]) -> str:
        chosen = provider.attribute_map.get(key)
        for name in (chosen,) if chosen else names:
            values = list(dict.fromkeys(v for v in found.attributes.get(str(name), []) if v))
            if key == "email" and len(values) > 1:
                raise Refused("It names several e-mail addresses.")
            if values:
                return values[0]
        return ""

    email = attribute("email", EMAIL_NAMES) or (found.name_id if "@" in found.name_id else "")
    full = " ".join(filter(None, (attribute("first_name", FIRST_NAMES), attribute("last_name", LAST_NAMES))))
    transient = found.name_id_format == saml_response.TRANSIENT
    return sso_sign_in.Answer(
        subject=f"email:{email.lower()}" if transient else found.name_id,
        email=email,
        name_id=None if transient else found.name_id,
        name=full or attribute("name", FULL_NAMES),
        session_index=found.session_index,
        authenticated_at=found.authenticated_at,
        raw={
            "NameID": found.name_id,
            "NameID format": found.name_id_format.rpartition(":")[2],
            **{name: ", ".join(values) for name, values in found.attributes.items()},
        },
    )


class SamlDoors(BaseView):  # type: ignore[misc]
    """``/sso/saml/<provider_id>``: what an identity provider is told about us."""

    route_base = "/sso/saml/<provider_id>"
    default_view = "login"
    class_permission_name = "auth"

    @expose("/login", methods=["GET"])
    @common.door
    def login(self, provider_id: str) -> Any:
        """Begin: to the identity provider with a request that this browser alone can finish."""
        common.hit()
        value, _ = common.binding()
        record = common.pending(provider_id, value)
        provider = common.provider_of(provider_id, "SAML", enabled=record.kind != "test")
        pems = [c.pem for c in provider.certificates]
        key = sso_providers.sp_key(common.settings(), provider)
        address, request_id = saml_sp.request_url(
            provider,
            common.settings().base_url,
            pems[0] if pems else None,
            key,
            relay=record.next if record.kind == "sign_in" else "/",
            force=record.kind == "confirm",
        )
        common.store().put(f"saml:{provider_id}:{request_id}", record)
        return common.with_binding(redirect(address), value)

    @expose("/acs", methods=["POST"])
    @common.door
    def acs(self, provider_id: str) -> Any:
        """The provider's answer, from another site. Over plain http the cookie stays away: one redirect brings it back."""
        common.hit()
        text = request.form.get("SAMLResponse", "")
        if len(text) > sig.MAX_BYTES * 2:
            raise common.doubt("SAML_ASSERTION_INVALID", "It is larger than 256 KB.")
        relay = request.form.get("RelayState", "")[:2000]
        if not request.cookies.get(COOKIE) and common.wants_page() and text:
            parked = common.store().park(json.dumps([text, relay]))
            return redirect(f"/sso/saml/{provider_id}/finish?key={parked}", 303)
        return self._finish(provider_id, text, relay)

    @expose("/finish", methods=["GET"])
    @common.door
    def finish(self, provider_id: str) -> Any:
        """The same answer again, now with the browser's cookie."""
        common.hit()
        raw = common.store().unpark(request.args.get("key", ""))
        if raw is None:
            raise DomainError("SSO_STATE_EXPIRED")
        text, relay = json.loads(raw)
        return self._finish(provider_id, text, relay)

    def _finish(self, provider_id: str, text: str, relay: str) -> Any:
        taken: dict[str, Pending | None] = {}
        answers = _peek(text)
        if answers:
            taken["record"] = common.store().take(f"saml:{provider_id}:{answers}")
        record = taken.get("record")

        def judge(provider: SsoProvider, checks: list[dict[str, Any]]) -> Any:
            found = _read(provider, text)
            checks.append(
                {"name": "Signature", "ok": True, "message": "Signed by a certificate of the provider."}
            )
            if found.encrypted:
                checks.append({"name": "Encryption", "ok": True, "message": "It came encrypted."})
            checks.append(
                {"name": "For us", "ok": True, "message": "Audience, recipient and destination are ours."}
            )
            if sso_sign_in.seen_before(db.session(), provider, found.assertion_id):
                raise DomainError("SAML_REPLAY")
            if found.in_response_to is None:
                if not provider.allow_idp_initiated:
                    raise DomainError("IDP_INITIATED_DISABLED")
                checks.append(
                    {"name": "Request", "ok": True, "message": "Nobody asked; that is allowed here."}
                )
            else:
                if record is None or found.in_response_to != answers or record.provider_id != provider_id:
                    raise common.doubt(
                        "SAML_ASSERTION_INVALID", "It answers no request of the last ten minutes."
                    )
                if not same_browser(record, request.cookies.get(COOKIE)):
                    raise common.doubt("SAML_ASSERTION_INVALID", "It answers the request of another browser.")
                checks.append(
                    {"name": "Request", "ok": True, "message": "It answers the request of this browser."}
                )
            if record is not None and record.kind == "confirm":
                at = found.authenticated_at
                if at is None or (clock.now() - at).total_seconds() > 600:
                    raise common.doubt("SSO_IDP_REFUSED", "The provider did not ask the person again.")
            try:
                answer = answer_of(provider, found)
            except Refused as error:
                raise common.doubt("SAML_ASSERTION_INVALID", str(error)) from None

            def accept() -> None:
                sso_sign_in.remember(db.session(), provider, found.assertion_id, found.expires_at)

            return answer, accept

        return common.finish(
            provider_id,
            "SAML",
            record,
            judge,
            target=safe_next(relay, "/"),
            hint=lambda a: json.dumps(
                {"name_id": a.name_id or a.raw.get("NameID"), "index": a.session_index}
            ),
        )

    @expose("/metadata", methods=["GET"])
    @common.door
    def metadata(self, provider_id: str) -> Any:
        """Our metadata, for the provider's administrator; also of a provider that is switched off."""
        provider = common.provider_of(provider_id, "SAML", enabled=False)
        pems = [c.pem for c in provider.certificates]
        text = saml_sp.metadata(
            provider,
            common.settings().base_url,
            pems[0] if pems else None,
            sso_providers.sp_key(common.settings(), provider),
            clock.now(),
        )
        return Response(
            text,
            mimetype="application/samlmetadata+xml",
            headers={"Content-Disposition": f'inline; filename="consilium-{provider_id}.xml"'},
        )

    @expose("/sls", methods=["GET", "POST"])
    @common.door
    def sls(self, provider_id: str) -> Any:
        """Single logout: the provider asks us to end sessions, or answers that it ended its own."""
        limits.hit("sso-logout", limits.client_ip())
        try:
            if request.method == "POST":
                return self._logout_by_post(provider_id)
            provider = common.provider_of(provider_id, "SAML", enabled=False)
            sent = saml_logout.signed_query(request.query_string.decode("ascii", "replace"))
            sig.check_query(sent.signed, sent.algorithm, sent.signature, usable_pems(provider))
            data = saml_logout.inflate(sent.document)
            here = saml_sp.urls(common.settings().base_url, provider_id).sls
            if sent.field == "SAMLResponse":
                ended = saml_logout.read_response(
                    data=data, destination=here, issuer=str(provider.idp_entity_id)
                )
                flash(
                    "You are signed out here and at your identity provider."
                    if ended
                    else "You are signed out here; your identity provider did not confirm that it ended its session.",
                    "info",
                )
                return redirect("/login")
            return self._logout(provider_id, data, query_signed=True, relay=sent.relay)
        except Refused as error:
            raise common.doubt("SAML_ASSERTION_INVALID", str(error)) from None

    def _logout_by_post(self, provider_id: str) -> Any:
        if "SAMLRequest" not in request.form:
            flash("You are signed out.", "info")
            return redirect("/login")
        data = saml_response.decode(request.form["SAMLRequest"])
        return self._logout(provider_id, data, query_signed=False, relay=request.form.get("RelayState"))

    def _logout(self, provider_id: str, data: bytes, *, query_signed: bool, relay: str | None) -> Any:
        settings = common.settings()
        ours = saml_sp.urls(settings.base_url, provider_id)

        def work() -> Any:
            provider = common.provider_of(provider_id, "SAML", enabled=False)
            now = clock.now()
            asked = saml_logout.read_request(
                data=data,
                destination=ours.sls,
                issuer=str(provider.idp_entity_id),
                certificates=usable_pems(provider),
                now=now,
                query_signed=query_signed,
            )
            until = now + 2 * saml_response.SKEW + 10 * saml_response.SKEW
            sso_sign_in.remember(db.session(), provider, f"logout:{asked.request_id}", until)
            ended = sso_sign_in.end_sessions(
                db.session(), provider, subject=asked.name_id, indexes=asked.session_indexes or None
            )
            sso_sign_in.note(
                db.session(),
                provider,
                "logout",
                "OK",
                [{"name": "Single logout", "ok": True, "message": f"{ended} sessions ended."}],
            )
            if not provider.slo_url:
                return redirect("/login")
            return redirect(
                saml_logout.response_url(
                    provider.slo_url,
                    ours.entity_id,
                    asked.request_id,
                    relay[:2000] if relay else None,
                    sso_providers.sp_key(settings, provider),
                    now,
                )
            )

        return in_transaction(work)


def _peek(text: str) -> str | None:
    """The request that an answer claims to answer; trusted for nothing but finding the record."""
    from app.identity.safe_xml import parse

    try:
        value = parse(saml_response.decode(text), sig.MAX_BYTES).get("InResponseTo")
    except Refused:
        return None
    return str(value)[:150] if value else None


def _read(provider: SsoProvider, text: str) -> saml_response.Assertion:
    settings = common.settings()
    ours = saml_sp.urls(settings.base_url, provider.provider_id)
    try:
        return saml_response.read(
            text,
            saml_response.Expected(
                acs_url=ours.acs,
                audience=ours.entity_id,
                idp_entity_id=str(provider.idp_entity_id),
                certificates=usable_pems(provider),
                key_pem=sso_providers.sp_key(settings, provider),
                now=clock.now(),
            ),
        )
    except saml_response.NotSuccessful as error:
        raise common.doubt("SSO_IDP_REFUSED", str(error)) from None
    except Refused as error:
        raise common.doubt("SAML_ASSERTION_INVALID", str(error)) from None


def register(appbuilder: Any) -> None:
    """Register the addresses."""
    appbuilder.add_view_no_menu(SamlDoors())
