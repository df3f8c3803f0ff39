"""Bookings on invoice and licence, and what lies beyond a program (chapter 2, 2.6 steps 3 to 8; M-16, M-24 to M-29, M-52)."""

from __future__ import annotations

import pytest

from app.models import FundingSource, OverageBehavior, ProgramType
from tests.booking.conftest import slot
from tests.booking.test_races import outcome, race

from .conftest import POOL, SEAT

ORG = {
    "overage_behavior": OverageBehavior.CHARGE_ORG,
    "overage_surcharge_bps": 1000,
    "max_overage_per_cycle_paise": 1_000_000,
}
MEMBER = {"overage_behavior": OverageBehavior.CHARGE_MEMBER, "max_overage_per_cycle_paise": 10_000_000}


def refused(answer, status, code):
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.json
    return answer.json["details"]


@pytest.mark.scenario("M-16")
def test_an_organisation_owes_no_more_than_its_limit(sponsor):
    """Unbilled 600,000 and an issued invoice of 300,000 leave 100,000: one paisa more is refused, and of two at once one."""
    w = sponsor(
        account={"credit_limit_paise": 1_000_000, "trusted_at": "2026-01-01"},
        program={**POOL, "credits_per_cycle": 10**7},
    )
    a, b = w.learner(), w.learner()
    big = w.make.plan(w.expert, 600_000)
    assert w.book(a, slot(), plan=big).status_code == 201
    # what an issued invoice adds to what is owed: its tax and lines of its own
    with w.make.acting(w.owner) as s:
        from app.services import ledger

        ledger.post(
            s,
            f"invoice:{w.org.public_id}",
            "INVOICE_ISSUED",
            [
                ledger.debit(ledger.org_account("ORG_RECEIVABLE", w.org.id), 300_000),
                ledger.credit(ledger.PLATFORM_FEE, 300_000),
            ],
            organization_id=w.org.id,
        )
        s.commit()
    before = w.written()
    details = refused(w.book(a, slot(), plan=w.make.plan(w.expert, 100_001)), 402, "CREDIT_LIMIT_EXCEEDED")
    assert details == {"limit_paise": 1_000_000, "exposure_paise": 900_000, "amount_paise": 100_001}
    assert w.written() == before
    plans = [w.make.plan(w.make.expert(), 100_000) for _ in range(2)]
    w.auth(a), w.auth(b)
    answers = race(
        w,
        lambda c: w.book(a, slot(), plan=plans[0], client=c),
        lambda c: w.book(b, slot(), plan=plans[1], client=c),
    )
    assert outcome(answers) == [(201, None), (402, "CREDIT_LIMIT_EXCEEDED")]
    assert w.owes("ORG_RECEIVABLE", f"org:{w.org.id}") == 1_000_000


def test_until_it_is_trusted_a_sponsor_owes_five_million_at_most(sponsor):
    w = sponsor(account={"credit_limit_paise": 9_000_000}, program={**POOL, "credits_per_cycle": 10**7})
    learner = w.learner()
    assert w.book(learner, plan=w.make.plan(w.expert, 5_000_000)).status_code == 201
    details = refused(w.book(learner, plan=w.make.plan(w.expert, 1)), 402, "CREDIT_LIMIT_EXCEEDED")
    assert details["limit_paise"] == 5_000_000
    with w.make.session() as s:
        from sqlalchemy import text

        s.execute(
            text("UPDATE billing_account SET first_invoice_paid_at = now() WHERE organization_id = :o"),
            {"o": w.org.id},
        )
    assert w.book(learner, plan=w.make.plan(w.expert, 4_000_000)).status_code == 201
    refused(w.book(learner, plan=w.make.plan(w.expert, 1)), 402, "CREDIT_LIMIT_EXCEEDED")


@pytest.mark.scenario("M-52")
def test_the_first_invoice_booking_waits_for_trust(sponsor):
    w = sponsor()
    learner = w.learner()
    plan = w.make.plan(w.expert, 500_000, tax_bps=1800)
    r = w.book(learner, plan=plan)
    assert r.status_code == 201 and r.json["status"] == "CONFIRMED"
    assert w.parts(r) == [("INVOICE_ACCRUAL", 500_000, 500_000)]
    assert r.json["payment"]["method"] == "INVOICE"
    assert (r.json["payment"]["tax_paise"], r.json["payment"]["amount_paise"]) == (
        0,
        500_000,
    )  # taxed on the invoice
    assert w.earning(r) == (400_000, "PENDING_TRUST")
    assert w.legs(f"booking:{r.json['payment']['id']}") == {
        ("ORG_RECEIVABLE", "D"): 500_000,
        ("PLATFORM_FEE", "C"): 100_000,
        ("CONSULTANT_PAYABLE", "C"): 400_000,
    }
    row = w.make.rows(
        "SELECT provider_payment_id, tax_bps, invoice_id FROM payment WHERE public_id = :p",
        p=r.json["payment"]["id"],
    )[0]
    assert row[0] == f"org_invoice_{r.json['payment']['id']}" and (row[1], row[2]) == (1800, None)
    trusted = sponsor(account={"trusted_at": "2026-01-01"})
    again = trusted.book(trusted.learner())
    assert trusted.earning(again) == (400_000, "PENDING")


