"""Our books against a provider's (chapter 2, 2.7): three days of payments, refunds, payouts and disputes, and its fees.

A kind of money adds a ``Local``: the rows we have, so that both sides can be matched by the provider's id. Findings are
stored and repaired by nobody:

    MISSING_LOCAL      the provider has it, we do not        MISSING_GATEWAY   we have it, the provider does not
    AMOUNT_MISMATCH    both have it, for different amounts   STATUS_MISMATCH   done there, not settled here
    ORG_MISMATCH       its notes name another organisation than our row
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app import clock
from app.gateways import Transaction, open_gateway
from app.logs import log
from app.models import GatewayReport, Severity, SystemEvent
from app.services import ledger
from config import Settings

DAYS, MARGIN = dt.timedelta(days=3), dt.timedelta(days=1)
IN_FLIGHT = dt.timedelta(minutes=10)  # younger lines may still be on their way into our books
MAX_FINDINGS = 500
GATEWAY_FEE = "GATEWAY_FEE|platform|INR"


@dataclass(frozen=True)
class Local:
    """Rows of ours that one kind of the provider's lines stands for.

    *sql* answers :gateway, :since and :until with (provider_id, paise, settled, organization_id as public id or NULL,
    at, id). *settled*: the row is where it must be once the provider is done.
    """

    kind: str
    sql: str


_ORG = "LEFT JOIN organization o ON o.id = x.organization_id"
LOCALS: tuple[Local, ...] = (
    Local(
        "payment",
        "SELECT x.provider_payment_id AS provider_id, sum(l.amount_paise)::bigint AS paise, x.status = 'SUCCEEDED' AS "
        f"settled, o.public_id::text AS organization_id, x.captured_at AS at, x.public_id::text AS id FROM payment x {_ORG} "
        "JOIN payment_leg l ON l.payment_id = x.id AND l.source = 'CARD' WHERE x.gateway = :gateway "
        "AND x.captured_at >= :since AND x.captured_at < :until AND x.provider_payment_id IS NOT NULL GROUP BY x.id, o.id",
    ),
    Local(
        "payment",
        "SELECT x.gateway_payment_id AS provider_id, x.captured_paise AS paise, x.confirmed_at IS NOT NULL OR EXISTS "
        "(SELECT 1 FROM unapplied_receipt u WHERE u.provider_payment_id = x.gateway_payment_id) AS settled, "
        f"o.public_id::text AS organization_id, x.captured_at AS at, x.public_id::text AS id FROM wallet_top_up x {_ORG} "
        "WHERE x.gateway = :gateway AND x.captured_at >= :since AND x.captured_at < :until",
    ),
    Local(
        "payment",
        "SELECT x.provider_payment_id AS provider_id, x.amount_paise AS paise, true AS settled, "
        "o.public_id::text AS organization_id, x.created_at AS at, x.public_id::text AS id "
        f"FROM invoice_receipt x {_ORG} WHERE x.gateway = :gateway AND x.created_at >= :since AND x.created_at < :until",
    ),
    Local(
        "payment",
        "SELECT x.provider_payment_id AS provider_id, x.amount_paise AS paise, true AS settled, "
        "NULL AS organization_id, x.received_at AS at, x.public_id::text AS id FROM unapplied_receipt x "
        "WHERE x.gateway = :gateway AND x.received_at >= :since AND x.received_at < :until",
    ),
    Local(
        "refund",
        "SELECT x.provider_refund_id AS provider_id, x.gateway_paise AS paise, x.status = 'SUCCEEDED' AS settled, "
        f"o.public_id::text AS organization_id, x.created_at AS at, x.public_id::text AS id FROM refund x {_ORG} "
        "JOIN payment p ON p.id = x.payment_id AND p.gateway = :gateway WHERE x.provider_refund_id IS NOT NULL "
        "AND x.status IN ('PENDING', 'SUCCEEDED') AND x.created_at >= :since AND x.created_at < :until",
    ),
    Local(
        "refund",
        "SELECT x.provider_refund_id AS provider_id, x.amount_paise AS paise, x.status = 'SUCCEEDED' AS settled, "
        "o.public_id::text AS organization_id, x.created_at AS at, x.public_id::text AS id "
        f"FROM wallet_top_up_refund x {_ORG} JOIN wallet_top_up t ON t.id = x.top_up_id AND t.gateway = :gateway "
        "WHERE x.provider_refund_id IS NOT NULL AND x.status IN ('PENDING', 'SUCCEEDED') "
        "AND x.created_at >= :since AND x.created_at < :until",
    ),
    Local(
        "refund",
        "SELECT x.provider_refund_id AS provider_id, x.amount_paise AS paise, x.status = 'SUCCEEDED' AS settled, "
        "o.public_id::text AS organization_id, x.created_at AS at, x.public_id::text AS id "
        f"FROM invoice_refund x {_ORG} JOIN invoice_receipt t ON t.id = x.receipt_id AND t.gateway = :gateway "
        "WHERE x.provider_refund_id IS NOT NULL AND x.utr IS NULL AND x.status IN ('PENDING', 'SUCCEEDED') "
        "AND x.created_at >= :since AND x.created_at < :until",
    ),
    Local(
        "refund",
        "SELECT x.provider_refund_id AS provider_id, x.refunded_paise AS paise, true AS settled, "
        "NULL AS organization_id, x.refunded_at AS at, x.public_id::text AS id FROM unapplied_receipt x "
        "WHERE x.gateway = :gateway AND x.provider_refund_id IS NOT NULL "
        "AND x.refunded_at >= :since AND x.refunded_at < :until",
    ),
    Local(
        "dispute",
        "SELECT x.provider_dispute_id AS provider_id, x.posted_paise AS paise, x.status = 'LOST' AS settled, "
        f"o.public_id::text AS organization_id, x.closed_at AS at, x.public_id::text AS id FROM dispute x {_ORG} "
        "WHERE x.gateway = :gateway AND x.posted_paise > 0 AND x.closed_at >= :since AND x.closed_at < :until",
    ),
)
COMPARED = ("payment", "refund", "payout", "dispute")


def configured(settings: Settings) -> list[str]:
    """The gateways there is something to compare with."""
    names = [] if settings.production else ["sandbox"]
    if settings.razorpay_key_id and settings.razorpay_key_secret:
        names.append("razorpay")
    if settings.stripe_secret_key:
        names.append("stripe")
    return names


def compare(session: Session, gateway: str, settings: Settings) -> GatewayReport:
    """Compare the last three days with *gateway*'s books, post its fees, store the report. Wants job scope.

    Raises the gateway's codes.
    """
    until = clock.now() - IN_FLIGHT
    since = until - DAYS
    lines = open_gateway(settings, session, gateway).list_transactions(since - MARGIN, until + IN_FLIGHT)
    ours = _ours(session, gateway, since - MARGIN, until + IN_FLIGHT)
    findings = list(_differences(lines, ours, since, until))[:MAX_FINDINGS]
    fees = _post_fees(session, gateway, lines)
    report = GatewayReport(
        gateway=gateway,
        since=since,
        until=until,
        ok=not findings,
        findings=findings,
        checked={"lines": len(lines), "rows": sum(len(rows) for rows in ours.values()), "fees_paise": fees},
        finished_at=clock.now(),
    )
    session.add(report)
    if findings:
        kinds = ", ".join(sorted({f["kind"] for f in findings}))
        session.add(
            SystemEvent(
                category="gateway",
                severity=Severity.ERROR,
                message=f"{gateway}'s books differ from ours in {len(findings)} places: {kinds}",
                context={"findings": findings[:20]},
            )
        )
    session.flush()
    return report


def _ours(
    session: Session, gateway: str, since: dt.datetime, until: dt.datetime
) -> dict[str, dict[str, Any]]:
    """Our rows by kind and provider's id; a row that is one of a top-up and of an unapplied receipt counts once."""
    found: dict[str, dict[str, Any]] = {kind: {} for kind in COMPARED}
    for local in LOCALS:
        rows = session.execute(text(local.sql), {"gateway": gateway, "since": since, "until": until})
        for row in rows:
            found[local.kind].setdefault(row.provider_id, row)
    return found


