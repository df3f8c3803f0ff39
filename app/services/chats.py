"""Channels in which experts, learners and organisations write to each other (chapter 1, 1.6).

A channel names its members in its own row; nobody else reads a message, no administrator and no job but the one that
rings. It carries an organisation from its creation: the explicit one, else the plan's, else the appointment's, else none.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, cast, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session, joinedload

from app import clock
from app.errors import DomainError, Invalid
from app.models import (
    Appointment,
    AppointmentStatus,
    ChannelKind,
    ChatChannel,
    ChatMessage,
    ConsultantProfile,
    Membership,
    MembershipStatus,
    Organization,
    OrgStatus,
    Plan,
    User,
)
from app.security.context import acting, ctx
from app.services import appointments, outbox, scopes
from app.services.scopes import EVERYWHERE, OrgScope

MAX_BODY, MAX_MEMBERS = 5000, 200
QUIET = dt.timedelta(seconds=5)  # before the bell rings, so that who reads along hears nothing
GONE = (MembershipStatus.REMOVED, MembershipStatus.ERASED)
BOOKED = (AppointmentStatus.TENTATIVE, AppointmentStatus.CONFIRMED, AppointmentStatus.COMPLETED)


# ---- reading --------------------------------------------------------------------------------------------------------


def _mine() -> ColumnElement[bool]:
    return ChatChannel.member_user_ids.contains([ctx().user_id or -1])


def listed(
    session: Session, scope: OrgScope, *, limit: int = 20, after: tuple[dt.datetime, int] | None = None
) -> list[ChatChannel]:
    """Channels of the caller in *scope*, latest message first; *after* is (last_message_at, id) of the last one seen.

    Scope ``all`` (ADMIN) lists everybody's channels; what is written in them stays with their members.
    """
    statement = select(ChatChannel).where(scope.clause(ChatChannel.organization_id))
    if not scope.everybody:
        statement = statement.where(_mine())
    if after is not None:
        statement = statement.where(tuple_(ChatChannel.last_message_at, ChatChannel.id) < after)
    statement = statement.order_by(ChatChannel.last_message_at.desc(), ChatChannel.id.desc())
    return scopes.rows(session, statement.limit(limit), scope)


def one(session: Session, public_id: uuid.UUID) -> ChatChannel:
    """A channel of the caller. Raises NOT_FOUND for every other, MEMBERSHIP_SUSPENDED."""
    row = session.scalars(
        select(ChatChannel).where(ChatChannel.public_id == public_id, _mine()), execution_options=EVERYWHERE
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    _check_membership(session, row)
    return row


def _standing(session: Session, organization_id: int) -> tuple[MembershipStatus, OrgStatus] | None:
    """The caller's membership in an organisation with its status; None for somebody who never was a member."""
    row = session.execute(
        select(Membership.status, Organization.status)
        .join(Organization, Organization.id == Membership.organization_id)
        .where(Membership.user_id == ctx().user_id, Membership.organization_id == organization_id),
        execution_options=EVERYWHERE,
    ).one_or_none()
    return (row[0], row[1]) if row is not None else None


def _check_membership(session: Session, channel: ChatChannel, *, write: bool = False) -> None:
    """A suspended member keeps the channels of booked sessions only; a suspended organisation's own are read-only."""
    if channel.organization_id is None or channel.kind == ChannelKind.APPOINTMENT:
        return
    found = _standing(session, channel.organization_id)
    if found is None:
        return  # the expert of a plan who is no member
    if found[0] == MembershipStatus.SUSPENDED:
        raise DomainError("MEMBERSHIP_SUSPENDED")
    if write and found[1] in (OrgStatus.SUSPENDED, OrgStatus.DEACTIVATED):
        raise DomainError("ORG_NOT_ACTIVE")


def messages(
    session: Session,
    channel: ChatChannel,
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int = 50,
) -> list[ChatMessage]:
    """Messages with their authors, latest first; *before* and *after* are inner ids of messages seen."""
    statement = (
        select(ChatMessage)
        .options(joinedload(ChatMessage.author))
        .where(ChatMessage.channel_id == channel.id)
        .order_by(ChatMessage.id.desc())
    )
    if before is not None:
        statement = statement.where(ChatMessage.id < before)
    if after is not None:
        statement = statement.where(ChatMessage.id > after)
    return list(session.scalars(statement.limit(limit)))