@pytest.mark.scenario("M-24")
def test_the_last_seat_session_goes_to_one(sponsor):
    w = sponsor(FundingSource.LICENSE, {**SEAT, "covered_engagements_per_cycle": 12})
    learner = w.learner()
    w.use(learner, engagements=11)
    w.auth(learner)
    experts = [w.make.plan(w.make.expert(), 500_000) for _ in range(2)]
    answers = race(
        w,
        lambda c: w.book(learner, slot(), plan=experts[0], client=c),
        lambda c: w.book(learner, slot(), plan=experts[1], client=c),
    )
    assert outcome(answers) == [(201, None), (402, "PROGRAM_SESSION_CAP_REACHED")]
    assert w.used(learner)[1] == 12


@pytest.mark.scenario("M-25")
def test_overage_of_a_pool_is_carved_out_of_the_price(sponsor):
    w = sponsor(program={**POOL, **ORG}, account={"trusted_at": "2026-01-01"})
    learner = w.learner()
    w.use(learner, paise=4_900_000)
    seen = w.preview(learner).json
    assert [seen[k] for k in ("covered_paise", "base_paise", "surcharge_paise", "marginal_paise")] == [
        100_000,
        400_000,
        40_000,
        440_000,
    ]
    assert (seen["applicable"], seen["will_block"], seen["charge_to"], seen["reason"]) == (
        True,
        False,
        "ORGANIZATION",
        None,
    )
    r = w.book(learner)
    assert r.status_code == 201
    assert w.parts(r) == [("INVOICE_ACCRUAL", 100_000, 100_000), ("OVERAGE_INVOICE_ACCRUAL", 440_000, 0)]
    assert w.legs(f"booking:{r.json['payment']['id']}") == {
        ("ORG_RECEIVABLE", "D"): 540_000,
        ("PLATFORM_FEE", "C"): 108_000,
        ("CONSULTANT_PAYABLE", "C"): 432_000,
    }
    assert w.overage(r) == ("ORGANIZATION", "PENDING", 440_000, 0)
    assert w.used(learner) == (5_000_000, 1, 440_000)
    before = w.written()
    dear = w.make.plan(w.expert, 600_000)
    assert w.preview(learner, plan_id=str(dear.public_id)).json["reason"] == "PROGRAM_CAP_EXHAUSTED"
    details = refused(w.book(learner, plan=dear), 402, "PROGRAM_CAP_EXHAUSTED")
    assert details["marginal_paise"] == 660_000 and details["ceiling_paise"] == 1_000_000
    assert w.written() == before and w.used(learner) == (5_000_000, 1, 440_000)
    blocked = w.make.rows(
        "SELECT marginal_paise, payment_id FROM overage_event WHERE organization_id = :o AND charge_status = 'BLOCKED'",
        o=w.org.id,
    )
    assert [tuple(b) for b in blocked] == [(660_000, None)]


@pytest.mark.scenario("M-26")
def test_a_pool_that_blocks_refuses_and_changes_nothing(sponsor):
    w = sponsor(program={**POOL, "credits_per_cycle": 10_000})
    learner = w.learner()
    w.use(learner, paise=900_000)
    before = w.written()
    refused(w.book(learner, plan=w.make.plan(w.expert, 300_000)), 402, "PROGRAM_SESSION_CAP_REACHED")
    assert w.used(learner)[0] == 900_000 and w.written() == before


