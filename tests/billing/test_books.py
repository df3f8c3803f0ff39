"""Postings by hand, frozen wallets, providers' books, the page Invariants, refund previews (chapter 2, 2.2, 2.7, 2.8)."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from app.models import PlatformRole
from app.services import gateway_books
from tests.factories import unique

from .test_top_up_refunds import legs, spend


@pytest.fixture
def admins(make):
    return [make.user(platform_role=PlatformRole.ADMIN) for _ in range(2)]


@pytest.fixture
def desk(client, make, admins):
    """The platform's books over REST, as the first administrator unless said otherwise."""

    class Desk:
        def post(self, path, body=None, who=None, key=None):
            return client.post(
                f"/api/admin/{path}",
                json=body or {},
                headers=make.bearer(who or admins[0], **{"Idempotency-Key": key or unique("posting")}),
            )

        def get(self, path):
            return client.get(f"/api/admin/{path}", headers=make.bearer(admins[0])).json

    return Desk()


def test_a_grant_is_in_the_wallet_at_once_and_once(desk, make, admins):
    org = make.org()
    owner = make.member(org, "OWNER")
    body = {
        "kind": "GRANT",
        "organization_id": str(org.public_id),
        "amount_paise": 50_000,
        "reason": "A session failed because of us",
    }
    made = desk.post("postings", body, key="g")
    assert (made.status_code, made.json["status"]) == (201, "POSTED")
    assert desk.post("postings", body, key="g").status_code == 200
    assert make.balance(org) == 50_000
    assert legs(make, f"grant:{made.json['id']}") == [
        ("PLATFORM_PROMO", "D", 50_000),
        ("WALLET", "C", 50_000),
    ]
    assert desk.post("postings", body, who=owner.user).json["code"] == "INSUFFICIENT_ROLE"
    assert desk.post("postings", {**body, "reason": "x"}).status_code == 400
    assert desk.post("postings", {**body, "amount_paise": 0}).status_code == 400
    personal = make.org(funding="PERSONAL")
    wrong = desk.post("postings", {**body, "organization_id": str(personal.public_id)})
    assert wrong.json["code"] == "FUNDING_SOURCE_MISMATCH"
    assert make.balance(org) == 50_000


def test_an_adjustment_takes_two_administrators(desk, make, admins):
    org = make.org()
    make.fund(org, 10_000)
    wallet = f"WALLET|org:{org.id}|INR"
    body = {
        "kind": "ADJUSTMENT",
        "reason": "Booked twice on 3 November",
        "legs": [
            {"code": wallet, "side": "D", "amount_paise": 4_000},
            {"code": "CASH|platform|INR", "side": "C", "amount_paise": 4_000},
        ],
    }
    made = desk.post("postings", body)
    assert (made.status_code, made.json["status"]) == (201, "PROPOSED") and make.balance(org) == 10_000
    alone = desk.post(f"postings/{made.json['id']}/approve")
    assert (alone.status_code, alone.json["code"]) == (409, "SECOND_ADMIN_REQUIRED")
    assert make.balance(org) == 10_000
    done = desk.post(f"postings/{made.json['id']}/approve", who=admins[1])
    assert done.json["status"] == "POSTED" and make.balance(org) == 6_000
    again = desk.post(f"postings/{made.json['id']}/approve", who=admins[1])
    assert again.json["code"] == "ILLEGAL_TRANSITION" and make.balance(org) == 6_000
    too_much = {
        **body,
        "legs": [{**leg, "amount_paise": 7_000} for leg in body["legs"]],
    }
    second = desk.post("postings", too_much).json
    refused = desk.post(f"postings/{second['id']}/approve", who=admins[1])
    assert refused.json["code"] == "WALLET_INSUFFICIENT_FUNDS"
    assert make.one("select status from manual_posting where public_id = :i", i=second["id"]) == "PROPOSED"
    assert desk.post(f"postings/{second['id']}/reject").json["status"] == "REJECTED"


