"""Departments: labels of memberships, suggested while typed, renamed and merged as one (chapter 1, "Beyond" 14)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.orm import Session

from app.errors import DomainError, Invalid
from app.models import (
    AuditCategory,
    Invitation,
    InvitationStatus,
    Membership,
    MembershipStatus,
    Payment,
)
from app.security.context import ctx, current_org_id
from app.services import audit, spending
from app.services.member_rules import (
    PRIVILEGED,
    check_authority,
    check_still_in_charge,
    clean_department,
    is_owner,
    lock_organization,
)

GONE = (MembershipStatus.REMOVED, MembershipStatus.ERASED)
MOST = 500  # departments of one organisation that lists and suggestions look at
MAX_SOURCES = 50

# One statement moves people and open invitations and tells the people's sessions.
_MOVE = text(
    """
    WITH people AS (
      UPDATE membership SET department_label = :target
       WHERE organization_id = :org AND department_label = ANY (:sources) AND department_label <> :target
         AND status <> 'ERASED'
      RETURNING user_id, status
    ), invited AS (
      UPDATE invitation SET department_label = :target
       WHERE organization_id = :org AND department_label = ANY (:sources) AND department_label <> :target
         AND status = 'PENDING'
      RETURNING id
    ), told AS (
      UPDATE ab_user SET session_generation = session_generation + 1
       WHERE id IN (SELECT user_id FROM people WHERE status <> 'REMOVED') RETURNING id
    )
    SELECT (SELECT count(*) FROM people WHERE status <> 'REMOVED') AS people, (SELECT count(*) FROM invited) AS invited,
           (SELECT count(*) FROM told) AS told
    """
).bindparams(bindparam("sources", type_=ARRAY(TEXT)))


# From label to label along ix_membership_department: as fast with 50,000 members as with fifty.
_LABELS = text(
    """
    WITH RECURSIVE labels (label, n) AS (
      (SELECT department_label, 1 FROM membership
        WHERE organization_id = :org AND department_label IS NOT NULL AND status NOT IN ('REMOVED', 'ERASED')
        ORDER BY department_label LIMIT 1)
      UNION ALL
      SELECT (SELECT m.department_label FROM membership m
               WHERE m.organization_id = :org AND m.department_label > l.label
                 AND m.status NOT IN ('REMOVED', 'ERASED')
               ORDER BY m.department_label LIMIT 1), n + 1
        FROM labels l WHERE l.label IS NOT NULL AND n < :limit
    )
    SELECT label FROM labels
    """
)


@dataclass(frozen=True)
class Department:
    """A department with its people (members not gone) and their spending this month, paise. *label* None: without one."""

    label: str | None
    people: int
    spent_paise: int = 0


@dataclass(frozen=True)
class Move:
    """What a merge or a new name would do: people and open invitations moved, and how many only an owner may touch."""

    sources: tuple[str, ...]
    target: str
    people: int
    invited: int
    privileged: int

    @property
    def allowed(self) -> bool:
        """Whether the acting person's authority reaches everybody concerned."""
        return is_owner() or not self.privileged


def key(label: str) -> str:
    """What two spellings of one department share: neither case nor white space counts."""
    return "".join(label.split()).casefold()


def search(session: Session, q: str = "", limit: int = 20) -> list[Department]:
    """Departments whose name contains *q*, whatever the case and white space; the largest first."""
    wanted = key(q.replace("\x00", "")[:100])
    return [d for d in _counted(session) if d.label and wanted in key(d.label)][:limit]


def labels(session: Session, limit: int = 200) -> list[str]:
    """The names to suggest in forms, in alphabetical order."""
    found = session.scalars(_LABELS, {"org": current_org_id(), "limit": limit})
    return sorted((label for label in found if label), key=str.casefold)


def _counted(session: Session) -> list[Department]:
    """Every department with its people, the largest first; that of nobody's under None."""
    n = func.count(Membership.id)
    rows = session.execute(
        select(Membership.department_label, n)
        .where(Membership.status.not_in(GONE))
        .group_by(Membership.department_label)
        .order_by(n.desc(), Membership.department_label)
        .limit(MOST)
    )
    return [Department(label, people) for label, people in rows]


