"""What an organisation's status allows (chapter 1, 1.2, "Status"). The one place that decides.

REST gates, page guards, generated views and services ask here, so that a status means the same everywhere:

* PENDING_VERIFICATION: profile, branding, tax, people (capped); contracts and money wait (ORG_NOT_VERIFIED).
* ACTIVE: everything.
* SUSPENDED: read-only (ORG_NOT_ACTIVE); members go on reading and may leave.
* DEACTIVATED: closed (ORG_DEACTIVATED, in app/security/requests.py); ADMIN reads and changes nothing either.
"""

from __future__ import annotations

from app.errors import DomainError
from app.models import OrgStatus

READING = frozenset({"read", "export", "download"})
# (resource, verb) that a suspended organisation still takes, each with its reason
WHILE_SUSPENDED: dict[tuple[str, str], str] = {
    (
        "leave",
        "write",
    ): "nobody is kept in an organisation against their will; it takes access away and gives none",
}
# resources of contracts and money: a PENDING organisation only reads them
AFTER_VERIFICATION = frozenset(
    {
        "contracts",
        "programs",
        "programs-page",
        "assignments",
        "billing-account",
        "wallet",
        "top-ups",
        "invoices",
        "credit-notes",
        "purchase-orders",
        "rate-cards",
        "payouts",
        "payout-account",
    }
)
DEACTIVATED_TEXT = "This organisation has been deactivated: nothing of it can be changed any more."


def refusal(status: str, resource: str = "", verb: str = "write", *, active: bool = False) -> str | None:
    """The code with which *status* refuses *verb* on *resource*, or None. *active*: only an ACTIVE one may."""
    if status in (OrgStatus.SUSPENDED, OrgStatus.DEACTIVATED):
        open_still = verb in READING or (
            status == OrgStatus.SUSPENDED and (resource, verb) in WHILE_SUSPENDED
        )
        return "ORG_NOT_ACTIVE" if active or not open_still else None
    if status == OrgStatus.PENDING_VERIFICATION:
        money = resource in AFTER_VERIFICATION and verb not in READING
        return "ORG_NOT_VERIFIED" if active or money else None
    return None


def require(status: str, resource: str = "", verb: str = "write", *, active: bool = False) -> None:
    """Raises ORG_NOT_ACTIVE or ORG_NOT_VERIFIED where ``refusal`` says so."""
    code = refusal(status, resource, verb, active=active)
    if code is not None:
        raise DomainError(code, message=DEACTIVATED_TEXT if status == OrgStatus.DEACTIVATED else None)


def writable(status: str) -> bool:
    """Whether members may change anything at all."""
    return refusal(status) is None


def spending_refusal(status: str) -> str | None:
    """The code with which a booking on the organisation's account is refused, or None."""
    if status == OrgStatus.DEACTIVATED:
        return "ORG_DEACTIVATED"
    return refusal(status, active=True)


def accepts_members(status: str) -> bool:
    """Whether an invitation to it may be accepted (chapter 1, 1.4: suspended and deactivated ones do not)."""
    return writable(status)