@pytest.mark.scenario("M-27")
def test_a_member_pays_beyond_the_cap(sponsor, till):
    w = sponsor(FundingSource.LICENSE, {**SEAT, **MEMBER, "covered_engagements_per_cycle": 3}, price=400_000)
    learner = w.learner()
    w.use(learner, engagements=3)
    seen = w.preview(learner).json
    assert (seen["charge_to"], seen["marginal_paise"], seen["will_block"]) == ("MEMBER", 400_000, False)
    r = w.book(learner)
    assert r.status_code == 201 and r.json["payment"]["amount_paise"] == 0
    side = r.json["overage"]
    assert (side["charge_to"], side["amount_paise"]) == ("MEMBER", 400_000)
    assert w.earning(r) == (320_000, "HELD")
    assert w.overage(r) == ("MEMBER", "PENDING", 400_000, 0)
    assert w.legs(f"booking:{r.json['payment']['id']}") == {
        ("MEMBER_RECEIVABLE", "D"): 400_000,
        ("PLATFORM_FEE", "C"): 80_000,
        ("CONSULTANT_PAYABLE", "C"): 320_000,
    }
    pay = w.client.post(side["pay_url"], headers=w.auth(learner)).json["payment"]
    again = w.client.post(side["pay_url"], headers=w.auth(learner)).json["payment"]
    assert pay == again and pay["amount_paise"] == 400_000  # one order however often the page is opened
    other = w.learner(assigned=False)
    assert w.client.post(side["pay_url"], headers=w.auth(other)).status_code == 404
    box = till(w)
    box.settle({"payment": pay})
    assert w.overage(r)[1] == "CHARGED" and w.earning(r) == (320_000, "PENDING")
    assert w.owes("MEMBER_RECEIVABLE", f"user:{learner.user_id}") == 0
    assert w.make.one("SELECT status FROM payment WHERE public_id = :p", p=side["payment_id"]) == "SUCCEEDED"


@pytest.mark.scenario("M-27")
def test_an_unpaid_overage_is_written_off_and_a_late_payment_heals_it(sponsor, till):
    w = sponsor(FundingSource.LICENSE, {**SEAT, **MEMBER, "covered_engagements_per_cycle": 1}, price=400_000)
    learner = w.learner()
    w.use(learner, engagements=1)
    r = w.book(learner)
    pay = w.client.post(r.json["overage"]["pay_url"], headers=w.auth(learner)).json["payment"]
    w.later(days=7, hours=1)
    w.run("timeout_overages")
    w.run("timeout_overages")
    mails = w.client.get(f"/api/test/outbox?to={learner.user.email}").json["mail"]
    assert len([m for m in mails if "is due on" in m["subject"]]) == 1
    w.later(days=14, minutes=1)
    w.run("timeout_overages")
    w.run("timeout_overages")
    assert w.overage(r)[1] == "FAILED"
    assert w.bad_debt() == 400_000
    assert w.owes("MEMBER_RECEIVABLE", f"user:{learner.user_id}") == 0
    before = w.written()
    refused(w.book(learner, slot(30)), 402, "MEMBER_OVERAGE_UNPAID")
    assert w.written() == before
    till(w).settle({"payment": pay})
    assert w.bad_debt() == 0 and w.overage(r)[1] == "CHARGED"
    assert w.book(learner, slot(30)).status_code == 201


@pytest.mark.scenario("M-28")
def test_a_seat_absorbs_its_price_cap(sponsor):
    w = sponsor(
        FundingSource.LICENSE,
        {**SEAT, **MEMBER, "covered_engagements_per_cycle": 10, "price_cap_per_engagement_paise": 300_000},
    )
    r = w.book(w.learner())
    assert r.status_code == 201 and w.parts(r) == [("LICENSE", 0, 300_000)]
    assert w.legs(f"booking:{r.json['payment']['id']}") == {
        ("LICENSE_COST", "D"): 300_000,
        ("MEMBER_RECEIVABLE", "D"): 200_000,
        ("PLATFORM_FEE", "C"): 100_000,
        ("CONSULTANT_PAYABLE", "C"): 400_000,
    }


@pytest.mark.scenario("M-29")
def test_an_unlimited_licence_costs_nothing_and_pays_the_expert(sponsor):
    w = sponsor(FundingSource.LICENSE, SEAT)
    learner = w.learner()
    r = w.book(learner)
    assert r.status_code == 201 and r.json["status"] == "CONFIRMED"
    assert r.json["payment"]["amount_paise"] == 0 and r.json["payment"]["method"] == "LICENSE"
    assert r.json["note"] == "Session value covered by enterprise license"
    assert w.parts(r) == [("LICENSE", 0, 500_000)]
    assert w.earning(r) == (400_000, "PENDING")
    assert w.legs(f"booking:{r.json['payment']['id']}")["LICENSE_COST", "D"] == 500_000
    page = w.make.sign_in(w.client, learner).get(f"/dashboard/organization/{w.org.slug}/my-program/")
    assert "Unlimited — no cap" in page.text
    shown = w.client.get(f"/dashboard/appointments/{r.json['id']}").text
    assert "₹0" in shown and "Session value covered by enterprise license" in shown