@pytest.mark.parametrize(
    "change",
    [
        {"legs": []},
        {"legs": [{"code": "CASH|platform|INR", "side": "D", "amount_paise": 5}]},
        {
            "legs": [
                {"code": "CASH|platform|INR", "side": "D", "amount_paise": 5},
                {"code": "BAD_DEBT|platform|INR", "side": "C", "amount_paise": 4},
            ]
        },
        {
            "legs": [
                {"code": "CASH|platform|INR", "side": "D", "amount_paise": 5},
                {"code": "NOWHERE|org:9999999|INR", "side": "C", "amount_paise": 5},
            ]
        },
        {
            "legs": [
                {"code": "CASH|platform|USD", "side": "D", "amount_paise": 5},
                {"code": "CASH|platform|INR", "side": "C", "amount_paise": 5},
            ]
        },
    ],
)
def test_malformed_adjustments_are_refused_with_a_reason(desk, make, change):
    count = "select count(*) from manual_posting"
    before = make.one(count)
    answer = desk.post("postings", {"kind": "ADJUSTMENT", "reason": "Because of a test", **change})
    assert answer.status_code == 400 and answer.json["details"]["fields"]["legs"]
    assert make.one(count) == before


def test_tax_handed_over_is_booked_once_a_challan(desk, make):
    org = make.org()
    make.fund(org, 100_000)
    spend(make, org, 1)
    with make.owner.begin() as c:
        c.execute(text("select set_config('app.org_id', :o, true)"), {"o": str(org.id)})
        c.execute(
            text(
                "select ledger_post(:k, 'BOOKING', :o, ARRAY[:w, 'GST_PAYABLE|platform|INR'], ARRAY['D','C'], "
                "ARRAY[9000, 9000]::bigint[], '{}', now())"
            ),
            {"k": unique("booking:tax"), "o": org.id, "w": f"WALLET|org:{org.id}|INR"},
        )
    challan = unique("CH").upper()
    body = {
        "kind": "TAX_REMITTED",
        "tax": "GST",
        "amount_paise": 9_000,
        "challan": challan,
        "reason": "GST of October",
    }
    made = desk.post("postings", body)
    assert made.status_code == 201
    assert legs(make, f"remit:{challan}") == [("CASH", "C", 9_000), ("GST_PAYABLE", "D", 9_000)]
    again = desk.post("postings", body)
    assert again.status_code == 400 and "challan" in again.json["details"]["fields"]
    much = desk.post("postings", {**body, "challan": unique("CH").upper(), "amount_paise": 10**10})
    assert much.status_code == 400


@pytest.mark.scenario("M-10")
def test_drift_freezes_and_an_administrator_unfreezes(shop, desk, client, make):
    make.fund(shop.org, 1_000_000)
    client.post("/api/test/fault", json={"point": "wallet_drift", "organization": shop.org.slug, "paise": 1})
    ran = desk.post("jobs/reconcile_ledgers/run")
    assert ran.status_code == 200
    report = desk.post("reconcile", {"organization_id": str(shop.org.public_id)}).json
    assert [(f["kind"], f["delta"]) for f in report["findings"]] == [("WALLET_BALANCE_DRIFT", 1)]
    frozen = "select wallet_frozen_at is not null from billing_account where organization_id = :o"
    assert make.one(frozen, o=shop.org.id) is True
    with pytest.raises(Exception, match="WALLET_FROZEN"):
        spend(make, shop.org, 1)
    bought = shop.buy(50_000).json
    shop.pay(bought["order_id"])
    shop.webhooks()
    assert shop.status(bought["top_up_id"]).status == "CONFIRMED"
    client.post("/api/test/fault", json={"point": "wallet_drift", "organization": shop.org.slug, "paise": -1})
    path = f"organizations/{shop.org.public_id}/wallet/unfreeze"
    assert desk.post(path, {"reason": "short"}).status_code == 400
    opened = desk.post(path, {"reason": "A test had skewed the cache"})
    assert opened.status_code == 200 and opened.json["wallet_frozen"] is False
    assert desk.post(path, {"reason": "A test had skewed the cache"}).json["code"] == "ILLEGAL_TRANSITION"
    spend(make, shop.org, 1)
    assert desk.post("reconcile", {"organization_id": str(shop.org.public_id)}).json["ok"] is True


