"""The demonstration data: made through the services, once, never in production.

Every piece is one transaction and looks first whether it stands already, so a seed that was interrupted goes on where
it stopped and a second run does nothing.
"""

from __future__ import annotations

import datetime as dt
import secrets

import click
from flask import Flask
from sqlalchemy import select, text

from app import clock
from app.cli import (
    demo_cards,
    demo_groups,
    demo_invoices,
    demo_market,
    demo_more,
    demo_queue,
    demo_scim,
    demo_sso,
    demo_talk,
    demo_terms,
)
from app.cli.demo_books import Books
from app.cli.demo_data import EXPERTS, MAYA, ORGANIZATIONS, PASSWORD, Expert, Org
from app.models import (
    AvailabilityWindow,
    BillingAccount,
    ConsultantProfile,
    DomainClaim,
    ExpertStatus,
    FundingSource,
    Membership,
    Organization,
    OrgRole,
    OrgStatus,
    PlatformRole,
    User,
)
from app.security.context import acting
from app.services import (
    gstin,
    invitations,
    joining,
    lifecycle,
    organizations,
    users,
)
from config import Settings

SIZES = ("small", "medium", "large")
SMALL = ("northwind", "globex", "initech", "iitm")  # every funding source, a sponsor and a hybrid


def seed_demo(app: Flask, size: str = "medium") -> bool:
    """Seed what is missing of the demo, printing progress; returns whether anything was made.

    *size*: small is four organisations with their people and invitations and one nobody belongs to; medium what design.md
    describes, with bookings, money and a verification queue; large six more, without a proven domain.

    Raises click.ClickException in production, or when the books do not reconcile afterwards.
    """
    settings: Settings = app.config["SETTINGS"]
    if settings.production:
        raise click.ClickException("The demo is for development and tests only.")
    from app.extensions import db

    with app.app_context():
        return Seed(db.session(), settings).run(size)


@click.command("seed-demo")
@click.option("--size", type=click.Choice(SIZES), default="medium", show_default=True)
def seed_demo_command(size: str) -> None:
    """Seed the demonstration data where it is missing: 4, 9 or 15 organisations, and one without members."""
    from app import create_app

    made = seed_demo(create_app(), size)
    click.echo("The demo is ready." if made else "The demo was there already.")