def latest(session: Session, channels: Sequence[ChatChannel]) -> dict[int, ChatMessage]:
    """The last message of each channel by the channel's inner id; one round trip."""
    newest = (
        select(func.max(ChatMessage.id))
        .where(ChatMessage.channel_id.in_([c.id for c in channels]))
        .group_by(ChatMessage.channel_id)
    )
    rows = session.scalars(
        select(ChatMessage).options(joinedload(ChatMessage.author)).where(ChatMessage.id.in_(newest))
    )
    return {m.channel_id: m for m in rows}


def people(session: Session, channels: Sequence[ChatChannel]) -> dict[int, User]:
    """Members of these channels by inner id; one round trip."""
    wanted = {i for c in channels for i in c.member_user_ids}
    if not wanted:
        return {}
    return {p.id: p for p in session.scalars(select(User).where(User.id.in_(wanted)))}


def unread(channel: ChatChannel, last: ChatMessage | None) -> bool:
    """Whether *last*, the channel's last message, is somebody else's and not seen yet by the caller."""
    if last is None or last.author_user_id == ctx().user_id:
        return False
    return last.id > int(channel.read_marks.get(str(ctx().user_id), 0))


def mark_read(session: Session, channel: ChatChannel, message_id: int) -> None:
    """The caller saw everything up to a message (inner id)."""
    me = str(ctx().user_id)
    if message_id <= int(channel.read_marks.get(me, 0)):
        return
    session.execute(
        update(ChatChannel)
        .where(ChatChannel.id == channel.id)
        .values(read_marks=ChatChannel.read_marks.concat(cast({me: message_id}, JSONB)))
        .execution_options(synchronize_session=False, skip_tenancy=True)
    )


# ---- writing --------------------------------------------------------------------------------------------------------


def clean_body(body: str) -> str:
    """A message as it is kept. Raises Invalid."""
    text = body.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        raise Invalid({"body": ["Write something first."]})
    if len(text) > MAX_BODY:
        raise Invalid({"body": [f"At most {MAX_BODY} characters."]})
    if "\x00" in text:
        raise Invalid({"body": ["Text must not contain NUL characters."]})
    return text


def post(session: Session, channel: ChatChannel, body: str) -> ChatMessage:
    """Write into a channel of the caller; the others' bells ring a little later.

    The channel's row is locked first, so that ids of one channel commit in their order and nobody who polls misses one.
    Raises Invalid, NOT_FOUND, MEMBERSHIP_SUSPENDED, ORG_NOT_ACTIVE, CHAT_CLOSED.
    """
    text = clean_body(body)
    _check_membership(session, channel, write=True)
    members = session.execute(
        update(ChatChannel)
        .where(ChatChannel.id == channel.id, _mine())
        .values(last_message_at=clock.now())
        .returning(ChatChannel.member_user_ids)
        .execution_options(synchronize_session=False, skip_tenancy=True)
    ).scalar_one_or_none()
    if members is None:
        raise DomainError("NOT_FOUND")
    if len(members) < 2 and channel.kind != ChannelKind.ORGANIZATION:
        raise DomainError("CHAT_CLOSED")
    row = ChatMessage(channel_id=channel.id, author_user_id=ctx().user_id, body=text)
    session.add(row)
    session.flush()
    mark_read(session, channel, row.id)
    outbox.put(session, "chat", {"channel": channel.id, "message": row.id}, after=QUIET)
    return row


# ---- opening --------------------------------------------------------------------------------------------------------


def tag(
    explicit: int | None = None, plan: Plan | None = None, appointment: Appointment | None = None
) -> int | None:
    """The organisation a channel is stamped with: the explicit value, else the plan's, else the appointment's, else none."""
    if explicit is not None:
        return explicit
    if plan is not None and plan.organization_id is not None:
        return plan.organization_id
    return appointment.organization_id if appointment is not None else None


def for_appointment(
    session: Session, public_id: uuid.UUID, *, organization_id: int | None = None
) -> ChatChannel:
    """The channel of an appointment of the caller, made when either party first opens it.

    *organization_id* is explicit and the caller's own. Raises NOT_FOUND, ORG_MEMBERSHIP_REQUIRED.
    """
    row = appointments.one(session, public_id)
    organization_id = tag(organization_id, row.plan, row)
    parties = _still_there(session, organization_id, [row.learner_user_id, row.expert_user_id])
    if ctx().user_id not in parties:
        raise DomainError("ORG_MEMBERSHIP_REQUIRED")
    _insert(
        session,
        kind=ChannelKind.APPOINTMENT,
        title=row.title,
        plan_id=row.plan_id,
        appointment_id=row.id,
        organization_id=organization_id,
        member_user_ids=parties,
    )
    wanted = ChatChannel.appointment_id == row.id
    found = _find(session, wanted)
    if found is None:  # taken out earlier, and a member again
        _join(session, organization_id, wanted)
        found = _find(session, wanted)
    if found is None:
        raise DomainError("ORG_MEMBERSHIP_REQUIRED")
    return found


