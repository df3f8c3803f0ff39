"""Creation, capabilities, tax identity (chapter 1, 1.2)."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from app.services.gstin import is_valid
from app.services.text import slugify, split_addresses, split_unique
from tests.factories import unique

API = "/api/organizations"


def count(make: Any, user: Any) -> int:
    return int(make.one("SELECT count(*) FROM organization WHERE created_by_user_id = :u", u=user.id))


def body(**values: Any) -> dict[str, Any]:
    return {
        "name": unique("Acme Corp"),
        "can_sponsor": True,
        "funding_source": "WALLET",
        "gst_state_code": "29",
        **values,
    }


@pytest.mark.scenario("P-1")
def test_a_sponsor_is_created_whole(client: Any, make: Any) -> None:
    user = make.user()
    name = unique("Acme Corp")
    answer = client.post(API, json=body(name=name), headers=make.bearer(user))
    assert answer.status_code == 201, answer.json
    org = answer.json["organization"]
    assert (
        org["slug"] == slugify(name) and org["status"] == "PENDING_VERIFICATION" and org["kind"] == "SPONSOR"
    )
    inner = make.one("SELECT id FROM organization WHERE slug = :s", s=org["slug"])
    assert make.rows(
        "SELECT funding_source, wallet_balance_paise FROM billing_account WHERE organization_id = :o", o=inner
    ) == [("WALLET", 0)]
    assert make.rows("SELECT role, status, user_id FROM membership WHERE organization_id = :o", o=inner) == [
        ("OWNER", "ACTIVE", user.id)
    ]
    assert make.rows(
        "SELECT default_landing_organization_id FROM org_workspace_profile WHERE user_id = :u", u=user.id
    ) == [(inner,)]
    assert make.rows(
        "SELECT action, actor_type, actor_user_id FROM org_audit_log WHERE organization_id = :o", o=inner
    ) == [("MEMBER_ADDED", "MEMBER", user.id)]
    assert make.one("SELECT root_id FROM organization WHERE id = :o", o=inner) == inner
    assert make.one("SELECT session_generation FROM ab_user WHERE id = :u", u=user.id) == 1
    assert set(answer.json) >= {
        "organization",
        "billing_account_id",
        "membership",
        "org_workspace_profile_id",
    }


@pytest.mark.parametrize("source", ["PERSONAL", "INVOICE", "LICENSE"])
def test_only_a_wallet_has_a_balance(client: Any, make: Any, source: str) -> None:
    answer = client.post(API, json=body(funding_source=source), headers=make.bearer(make.user()))
    assert answer.status_code == 201
    assert make.rows(
        "SELECT b.funding_source, b.wallet_balance_paise FROM billing_account b JOIN organization o ON "
        "o.id = b.organization_id WHERE o.slug = :s",
        s=answer.json["organization"]["slug"],
    ) == [(source, None)]


@pytest.mark.scenario("P-2")
def test_hosting_is_gated(client: Any, make: Any) -> None:
    user = make.user()
    answer = client.post(API, json=body(can_host=True), headers=make.bearer(user))
    assert (answer.status_code, answer.json["code"]) == (400, "HOST_ORGS_GATED")
    assert count(make, user) == 0


@pytest.mark.scenario("P-3")
def test_an_organisation_does_something(client: Any, make: Any) -> None:
    user, org = make.user(), make.org()
    owner = make.member(org)
    answer = client.post(API, json=body(can_sponsor=False), headers=make.bearer(user))
    assert (answer.status_code, answer.json["code"]) == (400, "INERT_ORG")
    assert count(make, user) == 0
    for patch in (
        {"can_sponsor": False, "can_host": False},
        {"can_sponsor": False},
        {"can_sponsor": False, "expected_version": 1},
    ):
        answer = client.patch(f"{API}/{org.slug}", json=patch, headers=make.bearer(owner))
        assert (answer.status_code, answer.json["code"]) == (409, "INERT_ORG")
    assert make.one("SELECT can_sponsor FROM organization WHERE id = :o", o=org.id) is True


@pytest.mark.scenario("P-4")
def test_a_slug_is_taken_once(client: Any, make: Any) -> None:
    user, org = make.user(), make.org()
    for again in (body(slug=org.slug), body(name=org.slug)):
        answer = client.post(API, json=again, headers=make.bearer(user))
        assert (answer.status_code, answer.json["code"]) == (409, "SLUG_TAKEN")
    assert count(make, user) == 0
    owner = make.member(make.org())
    answer = client.patch(
        f"{API}/{org_slug(make, owner)}", json={"slug": org.slug}, headers=make.bearer(owner)
    )
    assert (answer.status_code, answer.json["code"]) == (409, "SLUG_TAKEN")


def org_slug(make: Any, member: Any) -> str:
    return str(make.one("SELECT slug FROM organization WHERE id = :i", i=member.organization_id))


@pytest.mark.scenario("P-5")
def test_five_owned_organisations_are_enough(client: Any, make: Any) -> None:
    user = make.user()
    for _ in range(5):
        make.member(make.org(), "OWNER", user)
    make.member(make.org(), "MAINTAINER", user)
    answer = client.post(API, json=body(), headers=make.bearer(user))
    assert (answer.status_code, answer.json["code"]) == (403, "ORG_LIMIT_REACHED")
    assert count(make, user) == 0


def test_two_sixth_organisations_do_not_slip_through(app: Any, make: Any) -> None:
    user = make.user()
    for _ in range(4):
        make.member(make.org(), "OWNER", user)
    statuses = race(
        app, [lambda c: c.post(API, json=body(), headers=make.bearer(user)).status_code for _ in range(2)]
    )
    assert sorted(statuses) == [201, 403] and count(make, user) == 1


def race(app: Any, calls: list[Any]) -> list[Any]:
    """Run *calls* at once, each with a client of its own."""
    gate, out, errors = threading.Barrier(len(calls)), [], []

    def run(call: Any) -> None:
        try:
            gate.wait(10)
            out.append(call(app.test_client()))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(c,)) for c in calls]
    [t.start() for t in threads]
    [t.join(30) for t in threads]
    assert not errors, errors
    return out


@pytest.mark.scenario("P-6")
def test_a_launch_happens_once_per_key(client: Any, app: Any, make: Any) -> None:
    user = make.user()
    data, key = body(), unique("launch")
    headers = {**make.bearer(user), "Idempotency-Key": key}
    answers = race(app, [lambda c: c.post(API, json=data, headers=headers) for _ in range(2)])
    assert sorted(a.status_code for a in answers) == [200, 201]
    assert answers[0].json == answers[1].json and count(make, user) == 1
    other = client.post(API, json={**data, "name": "Other"}, headers=headers)
    assert (other.status_code, other.json["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    stranger = client.post(API, json=body(), headers={**make.bearer(make.user()), "Idempotency-Key": key})
    assert stranger.status_code == 201


def test_invitations_ride_along_or_nothing_does(client: Any, make: Any) -> None:
    user = make.user()
    invited = [
        {"email": f"{unique('a')}@x.test", "role": "MANAGER"},
        {"email": f"{unique('b')}@x.test", "role": "LEARNER"},
    ]
    answer = client.post(API, json=body(invitations=invited), headers=make.bearer(user))
    assert answer.status_code == 201 and len(answer.json["invitations"]) == 2
    assert "token" not in answer.text and "/invite/" not in answer.text
    assert (
        make.one(
            "SELECT count(*) FROM outbox_message WHERE payload->>'to' = :e AND topic = 'mail'",
            e=invited[0]["email"],
        )
        == 1
    )
    for bad, code in (
        ([{"email": "nobody", "role": "LEARNER"}], "VALIDATION_FAILED"),
        ([{"email": "e@x.test", "role": "EXPERT"}], "EXPERT_REQUIRES_CANHOST"),
        (
            [{"email": f"{unique('c')}@x.test", "role": "LEARNER"} for _ in range(5)],
            "DOMAIN_VERIFICATION_REQUIRED",
        ),
    ):
        answer = client.post(API, json=body(invitations=bad), headers=make.bearer(user))
        assert answer.json["code"] == code
    assert count(make, user) == 1


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"gst_state_code": None}, "GST_STATE_REQUIRED", None),
        ({"gst_state_code": "98"}, "VALIDATION_FAILED", "gst_state_code"),
        ({"gstin": "27AAPFU0939F1ZO"}, "INVALID_GSTIN_FORMAT", None),
        ({"name": " "}, "VALIDATION_FAILED", "name"),
        ({"name": "x" * 201}, "VALIDATION_FAILED", "name"),
        ({"slug": "-bad"}, "VALIDATION_FAILED", "slug"),
        ({"slug": "public"}, "VALIDATION_FAILED", "slug"),
        ({"name": "नमस्ते"}, "VALIDATION_FAILED", "slug"),
        ({"slug": "0198c0de-0000-7000-8000-000000000000"}, "VALIDATION_FAILED", "slug"),
        ({"primary_color": "red"}, "VALIDATION_FAILED", "primary_color"),
        ({"website": "javascript:alert(1)"}, "VALIDATION_FAILED", "website"),
        ({"funding_source": "GOLD"}, "VALIDATION_FAILED", "funding_source"),
        ({"seats_total": -1}, "VALIDATION_FAILED", "seats_total"),
        ({"seats_total": "many"}, "VALIDATION_FAILED", "seats_total"),
        ({"description": "x" * 5001}, "VALIDATION_FAILED", "description"),
        ({"surprise": 1}, "VALIDATION_FAILED", "surprise"),
        ({"billing_email": "no"}, "VALIDATION_FAILED", "billing_email"),
        ({"name": "a\x00b"}, "VALIDATION_FAILED", "body"),
    ],
)
def test_wrong_input_is_named_and_changes_nothing(
    client: Any, make: Any, change: dict[str, Any], code: str, field: str | None
) -> None:
    user = make.user()
    answer = client.post(API, json=body(**change), headers=make.bearer(user))
    assert (answer.status_code, answer.json["code"]) == (400, code), answer.json
    if field:
        assert field in answer.json["details"]["fields"]
    assert count(make, user) == 0


def test_the_gstin_decides_the_state(client: Any, make: Any) -> None:
    answer = client.post(
        API, json=body(gstin="27aapfu 0939f1zv", gst_state_code="29"), headers=make.bearer(make.user())
    )
    assert answer.status_code == 201
    assert answer.json["organization"]["gstin"] == "27AAPFU0939F1ZV"
    assert answer.json["organization"]["gst_state_code"] == "27"


@pytest.mark.parametrize(
    "gstin", ["27AAPFU0939F1ZV", "29AAFCC9980M1ZR", "24AAQCA8719H1ZC", "29AAZCE4321Q1ZO", "38AAZCB1234R1ZS"]
)
def test_valid_gstins(gstin: str) -> None:
    assert is_valid(gstin)


@pytest.mark.parametrize(
    "gstin",
    [
        "29AWGPV7107B1Z1",
        "27AAPFU0939F1ZO",
        "",
        "29AAZCE4321Q1Z",
        "00AAZCE4321Q1ZO",
        "29AAZCE4321Q0ZO",
        "२९AAZCE4321Q1ZO",
    ],
)
def test_invalid_gstins(gstin: str) -> None:
    assert not is_valid(gstin)


def test_only_onboarded_people_create(client: Any, make: Any) -> None:
    user = make.user(onboarded=False)
    answer = client.post(API, json=body(), headers=make.bearer(user))
    assert (answer.status_code, answer.json["code"]) == (403, "ONBOARDING_REQUIRED")
    assert client.post(API, json=body()).status_code == 401


def test_text_helpers() -> None:
    assert slugify("  Ácme & Söhne (India) Pvt. Ltd. ") == "acme-sohne-india-pvt-ltd"
    assert len(slugify("x" * 200)) == 63 and slugify("---") == ""
    assert split_addresses("a@x.in, Maya Rao <b@x.in>; c@x.in\n\n d@x.in ") == [
        "a@x.in",
        "b@x.in",
        "c@x.in",
        "d@x.in",
    ]
    assert split_unique(["a@x.in", "A@x.in", "b@x.in"]) == (["a@x.in", "b@x.in"], ["A@x.in"])
