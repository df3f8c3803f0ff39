"""Files of people on their way in: checked first, then worked through in the background (chapter 1, "Bulk import")."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Model, Tenant, choice, tenant_fk, tenant_key
from .enums import ImportRowStatus, ImportStatus
from .people import Person


class ImportBatch(Tenant, Model):
    """One uploaded file and how far it has come."""

    __tablename__ = "import_batch"

    filename: Mapped[str] = mapped_column(String(200), default="", server_default="")
    status: Mapped[ImportStatus] = choice(ImportStatus, default=ImportStatus.CHECKED)
    total: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    done: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    sent: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    failed: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    problem: Mapped[str | None] = mapped_column(String(60))
    created_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    started_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    created_by: Mapped[Person | None] = relationship(lazy="raise", foreign_keys=[created_by_user_id])

    __table_args__ = (
        tenant_key("import_batch"),
        CheckConstraint("done BETWEEN 0 AND total", name="ck_import_batch_progress"),
        Index("ix_import_batch_list", "organization_id", "created_at", "id"),
    )

    def __repr__(self) -> str:
        return self.filename or f"Import {str(self.public_id)[-8:]}"


class ImportRow(Tenant, Model):
    """One line of the file and what became of it."""

    __tablename__ = "import_row"

    batch_id: Mapped[int] = mapped_column(BigInteger)
    line: Mapped[int] = mapped_column(Integer)
    email: Mapped[str] = mapped_column(String(320))
    name: Mapped[str] = mapped_column(String(200), default="", server_default="")
    department_label: Mapped[str | None] = mapped_column(String(100))
    status: Mapped[ImportRowStatus] = choice(ImportRowStatus, default=ImportRowStatus.READY)
    code: Mapped[str | None] = mapped_column(String(60))
    message: Mapped[str] = mapped_column(Text, default="", server_default="")
    invitation_id: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        tenant_key("import_row"),
        tenant_fk("import_row", "batch_id", "import_batch", ondelete="CASCADE"),
        tenant_fk("import_row", "invitation_id", "invitation"),
        Index("ix_import_row_batch", "batch_id", "line", unique=True),
    )
