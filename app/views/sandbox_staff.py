"""``/admin/sandbox``: the sandbox provider's back office, to look at its books and to force what happens next."""

from __future__ import annotations

from typing import Any, NamedTuple

from flask import flash, redirect, request, url_for
from flask_appbuilder import expose
from sqlalchemy import String, cast, func, or_, select

from app.api.http import number_arg
from app.api.sandbox import settle
from app.errors import DomainError
from app.extensions import db
from app.gateways import provider
from app.gateways.provider import disputes, mandates, payouts
from app.gateways.provider.books import OUTCOMES
from app.jobs.money import kick_gateway
from app.models import (
    SandboxDispute,
    SandboxEntry,
    SandboxLever,
    SandboxMandate,
    SandboxOrder,
    SandboxPayee,
    SandboxPayout,
    SandboxRefund,
    SandboxWebhook,
)
from app.views.base import page as page_entry

from .pages import Page, platform_page

SIZE = 50


class Shown(NamedTuple):
    """A tab: its rows, columns (label, attribute, kind) and what the search looks into."""

    label: str
    model: Any
    key: str
    columns: tuple[tuple[str, str, str], ...]
    search: tuple[str, ...]
    empty: str


WHEN = ("When", "created_at", "ago")
TABS: dict[str, Shown] = {
    "orders": Shown(
        "Orders",
        SandboxOrder,
        "order_id",
        (
            ("Order", "order_id", "code"),
            ("For", "description", ""),
            ("Amount", "amount_paise", "money"),
            ("Captured", "captured_paise", "money"),
            ("Fee", "fee_paise", "money"),
            ("Status", "status", "status"),
            WHEN,
        ),
        ("order_id", "payment_id", "receipt", "description"),
        "Orders appear as soon as somebody buys credits or books by card.",
    ),
    "refunds": Shown(
        "Refunds",
        SandboxRefund,
        "refund_id",
        (
            ("Refund", "refund_id", "code"),
            ("Payment", "payment_id", "code"),
            ("Amount", "amount_paise", "money"),
            ("Status", "status", "status"),
            WHEN,
        ),
        ("refund_id", "payment_id"),
        "Refunds appear when a booking is cancelled or money matched nothing.",
    ),
    "disputes": Shown(
        "Disputes",
        SandboxDispute,
        "dispute_id",
        (
            ("Dispute", "dispute_id", "code"),
            ("Payment", "payment_id", "code"),
            ("Amount", "amount_paise", "money"),
            ("Phase", "phase", "tag"),
            ("Status", "status", "status"),
            ("Answer by", "due_by", "datetime"),
        ),
        ("dispute_id", "payment_id"),
        "Open one from a paid order.",
    ),
    "payouts": Shown(
        "Payouts",
        SandboxPayout,
        "payout_id",
        (
            ("Payout", "payout_id", "code"),
            ("To", "payee_id", "code"),
            ("Amount", "amount_paise", "money"),
            ("Status", "status", "status"),
            ("UTR", "utr", "code"),
            WHEN,
        ),
        ("payout_id", "payee_id", "utr", "idempotency_key"),
        "Payouts appear when experts and organisations are paid.",
    ),
    "payees": Shown(
        "Payees",
        SandboxPayee,
        "payee_id",
        (
            ("Payee", "payee_id", "code"),
            ("Name", "holder_name", ""),
            ("Account ends in", "last4", "code"),
            ("Checked", "validation_status", "status"),
            WHEN,
        ),
        ("payee_id", "holder_name"),
        "Payees appear when a payout account is added.",
    ),
    "mandates": Shown(
        "Mandates",
        SandboxMandate,
        "mandate_id",
        (
            ("Mandate", "mandate_id", "code"),
            ("Payer", "payer_name", ""),
            ("Up to", "max_paise", "money"),
            ("Status", "status", "status"),
            WHEN,
        ),
        ("mandate_id", "payer_name"),
        "Mandates appear when automatic top-up is set up.",
    ),
    "webhooks": Shown(
        "Webhooks",
        SandboxWebhook,
        "event_id",
        (
            ("Event", "event", "code"),
            ("About", "entity_id", "code"),
            ("Attempts", "attempts", "number"),
            ("Last answer", "last_status", ""),
            ("Next", "next_at", "datetime"),
            ("Delivered", "delivered_at", "datetime"),
        ),
        ("event", "entity_id", "event_id"),
        "Everything that happens here is reported by a signed webhook.",
    ),
    "books": Shown(
        "Books",
        SandboxEntry,
        "entry_id",
        (
            ("Kind", "kind", "tag"),
            ("About", "entity_id", "code"),
            ("Amount", "amount_paise", "signed_money"),
            ("Fee", "fee_paise", "money"),
            WHEN,
        ),
        ("entity_id", "payment_id", "order_id"),
        "The provider's own ledger: what reconciliation compares ours with.",
    ),
}
WORDS = {
    "processed": "Process",
    "processing": "Start",
    "failed": "Fail",
    "reversed": "Reverse",
    "cancelled": "Cancel",
    "verified": "Verify",
    "confirmed": "Confirm",
    "rejected": "Reject",
    "paused": "Pause",
    "action_required": "Ask for more",
    "under_review": "Review",
    "won": "Won",
    "lost": "Lost",
    "closed": "Close",
}


