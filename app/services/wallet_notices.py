"""What a wallet tells its owners and billing administrators: one bell and one mail each (chapter 3, 3.9)."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.models import Organization, OrgRole
from app.services import terms_notices

FINANCE = (OrgRole.OWNER, OrgRole.BILLING_ADMIN)


def tell(
    session: Session,
    organization_id: int,
    kind: str,
    title: str,
    *lines: str,
    page: str = "wallet",
    button: str = "See the credit ledger",
) -> int:
    """Tell the finance people of the organisation acted for; returns how many."""
    org = session.get_one(Organization, organization_id)
    return terms_notices.tell(
        session,
        FINANCE,
        kind,
        title,
        lines or (f"{org.name}.",),
        path=f"/dashboard/organization/{org.slug}/{page}",
        button=button,
    )
