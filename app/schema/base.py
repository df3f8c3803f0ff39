"""Column types and mixins that every table shares."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from typing import TYPE_CHECKING, Annotated, Any

from flask_appbuilder import Model as FabModel
from sqlalchemy import (
    BigInteger,
    DateTime,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, declared_attr, mapped_column
from uuid6 import uuid7

from app import clock

if TYPE_CHECKING:
    from sqlalchemy.orm import DeclarativeBase

    class Model(DeclarativeBase):
        """What Flask-AppBuilder's untyped declarative base is to a type checker."""
else:
    Model = FabModel

BigId = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
Paise = Annotated[int, mapped_column(BigInteger)]
Instant = Annotated[dt.datetime, mapped_column(DateTime(timezone=True))]
Json = Annotated[dict[str, Any], mapped_column(JSONB)]


def new_public_id() -> uuid.UUID:
    """A UUIDv7: sorts by time, safe to show outside."""
    return uuid.UUID(bytes=uuid7().bytes)


def choice(kind: type[enum.StrEnum], **kw: Any) -> Any:
    """A column holding the name of a member of *kind*, guarded by a CHECK constraint (*check* names it)."""
    check = kw.pop("check", _snake(kind.__name__))
    default = kw.get("default")
    if default is not None:
        kw.setdefault("server_default", default.value)
    return mapped_column(
        Enum(
            kind,
            native_enum=False,
            length=40,
            create_constraint=True,
            name=check,
            values_callable=lambda e: [m.value for m in e],
        ),
        **kw,
    )


def _snake(name: str) -> str:
    return "".join(("_" + c.lower()) if c.isupper() and i else c.lower() for i, c in enumerate(name))


class Row:
    """Inner BIGINT key, outer UUIDv7, creation time (design rule 12)."""

    id: Mapped[BigId]
    public_id: Mapped[uuid.UUID] = mapped_column(
        Uuid, default=new_public_id, server_default=text("gen_random_uuid()"), unique=True
    )
    created_at: Mapped[Instant] = mapped_column(default=clock.now, server_default=text("now()"))


class Tenant(Row):
    """A row that belongs to exactly one organisation; row-level security matches ``organization_id``."""

    @declared_attr
    def organization_id(cls) -> Mapped[int]:
        return mapped_column(BigInteger, ForeignKey("organization.id"), nullable=False)


class MaybeTenant(Row):
    """A row that belongs to an organisation or, with NULL, to a person or the platform."""

    @declared_attr
    def organization_id(cls) -> Mapped[int | None]:
        return mapped_column(BigInteger, ForeignKey("organization.id"), nullable=True)


class Owned(Row):
    """A row of one person, seen by nobody else; the organisation it arose in is only a label."""

    @declared_attr
    def user_id(cls) -> Mapped[int]:
        return mapped_column(ForeignKey("ab_user.id", ondelete="CASCADE"), nullable=False)

    @declared_attr
    def organization_id(cls) -> Mapped[int | None]:
        return mapped_column(BigInteger, ForeignKey("organization.id"), nullable=True)


def tenant_key(table: str) -> UniqueConstraint:
    """(organization_id, id): what composite foreign keys of other tenant rows point at."""
    return UniqueConstraint("organization_id", "id", name=f"uq_{table}_org_id")


def tenant_fk(table: str, column: str, target: str, **kw: Any) -> ForeignKeyConstraint:
    """A foreign key that cannot cross organisations (foreign-key checks bypass row-level security)."""
    return ForeignKeyConstraint(
        ["organization_id", column],
        [f"{target}.organization_id", f"{target}.id"],
        name=f"fk_{table}_{column}",
        **kw,
    )
