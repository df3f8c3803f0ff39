"""The creation wizard: page by page, nothing written before Launch, Launch once per draft (chapter 1, "Wizard")."""

from __future__ import annotations

from typing import Any

from flask import current_app, flash, g, redirect, request, url_for
from flask_appbuilder import expose

from app.api.http import hosting
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import FundingSource, OrgRole, SizeBucket
from app.services import drafts, idempotency, org_fields, organizations, rates
from app.services.invitations import NewInvitation
from app.services.member_rules import GROWTH_CAP, words
from app.services.tax import STATES
from app.services.text import slugify, split_addresses
from app.services.users import normalise_email

from .forms import parse_bps
from .org_settings import size_words
from .pages import Page, personal_page

TITLES = {
    "info": "Info",
    "billing": "Billing & seats",
    "rates": "Revenue rates",
    "branding": "Branding",
    "invite": "Invite team",
    "review": "Review",
}
OWN = {
    "info": ("name", "slug", "industry", "website", "size_bucket", "description"),
    "billing": ("gstin", "gst_state_code", "billing_email", "seats_total"),
    "rates": (),
    "branding": ("primary_color", "secondary_color"),
    "invite": (),
    "review": (),
}
FUNDING = [
    ("WALLET", "Wallet", "Buy credits first, then spend them. The simplest way to begin."),
    ("INVOICE", "Invoice", "Book now, one GST invoice a month, within a credit limit."),
    ("LICENSE", "Licence", "A fixed fee for seats with a number of sessions."),
    ("PERSONAL", "Paid by members", "Members pay themselves; you see it and may reimburse them."),
]
# where a refusal of the Launch is mended
MENDED_AT = {
    "SLUG_TAKEN": ("info", "slug"),
    "GST_STATE_REQUIRED": ("billing", "gst_state_code"),
    "INVALID_GSTIN_FORMAT": ("billing", "gstin"),
    "DOMAIN_VERIFICATION_REQUIRED": ("invite", "emails"),
    "HOST_ORGS_GATED": ("info", "kind"),
    "RATE_CARD_BPS_SUM": ("rates", "platform_bps"),
    "RATE_CARD_PLATFORM_MINIMUM": ("rates", "platform_bps"),
}
KINDS = {
    "sponsor": ("Sponsor", "Pays for consultations of its people.", True, False),
    "host": ("Host", "Its experts are booked by others; the price is shared.", False, True),
    "hybrid": ("Both", "Pays for its people, and its experts are booked by others.", True, True),
}
SHARES = (
    ("consultant_bps", "Expert's share"),
    ("org_bps", "The organisation's share"),
    ("platform_bps", "Platform's share"),
)
INVITED_ROLES = (
    OrgRole.LEARNER,
    OrgRole.EXPERT,
    OrgRole.MANAGER,
    OrgRole.MAINTAINER,
    OrgRole.BILLING_ADMIN,
    OrgRole.SUPPORT,
    OrgRole.OWNER,
)
FOR_SPONSORS, FOR_HOSTS = frozenset({OrgRole.LEARNER}), frozenset({OrgRole.EXPERT})
MOST_INVITED = GROWTH_CAP - 1  # the founder is the first of five


def capabilities(draft: dict[str, Any]) -> tuple[bool, bool]:
    """(sponsors, hosts) as the draft says; hosting only while the platform has it switched on."""
    _, _, sponsors, hosts = KINDS.get(draft.get("kind", "sponsor"), KINDS["sponsor"])
    return (sponsors, hosts) if hosting() else (True, False)


def steps_of(draft: dict[str, Any]) -> list[str]:
    """The steps of this draft: billing for a sponsor, rates for a host."""
    sponsors, hosts = capabilities(draft)
    return [s for s in TITLES if (s != "billing" or sponsors) and (s != "rates" or hosts)]


def roles_of(draft: dict[str, Any]) -> list[OrgRole]:
    """The roles a founder may offer."""
    sponsors, hosts = capabilities(draft)
    return [r for r in INVITED_ROLES if (r not in FOR_SPONSORS or sponsors) and (r not in FOR_HOSTS or hosts)]


