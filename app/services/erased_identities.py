"""Tombstones of erased people: a directory that still knows them is answered 410 (chapter 3, 3.2).

Only keyed hashes are kept, so that the tombstone names nobody; a newly accepted invitation lifts it.
"""

from __future__ import annotations

import hashlib
import hmac

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from app import clock
from app.models import ErasedIdentity, Membership, ScimEmail, ScimEvent, ScimProfile
from app.security.context import ctx

_salt = b""


def configure(erasure_salt: str, secret_key: str) -> None:
    """Key the hashes of this process: ERASURE_SALT, which production must set; else the application's secret."""
    global _salt
    _salt = (erasure_salt or secret_key).encode()


def _key(kind: str, value: str) -> str:
    return hmac.new(_salt, f"{kind}:{ctx().org_id}:{value}".encode(), hashlib.sha256).hexdigest()


def bury(session: Session, membership: Membership, email: str) -> None:
    """Remember that *email*, and the directory's id of *membership*, were erased in the organisation acted for.

    Call before the account's address is scrubbed. What a directory wrote about the person goes with it.
    """
    session.add(
        ErasedIdentity(
            email_hmac=_key("email", email.strip().lower()),
            external_id_hmac=_key("external", membership.external_scim_id)
            if membership.external_scim_id
            else None,
            membership_id=membership.id,
        )
    )
    for model in (ScimProfile, ScimEmail):
        session.execute(
            delete(model)
            .where(model.membership_id == membership.id)
            .execution_options(synchronize_session=False)
        )
    session.execute(
        update(ScimEvent)
        .where(
            or_(
                ScimEvent.resource_id == str(membership.public_id), ScimEvent.subject == email.strip().lower()
            )
        )
        .values(subject=None, detail=None)
        .execution_options(synchronize_session=False)
    )
    membership.external_scim_id = None
    session.flush()


def is_erased(session: Session, email: str | None, external_id: str | None) -> bool:
    """Whether this address or this directory's id belonged to somebody erased, and no invitation lifted it."""
    clauses = []
    if email:
        clauses.append(ErasedIdentity.email_hmac == _key("email", email.strip().lower()))
    if external_id:
        clauses.append(ErasedIdentity.external_id_hmac == _key("external", external_id))
    if not clauses:
        return False
    return (
        session.scalar(
            select(ErasedIdentity.id).where(ErasedIdentity.lifted_at.is_(None), or_(*clauses)).limit(1)
        )
        is not None
    )


def lift(session: Session, email: str) -> None:
    """Somebody accepted a new invitation with this address: directories may know them again."""
    session.execute(
        update(ErasedIdentity)
        .where(
            ErasedIdentity.email_hmac == _key("email", email.strip().lower()),
            ErasedIdentity.lifted_at.is_(None),
        )
        .values(lifted_at=clock.now())
        .execution_options(synchronize_session=False)
    )
