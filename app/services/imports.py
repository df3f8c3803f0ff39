"""Files of people: read, checked without sending, then sent as invitations (chapter 1, "Bulk import")."""

from __future__ import annotations

import csv
import datetime as dt
import io
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import String, any_, func, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app import clock, faults
from app.errors import REGISTRY, DomainError, Invalid
from app.models import (
    ImportBatch,
    ImportRow,
    ImportRowStatus,
    ImportStatus,
    Invitation,
    InvitationStatus,
    Membership,
    MembershipStatus,
    OrgRole,
    PlatformRole,
    User,
)
from app.security.context import acting, ctx
from app.services import invitations, outbox
from app.services.member_rules import check_authority, check_growth, check_role, lock_organization
from app.services.text import one_line
from app.services.users import normalise_email

MAX_BYTES, MAX_ROWS = 1_000_000, 10_000
AT_ONCE, CHUNK = 200, 50  # rows sent within the request; rows a job commits together
MAILS_A_SECOND = 20
OPEN = (ImportStatus.CHECKED, ImportStatus.QUEUED, ImportStatus.RUNNING)
GOVERNORS = (OrgRole.OWNER.value, OrgRole.MAINTAINER.value)
WILL_REFRESH = "WILL_REFRESH"  # code of a READY row whose address has an open invitation already


class Line(NamedTuple):
    """One line of a file as it was written."""

    email: str
    name: str = ""
    department: str = ""


