"""The reconciler: every cache against its sum, every posting against its rows (chapter 2, "Integrity").

It repairs nothing. The checks stand in ``app/services/checks``, one set-based statement each, so a run is linear in the
rows. WALLET_BALANCE_DRIFT freezes the wallet's spending.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from app import clock
from app.models import BillingAccount, LedgerReconciliationReport, Organization, Severity, SystemEvent
from app.security.context import acting
from app.services import checks

MAX_FINDINGS = 500
# Row-level security hides from the planner that a job sees everything: it expects a few rows and would sum the journal
# again for every account. Whole tables are hashed instead; a run may take longer than a page may.
_WHOLE_TABLES = {"enable_nestloop": "off", "work_mem": "64MB", "statement_timeout": "900s"}


def run(session: Session, organization_id: int | None = None) -> LedgerReconciliationReport:
    """Compare everything (or one organisation), store the report and freeze drifting wallets.

    Wants job scope. Returns the report; ``findings`` hold {kind, expected, actual, delta, ids}, at most 500 of them.
    """
    findings: list[dict[str, Any]] = []
    frozen: list[int] = []
    for name, value in _WHOLE_TABLES.items():
        session.execute(text(f"SET LOCAL {name} = '{value}'"))
    for check in checks.every():
        rows = session.execute(
            text(
                f"SELECT * FROM ({check.sql}) f WHERE (CAST(:org AS bigint) IS NULL OR organization_id = :org) "  # noqa: S608  (constants)
                "AND expected IS DISTINCT FROM actual LIMIT :most"
            ),
            {"org": organization_id, "most": MAX_FINDINGS},
        ).all()
        for row in rows:
            findings.append(
                {
                    "kind": check.kind,
                    "expected": int(row.expected or 0),
                    "actual": int(row.actual or 0),
                    "delta": int(row.actual or 0) - int(row.expected or 0),
                    "ids": [row.id],
                }
            )
            if check.kind == "WALLET_BALANCE_DRIFT":
                frozen.append(row.organization_id)
    for name in _WHOLE_TABLES:
        session.execute(text(f"SET LOCAL {name} TO DEFAULT"))
    findings = findings[:MAX_FINDINGS]
    counts = session.execute(
        text(
            "SELECT (SELECT count(*) FROM ledger_transaction) AS transactions, (SELECT count(*) FROM ledger_entry) AS entries"
        )
    ).one()
    report = LedgerReconciliationReport(
        organization_id=organization_id,
        ok=not findings,
        findings=findings,
        checked={
            "transactions": counts.transactions,
            "entries": counts.entries,
            "checks": len(checks.every()),
        },
        finished_at=clock.now(),
    )
    session.add(report)
    if findings:
        kinds = ", ".join(sorted({f["kind"] for f in findings}))
        session.add(
            SystemEvent(
                category="ledger",
                severity=Severity.ERROR,
                message=f"Reconciliation found {len(findings)} differences: {kinds}",
                context={"findings": findings[:20]},
            )
        )
    for org in frozen:
        with acting(session, scope="org", org_id=org):
            session.execute(
                update(BillingAccount)
                .where(BillingAccount.organization_id == org, BillingAccount.wallet_frozen_at.is_(None))
                .values(wallet_frozen_at=clock.now())
            )
    session.flush()
    return report


def view(report: LedgerReconciliationReport, organization: Organization | None = None) -> dict[str, Any]:
    """A report as the API shows it."""
    return {
        "id": str(report.public_id),
        "ok": report.ok,
        "findings": report.findings,
        "checked": report.checked,
        "organization_id": str(organization.public_id) if organization else None,
        "finished_at": report.finished_at.isoformat(),
    }
