"""The wizard with hosting: its steps, rates, roles on chips, and one organisation from two browsers."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.factories import unique
from tests.organizations.test_creation import API, body, count, race

WIZARD = "/dashboard/org-workspace/create"
TAX = {"funding_source": "WALLET", "gst_state_code": "29"}


def step(browser: Any, name: str, data: dict[str, str]) -> str:
    answer = browser.form(f"{WIZARD}/{name}", data)
    assert answer.status_code == 302, answer.text
    return str(answer.location).rpartition("/")[2]


def shares(make: Any, user: Any) -> list[Any]:
    return make.rows(
        "SELECT platform_bps, org_bps, consultant_bps FROM rate_card r JOIN organization o ON "
        "o.id = r.organization_id WHERE o.created_by_user_id = :u",
        u=user.id,
    )


def test_a_host_answers_rates_instead_of_billing(client: Any, make: Any, hosting: Any) -> None:
    person = make.user()
    browser = make.sign_in(client, person)
    page = browser.get(f"{WIZARD}/info").text
    assert 'name="kind" value="hybrid"' in page
    assert step(browser, "info", {"name": unique("Host House"), "kind": "host"}) == "rates"
    assert browser.get(f"{WIZARD}/billing").location == f"{WIZARD}/rates"
    assert browser.get(f"{WIZARD}/review").location == f"{WIZARD}/rates"
    for given, text in (
        (("80", "10", "9"), "add up to 100"),
        (("85", "10", "5"), "at least 10"),
        (("80", "x", "10"), "Enter a percentage"),
        (("120", "-30", "10"), "Between 0 and"),
    ):
        data = dict(zip(("consultant_bps", "org_bps", "platform_bps"), given, strict=True))
        answer = browser.form(f"{WIZARD}/rates", data)
        assert answer.status_code == 400 and text in answer.text, given
    assert browser.get(f"{WIZARD}/branding").location == f"{WIZARD}/rates"
    good = {"consultant_bps": "72.5", "org_bps": "15", "platform_bps": "12.5"}
    assert step(browser, "rates", good) == "branding"
    assert step(browser, "branding", {}) == "invite"
    page = browser.get(f"{WIZARD}/invite").text
    assert 'value="EXPERT"' in page and 'value="LEARNER"' not in page
    expert = f"{unique('e')}@x.test"
    assert step(browser, "invite", {"emails": expert, "role": "EXPERT"}) == "review"
    page = browser.get(f"{WIZARD}/review").text
    assert "72.5" in page and "Billing &amp; seats" not in page and page.count(">Edit<") == 4
    assert count(make, person) == 0
    assert browser.form(f"{WIZARD}/launch").status_code == 302
    assert shares(make, person) == [(1250, 1500, 7250)]
    assert make.rows(
        "SELECT can_sponsor, can_host FROM organization WHERE created_by_user_id = :u", u=person.id
    ) == [(False, True)]
    assert make.one("SELECT role FROM invitation WHERE email = :e", e=expert) == "EXPERT"
    assert not make.one(
        "SELECT count(*) FROM billing_account b JOIN organization o ON o.id = b.organization_id "
        "WHERE o.created_by_user_id = :u",
        u=person.id,
    )


def test_changing_the_kind_changes_what_is_still_asked(client: Any, make: Any, hosting: Any) -> None:
    person = make.user()
    browser = make.sign_in(client, person)
    name = unique("Turning")
    assert step(browser, "info", {"name": name, "kind": "sponsor"}) == "billing"
    assert step(browser, "billing", TAX) == "branding"
    browser.form(f"{WIZARD}/branding", {})
    browser.form(f"{WIZARD}/invite", {"emails": "", "role": "LEARNER"})
    assert step(browser, "info", {"name": name, "kind": "hybrid"}) == "rates"
    assert browser.form(f"{WIZARD}/launch").location.startswith(WIZARD) and count(make, person) == 0
    step(browser, "rates", {"consultant_bps": "80", "org_bps": "10", "platform_bps": "10"})
    assert browser.form(f"{WIZARD}/launch").status_code == 302
    assert shares(make, person) == [(1000, 1000, 8000)] and count(make, person) == 1


@pytest.mark.scenario("P-2")
def test_the_wizard_hides_hosting_while_it_is_off(client: Any, make: Any) -> None:
    person = make.user()
    browser = make.sign_in(client, person)
    assert 'name="kind"' not in browser.get(f"{WIZARD}/info").text
    assert step(browser, "info", {"name": unique("Quiet"), "kind": "hybrid"}) == "billing"
    assert browser.get(f"{WIZARD}/rates").location == f"{WIZARD}/billing"
    assert step(browser, "billing", TAX) == "branding"
    browser.form(f"{WIZARD}/launch")
    assert make.rows("SELECT can_host FROM organization WHERE created_by_user_id = :u", u=person.id) == [
        (False,)
    ]


def test_every_chip_has_a_role_of_its_own(client: Any, make: Any) -> None:
    browser = make.sign_in(client, make.user())
    step(browser, "info", {"name": unique("Chips")})
    step(browser, "billing", TAX)
    a, b = f"{unique('a')}@x.test", f"{unique('b')}@x.test"
    stay = {"role": "LEARNER", "then": "stay"}
    step(browser, "invite", {"emails": f"{a}; {b},\n{a.upper()}", **stay})
    step(browser, "invite", {"emails": "", f"role:{a}": "MANAGER", f"role:{b}": "KING", **stay})
    browser.form(f"{WIZARD}/launch")
    assert make.one("SELECT role FROM invitation WHERE email = :e", e=a) == "MANAGER"
    assert make.one("SELECT role FROM invitation WHERE email = :e", e=b) == "LEARNER"


@pytest.mark.scenario("P-6")
def test_two_browsers_launch_one_organisation(app: Any, make: Any) -> None:
    """The same person on two browsers: one draft, one key, one organisation; both end up in it."""
    person = make.user()
    first, second = (make.sign_in(app.test_client(), person) for _ in range(2))
    step(first, "info", {"name": unique("Twice")})
    assert second.get(WIZARD).location == f"{WIZARD}/billing"  # a lost connection: resumed elsewhere
    step(second, "billing", TAX)
    gate, answers = threading.Barrier(2), []

    def launch(browser: Any) -> None:
        browser.csrf()
        gate.wait(10)
        answers.append(browser.form(f"{WIZARD}/launch"))

    threads = [threading.Thread(target=launch, args=(b,)) for b in (first, second)]
    [t.start() for t in threads]
    [t.join(30) for t in threads]
    assert count(make, person) == 1
    assert len({a.location for a in answers}) == 1 and answers[0].location.endswith("/home")


# ---- REST ------------------------------------------------------------------------------------------------------------
def test_rest_takes_a_rate_card(client: Any, make: Any, hosting: Any) -> None:
    user = make.user()
    headers = make.bearer(user)

    def post(card: Any, **more: Any) -> Any:
        return client.post(API, json=body(can_host=True, rate_card=card, **more), headers=headers)

    def card(platform: int, org: int, consultant: int) -> dict[str, int]:
        return {"platform_bps": platform, "org_bps": org, "consultant_bps": consultant}

    assert post(card(1000, 1000, 7999)).json["code"] == "RATE_CARD_BPS_SUM"
    assert post(card(999, 1001, 8000)).json["code"] == "RATE_CARD_PLATFORM_MINIMUM"
    assert post(card(1000, -1, 9001)).json["code"] == "VALIDATION_FAILED"
    assert post({"platform_bps": 1000}).json["code"] == "VALIDATION_FAILED"
    answer = client.post(API, json=body(rate_card=card(1000, 1000, 8000)), headers=headers)
    assert answer.json["code"] == "VALIDATION_FAILED"  # a sponsor shares nothing
    assert count(make, user) == 0 and shares(make, user) == []
    assert post(card(2000, 3000, 5000)).status_code == 201
    assert shares(make, user) == [(2000, 3000, 5000)]
    other = make.user()
    assert client.post(API, json=body(can_host=True), headers=make.bearer(other)).status_code == 201
    assert shares(make, other) == [(1000, 1000, 8000)]


def test_two_launches_of_hosts_write_one_card(app: Any, make: Any, hosting: Any) -> None:
    user = make.user()
    data, headers = body(can_host=True), {**make.bearer(user), "Idempotency-Key": unique("k")}
    answers = race(app, [lambda c: c.post(API, json=data, headers=headers) for _ in range(2)])
    assert sorted(a.status_code for a in answers) == [200, 201]
    assert count(make, user) == 1 and len(shares(make, user)) == 1
