"""Onboarding of somebody who represents an organisation: Personal, Organisation, Review, Launch (chapter 1, 1.4).

The draft waits in the server's store, not in the database; Launch writes everything at once, through the same function
and schemas as ``POST /api/onboarding``.
"""

from __future__ import annotations

from typing import Any

from flask import current_app, flash, g, redirect, request, url_for
from flask_appbuilder import expose

from app.api.http import validate
from app.api.onboarding import OnboardingSchema, onboard, scope
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import FundingSource, OrgRole, SizeBucket, User
from app.services import drafts, idempotency, onboarding, org_fields, organizations
from app.services.member_rules import GROWTH_CAP
from app.services.tax import STATES
from app.services.text import slugify, split_addresses
from app.services.users import normalise_email

from .account import zones
from .org_settings import size_words
from .pages import Page, personal_page

STEPS = ("personal", "organisation", "review")
TITLES = ("Personal", "Organisation", "Review")
PERSONAL = ("name", "phone", "timezone")
ORGANIZATION = ("name", "slug", "industry", "size_bucket", "gst_state_code", "gstin")
KIND = "onboarding"
MOST_INVITED = GROWTH_CAP - 1  # the founder is the first of five
MENDED_AT = {
    "SLUG_TAKEN": "slug",
    "GST_STATE_REQUIRED": "gst_state_code",
    "INVALID_GSTIN_FORMAT": "gstin",
    "DOMAIN_VERIFICATION_REQUIRED": "emails",
    "ALREADY_MEMBER": "emails",
}
FUNDING = [
    ("WALLET", "Wallet", "Buy credits first, then spend them."),
    ("INVOICE", "Invoice", "Book now, one GST invoice a month."),
    ("LICENSE", "Licence", "A fixed fee for seats."),
    ("PERSONAL", "Paid by members", "Members pay themselves; you see it."),
]


