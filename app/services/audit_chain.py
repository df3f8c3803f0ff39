"""Tamper evidence of the audit log: sealing and checking each organisation's chain (chapter 3, 3.4).

The database computes the hashes (``migrations/sql/audit.sql``), so that sealing and checking cannot disagree about
how a row is spelt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app import clock
from app.models import AuditChain, AuditLog, Organization, Severity, SystemEvent

BATCH = 500  # entries of one organisation in one transaction


@dataclass(frozen=True)
class Verdict:
    """What checking a chain found: *checked* sealed entries, the first number that does not fit, and what waits."""

    checked: int
    first_bad_seq: int | None
    unsealed: int

    @property
    def intact(self) -> bool:
        return self.first_bad_seq is None


def seal(session: Session) -> int:
    """Seal every committed entry that waits, committing batch by batch; returns how many. Wants job scope."""
    total = 0
    while True:
        sealed = int(
            session.execute(text("SELECT audit_seal(:n, :at)"), {"n": BATCH, "at": clock.now()}).scalar_one()
        )
        session.commit()
        total += sealed
        if not sealed:
            return total


def verify(session: Session, organization_id: int) -> Verdict:
    """Check the chain of *organization_id*, as far as the acting identity may read it."""
    row = session.execute(text("SELECT * FROM audit_verify(:o)"), {"o": organization_id}).one()
    return Verdict(row.checked, row.first_bad_seq, row.unsealed)


def verify_all(session: Session) -> Iterator[tuple[int, Verdict]]:
    """(organisation, verdict) of every organisation that has a log or a chain. Wants job or platform scope."""
    known = select(AuditLog.organization_id).union(select(AuditChain.organization_id))
    for organization_id in sorted(session.scalars(known)):
        yield organization_id, verify(session, organization_id)


def alarm(session: Session) -> dict[str, Any]:
    """Check every chain; a broken one becomes an ERROR event. Returns {organizations, checked, broken}."""
    organizations = checked = broken = 0
    alive = set(session.scalars(select(Organization.id)))  # a log outlives its organisation, an event may not
    for organization_id, verdict in verify_all(session):
        organizations, checked = organizations + 1, checked + verdict.checked
        if not verdict.intact:
            broken += 1
            session.add(
                SystemEvent(
                    organization_id=organization_id if organization_id in alive else None,
                    category="audit",
                    severity=Severity.ERROR,
                    message=f"The audit log does not fit its chain at number {verdict.first_bad_seq}.",
                    context={"first_bad_seq": verdict.first_bad_seq, "checked": verdict.checked},
                )
            )
    return {"organizations": organizations, "checked": checked, "broken": broken}
