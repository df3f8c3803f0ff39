"""Dated tax tables (chapter 4): states, rates by SAC, thresholds and facts of the platform, exchange rates.

Nothing here is ever overwritten: a change closes the row in force and inserts the next one. What a document used is
frozen on the document. Platform-wide, written by ADMIN through ``app/services/tax_tables.py`` only.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from .base import Model, Row, choice
from .enums import Currency, TaxTable


class TaxState(Row, Model):
    """A state or territory by its GST code, and whether its local head is SGST or UTGST."""

    __tablename__ = "tax_state"

    code: Mapped[str] = mapped_column(String(2))
    name: Mapped[str] = mapped_column(String(80))
    union_territory: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    valid_from: Mapped[dt.date] = mapped_column(Date)
    valid_to: Mapped[dt.date | None] = mapped_column(Date)
    note: Mapped[str] = mapped_column(String(300), default="", server_default="")
    created_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    __table_args__ = (
        CheckConstraint("code ~ '^[0-9]{2}$'", name="ck_tax_state_code"),
        CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="ck_tax_state_period"),
        UniqueConstraint("code", "valid_from", name="uq_tax_state"),
    )

    def __repr__(self) -> str:
        return f"{self.name} ({self.code})"


class TaxRate(Row, Model):
    """The rate of a SAC from a day on (until the day before *valid_to*), basis points; exempt is rate 0 and said so."""

    __tablename__ = "tax_rate"

    sac: Mapped[str] = mapped_column(String(6))
    description: Mapped[str] = mapped_column(String(200))
    rate_bps: Mapped[int] = mapped_column(Integer)
    exempt: Mapped[bool] = mapped_column(Boolean, default=False, server_default="false")
    input_credit: Mapped[bool] = mapped_column(Boolean, default=True, server_default="true")
    valid_from: Mapped[dt.date] = mapped_column(Date)
    valid_to: Mapped[dt.date | None] = mapped_column(Date)
    note: Mapped[str] = mapped_column(String(300), default="", server_default="")
    created_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    __table_args__ = (
        CheckConstraint("sac ~ '^[0-9]{6}$'", name="ck_tax_rate_sac"),
        CheckConstraint("rate_bps BETWEEN 0 AND 10000", name="ck_tax_rate_bps"),
        CheckConstraint("NOT exempt OR rate_bps = 0", name="ck_tax_rate_exempt"),
        CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="ck_tax_rate_period"),
        UniqueConstraint("sac", "valid_from", name="uq_tax_rate"),
    )

    def __repr__(self) -> str:
        return f"{self.sac}, {self.rate_bps / 100:g} %"


class TaxParameter(Row, Model):
    """A threshold, deadline or fact by its key from a day on; amounts in paise, periods in the key's unit."""

    __tablename__ = "tax_parameter"

    key: Mapped[str] = mapped_column(String(60))
    value: Mapped[str] = mapped_column(String(200))
    unit: Mapped[str] = mapped_column(String(20), default="", server_default="")
    valid_from: Mapped[dt.date] = mapped_column(Date)
    valid_to: Mapped[dt.date | None] = mapped_column(Date)
    note: Mapped[str] = mapped_column(String(300), default="", server_default="")
    created_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    __table_args__ = (
        CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="ck_tax_parameter_period"),
        UniqueConstraint("key", "valid_from", name="uq_tax_parameter"),
    )

    def __repr__(self) -> str:
        return self.key


class FxRate(Row, Model):
    """Rupees for one unit of a currency on a day, in millionths of a rupee."""

    __tablename__ = "fx_rate"

    currency: Mapped[Currency] = choice(Currency, check="fx_currency")
    on_date: Mapped[dt.date] = mapped_column(Date)
    rate_micros: Mapped[int] = mapped_column(BigInteger)
    source: Mapped[str] = mapped_column(String(100), default="", server_default="")
    created_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    __table_args__ = (
        CheckConstraint("rate_micros > 0", name="ck_fx_rate_positive"),
        CheckConstraint("currency <> 'INR'", name="ck_fx_rate_foreign"),
        UniqueConstraint("currency", "on_date", name="uq_fx_rate"),
    )

    def __repr__(self) -> str:
        return f"{self.currency.value} {self.on_date}"


class TaxChange(Row, Model):
    """Who changed which tax table, from what to what and why. Append-only."""

    __tablename__ = "tax_change"

    tax_table: Mapped[TaxTable] = choice(TaxTable)
    key: Mapped[str] = mapped_column(String(60))
    before: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    after: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    reason: Mapped[str] = mapped_column(String(300))
    changed_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))

    __table_args__ = (Index("ix_tax_change_list", "created_at", "id"),)

    def __repr__(self) -> str:
        return f"{self.tax_table.value} {self.key}"
