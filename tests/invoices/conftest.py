"""Customers on account with bookings that accrued, made as the checkout makes them: payment, legs, BOOKING posting."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import select, text

from app import clock
from app.gateways import provider
from app.models import (
    Contract,
    ContractStatus,
    Currency,
    FundingSource,
    Invoice,
    LegSource,
    Payment,
    PaymentLeg,
    PaymentStatus,
    PlatformRole,
    PurchaseOrder,
)
from app.security.context import acting
from app.services import (
    gateway_events,
    invoice_drafts,
    invoice_facts,
    invoice_rollup,
    invoices,
    ledger,
    reconcile,
    refund_spread,
    refunds,
)
from tests.factories import unique

SUPPLIER = invoice_facts.Supplier(
    "Consilium Experts Private Limited",
    "14 Residency Road, Bengaluru, Karnataka 560025",
    "29AAZCE4321Q1ZO",
    "Bengaluru",
    "560025",
    "billing@consilium.test",
)


@dataclass
class Customer:
    """An organisation, its people, and shorthands that act as its billing administrator."""

    make: Any
    org: Any
    owner: Any
    billing: Any
    learner: Any
    plan: Any
    expert: Any
    made: list[int] = field(default_factory=list)

    def booking(
        self, paise: int, *, bps: int = 1800, status: str = "SUCCEEDED", overage: int = 0, n: int = 1
    ) -> list[Payment]:
        """*n* bookings on account of *paise* each (of it *overage* beyond the program), accrued and posted."""
        rows = []
        with self.make.acting(self.learner) as s:
            for _ in range(n):
                row = Payment(
                    organization_id=self.org.id,
                    user_id=self.learner.user_id,
                    billing_account_id=s.scalar(text("select id from billing_account")),
                    plan_id=self.plan.id,
                    status=PaymentStatus(status),
                    method="INVOICE",
                    description="Strategy session",
                    price_paise=paise,
                    tax_paise=0,
                    tax_bps=bps,
                    amount_paise=paise,
                    captured_at=clock.now() if status == "SUCCEEDED" else None,
                    snapshot={
                        "learner": "Nikhil Pawar",
                        "expert": "Asha Rao",
                        "sac": "999293",
                        "starts_at": clock.now().isoformat(),
                        "split": {},
                    },
                )
                s.add(row)
                s.flush()
                parts = [
                    (LegSource.INVOICE_ACCRUAL, paise - overage),
                    (LegSource.OVERAGE_INVOICE_ACCRUAL, overage),
                ]
                s.add_all(
                    PaymentLeg(organization_id=self.org.id, payment_id=row.id, source=k, amount_paise=v)
                    for k, v in parts
                    if v
                )
                if status == "SUCCEEDED":
                    platform = paise * 2000 // 10_000
                    ledger.post(
                        s,
                        f"booking:{row.public_id}",
                        "BOOKING",
                        [
                            ledger.debit(ledger.org_account("ORG_RECEIVABLE", self.org.id), paise),
                            ledger.credit(ledger.PLATFORM_FEE, platform),
                            ledger.credit(
                                ledger.consultant_account("CONSULTANT_PAYABLE", self.expert.user_id),
                                paise - platform,
                            ),
                        ],
                        organization_id=self.org.id,
                    )
                    self._earn(s, row, paise, platform)
                rows.append(row)
            s.commit()
        return rows

    def _earn(self, s: Any, row: Payment, paise: int, platform: int) -> None:
        from app.models import ConsultantEarning

        s.add(
            ConsultantEarning(
                organization_id=self.org.id,
                payment_id=row.id,
                consultant_user_id=self.expert.user_id,
                gross_paise=paise,
                platform_bps=2000,
                org_bps=0,
                consultant_bps=8000,
                share_paise=paise - platform,
                hold_until=clock.now(),
            )
        )
        s.flush()

    def refund(self, payment: Payment, paise: int | None = None) -> Any:
        """Refund a booking as ADMIN would; returns the refund."""
        with self.make.acting(self.owner) as s:
            row = refunds.reserve(s, s.get(Payment, payment.id), paise, "The session did not take place")
            s.commit()
            return row

    def roll_up(self) -> list[Invoice]:
        with self.make.acting(self.billing) as s:
            rows = invoice_rollup.roll_up(s, SUPPLIER)
            s.commit()
            return rows

    def manual(self, *amounts: int, bps: int | None = None, issue: bool = True, **values: Any) -> Invoice:
        """A manual invoice of one line an amount."""
        with self.make.acting(self.billing) as s:
            row = invoice_drafts.create(
                s,
                {
                    "items": [
                        {
                            "description": "Workshop for managers",
                            "unit_paise": a,
                            **({"tax_bps": bps} if bps is not None else {}),
                        }
                        for a in amounts
                    ],
                    "issue_immediately": issue,
                    **values,
                },
                SUPPLIER,
            )
            s.commit()
            return row

    def order(self, paise: int, currency: Currency = Currency.INR, **values: Any) -> PurchaseOrder:
        with self.make.session() as s:
            row = PurchaseOrder(
                organization_id=self.org.id,
                billing_account_id=s.scalar(
                    text("select id from billing_account where organization_id = :o"), {"o": self.org.id}
                ),
                po_number=unique("PO"),
                currency=currency,
                total_paise=paise,
                remaining_paise=paise,
                **values,
            )
            s.add(row)
        return row

    def contract(self, **values: Any) -> Contract:
        with self.make.session() as s:
            row = Contract(
                organization_id=self.org.id,
                billing_account_id=s.scalar(
                    text("select id from billing_account where organization_id = :o"), {"o": self.org.id}
                ),
                title="Consultations 2026-27",
                status=ContractStatus.ACTIVE,
                effective_from=clock.today_ist(),
                **values,
            )
            s.add(row)
        return row

    def again(self, row: Any) -> Any:
        """*row* as it is now."""
        with self.make.acting(self.billing) as s:
            return s.get(type(row), row.id)

    def balance(self, kind: str) -> int:
        code = f"{kind}|org:{self.org.id}|INR"
        with self.make.session() as s:
            return ledger.balance(s, code)

    def posted(self, key: str) -> dict[tuple[str, str], int]:
        """(account kind, side) -> paise of the posting under *key*; empty if there is none."""
        rows = self.make.rows(
            "select a.kind, e.side, e.amount_paise as paise from ledger_transaction t join ledger_entry e "
            "on e.transaction_id = t.id join ledger_account a on a.id = e.account_id where t.key = :k",
            k=key,
        )
        return {(r.kind, r.side): int(r.paise) for r in rows}

    def findings(self) -> list[dict[str, Any]]:
        """What the reconciler finds for the organisation."""
        with self.make.session() as s, acting(s, scope="job"):
            return list(reconcile.run(s, self.org.id).findings)

    def line(self, row: Invoice, position: int = 1) -> Any:
        with self.make.acting(self.billing) as s:
            return next(n for n in invoices.lines_of(s, s.get(Invoice, row.id)) if n.position == position)


assert refund_spread.EFFECTS  # credit notes have registered


@pytest.fixture
def customer(make: Any) -> Any:
    """Makes customers: ``customer(state="27", gstin=…)``; registered in the supplier's state by default."""

    def build(
        *,
        funding: FundingSource = FundingSource.INVOICE,
        state: str | None = "29",
        registered: bool = True,
        **values: Any,
    ) -> Customer:
        from app.services import gstin

        number = None
        if registered:
            stem = f"{state}AABC{'ABCDEFGHJK'[next(_n) % 10]}{1000 + next(_n) % 9000}K1Z"
            number = stem + gstin.check_character(stem)
        org = make.org(
            funding=funding, gstin=number, gst_state_code=state, invoice_number_prefix=_prefix(), **values
        )
        owner, billing = make.member(org, "OWNER"), make.member(org, "BILLING_ADMIN")
        learner = make.member(org, "LEARNER")
        expert = make.expert()
        return Customer(make, org, owner, billing, learner, make.plan(expert, tax_bps=1800), expert)

    return build