# ---- providers' books ------------------------------------------------------------------------------------------------


@pytest.fixture
def compared(shop, job, settings, client):
    """Compare with the sandbox a quarter of an hour later; only findings about this shop's payments."""

    def run(*ids):
        client.post("/api/test/clock", json={"offset_seconds": 900})
        shop.act()
        report = gateway_books.compare(job, "sandbox", settings)
        job.commit()
        return [
            (f["kind"], f["entity"], f["expected"], f["actual"])
            for f in report.findings
            if set(f["ids"]) & set(ids)
        ]

    return run


def _payment(make, order):
    return make.one("select payment_id from sandbox_order where order_id = :o", o=order)


def test_books_that_agree_have_no_findings_and_fees_are_posted_once(shop, make, job, compared):
    bought = shop.buy(1_000_000).json
    shop.pay(bought["order_id"])
    shop.webhooks()
    payment = _payment(make, bought["order_id"])
    assert compared(payment) == [] and compared(payment) == []
    fee, entry = make.rows(
        "select fee_paise, entry_id from sandbox_entry where payment_id = :p and kind = 'payment'", p=payment
    )[0]
    assert fee == 23_600 and legs(make, f"fee:{entry}") == [
        ("CASH", "C", 23_600),
        ("GATEWAY_FEE", "D", 23_600),
    ]


def test_each_difference_has_its_name(shop, make, job, compared):
    known = shop.buy(1_000_000).json
    shop.pay(known["order_id"])
    shop.webhooks()
    lost = shop.buy(500_000).json
    shop.pay(lost["order_id"])  # its webhook never comes
    seen, unseen = _payment(make, known["order_id"]), _payment(make, lost["order_id"])
    other = make.org()
    with make.owner.begin() as c:
        c.execute(text("update sandbox_webhook set next_at = null where delivered_at is null"))
        c.execute(
            text(
                "update sandbox_entry set amount_paise = amount_paise - 1, "
                "notes = notes || jsonb_build_object('organization_id', cast(:o as text)) where payment_id = :p"
            ),
            {"p": seen, "o": str(other.public_id)},
        )
    found = compared(seen, unseen)
    assert sorted(found) == [
        ("AMOUNT_MISMATCH", "payment", 1_000_000, 999_999),
        ("MISSING_LOCAL", "payment", 0, 500_000),
        ("ORG_MISMATCH", "payment", 0, 1),
    ]
    with make.owner.begin() as c:
        c.execute(text("delete from sandbox_entry where payment_id = :p"), {"p": seen})
    assert ("MISSING_GATEWAY", "payment", 1_000_000, 0) in compared(seen)


def test_a_refund_that_is_done_there_and_waits_here_is_a_status_mismatch(shop, make, client, job, compared):
    bought = shop.buy(1_000_000).json
    shop.pay(bought["order_id"])
    shop.webhooks()
    client.post(
        f"{shop.path}/{bought['top_up_id']}/refund",
        json={"amount_paise": 10_000},
        headers=make.bearer(shop.billing, **{"Idempotency-Key": unique("r")}),
    )
    refund = make.one(
        "select provider_refund_id from wallet_top_up_refund where organization_id = :o", o=shop.org.id
    )
    assert compared(refund) == []
    with make.owner.begin() as c:
        c.execute(
            text("update wallet_top_up_refund set status = 'PENDING' where organization_id = :o"),
            {"o": shop.org.id},
        )
    assert ("STATUS_MISMATCH", "refund", 0, 1) in compared(refund)


# ---- pages -----------------------------------------------------------------------------------------------------------


