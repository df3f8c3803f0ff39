"""The demo of design.md: complete, through services, once, reconciled; on a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import click
import pytest
from sqlalchemy import text

from app.cli import demo_cards, demo_terms
from app.cli.demo import seed_demo
from app.cli.demo_data import BOOKINGS, MAYA, ORGANIZATIONS, PASSWORD, TOP_UP
from tests.demo import demo_database


@pytest.fixture(scope="module")
def demo(owner_url: str, settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An application on an empty, migrated database, seeded twice."""
    with demo_database(owner_url, settings, tmp_path_factory.mktemp("demo"), "demo") as (app, engine):
        app.extensions["demo_runs"] = (seed_demo(app), counts(engine), seed_demo(app), counts(engine))
        yield app, engine


def counts(engine: Any) -> list[int]:
    with engine.connect() as connection:
        return [
            connection.execute(text(f"SELECT count(*) FROM {t}")).scalar()
            for t in (
                "ab_user",
                "organization",
                "membership",
                "invitation",
                "plan",
                "wallet_top_up",
                "payment",
                "ledger_entry",
                "org_audit_log",
            )
        ]


def rows(demo: Any, sql: str, **values: Any) -> list[Any]:
    with demo[1].connect() as connection:
        return [tuple(r) for r in connection.execute(text(sql), values)]


def test_the_second_run_does_nothing(demo: Any) -> None:
    first, before, second, after = demo[0].extensions["demo_runs"]
    assert first is True and second is False and before == after


def test_every_organisation_is_as_described(demo: Any) -> None:
    for org in ORGANIZATIONS:
        found = rows(
            demo,
            "SELECT o.status, o.can_sponsor, o.can_host, b.funding_source, o.gst_state_code, d.domain "
            "FROM organization o LEFT JOIN billing_account b ON b.organization_id = o.id JOIN domain_claim d ON "
            "d.organization_id = o.id AND d.verified_at IS NOT NULL WHERE o.slug = :s",
            s=org.slug,
        )
        assert found == [("ACTIVE", org.sponsor, org.host, org.funding, org.state, f"{org.slug}.test")]
        people = dict(
            rows(
                demo,
                "SELECT u.email, m.role FROM membership m JOIN ab_user u ON u.id = m.user_id JOIN "
                "organization o ON o.id = m.organization_id WHERE o.slug = :s AND m.status = 'ACTIVE'",
                s=org.slug,
            )
        )
        expected = {f"{who}@{org.slug}.test": role for who, _, role in org.people}
        expected |= {
            f"{who}@consilium.test": role
            for who, (slug, role) in zip(["maya"] * 3, MAYA, strict=True)
            if slug == org.slug
        }
        assert people.items() >= expected.items()  # a directory's people come on top
    assert rows(demo, "SELECT requires_po FROM organization WHERE slug = 'northwind'") == [(True,)]
    assert rows(demo, "SELECT status FROM organization WHERE slug = 'hooli'") == [("PENDING_VERIFICATION",)]
    assert rows(
        demo,
        "SELECT slug, verification_info_requested_at IS NOT NULL, verification_rejected_at IS NOT NULL, "
        "(SELECT count(*) FROM staff_note n WHERE n.about_organization_id = o.id) FROM organization o "
        "WHERE slug IN ('brindavan', 'sahyadri') ORDER BY slug",
    ) == [("brindavan", True, False, 2), ("sahyadri", False, True, 0)]
    assert rows(
        demo,
        "SELECT count(*) FROM membership m JOIN organization o ON o.id = m.organization_id WHERE "
        "o.slug = 'vacant'",
    ) == [(0,)]
    assert rows(
        demo, "SELECT email, platform_role FROM ab_user WHERE platform_role IN ('ADMIN', 'STAFF') ORDER BY 1"
    ) == [
        ("admin@consilium.test", "ADMIN"),
        ("staff@consilium.test", "STAFF"),
        ("treasury@consilium.test", "ADMIN"),
    ]