def _counter() -> Any:
    n = 0
    while True:
        n += 1
        yield n


_n = _counter()


def _prefix() -> str:
    """A prefix no other test of any process has."""
    import os

    digits, n = "", (os.getpid() % 36**2) * 36**2 + next(_n)
    for _ in range(4):
        n, rest = divmod(n, 36)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[rest] + digits
    return f"T{digits}"


@pytest.fixture
def at(app: Any) -> Any:
    """Move the test clock to an instant (Indian time unless it says otherwise)."""

    def go(year: int, month: int, day: int, hour: int = 12, minute: int = 0, second: int = 0) -> None:
        target = dt.datetime(year, month, day, hour, minute, second, tzinfo=clock.IST)
        clock.set_offset((target - dt.datetime.now(dt.UTC)).total_seconds())
        app.extensions["redis"].set("test:clock", clock.offset_seconds())

    return go


@pytest.fixture
def after(app: Any) -> Any:
    """Move the test clock by so many days from now."""

    def go(days: float) -> None:
        clock.set_offset(clock.offset_seconds() + days * 86_400)
        app.extensions["redis"].set("test:clock", clock.offset_seconds())

    return go


@pytest.fixture
def run_job(app: Any) -> Any:
    """Run a named job as an administrator would."""

    def go(name: str) -> dict[str, Any]:
        from app.jobs import runner

        with app.app_context():
            return runner.execute(name, trigger="manual")

    return go


