"""The notification bell: the reader's own entries, unread count, mark read."""

from __future__ import annotations

import uuid
from typing import Any

from flask import abort, g, jsonify, redirect, request
from flask_appbuilder import BaseView, expose
from sqlalchemy import func, select, update

from app import clock
from app.extensions import db
from app.models import Notification
from app.security.context import ctx
from app.views import format as f

SHOWN, PAGE = 12, 30


def _mine() -> Any:
    return select(Notification).where(Notification.user_id == (ctx().user_id or -1))


def unread() -> int:
    """Unread entries of the reader, counted to 100."""
    if g.get("identity") is None:
        return 0
    if "_unread" not in g:
        some = (
            _mine()
            .with_only_columns(Notification.id)
            .where(Notification.read_at.is_(None))
            .limit(100)
            .subquery()
        )
        g._unread = int(db.session.scalar(select(func.count()).select_from(some)) or 0)
    return g._unread  # type: ignore[no-any-return]


def safe(url: str | None) -> str | None:
    """A path of this site, or nothing."""
    return url if url and url.startswith("/") and not url.startswith(("//", "/\\")) else None


class NotificationBell(BaseView):  # type: ignore[misc]
    """The bell's list as JSON, a page of all entries, and marking them read."""

    route_base = "/console/notifications"
    class_permission_name = "self"
    default_view = "index"

    def _reader(self) -> None:
        if g.get("identity") is None:
            abort(401)

    @expose("/")
    def index(self) -> Any:
        self._reader()
        raw = request.args.get("page", "1")
        page = min(max(int(raw), 1), 1000) if raw.isascii() and raw.isdigit() and len(raw) < 6 else 1
        rows = list(
            db.session.scalars(
                _mine()
                .order_by(Notification.created_at.desc(), Notification.id.desc())
                .offset((page - 1) * PAGE)
                .limit(PAGE + 1)
            )
        )
        return self.render_template(
            "console/notifications.html",
            rows=rows[:PAGE],
            page=page,
            more=len(rows) > PAGE,
            title="Notifications",
        )

    @expose("/list.json")
    def items(self) -> Any:
        self._reader()
        rows = db.session.scalars(
            _mine().order_by(Notification.created_at.desc(), Notification.id.desc()).limit(SHOWN)
        )
        return jsonify(
            unread=unread(),
            items=[
                {
                    "id": str(r.public_id),
                    "title": r.title,
                    "body": r.body,
                    "ago": f.ago(r.created_at),
                    "at": r.created_at.isoformat(),
                    "unread": r.read_at is None,
                }
                for r in rows
            ],
        )

    @expose("/read", methods=["POST"])
    def read_all(self) -> Any:
        self._reader()
        db.session.execute(
            update(Notification)
            .where(Notification.user_id == ctx().user_id, Notification.read_at.is_(None))
            .values(read_at=clock.now())
        )
        db.session.commit()
        if request.accept_mimetypes.best == "application/json":
            return jsonify(unread=0)
        return redirect("/console/notifications/")

    @expose("/<key>/open", methods=["POST"])
    def open(self, key: str) -> Any:
        """Mark one read and go where it points."""
        self._reader()
        try:
            row = db.session.scalars(_mine().where(Notification.public_id == uuid.UUID(key))).one_or_none()
        except ValueError:
            row = None
        if row is None:
            abort(404)
        target = safe(row.url) or "/console/notifications/"
        row.read_at = row.read_at or clock.now()
        db.session.commit()
        return redirect(target)
