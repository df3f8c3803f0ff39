"""Rows for tests: ``make.user()``, ``make.org()``, ``make.member()`` write as the owner, past every rule, on purpose."""

from __future__ import annotations

import datetime as dt
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session
from werkzeug.security import generate_password_hash

from app import clock
from app.models import (
    AvailabilityWindow,
    BillingAccount,
    ConsultantProfile,
    DomainClaim,
    ExpertStatus,
    FundingSource,
    Membership,
    MembershipStatus,
    Organization,
    OrgRole,
    OrgStatus,
    Plan,
    PlatformRole,
    User,
)
from app.security import context, sessions

PASSWORD = "Correct-Horse-9"
_HASH = generate_password_hash(PASSWORD, method="pbkdf2:sha256:1000")
_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    """A name no other test has."""
    return f"{prefix}-{os.getpid()}-{next(_numbers)}"


class Factory:
    """Makes committed rows; objects come back detached with their values loaded."""

    def __init__(self, app: Flask, owner: Engine, web: Engine) -> None:
        self.app, self.owner, self.web = app, owner, web

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session of the owner, committed at the end."""
        before = context.ctx()
        context._current.set(context.Ctx(scope="job"))
        try:
            with Session(self.owner, expire_on_commit=False) as session:
                yield session
                session.commit()
        finally:
            context._current.set(before)

    def add(self, *rows: Any) -> Any:
        """Commit rows; returns the first."""
        with self.session() as session:
            session.add_all(rows)
        return rows[0]

    def user(
        self,
        email: str | None = None,
        *,
        platform_role: PlatformRole = PlatformRole.CONSULTEE,
        name: str = "Test Person",
        onboarded: bool = True,
    ) -> User:
        """A person who can sign in with PASSWORD."""
        address = (email or f"{unique('person')}@people.test").lower()
        first, _, last = name.partition(" ")
        return self.add(
            User(
                email=address,
                username=address,
                first_name=first,
                last_name=last,
                active=True,
                password=_HASH,
                platform_role=platform_role,
                onboarding_completed=onboarded,
                email_verified_at=clock.now(),
                session_generation=0,
            )
        )

    def org(
        self,
        slug: str | None = None,
        *,
        name: str | None = None,
        status: OrgStatus = OrgStatus.ACTIVE,
        funding: FundingSource | None = FundingSource.WALLET,
        can_sponsor: bool = True,
        can_host: bool = False,
        domain: bool = True,
        **values: Any,
    ) -> Organization:
        """An organisation with its billing account and, by default, a verified domain."""
        slug = slug or unique("org")
        with self.session() as session:
            org = Organization(
                name=name or slug.replace("-", " ").title(),
                slug=slug,
                status=status,
                can_sponsor=can_sponsor,
                can_host=can_host,
                **{"gst_state_code": "29", "invoice_number_prefix": None, **values},
            )
            session.add(org)
            session.flush()
            org.root_id = org.id
            if can_sponsor and funding:
                session.add(
                    BillingAccount(
                        organization_id=org.id,
                        funding_source=funding,
                        wallet_balance_paise=0 if funding == FundingSource.WALLET else None,
                    )
                )
            if domain:
                now = clock.now()
                session.add(
                    DomainClaim(
                        organization_id=org.id,
                        domain=f"{slug}.test",
                        verification_token="t",
                        claimed_at=now,
                        verified_at=now,
                    )
                )
        return org

    def member(
        self,
        org: Organization,
        role: OrgRole | str = OrgRole.OWNER,
        user: User | None = None,
        status: MembershipStatus = MembershipStatus.ACTIVE,
        **values: Any,
    ) -> Membership:
        """A membership (with a user of its own by default); its ``user`` is loaded."""
        user = user or self.user(name=f"{str(role).title()} Person")
        row = Membership(
            organization_id=org.id,
            user_id=user.id,
            role=OrgRole(role),
            status=status,
            joined_at=clock.now(),
            **values,
        )
        with self.session() as session:
            session.add(row)
            if row.role == OrgRole.LEARNER and status == MembershipStatus.ACTIVE:
                session.execute(
                    text("UPDATE organization SET seats_used = seats_used + 1 WHERE id = :i"), {"i": org.id}
                )
            session.flush()
            row.user = session.get(User, user.id)
        return row

    def expert(
        self, user: User | None = None, status: ExpertStatus = ExpertStatus.VERIFIED
    ) -> ConsultantProfile:
        """An expert who is available every day, all day, in UTC."""
        user = user or self.user(name="Expert Person")
        profile = self.add(
            ConsultantProfile(
                user_id=user.id, headline="Strategy", domain="Strategy", verification_status=status
            )
        )
        self.add(
            *[
                AvailabilityWindow(
                    expert_id=profile.id, weekday=day, starts=dt.time(0), ends=dt.time(23, 59), zone="UTC"
                )
                for day in range(7)
            ]
        )
        return profile

    def plan(
        self, expert: ConsultantProfile, price: int = 500_000, *, tax_bps: int = 0, **values: Any
    ) -> Plan:
        """A consultation of one hour."""
        return self.add(
            Plan(
                expert_id=expert.id,
                price_paise=price,
                tax_bps=tax_bps,
                **{"title": "Strategy session", **values},
            )
        )

    def ctx(self, member: Membership) -> context.Ctx:
        """The identity of a member acting for their organisation."""
        return context.Ctx(
            org_id=member.organization_id,
            user_id=member.user_id,
            membership_id=member.id,
            role=member.role.value,
        )

    @contextmanager
    def acting(self, member: Membership) -> Iterator[Session]:
        """A web-role session acting as *member*; rolled back unless the test commits."""
        before = context.ctx()
        context._current.set(self.ctx(member))
        try:
            with self.app.app_context(), Session(self.web, expire_on_commit=False) as session:
                yield session
        finally:
            context._current.set(before)

    def fund(self, org: Organization, paise: int) -> None:
        """Credits in the wallet through the journal: Dr CASH, Cr WALLET."""
        before = context.ctx()
        context._current.set(context.Ctx(org_id=org.id))
        try:
            with Session(self.web) as session:
                session.execute(
                    text(
                        "SELECT ledger_post(:k, 'TOPUP', :o, ARRAY['CASH|platform|INR', :w], "
                        "ARRAY['D','C'], ARRAY[:a, :a]::bigint[], '{}', :t)"
                    ),
                    {
                        "k": f"topup:test-{unique('order')}",
                        "o": org.id,
                        "w": f"WALLET|org:{org.id}|INR",
                        "a": paise,
                        "t": clock.now(),
                    },
                )
                session.commit()
        finally:
            context._current.set(before)

    def token(self, user: User) -> str:
        """A session's secret for *user*."""
        with self.session() as session:
            return sessions.start(session, user, self.app.config["SETTINGS"], method="bearer")

    def bearer(self, who: User | Membership, **extra: str) -> dict[str, str]:
        """Headers that authenticate *who* on REST."""
        user = who.user if isinstance(who, Membership) else who
        return {"Authorization": f"Bearer {self.token(user)}", **extra}

    def sign_in(self, client: Any, who: User | Membership) -> Any:
        """Sign *who* in on a browser; returns the client."""
        user = who.user if isinstance(who, Membership) else who
        raw = self.token(user)
        with client.session_transaction() as cookie:
            cookie["sid"] = raw
        return client

    def one(self, sql: str, **values: Any) -> Any:
        """A scalar read as the owner."""
        with self.owner.connect() as connection:
            return connection.execute(text(sql), values).scalar()

    def rows(self, sql: str, **values: Any) -> list[Any]:
        """Rows read as the owner."""
        with self.owner.connect() as connection:
            return list(connection.execute(text(sql), values))

    def balance(self, org: Organization) -> int:
        """Wallet balance, paise."""
        with self.session() as session:
            return int(
                session.scalar(
                    select(BillingAccount.wallet_balance_paise).where(
                        BillingAccount.organization_id == org.id
                    )
                )
                or 0
            )
