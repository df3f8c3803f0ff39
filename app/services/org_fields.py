"""What the fields of an organisation may hold (chapter 1, 1.2), checked once for console, REST and imports."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from app.errors import Invalid
from app.models import SizeBucket
from app.schema.organizations import SLUG
from app.services.tax import STATES
from app.services.text import one_line, paragraphs
from app.services.users import normalise_email

RESERVED_SLUGS = frozenset({"admin", "api", "create", "invitations", "invite", "new", "public"})
MSME = ("MICRO", "SMALL", "MEDIUM")
GST_REGISTRATION = ("REGULAR", "COMPOSITION", "SEZ", "UNREGISTERED")
_COLOUR = re.compile(r"^#[0-9A-Fa-f]{6}$")
CONTACTS = ("billing", "support", "escalation")


def _line(longest: int, shortest: int = 0) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        text = one_line(str(value or ""))
        if not shortest <= len(text) <= longest:
            raise ValueError(
                f"Use {shortest} to {longest} characters." if shortest else f"At most {longest} characters."
            )
        return text or None

    return check


def _long(longest: int) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        text = paragraphs(str(value or ""))
        if len(text) > longest:
            raise ValueError(f"At most {longest} characters.")
        return text

    return check


def _number(least: int, most: int, *, empty: bool = False) -> Callable[[Any], int | None]:
    def check(value: Any) -> int | None:
        if value in (None, "") and empty:
            return None
        if (
            isinstance(value, bool)
            or not re.fullmatch(r"\d{1,9}", str(value))
            or not least <= int(value) <= most
        ):
            raise ValueError(f"Enter a number from {least} to {most}.")
        return int(value)

    return check


def _one_of(*choices: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if value in (None, ""):
            return None
        if value not in choices:
            raise ValueError(f"Choose one of {', '.join(choices)}.")
        return str(value)

    return check


def _region(value: Any) -> str:
    if value not in ("IN", "US", "EU"):
        raise ValueError("Choose IN, US or EU.")
    return str(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("Must be true or false.")
    return value


def _website(value: Any) -> str | None:
    text = one_line(str(value or ""))
    if not text:
        return None
    if "://" not in text:
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
        named = bool(parts.hostname and "." in parts.hostname)
    except ValueError:
        named = False
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not named or " " in text or len(text) > 300:
        raise ValueError("Enter a web address, like https://acme.com.")
    return text


def _colour(value: Any) -> str | None:
    if value in (None, ""):
        return None
    if not _COLOUR.match(str(value)):
        raise ValueError("Enter a colour as #RRGGBB.")
    return str(value).lower()


def _mail(value: Any) -> str | None:
    if value in (None, ""):
        return None
    try:
        return normalise_email(value)
    except Invalid as error:
        raise ValueError(error.fields["email"][0]) from None


def _state(value: Any) -> str | None:
    if value in (None, ""):
        return None
    if str(value) not in STATES:
        raise ValueError("Choose a state of India by its two-digit GST code, or 96 for outside India.")
    return str(value)


def _slug(value: Any) -> str:
    text = str(value or "").strip().lower()
    if not re.match(SLUG, text):
        raise ValueError(
            "Use 1 to 63 lower-case letters, digits and hyphens, not starting or ending with a hyphen."
        )
    if text in RESERVED_SLUGS or _is_uuid(text):
        raise ValueError("This short name is reserved. Choose another.")
    return text


def _is_uuid(text: str) -> bool:
    """Organisations answer to their public id as well, so no slug may look like one."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _contacts(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) - set(CONTACTS):
        raise ValueError("Contacts are billing, support and escalation.")
    out: dict[str, Any] = {}
    for kind, contact in value.items():
        if contact is None:
            continue
        if not isinstance(contact, dict) or set(contact) - {"name", "email", "phone"}:
            raise ValueError("A contact has a name, an email and a phone.")
        out[kind] = {
            "name": _line(120)(contact.get("name")),
            "email": _mail(contact.get("email")),
            "phone": _line(40)(contact.get("phone")),
        }
    return out


def _hsn(value: Any) -> str | None:
    if value in (None, ""):
        return None
    if not re.fullmatch(r"\d{4,8}", str(value)):
        raise ValueError("A SAC or HSN code has 4 to 8 digits.")
    return str(value)


def _prefix(value: Any) -> str | None:
    if value in (None, ""):
        return None
    text = str(value).strip().upper()
    if not re.fullmatch(r"[A-Z1-9][A-Z0-9]{1,4}", text):
        raise ValueError("Use 2 to 5 letters and digits, not starting with 0.")
    return text


def _gstin(value: Any) -> str | None:
    return one_line(str(value)) or None if value not in (None, "") else None


FIELDS: dict[str, Callable[[Any], Any]] = {
    "name": _line(200, 2),
    "slug": _slug,
    "description": _long(5000),
    "industry": _line(120),
    "website": _website,
    "size_bucket": _one_of(*SizeBucket),
    "can_sponsor": _flag,
    "can_host": _flag,
    "primary_color": _colour,
    "secondary_color": _colour,
    "is_public": _flag,
    "billing_email": _mail,
    "contacts": _contacts,
    "payment_terms_days": _number(0, 180),
    "requires_po": _flag,
    "invoice_number_prefix": _prefix,
    "seats_total": _number(0, 1_000_000, empty=True),
    "gstin": _gstin,
    "pan": _gstin,
    "gst_state_code": _state,
    "gst_reg_status": _one_of(*GST_REGISTRATION),
    "hsn_default": _hsn,
    "msme_status": _one_of(*MSME),
    "msme_agreement_on_file": _flag,
    "default_cancellation_policy": _long(5000),
    "default_refund_policy": _long(5000),
    "data_residency_region": _region,
    "stream_recording_retention_days": _number(1, 3650),
    "people_owner_only": _flag,
}
# what a PENDING organisation may not change yet (chapter 1, 1.2, "Status")
VERIFIED_ONLY = frozenset(
    {
        "can_sponsor",
        "can_host",
        "slug",
        "is_public",
        "requires_po",
        "payment_terms_days",
        "default_cancellation_policy",
        "default_refund_policy",
    }
)
BY_MAINTAINER = frozenset(
    {"name", "description", "industry", "website", "size_bucket", "primary_color", "secondary_color"}
)
BY_BILLING_ADMIN = frozenset({"billing_email", "payment_terms_days"})


def editable(roles: frozenset[str]) -> frozenset[str]:
    """The fields that holders of *roles* may change (chapter 1, 1.2, "PATCH fields"); ADMIN acts as OWNER."""
    if roles & {"OWNER", "ADMIN"}:
        return frozenset(FIELDS)
    out: frozenset[str] = frozenset()
    if "MAINTAINER" in roles:
        out |= BY_MAINTAINER
    if "BILLING_ADMIN" in roles:
        out |= BY_BILLING_ADMIN
    return out


def clean(values: dict[str, Any]) -> dict[str, Any]:
    """*values* checked and normalised. Raises Invalid naming every field with a problem, unknown ones included."""
    out: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    for name, value in values.items():
        if name not in FIELDS:
            problems[name] = ["There is no such field."]
            continue
        try:
            out[name] = FIELDS[name](value)
        except ValueError as error:
            problems[name] = [str(error)]
    if problems:
        raise Invalid(problems)
    return out