def for_plan(session: Session, public_id: uuid.UUID, *, organization_id: int | None = None) -> ChatChannel:
    """The expert's channel with everybody who booked a plan; opening it again brings newcomers in.

    With an organisation, people who booked through it; without, those who paid themselves. Raises NOT_FOUND.
    """
    plan = session.scalars(
        select(Plan)
        .join(ConsultantProfile, ConsultantProfile.id == Plan.expert_id)
        .where(Plan.public_id == public_id, ConsultantProfile.user_id == ctx().user_id),
        execution_options=EVERYWHERE,
    ).one_or_none()
    if plan is None:
        raise DomainError("NOT_FOUND")
    organization_id = tag(organization_id, plan)
    booked = select(Appointment.learner_user_id).where(
        Appointment.plan_id == plan.id,
        Appointment.expert_user_id == ctx().user_id,
        Appointment.status.in_(BOOKED),
    )
    if plan.organization_id is None or plan.organization_id != organization_id:
        booked = booked.where(
            Appointment.organization_id == organization_id
            if organization_id is not None
            else Appointment.organization_id.is_(None)
        )
    learners = session.scalars(
        booked.distinct().order_by(Appointment.learner_user_id).limit(MAX_MEMBERS - 1),
        execution_options=EVERYWHERE,
    ).all()
    members = _still_there(session, organization_id, [ctx().user_id or -1, *learners])
    return _shared(
        session,
        and_(ChatChannel.kind == ChannelKind.PLAN, ChatChannel.plan_id == plan.id),
        kind=ChannelKind.PLAN,
        title=plan.title,
        plan_id=plan.id,
        organization_id=organization_id,
        member_user_ids=members,
    )


def for_organization(session: Session, title: str, *, department: str | None = None) -> ChatChannel:
    """A channel of the organisation acted for with its active members, or those of one department.

    The same title again brings newcomers in. Authorised by the caller (GOV). Raises NOT_A_MEMBER, Invalid.
    """
    if ctx().membership_id is None:  # the platform writes into no organisation's talk
        raise DomainError("NOT_A_MEMBER")
    name = " ".join(title.split())
    if not 2 <= len(name) <= 100:
        raise Invalid({"title": ["From 2 to 100 characters."]})
    wanted = select(Membership.user_id).where(Membership.status == MembershipStatus.ACTIVE)
    if department:
        wanted = wanted.where(func.lower(Membership.department_label) == department.strip().lower()[:100])
    found = list(session.scalars(wanted.order_by(Membership.id).limit(MAX_MEMBERS + 1)))
    if department and not found:
        raise Invalid({"department": ["Nobody is in this department."]})
    me = ctx().user_id or -1
    members = [me, *[u for u in found if u != me]]
    if len(members) > MAX_MEMBERS:
        raise Invalid({"department": [f"At most {MAX_MEMBERS} people; choose a department."]})
    return _shared(
        session,
        and_(ChatChannel.kind == ChannelKind.ORGANIZATION, func.lower(ChatChannel.title) == name.lower()),
        kind=ChannelKind.ORGANIZATION,
        title=name,
        organization_id=ctx().org_id,
        member_user_ids=members,
    )


def direct(session: Session, email: str, memberships: Sequence[dict[str, Any]]) -> ChatChannel:
    """A direct conversation, which carries no organisation, with somebody the caller works with.

    That is: an active member of an organisation of theirs, or the other side of a booking. Whoever else exists is not
    told apart from nobody. *memberships* are the caller's own. Raises USER_NOT_FOUND.
    """
    me = ctx().user_id or -1
    other = session.scalars(select(User).where(User.email == email.strip().lower()[:320])).one_or_none()
    if other is None or other.id == me or not _acquainted(session, other.id, memberships):
        raise DomainError("USER_NOT_FOUND", message="Nobody you work with has this address.")
    pair = sorted((me, other.id))
    _lock(session, f"direct:{pair[0]}:{pair[1]}")
    wanted = and_(
        ChatChannel.kind == ChannelKind.DIRECT,
        ChatChannel.member_user_ids.contains(pair),
        func.cardinality(ChatChannel.member_user_ids) == 2,
    )
    found = _find(session, wanted)
    if found is None:
        _insert(session, kind=ChannelKind.DIRECT, title=other.name, member_user_ids=pair)
        found = _find(session, wanted)
    assert found is not None
    return found