def _differences(
    lines: Iterable[Transaction], ours: dict[str, dict[str, Any]], since: dt.datetime, until: dt.datetime
) -> Iterable[dict[str, Any]]:
    seen: dict[str, set[str]] = {kind: set() for kind in COMPARED}
    for line in lines:
        if line.kind not in COMPARED:
            continue
        seen[line.kind].add(line.entity_id)
        row, paise = ours[line.kind].get(line.entity_id), abs(line.amount_paise)
        if row is None:
            if since <= line.at < until:
                yield _finding("MISSING_LOCAL", line.kind, line.entity_id, 0, paise)
            continue
        if row.paise != paise:
            yield _finding("AMOUNT_MISMATCH", line.kind, line.entity_id, int(row.paise or 0), paise, row.id)
        if not row.settled and line.at < until:
            yield _finding("STATUS_MISMATCH", line.kind, line.entity_id, 0, 1, row.id)
        named = line.notes.get("organization_id")
        if line.kind == "payment" and row.organization_id and named and named != row.organization_id:
            yield _finding("ORG_MISMATCH", line.kind, line.entity_id, 0, 1, row.id)
    for kind, rows in ours.items():
        for provider_id, row in rows.items():
            if provider_id not in seen[kind] and since <= row.at < until:
                yield _finding("MISSING_GATEWAY", kind, provider_id, int(row.paise or 0), 0, row.id)