class Seed(Books):
    """One run over the demo."""

    def run(self, size: str = "medium") -> bool:
        self.accounts()
        for expert in EXPERTS:
            self.expert(expert)
        for org in ORGANIZATIONS:
            if size != "small" or org.slug in SMALL:
                self.organization(org)
        if size == "small":
            self.vacant()
            return self.made > 0
        self.maya()
        self.others()
        demo_queue.seed(self)
        demo_groups.seed(self)
        demo_scim.seed(self)
        for expert in EXPERTS:
            self.plans(expert)
        for slug in ("acme", "iitm"):
            self.top_up(slug)
        self.program("acme", ("learner@acme.test", "maya@consilium.test"))
        self.program("iitm", ("learner@iitm.test",))
        self.bookings()
        demo_market.seed(self)
        demo_terms.seed(self)
        demo_invoices.seed(self)
        demo_cards.seed(self)
        demo_talk.seed(self)
        if size == "large":
            demo_more.seed(self)
        if self.made:
            self.reconcile()
        return self.made > 0

    # ---- people ------------------------------------------------------------------------------------------------------
    def user(self, email: str, name: str, role: PlatformRole = PlatformRole.CONSULTEE) -> User:
        found = users.find_by_email(self.session, email)
        return found or users.create_user(
            self.session, email, PASSWORD, name, platform_role=role, email_verified=True
        )

    def accounts(self) -> None:
        if users.find_by_email(self.session, "admin@consilium.test"):
            return
        self.user("admin@consilium.test", "Indira Admin", PlatformRole.ADMIN)
        self.user("staff@consilium.test", "Samir Staff", PlatformRole.STAFF)
        self.user("maya@consilium.test", "Maya Iyer")
        self.done("platform accounts")

    def expert(self, one: Expert) -> None:
        user = self.user(one.email, one.name)
        self.session.flush()
        if self.session.scalar(select(ConsultantProfile.id).where(ConsultantProfile.user_id == user.id)):
            return
        profile = ConsultantProfile(
            user_id=user.id,
            headline=one.headline,
            domain=one.domain,
            bio=f"{one.headline}. Available on weekdays, in English and Hindi.",
            verification_status=ExpertStatus.VERIFIED,
        )
        self.session.add(profile)
        self.session.flush()
        self.session.add_all(
            AvailabilityWindow(
                expert_id=profile.id,
                weekday=day,
                starts=dt.time(one.hours[0]),
                ends=dt.time(one.hours[1]),
                zone="Asia/Kolkata",
            )
            for day in one.days
        )
        self.done(f"expert {one.name}")

    # ---- organisations -----------------------------------------------------------------------------------------------
    def organization(self, org: Org, proven: bool = True) -> None:
        """Found *org* with its people; *proven*: with a verified domain, without which it has five people at most."""
        if self.find_org(org.slug):
            return
        local, name, _ = org.people[0]
        founder = self.user(f"{local}@{org.domain}", name)
        self.session.flush()
        organization = self._create(org, founder)
        self._verify(organization.id)
        with self.as_member(org.slug, founder.email):
            now = clock.now()
            if proven:
                self.session.add(
                    DomainClaim(
                        domain=org.domain,
                        verification_token=secrets.token_hex(16),
                        claimed_at=now,
                        verified_at=now,
                    )
                )
            if org.slug == "acme":
                self.session.flush()
                demo_sso.seed(self.session, org.domain)
            if org.slug == "northwind":
                organizations.update_organization(
                    self.session, {"requires_po": True, "payment_terms_days": 45}
                )
            for who, full_name, role in org.people[1:]:
                user = self.user(f"{who}@{org.domain}", full_name)
                self.session.flush()
                joining.add_member(self.session, user, OrgRole(role), _DEPARTMENTS.get(role))
            if org.sponsor:
                invitations.send(self.session, f"new.learner@{org.domain}", OrgRole.LEARNER, "People")
            elif not proven:
                invitations.send(self.session, f"new.expert@{org.domain}", OrgRole.EXPERT)
        self.done(f"organisation {org.name}")

    def _create(self, org: Org, founder: User) -> Organization:
        number = f"{org.state}{org.pan}1Z"
        values = {
            "name": org.name,
            "slug": org.slug,
            "can_sponsor": org.sponsor,
            "can_host": org.host,
            "industry": org.industry,
            "size_bucket": org.size,
            "description": org.description,
            "website": f"https://{org.domain}",
            "billing_email": f"billing@{org.domain}",
            "gstin": number + gstin.check_character(number),
            "gst_reg_status": "REGULAR",
            **({"seats_total": 25} if org.funding == FundingSource.WALLET else {}),
        }
        with acting(self.session, user_id=founder.id):
            return organizations.create_organization(
                self.session, values, funding_source=org.funding, allow_host=True
            ).organization

    def _verify(self, organization_id: int) -> None:
        with acting(self.session, user_id=self.person("admin@consilium.test").id, platform_role="ADMIN"):
            lifecycle.decide(self.session, organization_id, "VERIFY")

    def maya(self) -> None:
        maya = self.person("maya@consilium.test")
        for slug, role in MAYA:
            with self.as_member(slug, f"owner@{slug}.test"):
                if self.session.scalar(select(Membership.id).where(Membership.user_id == maya.id)):
                    continue
                joining.add_member(self.session, maya, OrgRole(role))
                self.done(f"maya is {role} of {slug}")

    def others(self) -> None:
        """One organisation that waits for verification, and one without members."""
        if not self.find_org("hooli"):
            founder = self.user("owner@hooli.test", "Gauri Pending")
            self.session.flush()
            with acting(self.session, user_id=founder.id):
                organizations.create_organization(
                    self.session,
                    {
                        "name": "Hooli Labs",
                        "slug": "hooli",
                        "gst_state_code": "29",
                        "website": "hooli.test",
                        "description": "Waits for verification.",
                    },
                    funding_source=FundingSource.WALLET,
                )
            self.done("organisation Hooli Labs, pending verification")
        self.vacant()

    def vacant(self) -> None:
        """An organisation without members: only an ADMIN reaches it."""
        if not self.find_org("vacant"):
            new_id = self.session.execute(
                text("SELECT nextval(pg_get_serial_sequence('organization', 'id'))")
            ).scalar_one()
            with acting(self.session, org_id=int(new_id)):  # nobody can own it, so no service makes one
                self.session.add(
                    Organization(
                        id=new_id,
                        root_id=new_id,
                        name="Vacant Holdings",
                        slug="vacant",
                        status=OrgStatus.ACTIVE,
                        gst_state_code="29",
                        description="No members: only the platform's ADMIN reaches it.",
                    )
                )
                self.session.flush()
                self.session.add(BillingAccount(funding_source=FundingSource.PERSONAL))
            self.done("organisation Vacant Holdings, without members")


_DEPARTMENTS = {
    "LEARNER": "Engineering",
    "MANAGER": "Operations",
    "SUPPORT": "Service desk",
    "BILLING_ADMIN": "Finance",
    "MAINTAINER": "People",
}
