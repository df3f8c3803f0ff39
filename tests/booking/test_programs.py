"""Contracts, programs and assignments over REST (chapter 2, 2.4 and 2.5)."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from app import clock
from app.models import ContractStatus, Cycle, FundingSource, MembershipStatus, OrgRole, OrgStatus
from app.services.periods import last_day


class Org:
    """An organisation over REST with one client a role."""

    def __init__(self, make, client, **org):
        self.make, self.client, self.org = make, client, make.org(**org)
        self.people = {}

    def call(self, role, method, path, body=None):
        role = OrgRole(role)
        if role not in self.people:
            member = self.make.member(self.org, role)
            self.people[role] = (member, self.make.bearer(member))
        kw = {"json": body} if body is not None else {}
        return self.client.open(
            f"/api/organizations/{self.org.slug}/{path}", method=method, headers=self.people[role][1], **kw
        )

    def contract(self, sign=True, **body):
        made = self.call(
            "OWNER",
            "POST",
            "contracts",
            {"title": "Learning", "effective_from": clock.today_ist().isoformat(), **body},
        )
        assert made.status_code == 201, made.json
        if sign:
            signed = self.call("OWNER", "PATCH", f"contracts/{made.json['id']}", {"status": "ACTIVE"})
            assert signed.status_code == 200, signed.json
        return made.json["id"]

    def program(self, contract=None, status=201, role="MAINTAINER", **body):
        made = self.call(
            role,
            "POST",
            "programs",
            {
                "contract_id": contract or self.contract(),
                "name": "Coaching",
                "type": "CREDIT_POOL",
                "credits_per_cycle": 1000,
                **body,
            },
        )
        assert made.status_code == status, made.json
        return made.json["id"] if status == 201 else made.json["code"]

    def assign(self, program, member, **body):
        return self.call(
            "MAINTAINER",
            "POST",
            f"programs/{program}/assignments",
            {"membership_id": str(member.public_id), **body},
        )


@pytest.fixture
def acme(make, client):
    return Org(make, client)


def test_sign_needs_a_draft_and_one_is_active(acme):
    first = acme.contract()
    again = acme.call("OWNER", "PATCH", f"contracts/{first}", {"status": "ACTIVE"})
    assert (again.status_code, again.json["code"]) == (409, "ILLEGAL_TRANSITION")
    second = acme.contract(sign=False)
    r = acme.call("OWNER", "PATCH", f"contracts/{second}", {"status": "ACTIVE"})
    assert (r.status_code, r.json["code"]) == (409, "CONTRACT_ALREADY_ACTIVE")
    assert acme.call("OWNER", "GET", f"contracts/{second}").json["status"] == "DRAFT"
    assert [c["id"] for c in acme.call("BILLING_ADMIN", "GET", "contracts").json["result"]] == [second, first]


def test_two_signatures_at_once(acme):
    a, b = acme.contract(sign=False), acme.contract(sign=False)
    gate, out = threading.Barrier(2), []
    headers = acme.people[OrgRole.OWNER][1]

    def sign(key):
        client = acme.client.application.test_client()
        gate.wait()
        out.append(
            client.patch(
                f"/api/organizations/{acme.org.slug}/contracts/{key}",
                json={"status": "ACTIVE"},
                headers=headers,
            )
        )

    threads = [threading.Thread(target=sign, args=(k,)) for k in (a, b)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sorted(r.status_code for r in out) == [200, 409]
    assert (
        acme.make.one(
            "SELECT count(*) FROM contract WHERE organization_id = :o AND status = 'ACTIVE'", o=acme.org.id
        )
        == 1
    )


def test_purchase_order_required(make, client):
    org = Org(make, client, requires_po=True)
    draft = org.contract(sign=False)
    r = org.call("OWNER", "PATCH", f"contracts/{draft}", {"status": "ACTIVE"})
    assert (r.status_code, r.json["code"]) == (409, "PO_REQUIRED")


@pytest.mark.parametrize(
    ("role", "method", "path", "code"),
    [
        ("MAINTAINER", "POST", "contracts", "OWNER_REQUIRED"),
        ("MANAGER", "GET", "contracts", "INSUFFICIENT_ROLE"),
        ("MANAGER", "POST", "programs", "INSUFFICIENT_ROLE"),
        ("BILLING_ADMIN", "POST", "programs", "INSUFFICIENT_ROLE"),
    ],
)
def test_authority(acme, role, method, path, code):
    r = acme.call(role, method, path, {} if method == "POST" else None)
    assert (r.status_code, r.json["code"]) == (403, code)


def test_pending_organisation(make, client):
    org = Org(make, client, status=OrgStatus.PENDING_VERIFICATION)
    r = org.call("OWNER", "POST", "contracts", {"title": "Early", "effective_from": "2026-01-01"})
    assert (r.status_code, r.json["code"]) == (409, "ORG_NOT_VERIFIED")


@pytest.mark.parametrize(
    "body",
    [
        {"title": "ab"},
        {"title": 5},
        {"effective_to": "2000-01-01"},
        {"payment_terms_days": 0},
        {"payment_terms_days": 121},
        {"payment_terms_days": "30"},
        {"surprise": 1},
        {"effective_from": "x"},
    ],
)
def test_contract_fields(acme, body):
    r = acme.call("OWNER", "POST", "contracts", {"title": "Learning", "effective_from": "2026-01-01", **body})
    assert r.status_code == 400 and set(r.json["details"]["fields"]) == set(body)


@pytest.mark.scenario("M-22")
def test_program_types_and_funding(make, client):
    acme = Org(make, client)
    contract = acme.contract()
    for kind in ("PROJECT", "RETAINER", "RESELLER"):
        assert acme.program(contract, 400, type=kind) == "PROGRAM_TYPE_NOT_AVAILABLE"
    assert acme.program(contract, 400, type="LICENSED_SEAT") == "UNREACHABLE_FUNDING_PATH"
    assert acme.program(contract, 400, overage_behavior="CHARGE_ORG") == "INVALID_OVERAGE_CONFIG"
    assert acme.program(contract, 400, credits_per_cycle=0) == "VALIDATION_FAILED"
    assert acme.program(contract, 400, type="SOMETHING") == "VALIDATION_FAILED"
    globex = Org(make, client, funding=FundingSource.LICENSE)
    r = globex.call("OWNER", "POST", "contracts", {"title": "Licence", "effective_from": "2026-01-01"})
    assert (r.status_code, r.json["code"]) == (400, "LICENSE_ECONOMICS_REQUIRED")
    from app.models import Contract

    account = make.one("SELECT id FROM billing_account WHERE organization_id = :o", o=globex.org.id)
    row = make.add(
        Contract(
            organization_id=globex.org.id,
            billing_account_id=account,
            title="x",
            effective_from=clock.today_ist(),
        )
    )
    assert globex.program(str(row.public_id), 400) == "UNREACHABLE_FUNDING_PATH"
    northwind = Org(make, client, funding=FundingSource.INVOICE)
    assert northwind.program(type="CREDIT_POOL")


def test_overlapping_cover(acme):
    contract = acme.contract()
    acme.program(contract, allowed_categories=["Law"])
    assert acme.program(contract, allowed_categories=["Design"])
    assert acme.program(contract, 409, allowed_categories=["Law", "Tax"]) == "PROGRAM_COVERAGE_OVERLAP"
    assert acme.program(contract, 409) == "PROGRAM_COVERAGE_OVERLAP"
    assert acme.program(contract, force_overlap=True)


def test_program_on_a_dead_contract(acme):
    contract = acme.contract()
    with acme.make.session() as s:
        from app.models import Contract

        row = s.query(Contract).filter(Contract.public_id == contract).one()
        row.status = ContractStatus.TERMINATED
    assert acme.program(contract, 409) == "CONTRACT_NOT_ACTIVE"


def test_foreign_rows_answer_404(acme, make, client):
    other = Org(make, client)
    contract = other.contract()
    program = other.program(contract)
    member = other.make.member(other.org, OrgRole.LEARNER)
    assert acme.program(contract, 404) == "NOT_FOUND"
    assert acme.assign(program, member).status_code == 404
    own = acme.program()
    r = acme.assign(own, member)
    assert (r.status_code, r.json["code"]) == (404, "MEMBER_NOT_FOUND")
    assert acme.call("OWNER", "PATCH", f"contracts/{contract}", {"status": "ACTIVE"}).status_code == 404
    assert acme.call("OWNER", "GET", "contracts/zzz").status_code == 404


def test_assigning_twice_is_once(acme):
    program, member = acme.program(), acme.make.member(acme.org, OrgRole.LEARNER)
    first, again = acme.assign(program, member), acme.assign(program, member)
    assert (first.status_code, again.status_code) == (201, 200) and first.json["id"] == again.json["id"]
    today = clock.today_ist()
    assert first.json["period_start"] == today.isoformat() and first.json["label"] == "Active"
    assert first.json["period_end"] == last_day(today, Cycle.MONTHLY, today.day)[0].isoformat()
    assert acme.make.one("SELECT config_locked_at IS NOT NULL FROM program WHERE public_id = :p", p=program)
    r = acme.assign(program, member, period_start=(today + dt.timedelta(days=5)).isoformat())
    assert (r.status_code, r.json["code"]) == (409, "ASSIGNMENT_OVERLAP")
    r = acme.assign(program, member, period_start=(today - dt.timedelta(days=50)).isoformat())
    assert r.status_code == 400


def test_assigning_at_once_is_once(acme):
    program, member = acme.program(), acme.make.member(acme.org, OrgRole.LEARNER)
    gate, out = threading.Barrier(4), []
    headers = acme.people[OrgRole.MAINTAINER][1]

    def go():
        client = acme.client.application.test_client()
        gate.wait()
        out.append(
            client.post(
                f"/api/organizations/{acme.org.slug}/programs/{program}/assignments",
                headers=headers,
                json={"membership_id": str(member.public_id)},
            ).status_code
        )

    threads = [threading.Thread(target=go) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sorted(out) == [200, 200, 200, 201]


def test_inactive_members_and_contracts(acme):
    contract = acme.contract(sign=False)
    program = acme.program(contract)
    member = acme.make.member(acme.org, OrgRole.LEARNER)
    assert acme.assign(program, member).json["code"] == "CONTRACT_NOT_ACTIVE"
    acme.call("OWNER", "PATCH", f"contracts/{contract}", {"status": "ACTIVE"})
    gone = acme.make.member(acme.org, OrgRole.LEARNER, status=MembershipStatus.REMOVED)
    r = acme.assign(program, gone)
    assert (r.status_code, r.json["code"]) == (409, "MEMBERSHIP_NOT_ACTIVE")


def test_cancelling_a_place(acme):
    program, member = acme.program(), acme.make.member(acme.org, OrgRole.LEARNER)
    place = acme.assign(program, member).json["id"]
    r = acme.call("MAINTAINER", "POST", f"assignments/{place}", {"cancel": True})
    assert (r.status_code, r.json["status"], r.json["label"]) == (200, "CANCELLED", "Cancelled")
    r = acme.call("MAINTAINER", "POST", f"assignments/{place}", {"cancel": True})
    assert (r.status_code, r.json["code"]) == (409, "ASSIGNMENT_NOT_ACTIVE")
    assert acme.call("MAINTAINER", "POST", f"assignments/{place}", {"cancel": False}).status_code == 400
    assert acme.call("MANAGER", "POST", f"assignments/{place}", {"cancel": True}).status_code == 403


@pytest.mark.scenario("M-30")
def test_enrolling_three_one_removed(acme):
    program = acme.program()
    people = [
        acme.make.member(acme.org, OrgRole.LEARNER, status=s)
        for s in (MembershipStatus.ACTIVE, MembershipStatus.ACTIVE, MembershipStatus.REMOVED)
    ]
    body = {"membership_ids": [str(p.public_id) for p in people]}
    first = acme.call("MAINTAINER", "POST", f"programs/{program}/auto-enroll", body).json
    assert (first["enrolled"], first["skipped"], first["failed"]) == (2, 0, 1)
    assert first["results"][2]["code"] == "MEMBERSHIP_NOT_ACTIVE"
    again = acme.call("MAINTAINER", "POST", f"programs/{program}/auto-enroll", body).json
    assert (again["enrolled"], again["skipped"], again["failed"]) == (0, 2, 1)
    odd = acme.call("MAINTAINER", "POST", f"programs/{program}/auto-enroll", {"membership_ids": ["zzz"]}).json
    assert odd["failed"] == 1
    assert (
        acme.call("MAINTAINER", "POST", f"programs/{program}/auto-enroll", {"membership_ids": []}).status_code
        == 400
    )


def test_learners_see_their_own_programs(acme):
    contract = acme.contract()
    mine, other = (
        acme.program(contract, allowed_categories=["Law"]),
        acme.program(contract, allowed_categories=["Tax"]),
    )
    acme.call("LEARNER", "GET", "programs")
    me = acme.people[OrgRole.LEARNER][0]
    acme.assign(mine, me)
    acme.assign(mine, acme.make.member(acme.org, OrgRole.LEARNER))
    assert [p["id"] for p in acme.call("LEARNER", "GET", "programs").json["result"]] == [mine]
    assert {p["id"] for p in acme.call("MANAGER", "GET", "programs").json["result"]} == {mine, other}
    assert len(acme.call("LEARNER", "GET", f"programs/{mine}/assignments").json["result"]) == 1
    assert len(acme.call("MANAGER", "GET", f"programs/{mine}/assignments").json["result"]) == 2


@pytest.mark.parametrize(
    ("start", "cycle", "end"),
    [
        ("2027-01-31", Cycle.MONTHLY, "2027-02-27"),
        ("2027-02-28", Cycle.MONTHLY, "2027-03-27"),
        ("2026-11-23", Cycle.MONTHLY, "2026-12-22"),
        ("2026-11-30", Cycle.QUARTERLY, "2027-02-27"),
        ("2028-02-29", Cycle.ANNUAL, "2029-02-27"),
        ("2026-12-31", Cycle.MONTHLY, "2027-01-30"),
    ],
)
def test_cycles_pin_to_the_anchor(start, cycle, end):
    assert last_day(dt.date.fromisoformat(start), cycle, int(start[-2:])) == (
        dt.date.fromisoformat(end),
        False,
    )


def test_cycle_is_clamped_to_the_contract():
    assert last_day(dt.date(2026, 11, 23), Cycle.ANNUAL, 23, dt.date(2027, 3, 31)) == (
        dt.date(2027, 3, 31),
        True,
    )


@pytest.mark.parametrize("start", ["9999-12-31", "9999-12-01", "2201-01-01", "0001-01-01"])
def test_places_at_the_ends_of_the_calendar_are_refused(acme, start):
    program, member = acme.program(), acme.make.member(acme.org, "LEARNER")
    answer = acme.assign(program, member, period_start=start)
    assert (answer.status_code, answer.json["code"]) == (400, "VALIDATION_FAILED")