class OnboardingPage(Page):
    """``/onboarding``."""

    route_base = "/onboarding"

    @expose("")
    @expose("/")
    @personal_page
    def index(self) -> Any:
        draft = self._draft()
        if draft.get("launched"):
            drafts.discard(self._store, g.identity.user.id, KIND)
            draft = self._draft()
        return redirect(
            url_for("OnboardingPage.step", name=next((s for s in STEPS if s not in draft["seen"]), "review"))
        )

    @expose("/<name>", methods=["GET", "POST"])
    @personal_page
    def step(self, name: str) -> Any:
        if name not in STEPS:
            raise DomainError("NOT_FOUND")
        draft = self._draft()
        missing = next((s for s in STEPS[: STEPS.index(name)] if s not in draft["seen"]), None)
        if missing:
            return redirect(url_for("OnboardingPage.step", name=missing))
        if request.method == "GET" or name == "review":
            return self._page(name, draft, draft.get("problems") if draft.get("at") == name else None)
        problems = self._personal(draft) if name == "personal" else self._organisation(draft)
        draft["problems"], draft["at"] = problems, name
        if name not in draft["seen"] and not problems:
            draft["seen"].append(name)
        drafts.save(self._store, g.identity.user.id, draft, KIND)
        if problems:
            return self._page(name, draft, problems), 400
        done = {"personal", "organisation"} <= set(draft["seen"])
        return redirect(url_for("OnboardingPage.step", name="review" if done else "organisation"))

    @expose("/launch", methods=["POST"])
    @personal_page
    def launch(self) -> Any:
        user, draft = g.identity.user, self._draft()
        if draft.get("launched"):
            return redirect(f"/dashboard/organization/{draft['launched']}/home")
        if not {"personal", "organisation"} <= set(draft["seen"]):
            return redirect(url_for("OnboardingPage.index"))
        try:
            body = validate(OnboardingSchema, self._body(draft))
            stored = idempotency.claim(db.session(), scope(), draft["key"], body)
            status, answer = stored or onboard(body)
            if stored is None:
                idempotency.store(db.session(), scope(), draft["key"], status, answer)
        except Invalid as error:
            db.session.rollback()
            return self._mend(draft, {n.rpartition(".")[2]: p for n, p in error.fields.items()})
        except DomainError as error:
            db.session.rollback()
            if error.code not in MENDED_AT:
                raise
            return self._mend(draft, {MENDED_AT[error.code]: [error.message]})
        slug = answer["organization"]["slug"]
        drafts.save(self._store, user.id, {**draft, "launched": slug}, KIND)
        flash("Welcome. The platform team verifies your organisation within two working days.", "success")
        return redirect(f"/dashboard/organization/{slug}/home")

    # ---- the draft ---------------------------------------------------------------------------------------------------
    @property
    def _store(self) -> Any:
        return current_app.extensions["redis"]

    def _draft(self) -> dict[str, Any]:
        return drafts.load(self._store, g.identity.user.id, KIND)

    @staticmethod
    def _body(draft: dict[str, Any]) -> dict[str, Any]:
        """The draft as ``POST /api/onboarding`` takes it."""
        values = draft["values"]
        return {
            "personal": values["personal"],
            "organization": {k: v for k, v in values["organisation"].items() if v not in (None, "")},
            "invitations": [{"email": e, "role": values["role"]} for e in values["emails"]],
        }

    def _mend(self, draft: dict[str, Any], problems: dict[str, list[str]]) -> Any:
        own = set(PERSONAL) - {"name"}
        at = "personal" if set(problems) & own else "organisation"
        drafts.save(self._store, g.identity.user.id, {**draft, "at": at, "problems": problems}, KIND)
        return redirect(url_for("OnboardingPage.step", name=at))

    @staticmethod
    def _personal(draft: dict[str, Any]) -> dict[str, list[str]]:
        given = {name: request.form.get(name, "") for name in PERSONAL}
        draft["values"]["personal"] = given
        try:
            draft["values"]["personal"] = {**given, **onboarding.clean_person(given)}
        except Invalid as error:
            return error.fields
        return {}

    @staticmethod
    def _organisation(draft: dict[str, Any]) -> dict[str, list[str]]:
        given: dict[str, Any] = {name: request.form.get(name, "") for name in ORGANIZATION}
        if not given["slug"].strip():
            given["slug"] = slugify(given["name"])
        source, typed = request.form.get("funding_source", ""), request.form.get("emails", "")
        draft["values"].update(
            organisation={**given, "funding_source": source}, typed=typed[:10_000], emails=[]
        )
        draft["values"]["role"] = (
            request.form.get("role") if request.form.get("role") in _roles() else "LEARNER"
        )
        problems: dict[str, list[str]] = {}
        try:
            cleaned = org_fields.clean({k: v for k, v in given.items() if v != "" or k in ("name", "slug")})
            organizations.tax_identity(cleaned)
            draft["values"]["organisation"].update(cleaned)
        except Invalid as error:
            problems = error.fields
        except DomainError as error:
            problems = {"gstin": [error.message]}
        if source not in set(FundingSource):
            problems["funding_source"] = ["Choose how bookings are paid."]
        if not problems and not draft["values"]["organisation"].get("gst_state_code"):
            problems["gst_state_code"] = ["Choose the GST state, or enter a GSTIN."]
        found, bad = [], []
        for raw in split_addresses(typed)[:200]:
            try:
                found.append(normalise_email(raw))
            except Invalid:
                bad.append(raw[:80])
        draft["values"]["emails"] = list(dict.fromkeys(found))
        if bad:
            problems["emails"] = [f"Not an address: {', '.join(bad[:5])}"]
        if len(draft["values"]["emails"]) > MOST_INVITED:
            problems["emails"] = [f"Until a domain is verified, invite at most {MOST_INVITED} people."]
        return problems

    def _page(self, name: str, draft: dict[str, Any], errors: dict[str, list[str]] | None = None) -> str:
        index, me = STEPS.index(name), db.session.get_one(User, g.identity.user.id)
        values = draft["values"]
        return self.render(
            f"onboarding/{name}.html",
            title="Set up your organisation",
            steps=TITLES,
            step=index,
            names=STEPS,
            p=values.get("personal") or {"name": me.name, "phone": me.phone or "", "timezone": me.timezone},
            o=values.get("organisation", {}),
            emails=values.get("emails", []),
            typed=values.get("typed", ""),
            role=values.get("role", "LEARNER"),
            errors=errors or {},
            previous=STEPS[index - 1] if index else None,
            zones=zones(),
            funding=FUNDING,
            roles=_roles_with_words(),
            most=MOST_INVITED,
            states=[("", "Choose a state")] + [(code, f"{code} · {state}") for code, state in STATES.items()],
            sizes=[("", "Not said")] + [(s.value, size_words(s)) for s in SizeBucket],
            last={"personal", "organisation"} <= set(draft["seen"]),
        )


def _roles() -> set[str]:
    return {value for value, _ in _roles_with_words()}


def _roles_with_words() -> list[tuple[str, str]]:
    roles = (OrgRole.LEARNER, OrgRole.MANAGER, OrgRole.MAINTAINER, OrgRole.BILLING_ADMIN, OrgRole.SUPPORT)
    return [(r.value, r.value.replace("_", " ").capitalize()) for r in roles]


def register(appbuilder: Any) -> None:
    """Register the pages."""
    appbuilder.add_view_no_menu(OnboardingPage())
