"""How a booking's price is shared (chapter 2, 2.10)."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Index, Integer, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Instant, Model, Tenant, choice, tenant_fk, tenant_key
from .enums import PlanType

# the kind of plan as a one-element range: equality without the extension btree_gist; no kind counts as 0
_ORDINAL = (
    "coalesce(array_position(ARRAY['CONSULTATION','SUBSCRIPTION','WEBINAR','CLASS'], plan_type::text), 0)"
)
_KIND = f"int4range({_ORDINAL}, {_ORDINAL}, '[]')"


class RateCard(Tenant, Model):
    """Shares in basis points that sum to 10000, for what the narrowing columns name, in a period of time."""

    __tablename__ = "rate_card"

    platform_bps: Mapped[int] = mapped_column(Integer)
    org_bps: Mapped[int] = mapped_column(Integer)
    consultant_bps: Mapped[int] = mapped_column(Integer)
    contract_id: Mapped[int | None] = mapped_column(BigInteger)
    plan_id: Mapped[int | None] = mapped_column(BigInteger)
    plan_type: Mapped[PlanType | None] = choice(PlanType)
    min_gross_paise: Mapped[int | None] = mapped_column(BigInteger)
    max_gross_paise: Mapped[int | None] = mapped_column(BigInteger)
    effective_from: Mapped[Instant]
    effective_to: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        tenant_key("rate_card"),
        tenant_fk("rate_card", "contract_id", "contract"),
        tenant_fk("rate_card", "plan_id", "plan"),
        CheckConstraint("platform_bps + org_bps + consultant_bps = 10000", name="ck_rate_card_sum"),
        CheckConstraint(
            "platform_bps >= 0 AND org_bps >= 0 AND consultant_bps >= 0", name="ck_rate_card_shares"
        ),
        ExcludeConstraint(
            *[
                (text(f"int8range(coalesce({c}, 0), coalesce({c}, 0), '[]')"), "&&")
                for c in ("organization_id", "contract_id", "plan_id")
            ],
            (text(_KIND), "&&"),
            (text("int8range(coalesce(min_gross_paise, 0), max_gross_paise, '[]')"), "&&"),
            (text("tstzrange(effective_from, effective_to)"), "&&"),
            name="ex_rate_card",
            using="gist",
        ),
        CheckConstraint("effective_to IS NULL OR effective_to > effective_from", name="ck_rate_card_period"),
        Index("ix_rate_card_list", "organization_id", "effective_from", "id"),
    )

    def __repr__(self) -> str:
        return " / ".join(
            f"{bps / 100:g} %" for bps in (self.platform_bps, self.org_bps, self.consultant_bps)
        )