def test_invariants_show_rules_history_and_findings(desk, make, client, admins):
    org = make.org()
    make.sign_in(client, admins[0])
    assert desk.post("reconcile").status_code == 200
    page = client.get("/admin/invariants/").text
    for kind in (
        "LEDGER_TXN_IMBALANCE",
        "WALLET_HOLD_DRIFT",
        "ORG_RECEIVABLE_DRIFT",
        "REFUND_BOOKING_COHERENCE",
    ):
        assert kind in page
    went = client.form("/admin/invariants/run")
    assert went.status_code == 302 and client.get(went.location).status_code == 200
    compared = client.form("/admin/invariants/compare/sandbox")
    assert client.get(compared.location).status_code == 200
    client.form("/admin/invariants/wallets/freeze", {"slug": org.slug, "reason": "Looks odd to all of us"})
    assert org.name in client.get("/admin/invariants/").text
    client.form(f"/admin/invariants/wallets/{org.public_id}/unfreeze", {"reason": "It was nothing after all"})
    frozen = "select wallet_frozen_at from billing_account where organization_id = :o"
    assert make.one(frozen, o=org.id) is None
    staff = make.sign_in(client, make.user(platform_role=PlatformRole.STAFF))
    assert "Run now" not in staff.get("/admin/invariants/").text
    assert staff.form("/admin/invariants/run").status_code == 403


def test_postings_are_made_and_decided_on_the_page(make, app, admins):
    org = make.org()
    first, second = (make.sign_in(app.test_client(), a) for a in admins)
    first.form(
        "/admin/postings/",
        {"kind": "GRANT", "slug": org.slug, "amount": "250", "reason": "For the trouble", "key": unique("k")},
    )
    assert make.balance(org) == 25_000
    lines = f"D WALLET|org:{org.id}|INR 50.00\nC CASH|platform|INR 50"
    first.form(
        "/admin/postings/",
        {"kind": "ADJUSTMENT", "legs": lines, "reason": "Granted too much", "key": unique("k")},
    )
    posting = make.one(
        "select public_id from manual_posting where organization_id = :o and kind = 'ADJUSTMENT'", o=org.id
    )
    assert f"/admin/postings/{posting}/approve" not in first.get("/admin/postings/").text
    assert f"/admin/postings/{posting}/approve" in second.get("/admin/postings/").text
    second.form(f"/admin/postings/{posting}/approve")
    assert make.balance(org) == 20_000


def test_lists_of_the_organisation_open_for_finance_only(shop, make, client):
    base = f"/dashboard/organization/{shop.org.slug}"
    make.sign_in(client, shop.billing)
    for path in ("payments/", "refunds/", "disputes/", "top-up-refunds/"):
        assert client.get(f"{base}/{path}").status_code == 200, path
    make.sign_in(client, make.member(shop.org, "SUPPORT"))
    for path in ("payments/", "refunds/", "disputes/", "top-up-refunds/"):
        assert client.get(f"{base}/{path}").status_code == 403, path


def test_the_credit_ledger_is_filtered_by_kind_and_days(shop, make, client):
    make.fund(shop.org, 10_000)
    spend(make, shop.org, 1_000)
    headers = make.bearer(shop.billing)
    base = f"/api/organizations/{shop.org.slug}/billing-account/wallet"
    assert [
        e["delta_paise"] for e in client.get(f"{base}?kind=BOOKING", headers=headers).json["entries"]
    ] == [-1_000]
    assert client.get(f"{base}?from=2001-01-01&to=2001-01-02", headers=headers).json["total"] == 0
    assert client.get(f"{base}?from=2001-01-01", headers=headers).json["total"] == 2
    lines = client.get(f"{base}?kind=TOPUP&format=csv", headers=headers).text.splitlines()
    assert len(lines) == 2 and ",10000,10000" in lines[1]
    for wrong in ("kind=NOPE", "from=yesterday", "to=2026-13-01"):
        assert client.get(f"{base}?{wrong}", headers=headers).status_code == 400
