"""What members ask for and operators decide (chapter 1, "Beyond the original", 13)."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, Integer, Text, text
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship, remote

from .base import Model, Tenant, choice, tenant_fk, tenant_key
from .enums import PayoutRecipient, RequestKind, RequestStatus
from .organizations import Membership
from .people import Person
from .programs import Program


class MemberRequest(Tenant, Model):
    """A learner asks for a place in a program, an expert for another payout routing, an operator for more seats."""

    __tablename__ = "member_request"

    kind: Mapped[RequestKind] = choice(RequestKind)
    status: Mapped[RequestStatus] = choice(RequestStatus, default=RequestStatus.PENDING)
    membership_id: Mapped[int] = mapped_column(BigInteger)
    program_id: Mapped[int | None] = mapped_column(BigInteger)
    seats: Mapped[int | None] = mapped_column(Integer)
    payout_recipient: Mapped[PayoutRecipient | None] = choice(PayoutRecipient)
    note: Mapped[str] = mapped_column(Text, default="", server_default="")
    decided_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    decided_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    decision_note: Mapped[str] = mapped_column(Text, default="", server_default="")

    membership: Mapped[Membership] = relationship(lazy="raise", viewonly=True)
    program: Mapped[Program | None] = relationship(
        primaryjoin=lambda: foreign(MemberRequest.program_id) == remote(Program.id),
        lazy="raise",
        viewonly=True,
    )
    decided_by: Mapped[Person | None] = relationship(lazy="raise", foreign_keys=[decided_by_user_id])

    __table_args__ = (
        tenant_key("member_request"),
        tenant_fk("member_request", "membership_id", "membership"),
        tenant_fk("member_request", "program_id", "program"),
        CheckConstraint("(kind = 'PROGRAM_PLACE') = (program_id IS NOT NULL)", name="ck_request_program"),
        CheckConstraint("(kind = 'SEATS') = (seats IS NOT NULL)", name="ck_request_seats"),
        CheckConstraint(
            "(kind = 'PAYOUT_ROUTING') = (payout_recipient IS NOT NULL)", name="ck_request_routing"
        ),
        CheckConstraint("seats BETWEEN 1 AND 100000", name="ck_request_seat_count"),
        CheckConstraint(
            "char_length(note) <= 1000 AND char_length(decision_note) <= 1000", name="ck_request_notes"
        ),
        Index(
            "uq_member_request_pending",
            "membership_id",
            "kind",
            text("coalesce(program_id, 0)"),
            unique=True,
            postgresql_where=text("status = 'PENDING'"),
        ),
        Index("ix_member_request_list", "organization_id", "created_at", "id"),
    )

    @property
    def wish(self) -> str:
        """What is asked for, in words; the program's name where it is loaded."""
        return self.wish_for(getattr(self.__dict__.get("program"), "name", None))

    def wish_for(self, program: str | None) -> str:
        """What is asked for, in words, with the program's name."""
        if self.kind == RequestKind.PROGRAM_PLACE:
            return f"a place in “{program or 'a program'}”"
        if self.kind == RequestKind.PAYOUT_ROUTING:
            whom = (
                "the organisation" if self.payout_recipient == PayoutRecipient.ORGANIZATION else "the expert"
            )
            return f"earnings to go to {whom}"
        return f"{self.seats} more seat{'s' if (self.seats or 0) > 1 else ''}"

    def __repr__(self) -> str:
        return f"Request for {self.wish}"
