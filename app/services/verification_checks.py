"""What staff look at before an organisation is verified: tax number, domain, website, owners. Facts, never a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased, joinedload

from app.models import DomainClaim, Membership, MembershipStatus, Organization, OrgRole
from app.security.context import acting
from app.services import gstin
from app.services.tax import STATES

FREE_MAIL = frozenset(
    {
        "gmail.com",
        "googlemail.com",
        "yahoo.com",
        "yahoo.co.in",
        "outlook.com",
        "hotmail.com",
        "live.com",
        "icloud.com",
        "proton.me",
        "protonmail.com",
        "rediffmail.com",
        "zoho.com",
    }
)
HOLDERS = {  # fourth character of a PAN
    "A": "an association of persons",
    "B": "a body of individuals",
    "C": "a company",
    "F": "a firm or LLP",
    "G": "a government body",
    "H": "a Hindu undivided family",
    "J": "an artificial juridical person",
    "L": "a local authority",
    "P": "an individual",
    "T": "a trust",
}
MAX_OWNERS = 20


@dataclass(frozen=True)
class Check:
    """One thing to look at. *state*: ok, warn, bad or info."""

    label: str
    state: str
    text: str


@dataclass(frozen=True)
class Owner:
    """An owner as staff see them."""

    name: str
    email: str
    email_verified: bool
    owns: int  # organisations, this one included


def checks(session: Session, row: Organization) -> tuple[list[Check], list[Owner]]:
    """What stands for and against *row*, and who owns it; read across organisations."""
    with acting(session, scope="platform"):
        people = _owners(session, row)
        claims = list(
            session.scalars(
                select(DomainClaim)
                .where(DomainClaim.organization_id == row.id, DomainClaim.lapsed_at.is_(None))
                .order_by(DomainClaim.verified_at.is_(None), DomainClaim.domain)
                .limit(5)
            )
        )
        twins = _same_gstin(session, row)
    addresses = {owner.email.rpartition("@")[2] for owner in people}
    found = [*_tax(row, twins), _domain(claims), _website(row, claims, addresses), _owned(people, addresses)]
    return found, people


def _owners(session: Session, row: Organization) -> list[Owner]:
    other = aliased(Membership)
    owned = (
        select(func.count(other.id))
        .where(
            other.user_id == Membership.user_id,
            other.role == OrgRole.OWNER,
            other.status == MembershipStatus.ACTIVE,
        )
        .correlate(Membership)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Membership, owned)
        .options(joinedload(Membership.user))
        .where(
            Membership.organization_id == row.id,
            Membership.role == OrgRole.OWNER,
            Membership.status == MembershipStatus.ACTIVE,
        )
        .order_by(Membership.id)
        .limit(MAX_OWNERS)
    ).all()
    return [Owner(m.user.name, m.user.email, m.user.email_verified_at is not None, n) for m, n in rows]


def _same_gstin(session: Session, row: Organization) -> Sequence[str]:
    if not row.gstin:
        return []
    return session.scalars(
        select(Organization.name)
        .where(Organization.gstin == row.gstin, Organization.id != row.id)
        .order_by(Organization.id)
        .limit(3)
    ).all()


def _tax(row: Organization, twins: Sequence[str]) -> list[Check]:
    number = row.gstin
    if not number:
        state = STATES.get(row.gst_state_code or "", "")
        where = f" GST state: {state}." if state else ""
        needed = row.can_sponsor and row.gst_reg_status not in (None, "UNREGISTERED")
        return [
            Check(
                "GSTIN",
                "bad" if needed else "warn",
                f"None given{', although it says it is registered' if needed else ''}.{where}",
            )
        ]
    holder = HOLDERS.get(number[5], "an unknown kind of holder")
    good = gstin.is_valid(number)
    out = [
        Check(
            "GSTIN",
            "ok" if good else "bad",
            f"{STATES.get(number[:2], 'Unknown state')} · PAN {number[2:12]}, {holder} · "
            f"registration {number[12]} in the state · check character {'fits' if good else 'does not fit'}.",
        )
    ]
    if twins:
        out.append(Check("Same GSTIN", "warn", f"Also given by {', '.join(twins)}."))
    if number[5] == "P":
        out.append(Check("Holder", "info", "The PAN belongs to an individual: a proprietorship."))
    return out


def _domain(claims: Sequence[DomainClaim]) -> Check:
    verified = [c.domain for c in claims if c.verified_at is not None]
    if verified:
        return Check("Domain", "ok", f"{', '.join(verified)}, proven by DNS.")
    if claims:
        return Check("Domain", "warn", f"{', '.join(c.domain for c in claims)}, claimed but not proven.")
    return Check(
        "Domain", "warn", "None claimed: at most five people until it has one, or until you waive that."
    )


def _website(row: Organization, claims: Sequence[DomainClaim], addresses: set[str]) -> Check:
    if not row.website:
        return Check("Website", "warn", "None given.")
    host = (urlsplit(row.website).hostname or "").removeprefix("www.")
    known = addresses | {c.domain for c in claims if c.verified_at is not None}
    if any(_same(host, domain) for domain in known):
        return Check("Website", "ok", f"{host} matches the owners' addresses or the domain.")
    return Check("Website", "warn", f"{host} matches neither an owner's address nor a proven domain.")


def _same(host: str, domain: str) -> bool:
    return bool(domain) and (host == domain or host.endswith(f".{domain}") or domain.endswith(f".{host}"))


def _owned(people: Sequence[Owner], addresses: set[str]) -> Check:
    if not people:
        return Check("Owners", "bad", "Nobody owns it.")
    free = sorted(addresses & FREE_MAIL)
    if free:
        return Check("Owners", "warn", f"An owner writes from {', '.join(free)}, a public mail service.")
    unproven = [owner.email for owner in people if not owner.email_verified]
    if unproven:
        return Check("Owners", "warn", f"{', '.join(unproven)}: address not confirmed yet.")
    return Check("Owners", "ok", f"{len(people)} with a confirmed address of their own.")


def view(found: Sequence[Check]) -> list[dict[str, Any]]:
    """Checks as REST shows them."""
    return [{"label": c.label, "state": c.state, "text": c.text} for c in found]
