"""Chats on the personal dashboard: channels left, the conversation right (chapter 1, 1.6)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import abort, flash, g, redirect, request, url_for
from flask_appbuilder import expose

from app.api.chats import OpenBody, OrgChannelBody, opened
from app.api.http import cursor_moment, cursor_of, page_args, parse_id, validate
from app.extensions import db
from app.models import ChannelKind, ChatChannel
from app.security import limits, matrix
from app.security.context import ctx
from app.services import chats
from app.views.base import page as sidebar

from .pages import OrgPage, Page, page, personal_page
from .scoping import page_scope, scope_chips

CHANNELS, MESSAGES = 20, 50
ICONS = {
    ChannelKind.APPOINTMENT: "calendar-check",
    ChannelKind.PLAN: "presentation",
    ChannelKind.ORGANIZATION: "building-2",
    ChannelKind.DIRECT: "user-round",
}


class ChatsPage(Page):
    """My conversations under a scope."""

    route_base = "/dashboard/chats"
    class_permission_name = "self"

    @expose("/")
    @personal_page
    def index(self) -> Any:
        return self._show(None)

    @expose("/<public_id>")
    @personal_page
    def show(self, public_id: str) -> Any:
        return self._show(chats.one(db.session(), parse_id(public_id)))

    def _show(self, channel: ChatChannel | None) -> Any:
        session, scope = db.session(), page_scope()
        cursor, _ = page_args()
        after = cursor_moment(cursor) if cursor is not None else None
        rows = chats.listed(session, scope, limit=CHANNELS + 1, after=after)
        more = rows[CHANNELS - 1] if len(rows) > CHANNELS else None
        rows = rows[:CHANNELS]
        everybody = [*rows, *([channel] if channel is not None else [])]
        people = chats.people(session, everybody)
        last = {} if scope.everybody else chats.latest(session, rows)
        kept: dict[str, Any] = {"org_scope": scope.value} if scope.value else {}
        thread, older = self._thread(channel)
        return self.render(
            "chats/index.html",
            title=self._name(channel, people) if channel else "Chats",
            lines=[self._line(c, people, last.get(c.id), channel, kept) for c in rows],
            more=url_for(
                "ChatsPage.index",
                **kept,
                cursor=cursor_of({"at": more.last_message_at.isoformat(), "n": more.id}),
            )
            if more
            else "",
            paged=after is not None,
            chips=scope_chips(scope, url_for("ChatsPage.index")),
            scope=scope,
            back=url_for("ChatsPage.index", **kept),
            channel=channel,
            members=[people[i] for i in channel.member_user_ids if i in people] if channel else [],
            thread=thread,
            older=older,
            closed=channel is not None
            and len(channel.member_user_ids) < 2
            and channel.kind != ChannelKind.ORGANIZATION,
            org_name=self._organization(channel),
            kept=urlencode(kept),
            governed=[
                m
                for m in g.memberships
                if m["membership_status"] == "ACTIVE"
                and m["status"] == "ACTIVE"
                and matrix.allowed([m["role"]], "channels", "write")
            ],
            icon=ICONS[channel.kind] if channel else "",
            max_body=chats.MAX_BODY,
            me=ctx().user_id,
        )

    def _thread(self, channel: ChatChannel | None) -> tuple[list[Any], str]:
        """Messages oldest first and the address of earlier ones; opening the end of a conversation marks it read."""
        if channel is None:
            return [], ""
        raw = request.args.get("before", "")
        before = int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 18 else None
        rows = chats.messages(db.session(), channel, before=before, limit=MESSAGES + 1)
        if rows and before is None:
            chats.mark_read(db.session(), channel, rows[0].id)
        older = ""
        if len(rows) > MESSAGES:
            older = url_for("ChatsPage.show", public_id=channel.public_id, before=rows[MESSAGES - 1].id)
        return rows[:MESSAGES][::-1], older

    def _line(self, c: ChatChannel, people: Any, last: Any, current: Any, kept: Any) -> dict[str, Any]:
        return {
            "name": self._name(c, people),
            "about": "" if c.kind == ChannelKind.DIRECT else c.title,
            "org": self._organization(c),
            "url": url_for("ChatsPage.show", public_id=c.public_id, **kept),
            "here": current is not None and c.id == current.id,
            "unread": chats.unread(c, last) and not (current is not None and c.id == current.id),
            "last": last,
            "at": c.last_message_at,
            "icon": ICONS[c.kind],
        }

    @staticmethod
    def _name(c: ChatChannel, people: Any) -> str:
        """The other person where there is one, else the channel's title."""
        if c.kind in (ChannelKind.APPOINTMENT, ChannelKind.DIRECT):
            others = [people[i].name for i in c.member_user_ids if i != ctx().user_id and i in people]
            if others:
                return str(others[0])
        return c.title

    @staticmethod
    def _organization(c: ChatChannel | None) -> str:
        if c is None or c.organization_id is None:
            return ""
        return str(next((m["name"] for m in g.memberships if m["organization_id"] == c.organization_id), ""))

    @expose("/<public_id>/new")
    @personal_page
    def new(self, public_id: str) -> Any:
        """What came after ``?after=`` as a piece of the page, for the browser that stays open."""
        channel = chats.one(db.session(), parse_id(public_id))
        raw = request.args.get("after", "0")
        after = int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 18 else 0
        rows = chats.messages(db.session(), channel, after=after, limit=100)
        if rows:
            chats.mark_read(db.session(), channel, rows[0].id)
        return self.render("chats/messages.html", thread=rows[::-1], me=ctx().user_id)

    @expose("/<public_id>", methods=["POST"])
    @personal_page
    def write(self, public_id: str) -> Any:
        channel = chats.one(db.session(), parse_id(public_id))
        text = chats.clean_body(request.form.get("body", "")[: chats.MAX_BODY * 3])
        limits.hit("chat-message", str(ctx().user_id))
        row = chats.post(db.session(), channel, text)
        if request.headers.get("X-Requested-With") == "fetch":
            after = request.form.get("after", "")
            seen = int(after) if after.isascii() and after.isdigit() and len(after) < 18 else row.id - 1
            rows = chats.messages(db.session(), channel, after=seen, limit=100)
            return self.render("chats/messages.html", thread=rows[::-1], me=ctx().user_id)
        scope = page_scope()
        kept: dict[str, Any] = {"org_scope": scope.value} if scope.value else {}
        return redirect(url_for("ChatsPage.show", public_id=public_id, **kept, _anchor="write"))

    @expose("/open", methods=["POST"])
    @personal_page
    def open(self) -> Any:
        """Open the channel of a booking or plan, or write to somebody by address."""
        body = validate(
            OpenBody,
            {
                k: v
                for k in ("appointment_id", "plan_id", "email", "organization_id")
                if (v := request.form.get(k, "").strip())
            },
        )
        return redirect(url_for("ChatsPage.show", public_id=opened(body).public_id))


class OrgChannelsPage(OrgPage):
    """An organisation's channel, opened by those who govern it."""

    route_base = "/dashboard/organization/<org_id>/channels"
    resource = "channels"

    @expose("/open", methods=["POST"])
    @page("channels", "write", active=True)
    def open(self) -> Any:
        body = validate(
            OrgChannelBody,
            {
                "title": request.form.get("title", "").strip(),
                "department": request.form.get("department", "").strip() or None,
            },
        )
        if ctx().membership_id is None:
            abort(404)
        limits.hit("chat-open", str(ctx().user_id))
        row = chats.for_organization(db.session(), body["title"], department=body["department"])
        flash(f"{len(row.member_user_ids)} people are in “{row.title}”.", "success")
        return redirect(url_for("ChatsPage.show", public_id=row.public_id, org_scope=f"org:{g.org['slug']}"))


def register(appbuilder: Any) -> None:
    """Put chats onto the personal dashboard."""
    appbuilder.add_view_no_menu(OrgChannelsPage())
    sidebar(
        appbuilder,
        ChatsPage(),
        group="",
        label="Chats",
        resource="",
        icon="message-circle",
        scope="personal",
        keywords="messages conversations write",
    )
