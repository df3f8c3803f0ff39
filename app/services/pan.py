"""PAN of an organisation: checked, encrypted, shown by its last four characters only (chapter 1, 1.2; chapter 4, 4.2)."""

from __future__ import annotations

import re
from typing import Any

from app.errors import DomainError, Invalid
from app.security import keyring
from config import Settings

_FORM = re.compile(r"^[A-Z]{3}[ABCFGHJLPT][A-Z][0-9]{4}[A-Z]$")


def normalise(raw: str) -> str:
    """*raw* without spaces, in upper case. Raises INVALID_PAN_FORMAT: five letters, four digits, a letter, a known holder."""
    pan = re.sub(r"\s+", "", raw).upper()
    if not _FORM.match(pan):
        raise DomainError("INVALID_PAN_FORMAT")
    return pan


def about(organization_id: int) -> str:
    """What the sealed PAN of an organisation (inner id) is bound to: copied to another row it does not open."""
    return f"organization:{organization_id}:pan"


def take(
    fields: dict[str, Any], organization_id: int, settings: Settings | None, *, gstin: str | None
) -> None:
    """Replace ``pan`` of *fields* by the columns that keep it; a registered organisation's is the one in its *gstin*.

    Raises INVALID_PAN_FORMAT, Invalid where it differs from the GSTIN's, SSO_ENCRYPTION_KEY_MISSING.
    """
    if "pan" not in fields:
        return
    raw = fields.pop("pan")
    if not raw:
        fields["pan_encrypted"] = fields["pan_last4"] = None
        return
    pan = normalise(str(raw))
    if gstin and gstin[2:12] != pan:
        raise Invalid({"pan": ["The GSTIN carries another PAN. Correct one of the two."]})
    if settings is None:
        raise DomainError("SSO_ENCRYPTION_KEY_MISSING")
    fields["pan_encrypted"] = keyring.seal(settings, pan, about(organization_id))
    fields["pan_last4"] = pan[-4:]


def check_gstin(gstin: str | None, last4: str | None) -> None:
    """A new GSTIN carries the PAN on file, as far as its last four characters say. Raises Invalid."""
    if gstin and last4 and gstin[8:12] != last4:
        raise Invalid({"gstin": ["This GSTIN carries another PAN than the one on file."]})


def of(settings: Settings, organization_id: int, sealed: str) -> str:
    """The PAN in full, for who must print it on a return; the caller writes an audit row."""
    return keyring.unseal(settings, sealed, about(organization_id))
