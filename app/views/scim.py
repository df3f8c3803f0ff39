"""Directory provisioning as pages: tokens, group mappings, the log of requests, and how to connect each directory."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import flash, g, redirect, request, url_for
from flask_appbuilder import expose
from sqlalchemy import select

from app import clock
from app.api.http import parse_id
from app.api.scim import base_url
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import DomainClaim, DuplicatePolicy, OrgRole, OrgStatus
from app.security import matrix
from app.services import scim_events, scim_roles, scim_tokens
from app.services.member_rules import words
from app.views.base import page as page_entry

from .pages import OrgPage, page
from .scim_guides import BY_KEY, GUIDES

LIFETIMES = [("90", "90 days"), ("180", "180 days"), ("365", "A year"), ("730", "Two years")]
RATES = [
    ("60", "60 a minute", "One request a second: enough for a small company."),
    ("300", "300 a minute", "For a few thousand people."),
    ("1500", "1,500 a minute", "25 a second, as first cycles of large directories run."),
    ("3000", "3,000 a minute", "The most there is."),
]
POLICIES = [
    (
        DuplicatePolicy.UPSERT.value,
        "Change them in place",
        "The usual choice: an existing member is matched and kept in step.",
    ),
    (
        DuplicatePolicy.CONFLICT.value,
        "Refuse with a conflict",
        "For directories that look first and expect a clash to be told.",
    ),
]
ROLES = [r for r in OrgRole if r != OrgRole.OWNER]
KINDS = [
    ("", "All requests"),
    ("writes", "Writes"),
    ("reads", "Reads"),
    ("Users", "People"),
    ("Groups", "Groups"),
]
PAGE = 50
SOON = 30  # days before the end when a token is marked


def _number(name: str) -> int:
    raw = request.form.get(name, "")
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 6 else 0


class ScimPage(OrgPage):
    """``integrations/scim``: tokens, and whether the directory is in step."""

    route_base = "/dashboard/organization/<org_id>/integrations/scim"
    resource = "scim"

    # ---- tokens ----
    @expose("", methods=["GET"])
    @page("scim")
    def index(self) -> Any:
        return self._tokens()

    @expose("", methods=["POST"])
    @page("scim", "write")
    def create(self) -> Any:
        """Make a token; its secret is on the answer's page and nowhere else."""
        policy = request.form.get("duplicate_policy", "")
        try:
            if policy not in set(DuplicatePolicy):
                raise Invalid({"duplicate_policy": ["Choose what a repeat does."]})
            made = scim_tokens.create(
                db.session(),
                request.form.get("label", ""),
                days=_number("days"),
                duplicate_policy=DuplicatePolicy(policy),
                per_minute=_number("rate"),
            )
        except Invalid as error:
            db.session.rollback()
            names = {"expires_in_days": "days", "rate_limit_per_minute": "rate"}
            return self._tokens({names.get(k, k): v for k, v in error.fields.items()}), 400
        return self._tokens(made=made), 201

    @expose("/tokens/<key>/revoke", methods=["POST"])
    @page("scim", "write")
    def revoke(self, key: str) -> Any:
        row = scim_tokens.revoke(db.session(), scim_tokens.find(db.session(), parse_id(key)))
        flash(f"{row.label} is revoked. Its directory is refused from now on.", "success")
        return redirect(url_for("ScimPage.index"))

    @expose("/tokens/<key>/rate", methods=["POST"])
    @page("scim", "write")
    def rate(self, key: str) -> Any:
        row = scim_tokens.find(db.session(), parse_id(key))
        scim_tokens.set_rate(db.session(), row, _number("rate"))
        flash(f"{row.label} may now ask {row.rate_limit_per_minute:,} times a minute.", "success")
        return redirect(url_for("ScimPage.index"))

    def _tokens(self, errors: dict[str, list[str]] | None = None, made: Any = None) -> str:
        rows = scim_tokens.listed(db.session())
        now = clock.now()
        ending = [
            t
            for t in rows
            if scim_tokens.state(t) == "ACTIVE" and t.expires_at <= now + dt.timedelta(days=SOON)
        ]
        misused = [t for t in rows if t.misuse_noted_at and t.misuse_noted_at > now - dt.timedelta(days=1)]
        return self._render(
            "scim/tokens.html",
            "tokens",
            tokens=[(t, scim_tokens.state(t), scim_tokens.days_left(t)) for t in rows],
            ending=ending,
            misused=misused,
            made=made,
            full=scim_tokens.active_count(db.session()) >= scim_tokens.MOST_ACTIVE,
            errors=errors or {},
            given=request.form,
            lifetimes=LIFETIMES,
            rates=RATES,
            policies=POLICIES,
            summary=scim_events.summary(db.session()),
            guides=GUIDES,
        )

    # ---- group mappings ----
    @expose("/groups", methods=["GET"])
    @page("scim")
    def groups(self) -> Any:
        return self._groups()

    @expose("/groups", methods=["POST"])
    @page("scim", "write")
    def map_group(self) -> Any:
        """Preview first; the second press maps."""
        name, raw = request.form.get("scim_group_name", ""), request.form.get("role", "")
        try:
            if raw not in {r.value for r in ROLES}:
                raise Invalid({"role": ["Choose a role."]})
            role = OrgRole(raw)
            if not request.form.get("sure"):
                return self._groups(preview=("map", name, role, scim_roles.preview(db.session(), name, role)))
            row, changes = scim_roles.map_group(db.session(), name, role)
        except Invalid as error:
            db.session.rollback()
            return self._groups(error.fields), 400
        except DomainError as error:
            db.session.rollback()
            return self._groups({"scim_group_name": [error.message]}), error.status
        flash(f"{row.scim_group_name} is mapped to {words(role)}. {_told(changes)}", "success")
        return redirect(url_for("ScimPage.groups"))

    @expose("/groups/<key>", methods=["POST"])
    @page("scim", "write")
    def change_mapping(self, key: str) -> Any:
        row = scim_roles.find_mapping(db.session(), parse_id(key))
        raw = request.form.get("role", "")
        role = OrgRole(raw) if raw in {r.value for r in ROLES} else None
        gone = bool(request.form.get("remove"))
        if role is None and not gone:
            return redirect(url_for("ScimPage.groups"))
        if not request.form.get("sure"):
            changes = scim_roles.preview(db.session(), row.scim_group_name, None if gone else role)
            return self._groups(
                preview=("unmap" if gone else "change", row.scim_group_name, role, changes), key=key
            )
        if gone:
            changes = scim_roles.unmap(db.session(), row)
            flash(f"{row.scim_group_name} gives no role any more. {_told(changes)}", "success")
        elif role is not None:
            changes = scim_roles.change_mapping(db.session(), row, role)
            flash(f"{row.scim_group_name} is now mapped to {words(role)}. {_told(changes)}", "success")
        return redirect(url_for("ScimPage.groups"))

    def _groups(self, errors: dict[str, list[str]] | None = None, preview: Any = None, key: str = "") -> str:
        session = db.session()
        rows = scim_roles.mappings(session)
        known = scim_roles.group_sizes(session)
        mapped = {r.name_key for r in rows}
        return self._render(
            "scim/groups.html",
            "groups",
            mappings=[(r, known.get(r.name_key)) for r in rows],
            unmapped=[g for k, g in known.items() if k not in mapped],
            roles=[(r.value, words(r).capitalize()) for r in ROLES],
            errors=errors or {},
            given=request.form if request.method == "POST" else request.args,
            preview=preview,
            key=key,
            words=words,
        )

    # ---- requests ----
    @expose("/requests", methods=["GET"])
    @page("scim")
    def requests(self) -> Any:
        asked = {
            "outcome": request.args.get("outcome", ""),
            "kind": request.args.get("kind", ""),
            "token": request.args.get("token", ""),
            "q": request.args.get("q", "").strip()[:200],
        }
        tokens = scim_tokens.listed(db.session())
        chosen = next((t.id for t in tokens if str(t.public_id) == asked["token"]), None)
        rows = scim_events.listed(
            db.session(),
            outcome=asked["outcome"],
            kind=asked["kind"],
            token_id=chosen,
            q=asked["q"],
            before=_before(),
            limit=PAGE + 1,
        )
        more = ""
        if len(rows) > PAGE:
            last = rows[PAGE - 1]
            kept: dict[str, Any] = {k: v for k, v in asked.items() if v}
            more = url_for("ScimPage.requests", **kept, before=f"{last.created_at.isoformat()}~{last.id}")
        return self._render(
            "scim/requests.html",
            "requests",
            rows=rows[:PAGE],
            asked=asked,
            more=more,
            labels={t.id: t.label for t in tokens},
            picks=[
                ("outcome", "Outcome", [("", "All outcomes"), ("ok", "Done"), ("failed", "Refused")]),
                ("kind", "Kind", KINDS),
                ("token", "Token", [("", "All tokens"), *[(str(t.public_id), t.label) for t in tokens]]),
            ],
        )

    # ---- guides ----
    @expose("/guide", methods=["GET"])
    @expose("/guide/<key>", methods=["GET"])
    @page("scim")
    def guide(self, key: str = "okta") -> Any:
        return self._render(
            "scim/guide.html",
            "guide",
            guides=GUIDES,
            chosen=BY_KEY.get(key, GUIDES[0]),
            token_url=base_url().removesuffix("/v2") + "/oauth/token",
        )

    def _render(self, template: str, here: str, **values: Any) -> str:
        domains = db.session.scalars(
            select(DomainClaim.domain)
            .where(DomainClaim.verified_at.is_not(None), DomainClaim.lapsed_at.is_(None))
            .order_by(DomainClaim.domain)
            .limit(10)
        ).all()
        tabs = [
            ("tokens", "Tokens", "index"),
            ("groups", "Group mappings", "groups"),
            ("requests", "Requests", "requests"),
            ("guide", "Set-up guides", "guide"),
        ]
        return self.render(
            template,
            title="Provisioning",
            base=base_url(),
            tabs=[
                {"label": label, "url": url_for(f"ScimPage.{name}"), "here": key == here}
                for key, label, name in tabs
            ],
            may_write=matrix.can("write", "scim")
            and g.org["status"] in (OrgStatus.ACTIVE, OrgStatus.PENDING_VERIFICATION),
            domains=domains,
            **values,
        )


def _before() -> tuple[dt.datetime, int] | None:
    at, _, key = request.args.get("before", "").partition("~")
    try:
        moment = dt.datetime.fromisoformat(at)
    except ValueError:
        return None
    if moment.tzinfo is None or not key.isdigit() or len(key) > 18:
        return None
    return moment, int(key)


def _told(changes: list[scim_roles.Change]) -> str:
    done, kept = sum(c.problem is None for c in changes), sum(c.problem is not None for c in changes)
    text = f"{done} {'member' if done == 1 else 'members'} changed." if done else "Nobody changed."
    return text + (f" {kept} kept their role: what they did here does not let it change." if kept else "")


def register(appbuilder: Any) -> None:
    """Register the pages."""
    page_entry(
        appbuilder,
        ScimPage(),
        group="Configuration",
        label="Provisioning",
        resource="scim",
        icon="refresh-cw",
        order=16,
        keywords="scim directory okta entra azure onelogin jumpcloud token groups sync",
    )
