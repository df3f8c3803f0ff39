"""Attacks on invoices, contracts and programs over REST: other organisations' ids, roles, replays, races, heavy bodies."""

from __future__ import annotations

import re
import threading
import uuid

import pytest

from app import clock
from app.models import OrgRole
from tests.factories import unique
from tests.invoices.conftest import base

LINE = {"description": "Workshop", "unit_paise": 100_000}
AREAS = (
    "billing-account/invoices",
    "billing-account/credit-notes",
    "billing-account/purchase-orders",
    "billing",
    "contracts",
    "programs",
    "assignments",
)
BODY = {
    "items": [LINE],
    "reason": "AMENDMENT",
    "amount_paise": 1,
    "utr": "HDFC0001234",
    "received_on": "2026-01-01",
    "name": "Other",
    "status": "ACTIVE",
    "membership_ids": [],
    "cancel": True,
}


def at_once(app, headers, *asks):
    """Every (method, path, body) at the same moment, from a client each -> [(status, body)] in order."""
    start, answers = threading.Barrier(len(asks)), [None] * len(asks)

    def work(n, method, path, body):
        client = app.test_client()
        start.wait()
        answer = client.open(path, method=method, json=body, headers=headers)
        answers[n] = (answer.status_code, answer.get_json(silent=True))

    threads = [threading.Thread(target=work, args=(n, *ask)) for n, ask in enumerate(asks)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers


@pytest.fixture
def estate(customer, api, admin):
    """A customer with one row of every kind under these addresses, by the name of its parameter or area."""

    def build():
        c = customer()
        home = f"/api/organizations/{c.org.slug}"
        order = api(
            c.billing,
            "POST",
            f"{home}/billing-account/purchase-orders",
            {"po_number": unique("PO"), "total_paise": 10**9},
        )[1]
        contract = api(
            c.owner,
            "POST",
            f"{home}/contracts",
            {"effective_from": clock.today_ist().isoformat(), "title": "Coaching"},
        )[1]
        api(c.owner, "PATCH", f"{home}/contracts/{contract['id']}", {"status": "ACTIVE"})
        program = api(
            c.owner,
            "POST",
            f"{home}/programs",
            {
                "contract_id": contract["id"],
                "name": "Credits",
                "type": "CREDIT_POOL",
                "credits_per_cycle": 100,
                "cycle": "MONTHLY",
            },
        )[1]
        place = api(
            c.owner,
            "POST",
            f"{home}/programs/{program['id']}/auto-enroll",
            {"membership_ids": [str(c.learner.public_id)]},
        )[1]
        invoice = api(c.billing, "POST", base(c), {"items": [LINE], "issue_immediately": True})[1]
        api(
            admin,
            "POST",
            base(c, invoice["id"], "receipts"),
            {
                "amount_paise": 1_000,
                "utr": unique("UTR").replace("-", ""),
                "received_on": clock.today_ist().isoformat(),
            },
        )
        note = api(
            admin,
            "POST",
            base(c, invoice["id"], "credit-notes"),
            {"items": [{"line": 1, "amount_paise": 10_000}], "reason": "Half of it"},
        )[1]
        receipt = api(c.billing, "GET", base(c, invoice["id"]))[1]["receipts"][0]
        ids = {
            "billing-account/invoices": invoice["id"],
            "billing-account/credit-notes": note["id"],
            "billing-account/purchase-orders": order["id"],
            "contracts": contract["id"],
            "programs": program["id"],
            "assignments": place["results"][0]["assignment_id"],
            "receipt_id": receipt["id"],
        }
        return c, home, ids

    return build


def routes(app):
    """(area, method, rule, names of the ids in it) of every route under the areas that takes an id."""
    out = []
    for rule in app.url_map.iter_rules():
        for area in AREAS:
            if rule.rule.startswith(f"/api/organizations/<org_id>/{area}/"):
                names = [n for n in re.findall(r"<(?:\w+:)?(\w+)>", rule.rule) if n != "org_id"]
                if names:
                    out += [(area, m, rule.rule, names) for m in sorted(rule.methods - {"HEAD", "OPTIONS"})]
    return out


def test_ids_of_another_organisation_are_not_found(app, client, make, estate, admin):
    theirs, _, foreign = estate()
    mine, _, _ = estate()
    before = make.one("SELECT count(*) FROM org_audit_log WHERE organization_id = :o", o=theirs.org.id)
    tried, wrong = 0, []
    for who in (mine.owner, admin):
        headers = {**make.bearer(who), "Idempotency-Key": unique("key")}
        for area, method, rule, names in routes(app):
            path = rule.replace("<org_id>", mine.org.slug)
            for name in names:
                value = foreign.get(name) or foreign.get(area) or str(uuid.uuid4())
                path = re.sub(rf"<(?:\w+:)?{name}>", value, path)
            answer = client.open(path, method=method, json=BODY if method != "GET" else None, headers=headers)
            tried += 1
            code = (answer.get_json(silent=True) or {}).get("code")
            # refused for the body or the role before its row is looked for, or not found: nothing else
            if (answer.status_code, code) not in (
                (404, "NOT_FOUND"),
                (400, "VALIDATION_FAILED"),
                (403, "INSUFFICIENT_ROLE"),
            ):
                wrong.append((method, path, answer.status_code, answer.get_data(as_text=True)[:120]))
    assert wrong == [] and tried > 40
    assert (
        make.one("SELECT count(*) FROM org_audit_log WHERE organization_id = :o", o=theirs.org.id) == before
    )


def test_ids_of_another_organisation_in_a_body_are_not_found(api, estate):
    theirs, _, foreign = estate()
    mine, home, own = estate()
    order, contract = foreign["billing-account/purchase-orders"], foreign["contracts"]
    for body in ({"items": [LINE], "purchase_order_id": order}, {"items": [LINE], "contract_id": contract}):
        status, answer = api(mine.billing, "POST", base(mine), body)
        assert (status, answer["code"]) == (400, "VALIDATION_FAILED"), answer
    day = clock.today_ist().isoformat()
    status, answer = api(
        mine.owner, "POST", f"{home}/contracts", {"effective_from": day, "purchase_order_id": order}
    )
    assert (status, answer["code"]) == (404, "NOT_FOUND")
    status, answer = api(
        mine.owner,
        "POST",
        f"{home}/programs",
        {"contract_id": contract, "name": "Theirs", "type": "CREDIT_POOL", "credits_per_cycle": 10},
    )
    assert status in (400, 404), answer
    path = f"{home}/programs/{own['programs']}/auto-enroll"
    status, answer = api(mine.owner, "POST", path, {"membership_ids": [str(theirs.learner.public_id)]})
    assert (status, answer["enrolled"], answer["failed"]) == (200, 0, 1)


def test_only_those_who_may_write(api, estate, make):
    c, home, ids = estate()
    invoice, order = base(c, ids["billing-account/invoices"]), f"{home}/billing-account/purchase-orders"
    fin = [
        ("POST", base(c), {"items": [LINE]}),
        ("PATCH", invoice, {"items": [LINE]}),
        ("POST", f"{invoice}/issue", None),
        ("POST", f"{invoice}/void", {"reason": "Because"}),
        ("POST", f"{invoice}/rebill", None),
        ("POST", f"{invoice}/pay", None),
        ("POST", base(c, "roll-up"), None),
        ("POST", order, {"po_number": "X-1", "total_paise": 5}),
        ("DELETE", f"{order}/{ids['billing-account/purchase-orders']}", None),
        ("PATCH", f"{home}/billing/profile", {"city": "Pune"}),
    ]
    owners = [
        ("POST", f"{home}/contracts", {"effective_from": clock.today_ist().isoformat()}),
        ("PATCH", f"{home}/contracts/{ids['contracts']}", {"auto_renew": False}),
        ("POST", f"{home}/contracts/{ids['contracts']}/supersede", {"reason": "AMENDMENT"}),
        ("POST", f"{home}/contracts/{ids['contracts']}/terminate", {}),
    ]
    staff = [
        ("POST", f"{invoice}/receipts", {"amount_paise": 1, "utr": "HDFC0009", "received_on": "2026-01-01"}),
        ("POST", f"{invoice}/credit-notes", {"reason": "Because we say so"}),
    ]
    places = [
        (
            "POST",
            f"{home}/programs",
            {"contract_id": ids["contracts"], "name": "More", "type": "CREDIT_POOL"},
        ),
        ("PATCH", f"{home}/programs/{ids['programs']}", {"name": "Other"}),
        (
            "POST",
            f"{home}/programs/{ids['programs']}/auto-enroll",
            {"membership_ids": [str(c.learner.public_id)]},
        ),
    ]
    may = {
        OrgRole.MAINTAINER: places,
        OrgRole.BILLING_ADMIN: fin,
        OrgRole.OWNER: fin + owners + places,
        OrgRole.MANAGER: [],
        OrgRole.SUPPORT: [],
        OrgRole.LEARNER: [],
    }
    before = make.one("SELECT count(*) FROM org_audit_log WHERE organization_id = :o", o=c.org.id)
    for role, allowed in may.items():
        who = make.member(c.org, role)
        for ask in (*fin, *owners, *staff, *places):
            if ask not in allowed:
                status, answer = api(who, *ask)
                assert status == 403, (role, ask[:2], status, answer)
    assert make.one("SELECT count(*) FROM org_audit_log WHERE organization_id = :o", o=c.org.id) == before


def test_a_key_writes_one_invoice_whatever_is_repeated(customer, app, make, api):
    c = customer()
    key = {"Idempotency-Key": unique("key")}
    ask = ("POST", base(c), {"items": [LINE], "issue_immediately": True})
    answers = at_once(app, {**make.bearer(c.billing), **key}, *[ask] * 5)
    assert {status for status, _ in answers} <= {200, 201} and len({body["id"] for _, body in answers}) == 1
    status, answer = api(c.billing, "POST", base(c), {"items": [LINE, LINE]}, **key)
    assert (status, answer["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert make.one("SELECT count(*) FROM invoice WHERE organization_id = :o", o=c.org.id) == 1
    assert c.findings() == []


def test_a_transfer_counts_once_and_never_beyond_what_is_due(customer, app, make, api, admin):
    c = customer()
    row = c.manual(100_000)
    path, day = base(c, row.public_id, "receipts"), clock.today_ist().isoformat()
    transfers = [
        {"amount_paise": 118_000, "utr": f"HDFC{n}{unique('X')}".replace("-", ""), "received_on": day}
        for n in range(4)
    ]
    answers = at_once(app, make.bearer(admin), *[("POST", path, t) for t in transfers])
    assert sorted(status for status, _ in answers) == [201, 409, 409, 409]
    other = c.manual(100_000)
    won = next(t for t, (status, _) in zip(transfers, answers, strict=True) if status == 201)
    status, answer = api(admin, "POST", base(c, other.public_id, "receipts"), won)
    assert (status, answer["code"]) == (409, "UTR_ALREADY_RECORDED")
    assert c.again(row).paid_paise == 118_000 and c.again(other).paid_paise == 0 and c.findings() == []


def test_a_draft_that_is_changed_while_it_is_issued_is_one_or_the_other(customer, app, make, api):
    c = customer()
    for _ in range(4):
        draft = api(c.billing, "POST", base(c), {"items": [LINE]})[1]["id"]
        changed = {"items": [{"description": "Workshop, two days", "unit_paise": 200_000}]}
        (patched, _), (issued, _) = at_once(
            app,
            make.bearer(c.billing),
            ("PATCH", base(c, draft), changed),
            ("POST", base(c, draft, "issue"), None),
        )
        shown = api(c.billing, "GET", base(c, draft))[1]
        assert issued == 200 and shown["status"] == "ISSUED"
        assert shown["subtotal_paise"] == (200_000 if patched == 200 else 100_000) and patched in (200, 409)
        assert c.posted(f"invoice:{draft}")["ORG_RECEIVABLE", "D"] == shown["total_paise"]
    assert c.findings() == []


def test_a_line_is_credited_once_however_many_ask(customer, app, make, admin):
    c = customer()
    row = c.manual(100_000, 50_000)
    path = base(c, row.public_id, "credit-notes")
    whole = {"items": [{"line": 1, "amount_paise": 100_000}], "reason": "It did not take place"}
    answers = at_once(app, make.bearer(admin), *[("POST", path, whole)] * 3)
    assert sorted(status for status, _ in answers) == [201, 400, 400], answers
    assert c.again(row).credited_paise == 118_000 and c.findings() == []


def test_a_refund_that_races_a_void_is_on_one_side_of_it(customer, app, make, api, admin):
    c = customer()
    payment = c.booking(200_000)[0]
    (row,) = c.roll_up()
    headers = {**make.bearer(admin), "Idempotency-Key": unique("refund")}
    (refunded, _), (voided, _) = at_once(
        app,
        headers,
        (
            "POST",
            f"/api/payments/{payment.public_id}/refunds",
            {"reason": "It did not take place", "amount_paise": 50_000},
        ),
        ("POST", base(c, row.public_id, "void"), {"reason": "The cost centre is missing"}),
    )
    assert refunded == 201 and voided in (200, 409)
    row = c.again(row)
    assert (row.status.value, row.credited_paise) in (("VOID", 0), ("ISSUED", 59_000)) and c.findings() == []


def test_a_void_invoice_is_billed_again_once(customer, app, make, api):
    c = customer()
    row = c.manual(100_000)
    assert (
        api(c.billing, "POST", base(c, row.public_id, "void"), {"reason": "The cost centre is missing"})[0]
        == 200
    )
    path = base(c, row.public_id, "rebill")
    answers = at_once(app, make.bearer(c.billing), *[("POST", path, None)] * 3)
    assert sorted(status for status, _ in answers) == [201, 409, 409], answers
    made = next(body for status, body in answers if status == 201)
    assert api(c.billing, "POST", base(c, made["id"], "cancel"))[0] == 200
    assert api(c.billing, "POST", path)[0] == 201  # the first was dropped


def test_heavy_bodies_are_refused(customer, client, make, api):
    c = customer()
    headers = make.bearer(c.billing, **{"Content-Type": "application/json"})
    heavy = '{"items": [{"description": "' + "x" * 10_000_000 + '", "unit_paise": 1}]}'
    answer = client.post(base(c), data=heavy, headers=headers)
    assert answer.status_code in (400, 413) and len(answer.data) < 2_000
    answer = client.post(base(c), data="[" * 100_000 + "]" * 100_000, headers=headers)
    assert answer.status_code == 400
    status, answer = api(c.billing, "POST", base(c), {"items": [LINE] * 501})
    assert (status, answer["code"]) == (400, "VALIDATION_FAILED")
    for odd in (10**30, -1, 1.5, True, "1"):
        status, answer = api(c.billing, "POST", base(c), {"items": [{**LINE, "unit_paise": odd}]})
        assert (status, answer["code"]) == (400, "VALIDATION_FAILED"), odd
    assert make.one("SELECT count(*) FROM invoice WHERE organization_id = :o", o=c.org.id) == 0
