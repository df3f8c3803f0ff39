"""The set-up link's pages: an IT department sets single sign-on up for one organisation, without an account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import current_app, flash, redirect, request
from flask_appbuilder import BaseView, expose

from app.errors import DomainError
from app.extensions import db
from app.identity import domains
from app.models import Organization, SsoProvider
from app.security import limits
from app.services import domain_claims, outbox, sso_providers, sso_setup
from app.views import sso_steps as steps

from .pages import open_page


class SsoSetupPage(BaseView):  # type: ignore[misc]
    """``/sso/setup/<token>``. What is made here stays switched off until an owner tests it and switches it on: whoever
    holds a link cannot sign anybody in."""

    route_base = "/sso/setup/<token>"
    default_view = "index"
    class_permission_name = "auth"

    @expose("", methods=["GET"])
    @open_page
    def index(self, token: str) -> Any:
        return self._with(token, lambda org: self._page(token, org))

    @expose("/domains", methods=["POST"])
    @open_page
    def claim(self, token: str) -> Any:
        def work(org: Organization) -> Any:
            try:
                domain_claims.claim(db.session(), request.form.get("domain", ""))
            except DomainError as error:
                fields, text = steps.problems_of(error)
                return self._page(
                    token, org, errors={"domain": fields.get("domain") or [text or error.message]}
                ), 400
            return redirect(f"/sso/setup/{token}#domains")

        return self._with(token, work)

    @expose("/domains/<domain>/verify", methods=["POST"])
    @open_page
    def verify(self, token: str, domain: str) -> Any:
        settings = current_app.config["SETTINGS"]

        def work(org: Organization) -> Any:
            limits.hit("domain-verify", str(org.id))
            try:
                domain_claims.verify(
                    db.session(), domain, lambda name, secret: domains.proves(settings, name, secret)
                )
            except DomainError as error:
                return self._page(token, org, problem=error.message), error.status
            flash(f"{domain} is verified.", "success")
            return redirect(f"/sso/setup/{token}#domains")

        return self._with(token, work)

    @expose("/providers", methods=["POST"])
    @open_page
    def create(self, token: str) -> Any:
        def work(org: Organization) -> Any:
            try:
                row = steps.create(enabled=False)
            except DomainError as error:
                if error.status >= 500:
                    raise
                fields, text = steps.problems_of(error)
                return self._page(token, org, errors=fields, problem=text), error.status
            for owner in domain_claims.owners(db.session()):
                outbox.notify(
                    db.session(),
                    owner.id,
                    "sso_ready",
                    f"{row} is set up",
                    "Your IT department entered the identity provider. Test it, then switch it on.",
                    url=f"/dashboard/organization/{org.slug}/sso/providers/{row.provider_id}",
                )
            return redirect(f"/sso/setup/{token}?provider={row.provider_id}#test")

        return self._with(token, work)

    @expose("/providers/<provider_id>/<what>", methods=["POST"])
    @open_page
    def change(self, token: str, provider_id: str, what: str) -> Any:
        """Test, check or take back a provider that is not switched on yet. Others are an owner's."""
        back = f"/sso/setup/{token}?provider={provider_id}#test"

        def work(org: Organization) -> Any:
            row = sso_providers.find(db.session(), provider_id)
            if row.enabled:
                raise DomainError("NOT_FOUND")
            limits.hit("provider-test", str(org.id))
            if what == "check":
                sso_providers.check(db.session(), current_app.config["SETTINGS"], row)
                return redirect(back)
            if what == "test":
                return steps.to_test(row, back, user_id=None, session_id=None)
            if what == "remove":
                sso_providers.remove(db.session(), provider_id)
                return redirect(f"/sso/setup/{token}#provider")
            raise DomainError("NOT_FOUND")

        return self._with(token, work)

    def _with(self, token: str, work: Callable[[Organization], Any]) -> Any:
        limits.hit("sso-setup", limits.client_ip())
        try:
            with sso_setup.by_secret(db.session(), token) as (organization, _):
                return work(organization)
        except DomainError as error:
            if error.code != "LINK_EXPIRED":
                raise
            db.session.rollback()
            return self.render_template("sso/setup_gone.html", title="This link has ended"), 410

    def _page(
        self,
        token: str,
        org: Organization,
        *,
        errors: dict[str, list[str]] | None = None,
        problem: str | None = None,
    ) -> str:
        claims = steps.state_of_claims()
        providers: list[SsoProvider] = sso_providers.providers(db.session())
        chosen = next(
            (p for p in providers if p.provider_id == request.args.get("provider", "") and not p.enabled),
            next((p for p in reversed(providers) if not p.enabled), None),
        )
        draft = steps.draft(org.slug)
        verified = any(c["state"] in ("VERIFIED", "FAILING") for c in claims)
        tested = bool(chosen and chosen.last_test_result and chosen.last_test_result.get("interactive"))
        ok = bool(tested and chosen and (chosen.last_test_result or {}).get("ok"))
        return str(
            self.render_template(
                "sso/setup.html",
                title=f"Single sign-on for {org.name}",
                wide=True,
                name=org.name,
                token=token,
                claims=claims,
                draft=draft,
                chosen=chosen,
                facts=steps.provider_facts(chosen) if chosen else None,
                running=[p for p in providers if p.enabled],
                at=3 if ok else 2 if chosen else 1 if verified else 0,
                ok=ok,
                errors={**draft["errors"], **(errors or {})},
                problem=problem,
                given=request.form,
                methods=steps.METHODS,
                action=f"/sso/setup/{token}/providers",
                base=f"/sso/setup/{token}",
            )
        )


def register(appbuilder: Any) -> None:
    """Register the page."""
    appbuilder.add_view_no_menu(SsoSetupPage())
