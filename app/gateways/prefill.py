"""What may be filled in for the payer before a provider's checkout opens (chapter 2, 2.7; chapter 4, 4.7)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_SEPARATORS = re.compile(r"[\s()\-]+")
_CONTACT = re.compile(r"\+?[1-9][0-9]{9,14}")
_REPEATED = re.compile(r"([0-9])\1{9}")
WARNING = "The telephone number is not one that the payment provider accepts, so it was left out."


@dataclass(frozen=True)
class Prefill:
    """Values for the provider's form, empty ones left out, and what to tell the payer about their number."""

    values: dict[str, str] = field(default_factory=dict)
    contact_warning: str | None = None


def clean_contact(contact: str | None) -> str | None:
    """*contact* without spaces, hyphens and parentheses, or None if a provider would refuse it.

    10 to 15 digits after an optional plus sign, not beginning with 0, and no digit ten times in a row.
    """
    bare = _SEPARATORS.sub("", contact or "")
    if not _CONTACT.fullmatch(bare) or _REPEATED.search(bare):
        return None
    return bare


def prefill(name: str | None, email: str | None, contact: str | None) -> Prefill:
    """The form's values; an unusable contact is omitted with a warning, an absent one without."""
    usable = clean_contact(contact)
    values = {"name": (name or "").strip(), "email": (email or "").strip(), "contact": usable or ""}
    refused = bool((contact or "").strip()) and usable is None
    return Prefill({k: v for k, v in values.items() if v}, WARNING if refused else None)
