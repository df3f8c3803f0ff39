"""Single sign-on as pages: domains, providers, test, enforcement, and the way out when a provider is down."""

from __future__ import annotations

from typing import Any

from flask import current_app, flash, g, redirect, request, url_for
from flask_appbuilder import expose

from app.api.domain_claims import verify_now
from app.api.http import parse_id
from app.errors import DomainError
from app.extensions import db
from app.models import OrgRole
from app.security import limits, matrix
from app.security.context import ctx
from app.services import break_glass, domain_claims, sso, sso_providers, sso_setup
from app.views import sso_steps as steps
from app.views.base import page as page_entry

from .pages import OrgPage, page

GLASS_HOURS = [("1", "1 hour"), ("4", "4 hours"), ("8", "8 hours"), ("24", "A day"), ("72", "Three days")]
LINK_DAYS = [("1", "1 day"), ("7", "7 days"), ("14", "14 days"), ("30", "30 days")]


def _version() -> int | None:
    raw = request.form.get("version", "")
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 10 else None


def _number(name: str) -> int:
    raw = request.form.get(name, "")
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 4 else 0


class SsoPage(OrgPage):
    """``…/sso``: a guided set-up at first, the state of it afterwards."""

    route_base = "/dashboard/organization/<org_id>/sso"
    resource = "sso"

    # ---- overview -----------------------------------------------------------------------------------------------
    @expose("", methods=["GET"])
    @page("sso")
    def index(self) -> Any:
        return self._index()

    def _index(self, **more: Any) -> str:
        s = db.session()
        row = sso.settings_of(s)
        providers = sso_providers.providers(s)
        claims = steps.state_of_claims()
        verified = [c for c in claims if c["state"] in ("VERIFIED", "FAILING")]
        proven = [p for p in providers if p.proven_at and p.enabled and sso.is_usable(p, p.certificates)]
        owner = matrix.can("write", "sso")
        return self.render(
            "sso/index.html",
            **{
                "title": "Single sign-on",
                "settings": row,
                "claims": claims,
                "verified": verified,
                "covered": sso.covered_domains(s, row),
                "providers": [(p, steps.provider_facts(p)) for p in providers],
                "proven": proven,
                "at": 4 if row.enforce_sso else 3 if proven else 2 if providers else 1 if verified else 0,
                "glass_open": break_glass.is_open(row),
                "may": owner,
                "is_owner": ctx().role == OrgRole.OWNER and not ctx().viewing,
                "codes_left": sso.codes_left(s),
                "without_codes": sso.owners_without_codes(s) if row.enforce_sso and owner else [],
                "links": [(x, sso_setup.state(x)) for x in sso_setup.links(s)] if owner else [],
                "glass_hours": GLASS_HOURS,
                "link_days": LINK_DAYS,
                "codes": [],
                "new_link": None,
                "errors": {},
                "given": request.form,
                **more,
            },
        )

    # ---- domains ------------------------------------------------------------------------------------------------
    @expose("/domains", methods=["POST"])
    @page("domain-claims", "write")
    def claim(self) -> Any:
        try:
            row = domain_claims.claim(db.session(), request.form.get("domain", ""))
        except DomainError as error:
            db.session.rollback()
            fields, text = steps.problems_of(error)
            return self._index(errors={"domain": fields.get("domain") or [text or error.message]}), 400
        flash(f"Publish the record for {row.domain}, then verify.", "success")
        return redirect(url_for("SsoPage.index") + "#domains")

    @expose("/domains/<domain>/verify", methods=["POST"])
    @page("domain-claims", "write")
    def verify(self, domain: str) -> Any:
        row = verify_now(domain).claim
        flash(f"{row.domain} is verified.", "success")
        return redirect(url_for("SsoPage.index") + "#domains")

    @expose("/domains/<domain>/release", methods=["POST"])
    @page("domain-claims", "write")
    def release(self, domain: str) -> Any:
        domain_claims.release(db.session(), domain)
        flash(f"{domain} is released.", "success")
        return redirect(url_for("SsoPage.index") + "#domains")

    # ---- enforcement --------------------------------------------------------------------------------------------
    @expose("/settings", methods=["POST"])
    @page("sso", "write")
    def settings(self) -> Any:
        values: dict[str, Any] = {}
        if "scope_shown" in request.form:
            values["allowed_email_domains"] = request.form.getlist("allowed_email_domains")
        if request.form.get("enforce_sso") in ("0", "1"):
            values["enforce_sso"] = request.form["enforce_sso"] == "1"
        done = sso.change(db.session(), values, _version())
        if values.get("enforce_sso"):
            return self._index(codes=done.codes, ended=done.revoked, just_enforced=True)
        flash(
            "Single sign-on is no longer enforced." if values.get("enforce_sso") is False else "Saved.",
            "success",
        )
        return redirect(url_for("SsoPage.index"))

    @expose("/recovery-codes", methods=["POST"])
    @page("sso", "write")
    def codes(self) -> Any:
        return self._index(codes=sso.new_codes(db.session()))

    @expose("/break-glass", methods=["POST"])
    @page("sso", "write")
    def open_glass(self) -> Any:
        break_glass.open_glass(db.session(), _number("hours"), request.form.get("reason", ""))
        flash("Break-glass is open. Owners have been mailed.", "warning")
        return redirect(url_for("SsoPage.index"))

    @expose("/break-glass/close", methods=["POST"])
    @page("sso", "write")
    def close_glass(self) -> Any:
        break_glass.close(db.session())
        flash("Break-glass is closed.", "success")
        return redirect(url_for("SsoPage.index"))

    # ---- set-up links -------------------------------------------------------------------------------------------
    @expose("/setup-links", methods=["POST"])
    @page("sso", "write")
    def new_link(self) -> Any:
        row, secret = sso_setup.create(db.session(), request.form.get("label", ""), _number("days"))
        return self._index(
            new_link=sso_setup.address(current_app.config["SETTINGS"], secret), new_link_row=row
        )

    @expose("/setup-links/<key>/revoke", methods=["POST"])
    @page("sso", "write")
    def end_link(self, key: str) -> Any:
        sso_setup.revoke(db.session(), parse_id(key))
        flash("The link no longer works.", "success")
        return redirect(url_for("SsoPage.index") + "#links")

    # ---- providers ----------------------------------------------------------------------------------------------
    @expose("/providers/new", methods=["GET", "POST"])
    @page("sso", "write")
    def new(self) -> Any:
        draft = steps.draft(g.org["slug"])
        errors, problem, status = draft["errors"], None, 200
        if request.method == "POST" and draft["ready"]:
            try:
                row = steps.create()
                flash(f"{row} is saved. Test it before anybody depends on it.", "success")
                return redirect(url_for("SsoPage.provider", provider_id=row.provider_id))
            except DomainError as error:
                db.session.rollback()
                if error.status >= 500:
                    raise
                errors, problem = steps.problems_of(error)
                status = error.status
                draft = steps.draft(g.org["slug"])
        return self.render(
            "sso/new.html",
            title="Add an identity provider",
            draft=draft,
            errors=errors,
            problem=problem,
            given=request.form,
            methods=steps.METHODS,
            action=url_for("SsoPage.new"),
            back=url_for("SsoPage.index"),
        ), status

    @expose("/providers/<provider_id>", methods=["GET"])
    @page("sso")
    def provider(self, provider_id: str) -> Any:
        return self._provider(provider_id)

    def _provider(self, provider_id: str, **more: Any) -> str:
        s = db.session()
        row = sso_providers.find(s, provider_id)
        owner = matrix.can("write", "sso")
        return self.render(
            "sso/provider.html",
            **{
                "title": str(row),
                "p": row,
                "f": steps.provider_facts(row),
                "attempts": sso_providers.attempts(s, row) if owner else [],
                "may": owner,
                "enforced": sso.settings_of(s).enforce_sso,
                "formats": steps.FORMATS,
                "methods": steps.METHODS,
                "errors": {},
                "given": request.form,
                **more,
            },
        )

    @expose("/providers/<provider_id>", methods=["POST"])
    @page("sso", "write")
    def save(self, provider_id: str) -> Any:
        s, settings = db.session(), current_app.config["SETTINGS"]
        row = sso_providers.find(s, provider_id)
        try:
            sso_providers.update(s, settings, provider_id, steps.changes(row), _version())
        except DomainError as error:
            s.rollback()
            fields, text = steps.problems_of(error)
            if not fields:
                raise DomainError(error.code, message=text) from None
            return self._provider(provider_id, errors=fields), 400
        flash("Saved.", "success")
        return redirect(url_for("SsoPage.provider", provider_id=provider_id))

    @expose("/providers/<provider_id>/<what>", methods=["POST"])
    @page("sso", "write")
    def change(self, provider_id: str, what: str) -> Any:
        """One change with a button of its own: on, off, certificates, secrets, metadata, test, remove."""
        s, settings, form = db.session(), current_app.config["SETTINGS"], request.form
        here = url_for("SsoPage.provider", provider_id=provider_id)
        values: dict[str, dict[str, Any]] = {
            "on": {"enabled": True},
            "off": {"enabled": False},
            "add-certificate": {"add_certificate": form.get("certificate", "")},
            "remove-certificate": {"remove_certificate": form.get("fingerprint", "")},
            "add-secret": {"client_secret": form.get("client_secret", "").strip()},
            "remove-secret": {"remove_client_secret": form.get("secret", "")},
            "metadata": {"metadata_xml": form.get("metadata_xml", "")},
        }
        if what in values:
            try:
                sso_providers.update(s, settings, provider_id, values[what])
            except DomainError as error:
                s.rollback()
                fields, _ = steps.problems_of(error)
                if not fields:
                    raise
                return self._provider(provider_id, errors=fields, opened=what), 400
            flash("Saved.", "success")
            return redirect(here)
        if what == "check":
            limits.hit("provider-test", str(g.org["organization_id"]))
            sso_providers.check(s, settings, sso_providers.find(s, provider_id))
            return redirect(here + "#result")
        if what == "test":
            limits.hit("provider-test", str(g.org["organization_id"]))
            return steps.to_test(
                sso_providers.find(s, provider_id),
                here + "#result",
                user_id=g.identity.user.id,
                session_id=g.identity.session_id,
            )
        if what == "remove":
            if form.get("confirm_word") != provider_id:
                raise DomainError("CONFLICT", message=f"Type {provider_id} to confirm.")
            sso_providers.remove(s, provider_id)
            flash("The identity provider is removed.", "success")
            return redirect(url_for("SsoPage.index"))
        raise DomainError("NOT_FOUND")


def register(appbuilder: Any) -> None:
    """Register the page."""
    page_entry(
        appbuilder,
        SsoPage(),
        group="Configuration",
        label="Single sign-on",
        resource="sso",
        icon="shield",
        order=12,
        keywords="sso saml oidc okta entra google domain identity provider",
    )