class WizardPage(Page):
    """``/dashboard/org-workspace/create``: Info, Billing, Rates, Branding, Invite, Review, Launch."""

    route_base = "/dashboard/org-workspace/create"

    @expose("")
    @expose("/")
    @personal_page
    def index(self) -> Any:
        draft = self._draft()
        if draft.get("launched"):
            drafts.discard(self._store, g.identity.user.id)
        return redirect(
            url_for(
                "WizardPage.step",
                name=self._next(draft) if draft["seen"] and not draft.get("launched") else "info",
            )
        )

    @expose("/<name>", methods=["GET", "POST"])
    @personal_page
    def step(self, name: str) -> Any:
        draft = self._draft()
        steps = steps_of(draft)
        if name not in TITLES:
            raise DomainError("NOT_FOUND")
        missing = self._missing(draft, steps[: steps.index(name)] if name in steps else steps)
        if missing or name not in steps:
            return redirect(url_for("WizardPage.step", name=missing or self._next(draft)))
        if request.method == "GET":
            return self._page(
                name, draft, draft.pop("problems", None) if draft.get("problems_at") == name else None
            )
        if "discard" in request.form:
            drafts.discard(self._store, g.identity.user.id)
            flash("The draft is discarded.", "info")
            return redirect("/dashboard")
        problems = self._take(name, draft)
        if problems:
            return self._page(name, draft, problems), 400
        if name not in draft["seen"]:
            draft["seen"].append(name)
        draft.pop("problems", None)
        drafts.save(self._store, g.identity.user.id, draft)
        if name == "invite" and request.form.get("then") == "stay":
            return redirect(url_for("WizardPage.step", name="invite"))
        steps = steps_of(draft)  # the answer may have changed them
        back_to_review = "review" in draft["seen"] or request.form.get("then") == "review"
        target = "review" if back_to_review else steps[steps.index(name) + 1]
        return redirect(url_for("WizardPage.step", name=self._missing(draft, steps) or target))

    @expose("/launch", methods=["POST"])
    @personal_page
    def launch(self) -> Any:
        user, draft = g.identity.user, self._draft()
        if self._missing(draft, steps_of(draft)):
            return redirect(url_for("WizardPage.index"))
        scope, body = (
            f"user:{user.id}:organizations",
            {
                "values": draft["values"],
                "invitations": draft["invitations"],
                "kind": draft.get("kind"),
                "rates": draft.get("rates"),
            },
        )
        try:
            stored = idempotency.claim(db.session(), scope, draft["key"], body)
            slug = stored[1]["slug"] if stored else self._create(draft)
            if not stored:
                idempotency.store(db.session(), scope, draft["key"], 201, {"slug": slug})
        except Invalid as error:
            db.session.rollback()
            at = next(
                (
                    s
                    for s in steps_of(draft)
                    if set(error.fields) & {*OWN[s], *(("funding_source",) if s == "billing" else ())}
                ),
                "invite",
            )
            return self._mend(draft, at, error.fields)
        except DomainError as error:
            db.session.rollback()
            if error.code not in MENDED_AT:
                raise
            at, field = MENDED_AT[error.code]
            return self._mend(draft, at, {field: [error.message]})
        drafts.save(self._store, user.id, {**draft, "launched": slug})
        flash(
            "Your organisation is created. The platform team verifies it within two working days.", "success"
        )
        return redirect(f"/dashboard/organization/{slug}/home")

    def _create(self, draft: dict[str, Any]) -> str:
        sponsors, hosts = capabilities(draft)
        values = {k: v for k, v in draft["values"].items() if k != "funding_source" and v not in (None, "")}
        if not sponsors:
            values = {k: v for k, v in values.items() if k not in OWN["billing"]}
        offered = roles_of(draft)
        invite = [
            NewInvitation(i["email"], OrgRole(i["role"]))
            for i in draft["invitations"]
            if i["role"] in offered
        ]
        made = organizations.create_organization(
            db.session(),
            {**values, "can_sponsor": sponsors, "can_host": hosts},
            funding_source=draft["values"].get("funding_source") if sponsors else None,
            invite=invite,
            rate_card=draft.get("rates") if hosts else None,
            allow_host=hosting(),
        )
        return str(made.organization.slug)

    def _mend(self, draft: dict[str, Any], at: str, problems: dict[str, list[str]]) -> Any:
        drafts.save(self._store, g.identity.user.id, {**draft, "problems_at": at, "problems": problems})
        return redirect(url_for("WizardPage.step", name=at))

    # ---- the draft ---------------------------------------------------------------------------------------------------
    @property
    def _store(self) -> Any:
        return current_app.extensions["redis"]

    def _draft(self) -> dict[str, Any]:
        return drafts.load(self._store, g.identity.user.id)

    @staticmethod
    def _next(draft: dict[str, Any]) -> str:
        return next((s for s in steps_of(draft) if s not in draft["seen"]), "review")

    @staticmethod
    def _missing(draft: dict[str, Any], steps: list[str]) -> str | None:
        """The first of *steps* that may not be skipped and was not answered."""
        return next((s for s in steps if s in ("info", "billing", "rates") and s not in draft["seen"]), None)

    def _take(self, name: str, draft: dict[str, Any]) -> dict[str, list[str]]:
        """Put the posted step into *draft*; returns what is wrong with it."""
        if name == "invite":
            return self._take_invitations(draft)
        if name == "rates":
            return self._take_rates(draft)
        if name == "info" and hosting():
            if request.form.get("kind", "sponsor") not in KINDS:
                return {"kind": ["Choose what it does."]}
            draft["kind"] = request.form.get("kind", "sponsor")
        given = {field: request.form.get(field, "") for field in OWN[name]}
        if name == "info" and not given["slug"].strip():
            given["slug"] = slugify(given["name"])
        draft["values"].update(given)
        problems: dict[str, list[str]] = {}
        try:
            cleaned = org_fields.clean({k: v for k, v in given.items() if v != "" or k in ("name", "slug")})
            organizations.tax_identity(cleaned)
            draft["values"].update(cleaned)
        except Invalid as error:
            problems = error.fields
        except DomainError as error:
            problems = {"gstin": [error.message]}
        if name == "billing":
            source = request.form.get("funding_source", "")
            draft["values"]["funding_source"] = source
            if source not in set(FundingSource):
                problems["funding_source"] = ["Choose how bookings are paid."]
            if not problems and not draft["values"].get("gst_state_code"):
                problems["gst_state_code"] = ["Choose the GST state, or enter a GSTIN."]
        return problems

    @staticmethod
    def _take_rates(draft: dict[str, Any]) -> dict[str, list[str]]:
        """Three percentages that make a whole."""
        problems, shares = {}, {}
        draft["typed_rates"] = {name: request.form.get(name, "")[:20] for name, _ in SHARES}
        for name, _ in SHARES:
            try:
                shares[name] = parse_bps(draft["typed_rates"][name])
            except ValueError as error:
                problems[name] = [f"{str(error).capitalize()}."]
        if problems:
            return problems
        try:
            rates.Shares(**shares).check()
        except Invalid as error:
            return error.fields
        except DomainError as error:
            return {"platform_bps": [error.message]}
        draft["rates"] = shares
        draft.pop("typed_rates")
        return {}

    def _take_invitations(self, draft: dict[str, Any]) -> dict[str, list[str]]:
        """Add the typed addresses as one entry each; remove the one whose button was pressed."""
        chosen = {i["email"]: i for i in draft["invitations"]}
        if request.form.get("remove"):
            chosen.pop(request.form["remove"], None)
        role = request.form.get("role", OrgRole.LEARNER)
        offered = roles_of(draft)
        if role not in offered:
            return {"role": ["Choose a role."]}
        for address, one in chosen.items():  # each chip has a role of its own
            own = request.form.get(f"role:{address}", one["role"])
            if own in offered:
                chosen[address] = {"email": address, "role": str(own)}
        bad, typed = [], split_addresses(request.form.get("emails", ""))
        for raw in typed[:500]:
            try:
                address = normalise_email(raw)
            except Invalid:
                bad.append(raw[:80])
                continue
            chosen[address] = {"email": address, "role": str(role)}
        draft["invitations"] = list(chosen.values())
        draft["rejected"] = bad
        problems = {}
        if bad:
            problems["emails"] = [f"Not an address: {', '.join(bad[:5])}{' …' if len(bad) > 5 else ''}"]
        if len(chosen) > MOST_INVITED:
            problems.setdefault("emails", []).append(
                f"Until a domain is verified, {GROWTH_CAP} people in all: invite at most {MOST_INVITED} now."
            )
        return problems

    def _page(self, name: str, draft: dict[str, Any], errors: dict[str, list[str]] | None = None) -> str:
        steps = steps_of(draft)
        index = steps.index(name)
        roles = [(r.value, words(r).capitalize()) for r in roles_of(draft)]
        shares = draft.get("rates") or vars(rates.DEFAULT)
        typed = draft.get("typed_rates") or {n: f"{v / 100:g}" for n, v in shares.items()}
        return self.render(
            f"organizations/wizard_{name}.html",
            title="Create an organisation",
            steps=[TITLES[s] for s in steps],
            step=index,
            names=steps,
            following=steps[index + 1] if index + 1 < len(steps) else None,
            back=steps[index - 1] if index else None,
            kinds=[(k, title, text) for k, (title, text, _, _) in KINDS.items()],
            kind=draft.get("kind") or "sponsor",
            sponsors=capabilities(draft)[0],
            hosts=capabilities(draft)[1],
            shares=[(n, label, typed[n]) for n, label in SHARES],
            rate_facts=[(label, shares[n], "bps") for n, label in SHARES],
            draft=draft,
            v=draft["values"],
            errors=errors or {},
            funding=FUNDING,
            roles=roles,
            most=MOST_INVITED,
            previous=steps[index - 1] if index else None,
            hosting=hosting(),
            states=[("", "Choose a state")] + [(code, f"{code} · {state}") for code, state in STATES.items()],
            sizes=[("", "Not said")] + [(s.value, size_words(s)) for s in SizeBucket],
            invited=[[i["email"], i["role"]] for i in draft["invitations"]],
            last="review" in draft["seen"],
            typed=request.form.get("emails", "") if errors else "",
        )
