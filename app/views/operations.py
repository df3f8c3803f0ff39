"""Jobs and mailbox of the platform."""

from __future__ import annotations

from typing import Any

from flask import abort, current_app, flash, g, redirect, request, url_for
from flask_appbuilder import expose
from sqlalchemy import func, or_, select

from app.extensions import db
from app.jobs import registry, runner
from app.models import JobRun, MailMessage, OutboxMessage, RunStatus
from app.security import matrix
from app.security.context import acting
from app.services import operations
from app.views.base import page as page_entry

from .pages import Page, platform_page

PER_PAGE = 50


class JobsPage(Page):
    """Every job, its cadence, its last run; ADMIN runs one by hand."""

    route_base = "/admin/jobs"
    resource = "jobs"

    @expose("/")
    @platform_page("jobs")
    def index(self) -> Any:
        with acting(db.session(), scope="platform"):
            last = operations.last_runs(db.session())
            kept = operations.last_backup(db.session())
            runs = db.session.scalars(
                select(JobRun).order_by(JobRun.started_at.desc(), JobRun.id.desc()).limit(25)
            ).all()
            failed = db.session.scalar(
                select(func.count())
                .select_from(JobRun)
                .where(
                    JobRun.status == RunStatus.FAILED,
                    JobRun.started_at > func.now() - func.make_interval(0, 0, 0, 1),
                )
            )
            waiting = db.session.scalar(
                select(func.count())
                .select_from(OutboxMessage)
                .where(OutboxMessage.done_at.is_(None), OutboxMessage.failed_at.is_(None))
            )
            stuck = db.session.scalar(
                select(func.count()).select_from(OutboxMessage).where(OutboxMessage.failed_at.is_not(None))
            )
        return self.render(
            "operations/jobs.html",
            title="Jobs",
            jobs=registry.jobs().values(),
            last=last,
            runs=runs,
            failed=failed,
            waiting=waiting,
            stuck=stuck,
            backup=kept,
            backup_failed=last.get(operations.BACKUP) is not None
            and last[operations.BACKUP].status == RunStatus.FAILED,
            backup_old=operations.too_old(kept),
        )

    @expose("/<name>/run", methods=["POST"])
    @platform_page("jobs", "write")
    def run(self, name: str) -> Any:
        if name not in registry.jobs():
            abort(404)
        try:
            summary = runner.execute(name, trigger="manual", actor_user_id=g.identity.user.id)
        except Exception as error:
            if getattr(error, "code", None):
                raise
            flash(f"{name} failed. Its system event has the details.", "danger")
        else:
            said = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in summary.items()) or "nothing to do"
            flash(f"{name}: {said}.", "success")
        return redirect(url_for("JobsPage.index"))


class MailboxPage(Page):
    """What was sent, as the recipient saw it. In production only the envelope is listed."""

    route_base = "/admin/mailbox"
    resource = "mailbox"

    @expose("/")
    @platform_page("mailbox")
    def index(self) -> Any:
        q = request.args.get("q", "").strip()[:100]
        statement = (
            select(MailMessage)
            .order_by(MailMessage.sent_at.desc(), MailMessage.id.desc())
            .limit(PER_PAGE + 1)
        )
        if q:
            statement = statement.where(
                or_(MailMessage.to_address.ilike(f"%{q}%"), MailMessage.subject.ilike(f"%{q}%"))
            )
        before = request.args.get("before", "")
        if before.isascii() and before.isdigit() and len(before) < 18:
            statement = statement.where(MailMessage.id < int(before))
        with acting(db.session(), scope="platform"):
            rows = db.session.scalars(statement).all()
        more = rows[PER_PAGE - 1].id if len(rows) > PER_PAGE else None
        return self.render(
            "operations/mailbox.html",
            title="Mailbox",
            rows=rows[:PER_PAGE],
            more=more,
            q=q,
            opens=matrix.can("open", "mailbox") and not current_app.config["SETTINGS"].production,
        )

    @expose("/<uuid:public_id>")
    @platform_page("mailbox", "open")
    def show(self, public_id: Any) -> Any:
        if current_app.config["SETTINGS"].production:
            abort(404)
        with acting(db.session(), scope="platform"):
            row = db.session.scalars(
                select(MailMessage).where(MailMessage.public_id == public_id)
            ).one_or_none()
        if row is None:
            abort(404)
        return self.render("operations/mail.html", title=row.subject, mail=row)


def register(appbuilder: Any) -> None:
    """Put the pages into the sidebar."""
    page_entry(
        appbuilder,
        JobsPage(),
        group="Operations",
        label="Jobs",
        resource="jobs",
        icon="timer",
        scope="platform",
        keywords="worker schedule cron queue",
    )
    page_entry(
        appbuilder,
        MailboxPage(),
        group="Operations",
        label="Mailbox",
        resource="mailbox",
        icon="mail",
        scope="platform",
        keywords="email sent",
    )
