"""The bell of chats: one unread entry a channel and reader, however many messages came (chapter 1, 1.6)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.models import ChannelKind, ChatChannel, ChatMessage, Notification, OutboxMessage

KIND = "chat"


def ring(session: Session, message: OutboxMessage) -> None:
    """Tell the channel's other members about a message, unless they have seen it. What it says stays in the channel."""
    channel = session.get(ChatChannel, int(message.payload["channel"]))
    written = session.scalars(
        select(ChatMessage)
        .options(joinedload(ChatMessage.author))
        .where(ChatMessage.id == int(message.payload["message"]))
    ).one_or_none()
    if channel is None or written is None:
        return
    author = written.author.name if written.author else "Somebody"
    for user in channel.member_user_ids:
        seen = int(channel.read_marks.get(str(user), 0))
        if user != written.author_user_id and seen < written.id:
            _tell(session, channel, user, author, _waiting(session, channel, user, seen))


def _waiting(session: Session, channel: ChatChannel, user: int, seen: int) -> int:
    some = (
        select(ChatMessage.id)
        .where(
            ChatMessage.channel_id == channel.id,
            ChatMessage.id > seen,
            ChatMessage.author_user_id.is_distinct_from(user),
        )
        .limit(100)
        .subquery()
    )
    return int(session.scalar(select(func.count()).select_from(some)) or 0)


def _tell(session: Session, channel: ChatChannel, user: int, author: str, count: int) -> None:
    title = f"New message from {author}" if count == 1 else f"{count} new messages, the last from {author}"
    values: dict[str, Any] = {
        "title": title[:200],
        "body": "" if channel.kind == ChannelKind.DIRECT else channel.title,
        "created_at": clock.now(),
    }
    url = f"/dashboard/chats/{channel.public_id}"
    changed = session.execute(
        update(Notification)
        .where(
            Notification.user_id == user,
            Notification.kind == KIND,
            Notification.url == url,
            Notification.read_at.is_(None),
        )
        .values(**values)
        .returning(Notification.id)
        .execution_options(synchronize_session=False)
    ).first()
    if changed is None:
        session.execute(
            insert(Notification).values(
                user_id=user, kind=KIND, url=url, organization_id=channel.organization_id, **values
            )
        )


TOPICS = {"chat": ring}
JOBS: list[Any] = []
