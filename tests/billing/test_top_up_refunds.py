"""Credits given back as money (chapter 2, 2.4): per refund a key of its own, never more than the wallet holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.gateways import provider
from app.services import topup_refunds
from tests.factories import unique


@pytest.fixture
def bought(shop):
    """A credited top-up of 10,000 rupees; returns its answer."""
    created = shop.buy(1_000_000).json
    shop.pay(created["order_id"])
    shop.webhooks()
    return created


def ask(shop, client, make, top_up, paise, *, key=None, who=None):
    return client.post(
        f"{shop.path}/{top_up['top_up_id']}/refund",
        json={"amount_paise": paise},
        headers=make.bearer(who or shop.billing, **{"Idempotency-Key": key or unique("refund")}),
    )


def spend(make, org, paise):
    """Take credits as a booking would: Dr WALLET, Cr PLATFORM_FEE."""
    from sqlalchemy.orm import Session

    from app.security import context
    from app.services import ledger

    before = context.ctx()
    context._current.set(context.Ctx(org_id=org.id))
    try:
        with make.app.app_context(), Session(make.web) as session:
            ledger.post(
                session,
                unique("booking:test"),
                "BOOKING",
                [
                    ledger.debit(ledger.org_account("WALLET", org.id), paise),
                    ledger.credit(ledger.PLATFORM_FEE, paise),
                ],
                organization_id=org.id,
            )
            session.commit()
    finally:
        context._current.set(before)


def legs(make, key):
    return [
        tuple(r)
        for r in make.rows(
            "select a.kind, e.side, e.amount_paise from ledger_entry e join ledger_account a on a.id = e.account_id "
            "join ledger_transaction t on t.id = e.transaction_id where t.key = :k order by 1",
            k=key,
        )
    ]


@pytest.mark.scenario("M-5")
def test_no_more_than_the_wallet_holds_goes_back(shop, bought, client, make):
    spend(make, shop.org, 400_000)
    refused = ask(shop, client, make, bought, 700_000)
    assert (refused.status_code, refused.json["code"]) == (409, "WALLET_BALANCE_TOO_LOW")
    assert refused.json["details"] == {"refundable_paise": 600_000}
    assert make.balance(shop.org) == 600_000
    assert (
        make.one("select count(*) from wallet_top_up_refund where organization_id = :o", o=shop.org.id) == 0
    )
    done = ask(shop, client, make, bought, 600_000)
    assert (done.status_code, done.json["status"]) == (201, "SUCCEEDED")
    assert make.balance(shop.org) == 0
    provider_id = make.one(
        "select provider_refund_id from wallet_top_up_refund where public_id = :i", i=done.json["refund_id"]
    )
    assert legs(make, f"topup-refund:{provider_id}") == [("CASH", "C", 600_000), ("WALLET", "D", 600_000)]
    assert (
        make.one("select refunded_paise from wallet_top_up where public_id = :i", i=bought["top_up_id"])
        == 600_000
    )


@pytest.mark.scenario("M-5")
def test_partial_refunds_have_keys_of_their_own_and_a_repetition_is_one(shop, bought, client, make):
    first = ask(shop, client, make, bought, 100_000, key="a")
    again = ask(shop, client, make, bought, 100_000, key="a")
    second = ask(shop, client, make, bought, 100_000, key="b")
    assert (first.status_code, again.status_code, second.status_code) == (201, 200, 201)
    assert first.json == again.json and first.json["refund_id"] != second.json["refund_id"]
    assert make.balance(shop.org) == 800_000
    assert (
        make.one(
            "select count(*) from sandbox_refund where payment_id = (select gateway_payment_id from "
            "wallet_top_up where public_id = :i)",
            i=bought["top_up_id"],
        )
        == 2
    )
    over = ask(shop, client, make, bought, 800_001)
    assert over.json["code"] == "WALLET_BALANCE_TOO_LOW"
    assert ask(shop, client, make, bought, 100_000, who=make.member(shop.org, "MANAGER")).status_code == 403
    listed = client.get(f"{shop.path}/{bought['top_up_id']}/refunds", headers=make.bearer(shop.billing)).json
    assert listed["refundable_paise"] == 800_000 and len(listed["refunds"]) == 2


def test_what_was_spent_meanwhile_is_owed_and_the_next_top_up_pays_it(
    shop, bought, client, make, job, settings
):
    shop.act()
    provider.arm(job, "refund", "timeout")
    job.commit()
    waiting = ask(shop, client, make, bought, 900_000)
    assert (waiting.status_code, waiting.json["status"]) == (201, "PENDING")
    assert make.balance(shop.org) == 1_000_000
    spend(make, shop.org, 300_000)
    shop.act()
    assert topup_refunds.send(job, waiting.json["refund_id"], settings) == "SUCCEEDED"
    shop.act()
    assert topup_refunds.send(job, waiting.json["refund_id"], settings) == "SUCCEEDED"  # once
    assert make.balance(shop.org) == 0
    owed = "select shortfall_paise from billing_account where organization_id = :o"
    assert make.one(owed, o=shop.org.id) == 200_000
    more = shop.buy(500_000).json
    shop.pay(more["order_id"])
    shop.webhooks()
    assert make.balance(shop.org) == 300_000 and make.one(owed, o=shop.org.id) == 0
    assert legs(make, f"topup:{more['order_id']}") == [
        ("CASH", "D", 500_000),
        ("ORG_RECEIVABLE", "C", 200_000),
        ("WALLET", "C", 300_000),
    ]


def test_a_rejected_refund_changes_nothing_and_is_told_once(shop, bought, client, make, job):
    shop.act()
    provider.arm(job, "refund", "refuse")
    job.commit()
    answer = ask(shop, client, make, bought, 400_000)
    assert answer.json["status"] == "FAILED" and make.balance(shop.org) == 1_000_000
    told = "select count(*) from notification where kind = 'wallet.refund_failed' and organization_id = :o"
    assert make.one(told, o=shop.org.id) == 2  # owner and billing administrator
    assert ask(shop, client, make, bought, 1_000_000).json["status"] == "SUCCEEDED"


def test_two_refunds_at_once_never_promise_the_same_credits(shop, bought, client, make, app):
    headers = make.bearer(shop.billing)

    def one(_):
        return (
            app.test_client()
            .post(
                f"{shop.path}/{bought['top_up_id']}/refund",
                json={"amount_paise": 600_000},
                headers={**headers, "Idempotency-Key": unique("race")},
            )
            .status_code
        )

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(one, range(3))) == [201, 409, 409]
    assert make.balance(shop.org) == 400_000


def test_an_unpaid_top_up_and_a_frozen_wallet_are_not_refunded(shop, bought, client, make):
    unpaid = shop.buy(50_000).json
    assert ask(shop, client, make, unpaid, 1).json["code"] == "PAYMENT_NOT_REFUNDABLE"
    with make.owner.begin() as c:
        from sqlalchemy import text

        c.execute(
            text("update billing_account set wallet_frozen_at = now() where organization_id = :o"),
            {"o": shop.org.id},
        )
    assert ask(shop, client, make, bought, 1).json["code"] == "WALLET_FROZEN"
    other = make.member(make.org(), "OWNER")
    assert ask(shop, client, make, bought, 1, who=other).json["code"] == "NOT_A_MEMBER"


def test_a_receipt_is_printed_for_a_credited_top_up(shop, bought, client, make):
    headers = make.bearer(shop.billing)
    pdf = client.get(f"{shop.path}/{bought['top_up_id']}/receipt.pdf", headers=headers)
    assert pdf.status_code == 200 and pdf.data.startswith(b"%PDF")
    again = client.get(f"{shop.path}/{bought['top_up_id']}/receipt.pdf", headers=headers)
    assert again.data == pdf.data
    waiting = shop.buy(50_000).json
    assert client.get(f"{shop.path}/{waiting['top_up_id']}/receipt.pdf", headers=headers).status_code == 404


def test_pages_of_a_top_up_offer_and_take_a_refund(shop, bought, client, make):
    make.sign_in(client, shop.billing)
    base = f"/dashboard/organization/{shop.org.slug}/wallet/top-ups/{bought['top_up_id']}"
    page = client.get(base).text
    assert "Have credits paid back" in page and "Receipt" in page
    client.form(f"{base}/refund", {"amount": "2,500", "reason": "Too many", "key": unique("page")})
    assert "Too many" in client.get(base).text
    pending = "select count(*) from wallet_top_up_refund where organization_id = :o and status = 'PENDING'"
    assert make.one(pending, o=shop.org.id) == 1
