"""The acting identity and the tenancy layers that hang on it (design rule 5).

``Ctx`` says who acts for which organisation in which scope. It lives in a context variable, so services, jobs and tests
use it without Flask. Three layers read it: row-level security settings at every transaction's start, ORM criteria on
every SELECT, and a guard on every flush.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal

from psycopg.pq import TransactionStatus
from sqlalchemy import event, text
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from app.schema.base import MaybeTenant, Owned, Tenant
from app.schema.organizations import Organization

Scope = Literal["org", "platform", "job"]

_SET = text(
    "SELECT set_config('app.org_id', :org, true), set_config('app.user_id', :usr, true),"
    " set_config('app.scope', :scope, true), set_config('app.token', :token, true)"
)
READ_ONLY = text("SET TRANSACTION READ ONLY")


@dataclass(frozen=True)
class Ctx:
    """Who acts. Everything None and scope ``org``: nobody, and no rows."""

    org_id: int | None = None
    user_id: int | None = None
    membership_id: int | None = None
    role: str | None = None  # role of the active membership in org_id
    platform_role: str | None = None  # ADMIN or STAFF
    scope: Scope = "org"
    token: str | None = None  # SHA-256 of a capability link, makes its row visible
    ip: str | None = None
    correlation_id: str | None = None
    viewing: bool = False  # support access: ADMIN or STAFF look at org_id, and nothing else is possible
    key_id: int | None = None  # the API key that acts, if one does
    key_access: str = ""  # READ or WRITE
    key_resources: frozenset[str] = frozenset()  # what the key is narrowed to; empty: whatever the role may
    scim_token_id: int | None = None  # the directory's token that acts; nobody is signed in then
    scim_label: str = ""  # its label, for the audit log

    @property
    def roles(self) -> frozenset[str]:
        """Effective roles: the active membership's plus the platform's (design rule 4)."""
        return frozenset(r for r in (self.role, self.platform_role) if r)

    @property
    def is_admin(self) -> bool:
        return self.platform_role == "ADMIN"

    def narrowed(self, verb: str, resource: str) -> bool:
        """Whether the way this identity came in forbids what its role may do: viewing, or a key of less reach."""
        if self.viewing and verb != "read":
            return True
        if self.key_id is None:
            return False
        if self.key_access != "WRITE" and verb not in ("read", "export"):
            return True
        return bool(self.key_resources) and resource not in self.key_resources


NOBODY = Ctx()
_current: ContextVar[Ctx] = ContextVar("consilium_ctx", default=NOBODY)


class TenancyError(RuntimeError):
    """A write aimed at another organisation's row reached the flush guard: always a defect or an attack."""


def ctx() -> Ctx:
    """The identity acting now."""
    return _current.get()


def current_org_id() -> int:
    """Organisation acted for; -1, which matches nothing, when there is none."""
    return ctx().org_id or -1


def use(session: Session, new: Ctx) -> None:
    """Make *new* the acting identity, also for a transaction that is already open."""
    _current.set(new)
    if session.in_transaction():
        session.connection().execute(_SET, _settings(new))


def reset() -> None:
    """Forget the identity; called when a request or job begins and ends."""
    _current.set(NOBODY)


@contextmanager
def acting(session: Session, **changes: Any) -> Iterator[Ctx]:
    """Act with *changes* applied (``org_id=…``, ``scope="platform"``) and return to the former identity after.

    Pending objects are flushed on both edges, so that each row is written under the identity it was made in.
    """
    before = ctx()
    session.flush()
    use(session, replace(before, **changes))
    try:
        yield ctx()
        session.flush()
    finally:
        _current.set(before)
        if session.in_transaction() and session.is_active and not _failed(session):
            session.connection().execute(_SET, _settings(before))


def _failed(session: Session) -> bool:
    """Whether the database refuses this transaction already: its settings end with it, and the error goes on."""
    driver: Any = session.connection().connection.dbapi_connection
    return driver is None or driver.info.transaction_status == TransactionStatus.INERROR


def _settings(c: Ctx) -> dict[str, str]:
    return {"org": str(c.org_id or ""), "usr": str(c.user_id or ""), "scope": c.scope, "token": c.token or ""}


@event.listens_for(Session, "after_begin")
def _arm(session: Session, transaction: Any, connection: Any) -> None:
    """Every transaction starts with the identity's settings; they end with it."""
    if not session.info.get("arm_later"):
        connection.execute(_SET, _settings(ctx()))
        if ctx().viewing:
            connection.execute(READ_ONLY)


@event.listens_for(Session, "do_orm_execute")
def _criteria(state: ORMExecuteState) -> None:
    """Every ORM SELECT, UPDATE and DELETE is limited to the organisation, get() and lazy loads included."""
    c = ctx()
    if c.scope != "org" or state.execution_options.get("skip_tenancy"):
        return
    if not (state.is_select or state.is_update or state.is_delete):
        return
    org, user = c.org_id or -1, c.user_id or -1
    state.statement = state.statement.options(
        with_loader_criteria(Tenant, lambda cls: cls.organization_id == org, include_aliases=True),
        with_loader_criteria(MaybeTenant, lambda cls: cls.organization_id == org, include_aliases=True),
        with_loader_criteria(Owned, lambda cls: cls.user_id == user, include_aliases=True),
    )


@event.listens_for(Session, "before_flush")
def _guard(session: Session, flush_context: Any, instances: Any) -> None:
    """New rows get the organisation; rows of another one never pass."""
    c = ctx()
    if c.scope == "job":
        return
    for row in session.new:
        if isinstance(row, Tenant | MaybeTenant):
            if row.organization_id is None and isinstance(row, Tenant):
                row.organization_id = c.org_id  # type: ignore[assignment]
            if row.organization_id is not None and row.organization_id != c.org_id:
                raise TenancyError(f"insert of {type(row).__name__} into another organisation")
    for row in [*session.dirty, *session.deleted]:
        if not session.is_modified(row) and row not in session.deleted:
            continue
        owner = row.id if isinstance(row, Organization) else getattr(row, "organization_id", None)
        if isinstance(row, Tenant | MaybeTenant | Organization) and owner is not None and owner != c.org_id:
            raise TenancyError(f"write to {type(row).__name__} of another organisation")
