"""Sponsors of every funding source with a program and people who may book."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app import clock
from app.jobs import runner
from app.models import Contract, ContractStatus, FundingSource, OrgRole, Program, ProgramType
from tests.booking.conftest import World
from tests.booking.test_cards import Till

POOL = {"type": ProgramType.CREDIT_POOL, "credits_per_cycle": 50_000}
SEAT = {"type": ProgramType.LICENSED_SEAT}


class Terms(World):
    """One sponsor; what the tests of this folder ask of it."""

    def used(self, member: Any) -> tuple[int, int, int]:
        """(paise consumed, engagements, paise of overage) of a member's place."""
        return tuple(
            self.make.rows(
                "SELECT consumed_paise, engagements_used, overage_paise FROM assignment WHERE membership_id = :m "
                "ORDER BY id DESC LIMIT 1",
                m=member.id,
            )[0]
        )

    def use(self, member: Any, *, paise: int = 0, engagements: int = 0) -> None:
        """Usage of the cycle before, with its ledger entry."""
        with self.make.session() as s:
            row = s.execute(
                text(
                    "UPDATE assignment SET consumed_paise = consumed_paise + :p, engagements_used = engagements_used + :n "
                    "WHERE membership_id = :m RETURNING id"
                ),
                {"p": paise, "n": engagements, "m": member.id},
            ).scalar()
            s.execute(
                text(
                    "INSERT INTO usage_ledger_entry (organization_id, assignment_id, engagements, consumed_paise, recorded_at) "
                    "VALUES (:o, :a, :n, :p, now())"
                ),
                {"o": self.org.id, "a": row, "n": engagements, "p": paise},
            )

    def legs(self, key: str) -> dict[tuple[str, str], int]:
        """(account kind, side) to paise of a posting; equal ones summed."""
        out: dict[tuple[str, str], int] = {}
        for code, side, paise in self.make.rows(
            "SELECT a.code, e.side, e.amount_paise FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id "
            "JOIN ledger_transaction t ON t.id = e.transaction_id WHERE t.key = :k",
            k=key,
        ):
            out[code.split("|")[0], side] = out.get((code.split("|")[0], side), 0) + paise
        return out

    def parts(self, answer: Any) -> list[tuple[str, int, int]]:
        return [(x["source"], x["amount_paise"], x["covered_paise"]) for x in answer.json["payment"]["legs"]]

    def overage(self, answer: Any) -> Any:
        rows = self.make.rows(
            "SELECT v.charge_to, v.charge_status, v.marginal_paise, v.tax_paise FROM overage_event v "
            "JOIN payment p ON p.id = v.payment_id WHERE p.public_id = :p",
            p=answer.json["payment"]["id"],
        )
        return tuple(rows[0]) if rows else None

    def earning(self, answer: Any) -> tuple[int, str]:
        return tuple(
            self.make.rows(
                "SELECT e.share_paise, e.status FROM consultant_earnings e JOIN payment p ON p.id = e.payment_id "
                "WHERE p.public_id = :p",
                p=answer.json["payment"]["id"],
            )[0]
        )

    def owes(self, kind: str, scope: str) -> int:
        """The debit balance of an account."""
        return int(
            self.make.one(
                "SELECT coalesce(sum(CASE e.side WHEN 'D' THEN e.amount_paise ELSE -e.amount_paise END), 0) "
                "FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id WHERE a.code = :c",
                c=f"{kind}|{scope}|INR",
            )
        )

    def bad_debt(self) -> int:
        """BAD_DEBT from postings of this organisation."""
        return int(
            self.make.one(
                "SELECT coalesce(sum(CASE e.side WHEN 'D' THEN e.amount_paise ELSE -e.amount_paise END), 0) "
                "FROM ledger_entry e JOIN ledger_account a ON a.id = e.account_id "
                "JOIN ledger_transaction t ON t.id = e.transaction_id WHERE a.kind = 'BAD_DEBT' AND t.organization_id = :o",
                o=self.org.id,
            )
        )

    def preview(self, who: Any, **body: Any) -> Any:
        return self.client.post(
            f"/api/organizations/{self.org.public_id}/checkout/overage-preview",
            json={"plan_id": str(self.plan.public_id), **body},
            headers=self.auth(who),
        )

    def post(self, who: Any, path: str, body: Any = None, method: str = "post") -> Any:
        """A request on the organisation's resources."""
        call = getattr(self.client, method)
        return call(
            f"/api/organizations/{self.org.public_id}/{path}", json=body or {}, headers=self.auth(who)
        )

    def get(self, who: Any, path: str) -> Any:
        return self.client.get(f"/api/organizations/{self.org.public_id}/{path}", headers=self.auth(who))

    def later(self, **delta: float) -> None:
        seconds = dt.timedelta(**delta).total_seconds()
        self.client.post("/api/test/clock", json={"offset_seconds": seconds})

    def run(self, job: str) -> Any:
        with self.make.app.app_context():
            return runner.execute(job)

    def events(self, name: str) -> list[Any]:
        return [
            r[0]
            for r in self.make.rows(
                "SELECT payload->'data' FROM outbox_message WHERE organization_id = :o AND topic = 'event' "
                "AND payload->>'event' = :n ORDER BY id",
                o=self.org.id,
                n=name,
            )
        ]

    def audit(self) -> list[str]:
        return [
            r[0]
            for r in self.make.rows(
                "SELECT action FROM org_audit_log WHERE organization_id = :o ORDER BY id", o=self.org.id
            )
        ]


@pytest.fixture
def sponsor(make: Any, client: Any) -> Any:
    """``sponsor(funding, program=…, contract=…, account=…, price=…)``: a Terms world."""

    def build(
        funding: FundingSource = FundingSource.INVOICE,
        program: dict[str, Any] | None = None,
        contract: dict[str, Any] | None = None,
        account: dict[str, Any] | None = None,
        price: int = 500_000,
        **org_values: Any,
    ) -> Terms:
        org = make.org(funding=funding, **org_values)
        account_id = make.one("SELECT id FROM billing_account WHERE organization_id = :o", o=org.id)
        for column, value in (account or {}).items():
            with make.session() as s:
                s.execute(
                    text(f"UPDATE billing_account SET {column} = :v WHERE id = :i"),
                    {"v": value, "i": account_id},
                )
        agreement = make.add(
            Contract(
                **{
                    "organization_id": org.id,
                    "billing_account_id": account_id,
                    "title": "Learning",
                    "status": ContractStatus.ACTIVE,
                    "signed_at": clock.now(),
                    "effective_from": clock.today_ist() - dt.timedelta(days=30),
                    **(contract or {}),
                }
            )
        )
        row = make.add(
            Program(
                **{
                    "organization_id": org.id,
                    "contract_id": agreement.id,
                    "name": "Coaching",
                    **(POOL if program is None else program),
                }
            )
        )
        expert = make.expert()
        if funding == FundingSource.WALLET:
            make.fund(org, 5_000_000)
        world = Terms(make, client, org, agreement, row, expert, make.plan(expert, price))
        world.owner = make.member(org, OrgRole.OWNER)
        world.billing = make.member(org, OrgRole.BILLING_ADMIN)
        return world

    return build


@pytest.fixture
def till(app: Any, web_engine: Any, settings: Any, client: Any, make: Any) -> Any:
    """The sandbox provider for a world: ``till(world)``."""
    with app.app_context(), Session(web_engine, expire_on_commit=False) as session:
        yield lambda world: Till(world, session, settings)