def summary(session: Session) -> list[Department]:
    """Every department with people and this month's spending, the largest first; people without one come last."""
    spent = {
        label: int(paise)
        for label, paise in session.execute(
            select(Membership.department_label, func.sum(Payment.amount_paise))
            .join(Membership, Membership.user_id == Payment.user_id)
            .where(spending.counted(), Membership.organization_id == Payment.organization_id)
            .group_by(Membership.department_label)
        )
    }
    rows = [Department(d.label, d.people, spent.pop(d.label, 0)) for d in _counted(session)]
    rows += [Department(label, 0, paise) for label, paise in spent.items()]  # of people who left
    return sorted(rows, key=lambda d: d.label is None)


def duplicates(rows: Sequence[Department]) -> list[list[Department]]:
    """Groups of spellings that differ in case or white space only, the most used first in each."""
    groups: dict[str, list[Department]] = {}
    for row in rows:
        if row.label:
            groups.setdefault(key(row.label), []).append(row)
    return [sorted(g, key=lambda d: -d.people) for g in groups.values() if len(g) > 1]


def preview(session: Session, sources: Sequence[str], target: str) -> Move:
    """What ``merge`` would move. Raises Invalid."""
    names, name = _checked(sources, target)
    moved = [s for s in names if s != name]
    held = select(
        func.count(Membership.id), func.count(Membership.id).filter(Membership.role.in_(PRIVILEGED))
    )
    people, privileged = session.execute(
        held.where(Membership.department_label.in_(moved), Membership.status.not_in(GONE))
    ).one()
    invited = session.scalar(
        select(func.count(Invitation.id)).where(
            Invitation.department_label.in_(moved), Invitation.status == InvitationStatus.PENDING
        )
    )
    return Move(tuple(names), name, people, invited or 0, privileged)


def _checked(sources: Sequence[str], target: str) -> tuple[list[str], str]:
    problems: dict[str, list[str]] = {}
    name = ""
    try:
        name = clean_department(target) or ""
    except Invalid as error:
        problems["target"] = error.fields["department_label"]
    if not name and not problems:
        problems["target"] = ["Enter the department's name."]
    names = [s for s in dict.fromkeys(sources) if s]
    if not 1 <= len(names) <= MAX_SOURCES or any(len(s) > 100 or "\x00" in s for s in names):
        problems["sources"] = [f"Choose 1 to {MAX_SOURCES} departments."]
    if problems:
        raise Invalid(problems)
    return names, name


def merge(session: Session, sources: Sequence[str], target: str) -> Move:
    """Give everybody of *sources* the department *target*: a merge, or with one source a new name. Audited once.

    One statement moves members and open invitations. Raises Invalid, NOT_FOUND (nobody is in *sources*),
    ORG_NOT_ACTIVE, OWNER_REQUIRED, ROLE_REQUIRES_OWNER (owners, maintainers or billing admins are among them).
    """
    organization = lock_organization(session)
    check_authority(organization)
    check_still_in_charge(session)
    move = preview(session, sources, target)
    if not move.allowed:
        raise DomainError(
            "ROLE_REQUIRES_OWNER",
            message=f"{move.privileged} of these people are owners, maintainers or billing admins: only an owner can "
            "move them.",
        )
    if not move.people and not move.invited:
        raise DomainError(
            "NOT_FOUND", message="Nobody to move: nobody is in these departments, or all are there."
        )
    session.flush()
    values: dict[str, Any] = {"org": ctx().org_id, "sources": list(move.sources), "target": move.target}
    done = session.execute(_MOVE, values).one()
    session.expire_all()
    others = [s for s in move.sources if s != move.target]
    audit.record(
        session,
        AuditCategory.MEMBER,
        "DEPARTMENTS_MERGED" if len(others) > 1 else "DEPARTMENT_RENAMED",
        f"{', '.join(f'“{s}”' for s in others)} {'became' if len(others) > 1 else 'is now'} “{move.target}”."[
            :500
        ],
        target_type="department",
        before={"departments": others},
        after={"department": move.target},
        people=done.people,
        invitations=done.invited,
    )
    session.flush()
    return Move(move.sources, move.target, done.people, done.invited, move.privileged)