def _acquainted(session: Session, other: int, memberships: Sequence[dict[str, Any]]) -> bool:
    me = ctx().user_id
    for m in memberships:
        if m["membership_status"] != "ACTIVE" or m["status"] == "DEACTIVATED":
            continue
        with acting(session, org_id=m["organization_id"]):
            if session.scalar(
                select(Membership.id).where(
                    Membership.user_id == other, Membership.status == MembershipStatus.ACTIVE
                )
            ):
                return True
    together = select(Appointment.id).where(
        or_(
            and_(Appointment.learner_user_id == me, Appointment.expert_user_id == other),
            and_(Appointment.learner_user_id == other, Appointment.expert_user_id == me),
        )
    )
    return session.scalar(together.limit(1), execution_options=EVERYWHERE) is not None


def _still_there(session: Session, organization_id: int | None, users: Sequence[int]) -> list[int]:
    """*users* without those whose membership of the organisation has ended; who never was a member stays."""
    if organization_id is None:
        return list(users)
    with acting(session, org_id=organization_id):
        gone = set(
            session.scalars(
                select(Membership.user_id).where(Membership.user_id.in_(users), Membership.status.in_(GONE))
            )
        )
    return [u for u in users if u not in gone]


def _find(session: Session, wanted: ColumnElement[bool]) -> ChatChannel | None:
    return session.scalars(
        select(ChatChannel).where(wanted, _mine()).order_by(ChatChannel.id).limit(1),
        execution_options={**EVERYWHERE, "populate_existing": True},
    ).first()


def _insert(session: Session, **values: Any) -> None:
    """A channel that its creator is in; an appointment has one at most, whoever comes first."""
    session.execute(
        insert(ChatChannel.__table__)  # type: ignore[arg-type]
        .values(created_by_user_id=ctx().user_id, last_message_at=clock.now(), **values)
        .on_conflict_do_nothing()
    )


def _shared(session: Session, wanted: ColumnElement[bool], **values: Any) -> ChatChannel:
    """The channel that *wanted* names within its organisation, made if need be, its newcomers added."""
    organization_id, members = values.get("organization_id"), values["member_user_ids"]
    _lock(session, f"{values['kind']}:{organization_id}:{values['title'].lower()}")
    tagged = (
        ChatChannel.organization_id.is_(None)
        if organization_id is None
        else ChatChannel.organization_id == organization_id
    )
    wanted = and_(wanted, tagged)
    if values["kind"] == ChannelKind.ORGANIZATION:  # whoever governs finds it, member of it or not
        _join(session, organization_id, wanted)
    found = _find(session, wanted)
    if found is None:
        _insert(session, **values)
        found = _find(session, wanted)
    assert found is not None
    newcomers = [m for m in members if m not in found.member_user_ids]
    room = MAX_MEMBERS - len(found.member_user_ids)
    if newcomers and room > 0:
        session.execute(
            update(ChatChannel)
            .where(ChatChannel.id == found.id)
            .values(member_user_ids=[*found.member_user_ids, *newcomers[:room]])
            .execution_options(synchronize_session=False, skip_tenancy=True)
        )
        session.refresh(found)
    return found


def _join(session: Session, organization_id: int | None, wanted: ColumnElement[bool]) -> None:
    """Put the caller, an active member, into a channel of their organisation."""
    if organization_id is None:
        return
    found = _standing(session, organization_id)
    if found is None or found[0] != MembershipStatus.ACTIVE:
        return
    with acting(session, org_id=organization_id):
        session.execute(
            update(ChatChannel)
            .where(wanted, ~_mine(), func.cardinality(ChatChannel.member_user_ids) < MAX_MEMBERS)
            .values(member_user_ids=func.array_append(ChatChannel.member_user_ids, ctx().user_id))
            .execution_options(synchronize_session=False)
        )


def _lock(session: Session, key: str) -> None:
    """One at a time for what no unique index holds: released with the transaction."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"chat:{key}", 0))))


def revoke(session: Session, organization_id: int, user_id: int) -> int:
    """Take a person out of every channel of the organisation acted for (chapter 1, "Removal"); how many there were.

    Direct messages carry no organisation and stay.
    """
    left = session.execute(
        update(ChatChannel)
        .where(
            ChatChannel.organization_id == organization_id,
            ChatChannel.member_user_ids.contains([user_id]),  # what the index of members serves
        )
        .values(member_user_ids=func.array_remove(ChatChannel.member_user_ids, user_id))
        .returning(ChatChannel.id)
        .execution_options(synchronize_session=False)
    ).all()
    return len(left)