def test_the_money_was_posted_and_reconciles(demo: Any) -> None:
    spent = rows(
        demo,
        "SELECT count(*), sum(amount_paise) FROM payment WHERE status = 'SUCCEEDED' AND method = 'WALLET'",
    )[0]
    balance = rows(
        demo,
        "SELECT b.wallet_balance_paise FROM billing_account b JOIN organization o ON o.id = "
        "b.organization_id WHERE o.slug = 'acme'",
    )[0][0]
    booked = len(BOOKINGS) + 3  # two seats at a webinar and a subscription
    assert spent[0] == booked and balance == TOP_UP - int(spent[1]) + demo_cards.PART
    assert rows(demo, "SELECT status FROM wallet_top_up") == [("CONFIRMED",)] * 2
    assert rows(demo, "SELECT ok FROM ledger_reconciliation_report") == [(True,)]
    assert rows(demo, "SELECT count(DISTINCT category) >= 4 FROM plan") == [(True,)]
    kinds = dict(rows(demo, "SELECT kind, count(*) FROM ledger_transaction GROUP BY 1"))
    assert (kinds["TOPUP"], kinds["BOOKING"]) == (
        2,
        booked + len(demo_terms.BOOKED) + len(demo_cards.PAID),
    )


def test_cards_were_paid_refunded_and_disputed(demo: Any) -> None:
    assert rows(
        demo,
        "SELECT u.email, p.status, p.amount_paise, d.status, d.posted_paise, r.status, r.amount_paise FROM payment p "
        "JOIN ab_user u ON u.id = p.user_id LEFT JOIN dispute d ON d.payment_id = p.id LEFT JOIN refund r ON "
        "r.payment_id = p.id WHERE p.method = 'CARD' ORDER BY p.id",
    ) == [
        ("learner@initech.test", "SUCCEEDED", 531_000, "LOST", 531_000, None, None),
        ("learner@initech.test", "SUCCEEDED", 330_400, None, None, "SUCCEEDED", demo_cards.PART),
        ("learner@globex.test", "SUCCEEDED", 531_000, "NEEDS_RESPONSE", None, None, None),
    ]
    assert rows(
        demo,
        "SELECT m.kind, m.status, m.proposed_by_user_id <> m.decided_by_user_id FROM manual_posting m ORDER BY m.id",
    ) == [("GRANT", "POSTED", False), ("ADJUSTMENT", "POSTED", True), ("ADJUSTMENT", "PROPOSED", None)]
    assert rows(demo, "SELECT ok, findings FROM gateway_report") == [(True, [])]
    assert rows(demo, "SELECT count(*) FROM sandbox_webhook WHERE delivered_at IS NULL") == [(0,)]
    assert rows(demo, "SELECT count(*) FROM gateway_event WHERE status <> 'PROCESSED'") == [(0,)]
    assert rows(demo, "SELECT DISTINCT status FROM waitlist_entry") == [("WAITING",)]
    assert rows(demo, "SELECT DISTINCT status FROM trial") == [("PENDING",)]


def test_everybody_signs_in_and_lands(demo: Any) -> None:
    app, _ = demo
    for email, path in (
        ("owner@acme.test", "/dashboard/organization"),
        ("learner@acme.test", "/dashboard/organization"),
        ("admin@consilium.test", "/admin"),
        ("maya@consilium.test", "/dashboard/personal"),
    ):
        for key in app.extensions["redis"].scan_iter("rl:*"):
            app.extensions["redis"].delete(key)
        browser = app.test_client()
        assert browser.form("/login", {"email": email, "password": PASSWORD}).status_code == 302
        page = browser.get(path, follow_redirects=True)
        assert page.status_code == 200, (email, page.text[:500])


def test_admin_reaches_the_memberless_organisation(demo: Any) -> None:
    browser = demo[0].test_client()
    browser.form("/login", {"email": "admin@consilium.test", "password": PASSWORD})
    page = browser.get("/dashboard/organization/vacant/home")
    assert page.status_code == 200 and "Vacant Holdings" in page.text


def test_production_refuses_the_demo(demo: Any) -> None:
    app, _ = demo
    before = app.config["SETTINGS"]
    app.config["SETTINGS"] = replace(before, app_env="production")
    try:
        with pytest.raises(click.ClickException, match="development"):
            seed_demo(app)
    finally:
        app.config["SETTINGS"] = before
