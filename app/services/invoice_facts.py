"""What a document says about the two parties and the tax between them: read once, frozen at issue (chapter 4, 4.2)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import clock
from app.errors import Invalid
from app.models import AuditCategory, BillingProfile, Organization
from app.security.context import ctx
from app.services import audit, gst, tax_tables
from app.services.text import one_line
from config import Settings


@dataclass(frozen=True)
class Supplier:
    """The platform as documents print it; the first two digits of its GSTIN are its state."""

    name: str
    address: str
    gstin: str
    city: str = ""
    pin: str = ""
    email: str = ""
    bank: str = ""
    signatory: str = ""
    irp_environment: str = ""  # set where ENABLE_IRP_UPLOADER is: in-scope documents go out when registered

    @property
    def state(self) -> str:
        return self.gstin[:2]


def supplier(settings: Settings) -> Supplier:
    """The supplier as the settings name it."""
    return Supplier(
        settings.supplier_name,
        settings.supplier_address,
        settings.supplier_gstin,
        settings.supplier_city,
        settings.supplier_pin,
        settings.supplier_email,
        settings.supplier_bank,
        settings.supplier_signatory,
        settings.irp_environment if settings.enable_irp_uploader else "",
    )


@dataclass(frozen=True)
class Assessment:
    """How a document to the organisation acted for is taxed on a day, with everything it prints about it."""

    organization: Organization
    profile: BillingProfile | None
    recipient: gst.Recipient
    regime: gst.Regime
    lut: str | None
    facts: dict[str, Any]
    irp_environment: str = ""

    @property
    def gstin(self) -> str | None:
        return self.recipient.gstin


def profile_of(session: Session) -> BillingProfile | None:
    """The billing profile of the organisation acted for, if one was entered."""
    return session.scalars(
        select(BillingProfile).where(BillingProfile.organization_id == ctx().org_id)
    ).one_or_none()


def assess(session: Session, by: Supplier, on: dt.date, *, reverse_charge: bool = False) -> Assessment:
    """Parties, place of supply and kind of supply for the organisation acted for."""
    org = session.scalars(
        select(Organization).where(Organization.id == ctx().org_id).execution_options(populate_existing=True)
    ).one()
    profile = profile_of(session)
    states = tax_tables.states(session, on)
    who = gst.Recipient(
        org.gstin,
        org.gst_state_code,
        sez=org.gst_reg_status == "SEZ",
        authorised_operations=profile is None or profile.authorised_operations,
    )
    letter = tax_tables.lut(session, on)
    place = gst.place_of_supply(by.state, who)
    how = gst.regime(
        by.state,
        who,
        under_lut=letter is not None,
        union_territory=place in states and states[place].union_territory,
        reverse_charge=reverse_charge,
    )

    def named(code: str | None) -> str:
        return states[code].name if code in states else ""

    state = org.gst_state_code or (org.gstin[:2] if org.gstin else None)
    facts: dict[str, Any] = {
        "supplier": {
            "name": by.name,
            "address": by.address,
            "city": by.city,
            "pin": by.pin,
            "gstin": by.gstin,
            "state": by.state,
            "state_name": named(by.state),
            "email": by.email,
            "bank": by.bank,
            "signatory": by.signatory,
        },
        "recipient": {
            "name": (profile.legal_name if profile else "") or org.name,
            "trade_name": org.name,
            "line1": profile.address_line1 if profile else "",
            "line2": profile.address_line2 if profile else "",
            "city": profile.city if profile else "",
            "pin": profile.pin_code if profile else None,
            "country": profile.country_code if profile else "IN",
            "gstin": org.gstin,
            "state": state,
            "state_name": named(state),
            "email": org.billing_email,
        },
        "place": {"code": how.place, "name": named(how.place)},
        "inter_state": how.inter_state,
        "endorsement": gst.ENDORSEMENTS.get(how.supply_type, ""),
        "reverse_charge": gst.REVERSE_CHARGE if reverse_charge else "",
        "brand": {"color": org.primary_color, "logo": org.logo},
        "tax_rows": {"state": states[how.place].row} if how.place in states else {},
    }
    zero = how.supply_type in gst.ZERO_RATED
    return Assessment(org, profile, who, how, letter if zero else None, facts, by.irp_environment)


LENGTHS = {"legal_name": 100, "address_line1": 100, "address_line2": 100, "city": 50}


def save_profile(session: Session, values: dict[str, Any]) -> BillingProfile:
    """Change who documents are made out to; issued ones keep what they say. Raises Invalid."""
    fields: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    for name, longest in LENGTHS.items():
        if name in values:
            fields[name] = one_line(str(values[name] or "")).replace('"', "'")
            if len(fields[name]) > longest:
                problems[name] = [f"At most {longest} characters."]
    if "country_code" in values:
        fields["country_code"] = str(values["country_code"] or "IN").strip().upper()
        if (
            len(fields["country_code"]) != 2
            or not fields["country_code"].isalpha()
            or not fields["country_code"].isascii()
        ):
            problems["country_code"] = ["Use the two letters of the country, such as IN."]
    row = profile_of(session)
    if "pin_code" in values:
        pin = one_line(str(values["pin_code"] or "")).replace(" ", "") or None
        indian = fields.get("country_code", row.country_code if row else "IN") == "IN"
        wrong = pin is not None and (not pin.isascii() or not pin.isdigit() or len(pin) != 6 or pin[0] == "0")
        if indian and wrong:
            problems["pin_code"] = ["A PIN code has six digits."]
        elif pin is not None and len(pin) > 10:
            problems["pin_code"] = ["At most 10 characters."]
        fields["pin_code"] = pin
    for name in ("authorised_operations", "round_totals"):
        if name in values:
            fields[name] = bool(values[name])
    for name in sorted(set(values) - set(fields) - set(problems)):
        problems[name] = ["There is no such field."]
    if problems:
        raise Invalid(problems)
    if row is None:
        session.execute(
            insert(BillingProfile)
            .values(organization_id=ctx().org_id, created_at=clock.now())
            .on_conflict_do_nothing(index_elements=["organization_id"])
        )
        row = session.scalars(
            select(BillingProfile).where(BillingProfile.organization_id == ctx().org_id)
        ).one()
    changed = audit.changes(row, fields)
    if changed["after"]:
        for name, value in fields.items():
            setattr(row, name, value)
        session.flush()
        audit.record(
            session,
            AuditCategory.INVOICE,
            "BILLING_ACCOUNT_UPDATED",
            "The address on invoices was changed",
            target_type="billing_profile",
            target_id=row.public_id,
            before=changed["before"],
            after=changed["after"],
        )
    return row