def read(data: bytes) -> list[Line]:
    """The lines of a CSV file: UTF-8 or Windows-1252, comma or semicolon, heading optional.

    Raises UPLOAD_TOO_LARGE above 1 MB, Invalid for anything that is no such file.
    """
    if len(data) > MAX_BYTES:
        raise DomainError("UPLOAD_TOO_LARGE", limit=MAX_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    if "\x00" in text:
        raise Invalid({"file": ["This is not a CSV file."]})
    first = text.lstrip().split("\n", 1)[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    try:
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            if any(cell.strip() for cell in row)
        ]
    except csv.Error:
        raise Invalid({"file": ["This is not a CSV file."]}) from None
    columns = {"email": 0, "name": 1, "department": 2}
    if rows and not any("@" in cell for cell in rows[0]):
        heads = [cell.lower().replace("-", "").replace(" ", "") for cell in rows[0]]
        if "email" in heads:
            columns = {name: heads.index(name) for name in columns if name in heads}
            rows = rows[1:]
    return [Line(**{name: row[at] if at < len(row) else "" for name, at in columns.items()}) for row in rows]


class _Verdict(NamedTuple):
    """A line as it is kept, and what would become of it."""

    line: int
    email: str
    name: str
    department_label: str | None
    status: str = ImportRowStatus.READY.value
    code: str | None = None
    message: str = ""


# all rows of a file in one statement of nine values: the driver reads ten thousand rows of placeholders for seconds
_KEEP = text(
    "INSERT INTO import_row (organization_id, batch_id, line, email, name, department_label, status, code, message)"
    " SELECT :organization, :batch, row.* FROM unnest(CAST(:line AS integer[]), CAST(:email AS text[]),"
    " CAST(:name AS text[]), CAST(:department_label AS text[]), CAST(:status AS text[]), CAST(:code AS text[]),"
    " CAST(:message AS text[])) AS row"
)


def check(session: Session, lines: Sequence[Line], filename: str = "") -> ImportBatch:
    """Keep *lines* as a batch with a verdict on each; nothing is sent.

    Raises Invalid for none or more than 10,000 rows, and the authority and capability refusals of an invitation.
    """
    if not 1 <= len(lines) <= MAX_ROWS:
        raise Invalid({"rows": [f"Send 1 to {MAX_ROWS:,} rows at once."]})
    read_rows = [_verdict(number, line) for number, line in enumerate(lines, 1)]  # before anything is locked
    organization = lock_organization(session)
    check_authority(organization, OrgRole.LEARNER)
    check_role(organization, OrgRole.LEARNER)
    batch = ImportBatch(
        filename=one_line(filename)[:200],
        status=ImportStatus.CHECKED,
        total=len(lines),
        created_by_user_id=ctx().user_id,
    )
    session.add(batch)
    session.flush()
    rows = _against_what_stands(session, read_rows)
    columns = {name: [getattr(row, name) for row in rows] for name in _Verdict._fields}
    session.execute(_KEEP, {"organization": batch.organization_id, "batch": batch.id, **columns})
    return batch


def _against_what_stands(session: Session, rows: Sequence[_Verdict]) -> list[_Verdict]:
    """The verdicts with what the file itself does not say: twice in it, members already, invited already."""
    ready = ImportRowStatus.READY.value
    among = [row.email for row in rows if row.status == ready]
    members = set(
        session.scalars(
            select(User.email)
            .join(Membership, Membership.user_id == User.id)
            .where(
                User.email == any_(literal(among, ARRAY(String))),
                Membership.status.in_([MembershipStatus.ACTIVE, MembershipStatus.SUSPENDED]),
            )
        )
    )
    invited = set(
        session.scalars(
            select(Invitation.email).where(
                Invitation.email == any_(literal(among, ARRAY(String))),
                Invitation.status == InvitationStatus.PENDING,
            )
        )
    )
    out: list[_Verdict] = []
    seen: set[str] = set()
    duplicate = ImportRowStatus.DUPLICATE.value
    for row in rows:
        verdict = row
        if row.status != ready:
            pass
        elif row.email in seen:
            verdict = row._replace(status=duplicate, message="This address is in the file twice.")
        elif row.email in members:
            verdict = row._replace(status=duplicate, code="ALREADY_MEMBER", message="Already a member.")
        elif row.email in invited:
            verdict = row._replace(code=WILL_REFRESH, message="Already invited: gets a new link.")
        if row.status == ready:
            seen.add(row.email)
        out.append(verdict)
    return out


def _verdict(number: int, line: Line) -> _Verdict:
    """A line for itself: whether its address and its department can be used."""
    department = one_line(line.department)
    row = _Verdict(
        number, one_line(line.email)[:320], one_line(line.name)[:200], department[:100].strip() or None
    )
    try:
        row = row._replace(email=normalise_email(line.email))
        if len(department) > 100:
            raise Invalid({"department": ["The department has at most 100 characters."]})
    except Invalid as error:
        problem = next(iter(error.fields.values()))[0]
        row = row._replace(status=ImportRowStatus.INVALID.value, code=error.code, message=problem)
    return row


def rows_of(
    session: Session,
    batch: ImportBatch,
    *,
    after: int = 0,
    limit: int = AT_ONCE,
    status: ImportRowStatus | None = None,
) -> list[ImportRow]:
    """Rows of *batch* in the order of the file, from the line after *after* on."""
    statement = select(ImportRow).where(ImportRow.batch_id == batch.id, ImportRow.line > after)
    if status is not None:
        statement = statement.where(ImportRow.status == status)
    return list(session.scalars(statement.order_by(ImportRow.line).limit(limit)))


def counts_of(session: Session, batch: ImportBatch) -> dict[str, int]:
    """Rows of *batch* by status."""
    found = session.execute(
        select(ImportRow.status, func.count(ImportRow.id))
        .where(ImportRow.batch_id == batch.id)
        .group_by(ImportRow.status)
    )
    return {str(status): int(n) for status, n in found}


def summary(session: Session, batch: ImportBatch) -> dict[str, Any]:
    """Rows by status, how many would be refreshed, and the code if the new ones exceed the growth cap."""
    counts = counts_of(session, batch)
    ready = counts.get(str(ImportRowStatus.READY), 0)
    refresh = int(
        session.scalar(
            select(func.count(ImportRow.id)).where(
                ImportRow.batch_id == batch.id,
                ImportRow.status == ImportRowStatus.READY,
                ImportRow.code == WILL_REFRESH,
            )
        )
        or 0
    )
    problem = None
    if batch.status in (ImportStatus.CHECKED, ImportStatus.FAILED) and ready - refresh > 0:
        try:
            check_growth(session, lock_organization(session), ready - refresh)
        except DomainError as error:
            problem = error.code
    return {"counts": counts, "will_refresh": refresh, "growth_problem": problem}


def _claim(session: Session, batch: ImportBatch, states: Sequence[ImportStatus]) -> ImportBatch:
    """The batch under its lock, in one of *states*. Raises CONFLICT: it was sent or cancelled before."""
    row = session.scalars(
        select(ImportBatch)
        .where(ImportBatch.id == batch.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if row.status not in states:
        raise DomainError("CONFLICT", state=row.status.value)
    return row


def confirm(session: Session, batch: ImportBatch) -> ImportBatch:
    """Send the READY rows of a batch that was checked, or that failed: up to 200 now, more in the background.

    Raises CONFLICT for any other, and the authority and capability refusals of an invitation.
    """
    organization = lock_organization(session)
    check_authority(organization, OrgRole.LEARNER)
    check_role(organization, OrgRole.LEARNER)
    batch = _claim(session, batch, (ImportStatus.CHECKED, ImportStatus.FAILED))
    ready = counts_of(session, batch).get(str(ImportRowStatus.READY), 0)
    if batch.status == ImportStatus.CHECKED:
        batch.started_at = clock.now()
        batch.done = batch.failed = batch.total - ready
    batch.problem = batch.finished_at = None
    batch.created_by_user_id = ctx().user_id  # the background acts for whoever confirmed
    if ready > AT_ONCE:
        batch.status = ImportStatus.QUEUED
        outbox.put(session, "import_people", {"batch_id": str(batch.public_id)})
    else:
        _send(session, batch, rows_of(session, batch, limit=AT_ONCE, status=ImportRowStatus.READY))
        batch.status, batch.finished_at = ImportStatus.DONE, clock.now()
    session.flush()
    return batch


def _send(session: Session, batch: ImportBatch, rows: Sequence[ImportRow]) -> None:
    """Invite the people of *rows*, each for itself."""
    people = [
        invitations.NewInvitation(row.email, OrgRole.LEARNER, row.department_label, row.name) for row in rows
    ]
    # one after another over minutes: whatever else is sent meanwhile (a password, a booking) never waits behind them
    after = dt.timedelta(seconds=batch.done / MAILS_A_SECOND) if batch.total > AT_ONCE else dt.timedelta(0)
    if batch.started_at is not None:
        after = max(batch.started_at + after - clock.now(), dt.timedelta(0))
    answers = invitations.send_each(
        session, people, after=after, pace=dt.timedelta(seconds=1 / MAILS_A_SECOND)
    )
    for row, answer in zip(rows, answers, strict=True):
        if isinstance(answer, DomainError):
            row.status, row.code, row.message = ImportRowStatus.FAILED, answer.code, answer.message
            batch.failed += 1
        else:
            row.status = ImportRowStatus.SENT if answer.created else ImportRowStatus.REFRESHED
            row.invitation_id, row.code, row.message = answer.invitation.id, None, ""
            batch.sent += 1
        batch.done += 1


def work(session: Session, public_id: uuid.UUID, chunks: int | None = None) -> bool:
    """Send a queued batch chunk by chunk, at most *chunks* of them; whether more may follow. Wants job scope and commits.

    A chunk's invitations and its results are one transaction: killed anywhere, the next run goes on with the rows that
    are still READY and sends none twice. Two runs at once take turns at the batch's lock. Whoever confirmed must
    still be an active owner or maintainer, and the organisation be active; else the rest stays READY and the batch
    FAILED with the reason, until somebody confirms it again.
    """
    found = session.execute(
        select(ImportBatch.id, ImportBatch.organization_id, ImportBatch.created_by_user_id).where(
            ImportBatch.public_id == public_id
        )
    ).one_or_none()
    session.commit()
    line: int | None = 0
    while found is not None and line is not None and chunks != 0:
        line = _chunk(session, *found, line)
        chunks = chunks - 1 if chunks is not None else None
    return found is not None and line is not None


def _chunk(
    session: Session, batch_id: int, organization_id: int, user_id: int | None, after: int
) -> int | None:
    """One chunk from the line after *after* on, in a transaction of its own; its last line, None if it was the last."""
    with acting(session, scope="platform"):
        confirmer = session.scalars(
            select(Membership).where(
                Membership.organization_id == organization_id,
                Membership.user_id == user_id,
                Membership.status == MembershipStatus.ACTIVE,
            )
        ).one_or_none()
        admin = session.scalar(
            select(User.id).where(User.id == user_id, User.platform_role == PlatformRole.ADMIN)
        )
    who: dict[str, Any] = {
        "user_id": user_id,
        "membership_id": confirmer.id if confirmer else None,
        "role": confirmer.role.value if confirmer else None,
        "platform_role": PlatformRole.ADMIN.value if admin else None,
    }
    with acting(session, scope="org", org_id=organization_id, **who):
        # plans that were kept while the tables were small read all of what the chunks before have written
        session.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
        lock_organization(session)
        batch = session.scalars(
            select(ImportBatch)
            .where(ImportBatch.id == batch_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one()
        if batch.status not in (ImportStatus.QUEUED, ImportStatus.RUNNING):
            session.rollback()
            return None
        batch.status = ImportStatus.RUNNING
        rows = rows_of(session, batch, after=after, limit=CHUNK, status=ImportRowStatus.READY)
        try:
            if who["role"] not in GOVERNORS and not admin:
                raise DomainError("INSUFFICIENT_ROLE")
            _send(session, batch, rows)
            if len(rows) < CHUNK:
                batch.status, batch.finished_at = ImportStatus.DONE, clock.now()
        except DomainError as error:  # none of them can be sent now: they stay READY, to be sent later
            batch.status, batch.problem, batch.finished_at = ImportStatus.FAILED, error.code, clock.now()
            rows = []
        session.flush()
    faults.trip("import_chunk")
    session.commit()
    last = rows[-1].line if len(rows) == CHUNK else None
    session.expunge_all()  # or every flush looks at all the chunks before
    return last


def why_stopped(batch: ImportBatch) -> str:
    """In a sentence, why *batch* FAILED; empty for any other."""
    if batch.status != ImportStatus.FAILED:
        return ""
    if batch.problem == "INSUFFICIENT_ROLE":
        return "Whoever started it may no longer invite people."
    return REGISTRY[batch.problem][1] if batch.problem in REGISTRY else "It could not go on."


def failures(session: Session, batch: ImportBatch) -> list[ImportRow]:
    """Rows that were not sent, in the order of the file, to be mended and uploaded again."""
    return list(
        session.scalars(
            select(ImportRow)
            .where(
                ImportRow.batch_id == batch.id,
                ImportRow.status.in_(
                    [ImportRowStatus.INVALID, ImportRowStatus.DUPLICATE, ImportRowStatus.FAILED]
                ),
            )
            .order_by(ImportRow.line)
        )
    )


def cancel(session: Session, batch: ImportBatch) -> ImportBatch:
    """Give up what was not sent yet; what was sent stays sent. Raises CONFLICT when it has ended."""
    batch = _claim(session, batch, OPEN)
    batch.status, batch.finished_at = ImportStatus.CANCELED, clock.now()
    session.flush()
    return batch