def choices(tab: str, row: Any) -> list[tuple[str, str]]:
    """(action, label) of what may happen to *row* next; never one that would be refused."""
    if tab == "orders":
        if row.status in ("created", "attempted", "authenticating"):
            return [
                ("capture", "Capture"),
                ("late", "Capture, tell in a minute"),
                ("twice", "Capture, tell twice"),
                ("less", "Capture a rupee less"),
                ("fail", "Decline"),
            ]
        return [("dispute", "Dispute"), ("resend", "Tell again")] if row.payment_id else []
    if tab == "webhooks":
        waits = row.delivered_at is None and row.next_at is not None
        return [("now", "Send now")] if waits else [("again", "Send again")]
    current = row.validation_status if tab == "payees" else getattr(row, "status", None)
    states: dict[str, Any] = {
        "refunds": {"processed": ("pending",), "failed": ("pending",)},
        "payees": {"verified": ("pending",), "failed": ("pending",)},
        "payouts": payouts.NEXT,
        "disputes": disputes.NEXT,
        "mandates": mandates.MANDATE_STATES,
    }
    return [(to, WORDS[to]) for to, sources in states.get(tab, {}).items() if current in sources]


class SandboxStaffPage(Page):
    """Lists of everything the provider holds, with a button for whatever may happen next."""

    route_base = "/admin/sandbox"
    resource = "sandbox"

    @expose("")
    @expose("/")
    @platform_page("sandbox")
    def index(self) -> Any:
        here = request.args.get("tab", "orders")
        if here not in TABS:
            raise DomainError("NOT_FOUND")
        shown, session = TABS[here], db.session()
        search, number = request.args.get("q", "").strip()[:80], number_arg("page", 1, 10_000)
        query = select(shown.model)
        if search:
            like = "%" + search.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_") + "%"
            query = query.where(
                or_(*(cast(getattr(shown.model, c), String).ilike(like) for c in shown.search))
            )
        rows = list(
            session.scalars(query.order_by(shown.model.id.desc()).limit(SIZE + 1).offset(SIZE * (number - 1)))
        )
        balance = session.execute(
            select(
                func.coalesce(func.sum(SandboxEntry.amount_paise), 0),
                func.coalesce(func.sum(SandboxEntry.fee_paise), 0),
            )
        ).one()
        waiting = session.scalar(
            select(func.count())
            .select_from(SandboxWebhook)
            .where(SandboxWebhook.delivered_at.is_(None), SandboxWebhook.next_at.is_not(None))
        )
        return self.render(
            "sandbox/staff.html",
            title="Sandbox provider",
            tabs=[
                {
                    "label": t.label,
                    "url": url_for("SandboxStaffPage.index", tab=n, q=search or None),
                    "here": n == here,
                }
                for n, t in TABS.items()
            ],
            here=here,
            shown=shown,
            rows=[(getattr(row, shown.key), row, choices(here, row)) for row in rows[:SIZE]],
            search=search,
            number=number,
            more=len(rows) > SIZE,
            balance=int(balance[0]) - int(balance[1]),
            fees=int(balance[1]),
            waiting=waiting,
            armed=list(session.scalars(select(SandboxLever).order_by(SandboxLever.call))),
            outcomes=[
                (f"{call}:{o}", f"{call.replace('_', ' ')}: {o.replace('_', ' ')}")
                for call, out in OUTCOMES.items()
                for o in out
            ],
        )

    @expose("/<tab>/<key>", methods=["POST"])
    @platform_page("sandbox", "write")
    def act(self, tab: str, key: str) -> Any:
        if tab not in TABS:
            raise DomainError("NOT_FOUND")
        act(tab, key[:80], request.form.get("action", "")[:40])
        kick_gateway(db.session())
        flash("Done. Its webhook is on the way.", "success")
        return redirect(url_for("SandboxStaffPage.index", tab=tab))

    @expose("/levers", methods=["POST"])
    @platform_page("sandbox", "write")
    def arm(self) -> Any:
        call, _, outcome = request.form.get("lever", "")[:90].partition(":")
        provider.arm(db.session(), call, outcome)
        flash(f"The next {call.replace('_', ' ')} meets: {outcome.replace('_', ' ')}.", "success")
        return redirect(url_for("SandboxStaffPage.index", tab=request.args.get("tab", "orders")[:20]))

    @expose("/deliver", methods=["POST"])
    @platform_page("sandbox", "write")
    def deliver(self) -> Any:
        """Send what waits, in order or in reverse."""
        reverse = request.form.get("order") == "reverse"
        count = (provider.reverse_due if reverse else provider.now_due)(db.session())
        kick_gateway(db.session())
        flash(
            f"{count} webhook{'s are' if count != 1 else ' is'} on the way{' in reverse' if reverse else ''}.",
            "success",
        )
        return redirect(url_for("SandboxStaffPage.index", tab="webhooks"))


def act(tab: str, key: str, action: str) -> None:
    """Do *action* to one row. Raises NOT_FOUND, ILLEGAL_TRANSITION."""
    session = db.session()
    if tab == "webhooks":
        provider.resend_event(session, key)
    elif tab != "orders":
        settle(tab, key, action)
    elif action in ("dispute", "resend"):
        order = provider.find_order(session, key)
        if order is None:
            raise DomainError("NOT_FOUND")
        if action == "resend":
            provider.resend(session, key)
        else:
            provider.open_dispute(session, order.payment_id or "")
    elif action == "fail":
        provider.decline(session, key)
    elif action in ("capture", "late", "twice", "less"):
        order = provider.find_order(session, key)
        provider.pay(
            session,
            key,
            amount_paise=max(1, order.amount_paise - 100) if order and action == "less" else None,
            delay_seconds=60 if action == "late" else 0,
            duplicate=action == "twice",
        )
    else:
        raise DomainError("NOT_FOUND")


def register(appbuilder: Any) -> None:
    """Register the back office beside the other staff pages."""
    page_entry(
        appbuilder,
        SandboxStaffPage(),
        group="Commerce",
        label="Sandbox provider",
        resource="sandbox",
        icon="landmark",
        scope="platform",
        order=60,
        keywords="gateway payments refunds payouts disputes webhooks test force",
    )
