"""Channels in which an expert and learners write to each other (chapter 1, 1.6)."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import MaybeTenant, Model, Row, choice, tenant_key
from .enums import ChannelKind
from .people import Person


class ChatChannel(MaybeTenant, Model):
    """A conversation. organization_id is stamped at creation: the explicit value, else the plan's, else the
    appointment's, else none; a direct one has none. Who reads it stands in the row, so that one policy guards it."""

    __tablename__ = "chat_channel"

    kind: Mapped[ChannelKind] = choice(ChannelKind)
    title: Mapped[str] = mapped_column(String(200))
    plan_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("plan.id"))
    appointment_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("appointment.id"))
    created_by_user_id: Mapped[int] = mapped_column(ForeignKey("ab_user.id"))
    member_user_ids: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=text("'{}'"))
    last_message_at: Mapped[dt.datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()")
    )
    read_marks: Mapped[dict[str, int]] = (
        mapped_column(  # inner user id -> inner id of the last message they saw
            JSONB, default=dict, server_default=text("'{}'")
        )
    )

    __table_args__ = (
        tenant_key("chat_channel"),
        UniqueConstraint("appointment_id", name="uq_chat_channel_appointment"),
        CheckConstraint("kind <> 'DIRECT' OR organization_id IS NULL", name="ck_chat_direct_untagged"),
        CheckConstraint("cardinality(member_user_ids) <= 200", name="ck_chat_channel_members"),
        Index("ix_chat_channel_members", "member_user_ids", postgresql_using="gin"),
        Index("ix_chat_channel_list", "organization_id", "last_message_at", "id"),
    )

    def __repr__(self) -> str:
        return self.title


class ChatMessage(Row, Model):
    """What somebody wrote; seen by the channel's members alone."""

    __tablename__ = "chat_message"

    channel_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("chat_channel.id", ondelete="CASCADE"))
    author_user_id: Mapped[int | None] = mapped_column(ForeignKey("ab_user.id"))
    body: Mapped[str] = mapped_column(Text)

    author: Mapped[Person | None] = relationship(lazy="raise", foreign_keys=[author_user_id])

    __table_args__ = (
        CheckConstraint("char_length(body) BETWEEN 1 AND 5000", name="ck_chat_message_body"),
        Index("ix_chat_message_list", "channel_id", "id"),
    )
