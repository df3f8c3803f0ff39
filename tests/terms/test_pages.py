"""The pages of contracts, programs, places and side payments."""

from __future__ import annotations

import datetime as dt

from app import clock
from app.models import FundingSource, OverageBehavior
from tests.booking.conftest import slot

from .conftest import POOL, SEAT


def base(w):
    return f"/dashboard/organization/{w.org.slug}"


def test_a_contract_is_drafted_changed_signed_amended_and_shown_with_its_chain(sponsor):
    w = sponsor(
        contract={
            "status": "DRAFT",
            "signed_at": None,
            "effective_to": clock.today_ist() + dt.timedelta(days=20),
        }
    )
    browser = w.make.sign_in(w.client, w.owner)
    page = browser.get(f"{base(w)}/contracts/show/{w.contract.public_id}").text
    assert "A draft." in page and "Sign" in page and "Delete draft" in page
    form = browser.get(f"{base(w)}/contracts/edit/{w.contract.public_id}").text
    assert "Licence cycle" in form and "Payment terms" in form
    r = browser.form(
        f"{base(w)}/contracts/edit/{w.contract.public_id}",
        {
            "title": "Learning 2027",
            "effective_from": w.contract.effective_from.isoformat(),
            "effective_to": w.contract.effective_to.isoformat(),
            "payment_terms_days": "45",
            "auto_renew": "y",
            "license_model": "FLAT_FEE",
            "license_fee_paise": "1,20,000",
            "license_cycle": "ANNUAL",
        },
    )
    assert r.status_code == 302, r.text
    assert browser.form(f"{base(w)}/contracts/action/sign/{w.contract.public_id}").status_code == 302
    page = browser.get(f"{base(w)}/contracts/show/{w.contract.public_id}").text
    assert "₹1,20,000.00" in page and "What each step would do" in page and "This contract ends on" in page
    browser.form(
        f"{base(w)}/contracts/action/amend/{w.contract.public_id}",
        {"license_price": "90,000", "payment_terms_days": "30", "confirm_word": "AMEND"},
    )
    page = browser.get(f"{base(w)}/contracts/show/{w.contract.public_id}").text
    assert "Chain" in page and "Terminated" in page
    assert (
        w.make.one(
            "SELECT license_fee_paise FROM contract WHERE organization_id = :o AND status = 'ACTIVE'",
            o=w.org.id,
        )
        == 9_000_000
    )


def test_a_program_of_seats_is_made_superseded_and_filled_on_its_pages(sponsor):
    w = sponsor(
        FundingSource.LICENSE,
        SEAT,
        {"license_model": "FLAT_FEE", "license_fee_paise": 100, "license_cycle": "ANNUAL"},
    )
    people = [w.learner(assigned=False) for _ in range(2)]
    browser = w.make.sign_in(w.client, w.owner)
    assert "Sessions per cycle" in browser.get(f"{base(w)}/programs/add").text
    figures = {
        "contract_id": str(w.contract.id),
        "name": "Twelve sessions",
        "covered_engagements_per_cycle": "12",
        "cycle": "MONTHLY",
        "overage_behavior": "CHARGE_MEMBER",
        "max_overage_per_cycle_paise": "10,000",
        "overage_surcharge_bps": "5",
        "force_overlap": "y",
    }
    made = browser.form(f"{base(w)}/programs/add", figures)
    assert made.status_code == 302, made.text
    key = w.make.one(
        "SELECT public_id FROM program WHERE name = 'Twelve sessions' AND organization_id = :o", o=w.org.id
    )
    page = browser.get(f"{base(w)}/programs/show/{key}").text
    assert "Is charged to the member" in page and "Assign members" in page
    assert all(every in page for every in ("Every kind", "Every category", "Every expert"))
    page = browser.form(
        f"{base(w)}/programs/enrol/{key}", {"member": [str(m.public_id) for m in people]}
    ).text
    assert "2 assigned, 0 had a place, 0 could not be" in page
    assert "Sessions per cycle" not in browser.get(f"{base(w)}/programs/edit/{key}").text  # locked
    shown = browser.get(f"{base(w)}/programs/supersede/{key}").text
    assert "2 live places move" in shown
    r = browser.form(
        f"{base(w)}/programs/supersede/{key}", {**figures, "covered_engagements_per_cycle": "20"}
    )
    assert r.status_code == 302, r.text
    assert (
        w.make.one(
            "SELECT active_seat_count FROM program WHERE supersedes_program_id IS NOT NULL AND organization_id = :o",
            o=w.org.id,
        )
        == 2
    )
    assert browser.form(f"{base(w)}/programs/action/archive/{key}").status_code == 302


def test_a_learner_reads_and_pays_what_lies_beyond(sponsor):
    w = sponsor(
        FundingSource.LICENSE,
        {
            **SEAT,
            "covered_engagements_per_cycle": 1,
            "overage_behavior": OverageBehavior.CHARGE_MEMBER,
            "max_overage_per_cycle_paise": 10_000_000,
        },
    )
    learner = w.learner()
    browser = w.make.sign_in(w.client, learner)
    at = slot(4)
    confirm = browser.get(
        f"/explore/plans/{w.plan.public_id}/book?at={at.isoformat().replace('+', '%2B')}"
    ).text
    assert "1 session left" in confirm and "Session value covered by enterprise license" in confirm
    w.book(learner, at)
    at = slot(4)
    confirm = browser.get(
        f"/explore/plans/{w.plan.public_id}/book?at={at.isoformat().replace('+', '%2B')}"
    ).text
    assert "₹5,000.00 is yours to pay by card within fourteen days" in confirm
    answer = w.book(learner, at)
    page = browser.get(f"/dashboard/appointments/{answer.json['id']}").text
    assert "Your part" in page and "Pay ₹5,000.00" in page
    url = f"/dashboard/payments/{answer.json['overage']['payment_id']}/pay"
    assert "Pay ₹5,000.00" in browser.get(url).text
    assert "Beyond your program." in browser.get(f"{base(w)}/my-program/").text
    r = browser.form(url)
    assert r.status_code == 302 and "/sandbox/checkout/" in r.headers["Location"]
    assert browser.get(f"/dashboard/payments/{answer.json['payment']['id']}/pay").status_code == 404


def test_an_invoice_sponsor_says_what_it_pays(sponsor):
    w = sponsor(
        program={
            **POOL,
            "overage_behavior": OverageBehavior.CHARGE_ORG,
            "overage_surcharge_bps": 1000,
            "max_overage_per_cycle_paise": 10_000_000,
            "credits_per_cycle": 1000,
        }
    )
    learner = w.learner()
    browser = w.make.sign_in(w.client, learner)
    at = slot(4)
    confirm = browser.get(
        f"/explore/plans/{w.plan.public_id}/book?at={at.isoformat().replace('+', '%2B')}"
    ).text
    assert "₹4,400.00 lies beyond the program and is charged to the organisation" in confirm