def _finding(
    kind: str, entity: str, provider_id: str, expected: int, actual: int, own: str | None = None
) -> dict[str, Any]:
    return {
        "kind": kind,
        "entity": entity,
        "expected": expected,
        "actual": actual,
        "delta": actual - expected,
        "ids": [provider_id, *([own] if own else [])],
    }


def _post_fees(session: Session, gateway: str, lines: Iterable[Transaction]) -> int:
    """SETTLEMENT_FEE ``fee:<line>`` for every fee the provider kept, once; a settlement repeats its payments' fees."""
    owed = {
        f"fee:{line.transaction_id}": line for line in lines if line.fee_paise and line.kind != "settlement"
    }
    posted = set(
        session.scalars(
            text("SELECT key FROM ledger_transaction WHERE key = ANY(:keys)"), {"keys": list(owed)}
        )
    )
    total = 0
    for key, line in owed.items():
        if key in posted:
            continue
        legs = [ledger.debit(GATEWAY_FEE, line.fee_paise), ledger.credit(ledger.CASH, line.fee_paise)]
        ledger.post(
            session,
            key,
            "SETTLEMENT_FEE",
            legs,
            description=f"Fee of {gateway}",
            line=line.entity_id,
            tax_paise=line.tax_paise,
        )
        total += line.fee_paise
    return total


def run(session: Session, settings: Settings) -> dict[str, int]:
    """Compare with every configured gateway; one that fails does not stop the others. Wants job scope and commits."""
    done = {"compared": 0, "findings": 0, "fees_paise": 0, "failed": 0}
    for gateway in configured(settings):
        try:
            report = compare(session, gateway, settings)
            session.commit()
            done["compared"] += 1
            done["findings"] += len(report.findings)
            done["fees_paise"] += report.checked["fees_paise"]
        except Exception as error:
            session.rollback()
            log.warning("gateway_reconcile_failed", gateway=gateway, error=type(error).__name__)
            done["failed"] += 1
    return done


def view(row: GatewayReport) -> dict[str, Any]:
    """A report as the API shows it."""
    return {
        "id": str(row.public_id),
        "gateway": row.gateway,
        "since": row.since.isoformat(),
        "until": row.until.isoformat(),
        "ok": row.ok,
        "findings": row.findings,
        "checked": row.checked,
        "finished_at": row.finished_at.isoformat(),
    }