def test_a_wallet_pays_overage_and_surcharge_in_one_leg_with_tax(sponsor):
    w = sponsor(FundingSource.WALLET, {**POOL, **ORG, "credits_per_cycle": 1_000})
    plan = w.make.plan(w.expert, 500_000, tax_bps=1800)
    r = w.book(w.learner(), plan=plan)
    # C 100,000, base 400,000, surcharge 40,000: 540,000 and 18 % of it
    assert w.parts(r) == [("WALLET", 637_200, 100_000)] and r.json["payment"]["tax_paise"] == 97_200
    assert w.overage(r) == ("ORGANIZATION", "CHARGED", 440_000, 0)
    assert w.legs(f"booking:{r.json['payment']['id']}") == {
        ("WALLET", "D"): 637_200,
        ("GST_PAYABLE", "C"): 97_200,
        ("PLATFORM_FEE", "C"): 108_000,
        ("CONSULTANT_PAYABLE", "C"): 432_000,
    }


def test_a_member_pays_tax_on_the_overage_and_the_wallet_on_the_rest(sponsor):
    w = sponsor(FundingSource.WALLET, {**POOL, **MEMBER, "credits_per_cycle": 1_000})
    plan = w.make.plan(w.expert, 500_000, tax_bps=1800)
    r = w.book(w.learner(), plan=plan)
    assert w.parts(r) == [("WALLET", 118_000, 100_000)]
    assert (r.json["overage"]["tax_paise"], r.json["overage"]["amount_paise"]) == (72_000, 472_000)
    assert w.legs(f"booking:{r.json['payment']['id']}") == {
        ("WALLET", "D"): 118_000,
        ("MEMBER_RECEIVABLE", "D"): 472_000,
        ("GST_PAYABLE", "C"): 90_000,
        ("PLATFORM_FEE", "C"): 100_000,
        ("CONSULTANT_PAYABLE", "C"): 400_000,
    }


def test_a_panel_names_its_experts(sponsor):
    w = sponsor()
    with w.make.session() as s:
        from sqlalchemy import text

        s.execute(
            text("UPDATE program SET panel_expert_ids = ARRAY[:e]::bigint[] WHERE id = :p"),
            {"e": w.make.expert().id, "p": w.program.id},
        )
    learner = w.learner()
    before = w.written()
    refused(w.book(learner), 409, "EXPERT_NOT_ON_PANEL")
    assert w.written() == before and w.preview(learner).json["reason"] == "EXPERT_NOT_ON_PANEL"


def test_eighty_per_cent_and_exhaustion_are_told_once_a_cycle(sponsor):
    w = sponsor(program={**POOL, "credits_per_cycle": 10_000})
    learner = w.learner()
    plan = w.make.plan(w.expert, 400_000)
    for price in (400_000, 400_000, 100_000):
        assert w.book(learner, slot(), plan=w.make.plan(w.expert, price)).status_code == 201
    assert w.book(learner, slot(), plan=w.make.plan(w.expert, 100_000)).status_code == 201
    refused(w.book(learner, slot(), plan=plan), 402, "PROGRAM_SESSION_CAP_REACHED")
    subjects = [m["subject"] for m in w.client.get(f"/api/test/outbox?to={learner.user.email}").json["mail"]]
    assert sorted(s for s in subjects if "Coaching" in s) == [
        "“Coaching” is 80 % used",
        "“Coaching” is used up",
    ]
    to_owner = [m["subject"] for m in w.client.get(f"/api/test/outbox?to={w.owner.user.email}").json["mail"]]
    assert len(to_owner) == 2
    assert len(w.events("program.exhausted")) == 1
    assert w.events("program.exhausted")[0]["program_id"] == str(w.program.public_id)


def test_two_at_a_ceiling(sponsor):
    """The second booking is metered again after the first: its marginal no longer fits."""
    w = sponsor(
        program={**POOL, **ORG, "credits_per_cycle": 1, "max_overage_per_cycle_paise": 600_000},
        account={"trusted_at": "2026-01-01"},
    )
    learner = w.learner()
    w.auth(learner)
    plans = [w.make.plan(w.make.expert(), 500_000) for _ in range(2)]
    answers = race(
        w,
        lambda c: w.book(learner, slot(), plan=plans[0], client=c),
        lambda c: w.book(learner, slot(), plan=plans[1], client=c),
    )
    assert outcome(answers) == [(201, None), (402, "PROGRAM_CAP_EXHAUSTED")]
    assert w.used(learner)[2] == 549_890  # 100 paise were covered: 499,900 and a tenth of it


def test_a_seat_on_invoice_is_covered_and_its_overage_accrues(sponsor):
    w = sponsor(FundingSource.INVOICE, {**SEAT, **ORG, "covered_engagements_per_cycle": 1})
    learner = w.learner()
    first, second = w.book(learner, slot()), w.book(learner, slot())
    assert w.parts(first) == [("LICENSE", 0, 500_000)]
    assert w.parts(second) == [("LICENSE", 0, 0), ("OVERAGE_INVOICE_ACCRUAL", 550_000, 0)]
    assert w.used(learner) == (500_000, 1, 550_000)
    assert w.program.type == ProgramType.LICENSED_SEAT