@pytest.fixture
def audits(make: Any) -> Any:
    """Actions of the audit log of an organisation, oldest first."""
    return lambda org: [
        r.action
        for r in make.rows(
            "select action from org_audit_log where organization_id = :o order by id", o=org.id
        )
    ]


@pytest.fixture
def api(app, client, make):
    """Requests as somebody: ``api(who, "POST", "/path", json)`` -> (status, body)."""

    def call(who, method, path, json=None, **headers):
        if path.endswith("/refunds"):
            headers.setdefault("Idempotency-Key", unique("refund"))
        answer = client.open(path, method=method, json=json, headers=make.bearer(who, **headers))
        return answer.status_code, answer.get_json(silent=True)

    return call


@pytest.fixture
def admin(make):
    return make.user(platform_role=PlatformRole.ADMIN)


def base(c, *more):
    """The path of a customer's invoices, or of what is below one."""
    return "/".join([f"/api/organizations/{c.org.slug}/billing-account/invoices", *map(str, more)])


@pytest.fixture
def pay(app, make):
    """Pay an order on the sandbox's page and let its signed webhook do the rest; *paise* forces another amount."""

    def go(order_id, paise=None):
        from app.extensions import db
        from app.gateways import open_gateway
        from app.models import SandboxOrder, SandboxWebhook

        with app.app_context():
            settings = app.config["SETTINGS"]
            if paise is not None:
                with make.session() as s:
                    s.query(SandboxOrder).filter_by(order_id=order_id).update({"amount_paise": paise})
            session = db.session()
            provider.pay(session, order_id)
            session.commit()
            order = provider.find_order(session, order_id)
            hooks = (
                session.query(SandboxWebhook)
                .filter_by(order_row_id=order.id)
                .order_by(SandboxWebhook.id)
                .all()
            )
            from app.security.context import acting

            body = hooks[-1].body.encode()
            event = open_gateway(settings, session, "sandbox").parse_event(body)
            with acting(session, scope="job"):
                gateway_events.store(session, "sandbox", event, body)
                session.commit()
                done = gateway_events.process(session, settings)
            db.session.remove()
            return done

    return go


__all__ = ["SUPPLIER", "Customer", "base", "select"]
