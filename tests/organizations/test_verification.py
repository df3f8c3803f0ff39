"""The verification queue, the conversation, staff's notes and the growth cap's waiver."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from app import clock
from app.models import OrgStatus, PlatformRole, StaffNote, VerificationMessage
from tests.organizations.test_creation import race

API, ADMIN_API = "/api/organizations", "/api/admin/organizations"


@pytest.fixture
def admin(make: Any) -> dict[str, str]:
    return make.bearer(make.user(platform_role=PlatformRole.ADMIN, name="Indira Admin"))


@pytest.fixture
def staff(make: Any) -> dict[str, str]:
    return make.bearer(make.user(platform_role=PlatformRole.STAFF, name="Samir Staff"))


def pending(make: Any, **values: Any) -> Any:
    return make.org(status=OrgStatus.PENDING_VERIFICATION, verification_submitted_at=clock.now(), **values)


def ask(client: Any, org: Any, who: dict[str, str], message: str = "Which PAN is it?") -> Any:
    return client.post(
        f"{ADMIN_API}/{org.public_id}/information-requests", json={"message": message}, headers=who
    )


def tab(client: Any, org: Any, who: dict[str, str], name: str) -> bool:
    """Whether *org* stands under the tab."""
    answer = client.get(f"{ADMIN_API}/queue?tab={name}&q={org.slug}", headers=who)
    assert answer.status_code == 200
    return str(org.public_id) in [o["id"] for o in answer.json["organizations"]]


@pytest.mark.scenario("P-7")
def test_a_question_is_asked_answered_and_the_place_kept(
    client: Any, make: Any, admin: Any, staff: Any
) -> None:
    org = pending(make)
    owner, maintainer, manager = (make.member(org, r) for r in ("OWNER", "MAINTAINER", "MANAGER"))
    submitted = make.one("SELECT verification_submitted_at FROM organization WHERE id = :o", o=org.id)
    assert tab(client, org, staff, "waiting")
    answer = ask(client, org, staff)
    assert answer.status_code == 201 and answer.json["verification"]["stage"] == "info"
    assert tab(client, org, staff, "info") and not tab(client, org, staff, "waiting")
    told = make.rows(
        "SELECT payload->>'to' FROM outbox_message WHERE organization_id = :o AND "
        "payload->>'template' = 'verification_question'",
        o=org.id,
    )
    assert {r[0] for r in told} == {owner.user.email, maintainer.user.email}
    assert {
        r[0] for r in make.rows("SELECT user_id FROM notification WHERE organization_id = :o", o=org.id)
    } == {owner.user_id, maintainer.user_id}

    path = f"{API}/{org.slug}/verification"
    seen = client.get(path, headers=make.bearer(maintainer)).json["verification"]
    assert [(m["kind"], m["by"], m["author"]) for m in seen["messages"]] == [
        ("INFO_REQUESTED", "PLATFORM", None)
    ]
    assert client.get(path, headers=make.bearer(manager)).json["code"] == "INSUFFICIENT_ROLE"
    refused = client.post(f"{path}/answer", json={"message": "x"}, headers=make.bearer(manager))
    assert refused.status_code == 403
    for empty in ({"message": "   "}, {"message": ""}, {}, {"message": "x" * 2001}):
        refused = client.post(f"{path}/answer", json=empty, headers=make.bearer(owner))
        assert refused.json["code"] == "VALIDATION_FAILED"
    done = client.post(f"{path}/answer", json={"message": "AABCA4821K"}, headers=make.bearer(maintainer))
    assert done.status_code == 200 and done.json["verification"]["stage"] == "waiting"
    again = client.post(f"{path}/answer", json={"message": "again"}, headers=make.bearer(owner))
    assert (again.status_code, again.json["code"]) == (409, "NOTHING_TO_ANSWER")
    assert tab(client, org, staff, "waiting")
    assert make.one("SELECT verification_submitted_at FROM organization WHERE id = :o", o=org.id) == submitted
    thread = client.get(f"{ADMIN_API}/{org.public_id}/verification", headers=admin).json["verification"]
    assert [(m["kind"], m["author"]) for m in thread["messages"]] == [
        ("INFO_REQUESTED", "Samir Staff"),
        ("ANSWER", "Maintainer Person"),
    ]
    assert [
        r[0]
        for r in make.rows(
            "SELECT action FROM org_audit_log WHERE organization_id = :o ORDER BY id", o=org.id
        )
    ] == ["VERIFICATION_INFO_REQUESTED", "VERIFICATION_ANSWERED"]


def test_the_whole_thread_of_a_rejection(client: Any, make: Any, admin: Any) -> None:
    org = pending(make)
    owner = make.bearer(make.member(org))
    decide = f"{ADMIN_API}/{org.public_id}/verify"
    client.post(decide, json={"action": "REJECT", "reason": "GSTIN typo"}, headers=admin)
    assert tab(client, org, admin, "rejected")
    refused = ask(client, org, admin)
    assert (refused.status_code, refused.json["code"]) == (409, "ILLEGAL_TRANSITION")
    path = f"{API}/{org.slug}/verification"
    sent = client.post(f"{path}/resubmit", json={"message": "Mended the typo."}, headers=owner)
    assert sent.status_code == 200
    client.post(decide, json={"action": "VERIFY"}, headers=admin)
    messages = client.get(path, headers=owner).json["verification"]["messages"]
    assert [(m["kind"], m["body"]) for m in messages] == [
        ("REJECTED", "GSTIN typo"),
        ("RESUBMITTED", "Mended the typo."),
        ("VERIFIED", "Verified."),
    ]


def test_only_staff_asks_and_only_of_those_who_wait(client: Any, make: Any, staff: Any) -> None:
    org, active = pending(make), make.org()
    for who in (make.bearer(make.member(org)), make.bearer(make.user())):
        assert ask(client, org, who).json["code"] == "INSUFFICIENT_ROLE"
    assert ask(client, active, staff).json["code"] == "ILLEGAL_TRANSITION"
    assert ask(client, org, staff, "  ").json["code"] == "VALIDATION_FAILED"
    for action in ("VERIFY", "REJECT"):
        answer = client.post(
            f"{ADMIN_API}/{org.public_id}/verify", json={"action": action, "reason": "x"}, headers=staff
        )
        assert (answer.status_code, answer.json["code"]) == (403, "INSUFFICIENT_ROLE")
    assert make.one("SELECT count(*) FROM verification_message WHERE organization_id = :o", o=org.id) == 0
    assert make.one("SELECT count(*) FROM org_audit_log WHERE organization_id = :o", o=org.id) == 0


def test_messages_stay_with_their_organisation(make: Any, client: Any, staff: Any) -> None:
    org = pending(make)
    ask(client, org, staff)
    stranger = make.member(make.org())
    with make.acting(stranger) as s:
        assert s.scalars(select(VerificationMessage)).all() == []
        assert s.execute(text("SELECT count(*) FROM verification_message")).scalar() == 0


def test_the_queue_is_ordered_searched_and_knows_who_is_next(app: Any, make: Any) -> None:
    now = clock.now()
    long, short = (
        make.org(
            status=OrgStatus.PENDING_VERIFICATION,
            verification_submitted_at=now - dt.timedelta(days=days),
            gstin=number,
        )
        for days, number in ((4000, "29AABCZ9999K1ZX"), (3999, None))
    )
    browser = make.sign_in(app.test_client(), make.user(platform_role=PlatformRole.ADMIN))
    page = browser.get("/admin/verification").text
    assert page.index(long.slug) < page.index(short.slug)
    found = browser.get("/admin/verification?q=aabcz9999").text
    assert long.slug in found and short.slug not in found
    assert "No such organisation" in browser.get("/admin/verification?q=%25%25zz_").text
    shown = browser.get(f"/admin/organizations/{long.public_id}?queue=y").text
    assert f"/admin/organizations/{short.public_id}" in shown and "check character does not fit" in shown
    gone = browser.form(f"/admin/organizations/{long.public_id}/decision", {"action": "VERIFY", "queue": "y"})
    assert gone.location.startswith(f"/admin/organizations/{short.public_id}")
    browser.form(f"/admin/organizations/{short.public_id}/decision", {"action": "DEACTIVATE"})
    assert make.one("SELECT status FROM organization WHERE id = :o", o=short.id) == "PENDING_VERIFICATION"
    browser.form(
        f"/admin/organizations/{short.public_id}/decision",
        {"action": "DEACTIVATE", "confirm_word": short.slug},
    )
    assert make.one("SELECT status FROM organization WHERE id = :o", o=short.id) == "DEACTIVATED"


def test_checks_decode_what_is_there(client: Any, make: Any, staff: Any) -> None:
    org = pending(make, gstin="27AAPFU0939F1ZV", website="https://www.example.in", domain=False)
    make.member(org, user=make.user(f"{org.slug}@gmail.com"))
    answer = client.get(f"{ADMIN_API}/{org.public_id}", headers=staff).json
    said = {c["label"]: (c["state"], c["text"]) for c in answer["checks"]}
    assert said["GSTIN"][0] == "ok"
    assert "Maharashtra" in said["GSTIN"][1] and "AAPFU0939F, a firm or LLP" in said["GSTIN"][1]
    assert said["Domain"][0] == said["Website"][0] == said["Owners"][0] == "warn"
    assert "gmail.com" in said["Owners"][1] and answer["owners"][0]["owns"] == 1


def test_the_conversation_on_pages(app: Any, make: Any) -> None:
    org = pending(make)
    owner = make.sign_in(app.test_client(), make.member(org))
    staff = make.sign_in(app.test_client(), make.user(platform_role=PlatformRole.STAFF))
    base = f"/dashboard/organization/{org.slug}"
    assert "Nothing asked so far" in owner.get(f"{base}/settings/verification").text
    sent = staff.form(f"/admin/organizations/{org.public_id}/question", {"message": "Who <b>owns</b> it?"})
    assert sent.status_code == 302
    for path in ("/home", "/settings"):
        assert "has a question" in owner.get(base + path).text
    page = owner.get(f"{base}/settings/verification").text
    assert "Who &lt;b&gt;owns&lt;/b&gt; it?" in page and "Send answer" in page
    owner.form(f"{base}/settings/verification/answer", {"message": "We do."})
    assert "We do." in staff.get(f"/admin/organizations/{org.public_id}").text
    manager = make.sign_in(app.test_client(), make.member(org, "MANAGER"))
    assert manager.get(f"{base}/settings/verification").status_code == 403


# ---- races -----------------------------------------------------------------------------------------------------------


def decision(make: Any, org: Any, action: str, headers: Any) -> Any:
    return lambda c: (
        c.post(
            f"{ADMIN_API}/{org.public_id}/verify", json={"action": action, "reason": "why"}, headers=headers
        ).status_code
    )


@pytest.mark.parametrize(
    ("start", "pair"),
    [
        ("PENDING_VERIFICATION", ("VERIFY", "VERIFY")),
        ("PENDING_VERIFICATION", ("VERIFY", "DEACTIVATE")),
        ("ACTIVE", ("SUSPEND", "SUSPEND")),
        ("SUSPENDED", ("REACTIVATE", "REACTIVATE")),
    ],
)
def test_decisions_race_and_the_history_is_one_line(
    app: Any, make: Any, admin: Any, start: str, pair: tuple[str, str]
) -> None:
    org = make.org(status=OrgStatus(start))
    statuses = race(app, [decision(make, org, a, admin) for a in pair])
    logged = [
        r[0]
        for r in make.rows(
            "SELECT action FROM org_audit_log WHERE organization_id = :o ORDER BY id", o=org.id
        )
    ]
    assert statuses.count(200) == len(logged)
    # the same decision twice is made once; VERIFY then DEACTIVATE are both legal, the other order is not
    assert logged in (
        [["VERIFIED"], ["SUSPENDED"], ["REACTIVATED"], ["DEACTIVATED"], ["VERIFIED", "DEACTIVATED"]]
    )


def test_verify_against_suspend(app: Any, make: Any, admin: Any) -> None:
    org = make.org(status=OrgStatus.PENDING_VERIFICATION)
    statuses = race(app, [decision(make, org, a, admin) for a in ("VERIFY", "SUSPEND")])
    end = make.one("SELECT status FROM organization WHERE id = :o", o=org.id)
    logged = [
        r[0]
        for r in make.rows(
            "SELECT action FROM org_audit_log WHERE organization_id = :o ORDER BY id", o=org.id
        )
    ]
    if statuses == [200, 200]:
        assert (end, logged) == ("SUSPENDED", ["VERIFIED", "SUSPENDED"])
    else:
        assert (sorted(statuses), end, logged) == ([200, 409], "ACTIVE", ["VERIFIED"])


def test_two_answers_and_one_is_kept(app: Any, client: Any, make: Any, staff: Any) -> None:
    org = pending(make)
    owners = [make.bearer(make.member(org)) for _ in range(2)]
    ask(client, org, staff)
    path = f"{API}/{org.slug}/verification/answer"
    statuses = race(
        app,
        [lambda c, h=h: c.post(path, json={"message": "We are."}, headers=h).status_code for h in owners],
    )
    assert sorted(statuses) == [200, 409]
    kept = "SELECT count(*) FROM verification_message WHERE organization_id = :o AND kind = 'ANSWER'"
    assert make.one(kept, o=org.id) == 1


# ---- notes -----------------------------------------------------------------------------------------------------------


def test_staff_notes(client: Any, make: Any, admin: Any, staff: Any) -> None:
    org = make.org()
    path = f"{ADMIN_API}/{org.public_id}/notes"
    first = client.post(path, json={"body": "Called the founder."}, headers=staff)
    assert first.status_code == 201
    client.post(path, json={"body": "Same PAN as another one.", "pinned": True}, headers=admin)
    listed = client.get(path, headers=staff).json["notes"]
    assert [(n["body"], n["pinned"], n["author"]) for n in listed] == [
        ("Same PAN as another one.", True, "Indira Admin"),
        ("Called the founder.", False, "Samir Staff"),
    ]
    pinned, mine = (f"{path}/{n['id']}" for n in listed)
    assert client.patch(mine, json={"pinned": True}, headers=admin).json["note"]["pinned"] is True
    assert client.delete(pinned, headers=staff).json["code"] == "INSUFFICIENT_ROLE"
    assert client.delete(mine, headers=staff).status_code == 204
    other = make.org()
    strange = f"{ADMIN_API}/{other.public_id}/notes/{listed[0]['id']}"
    assert client.delete(strange, headers=admin).json["code"] == "NOT_FOUND"
    for body in ({"body": " "}, {}, {"body": "x" * 5001}):
        assert client.post(path, json=body, headers=admin).json["code"] == "VALIDATION_FAILED"
    for _ in range(4):
        assert client.post(path, json={"body": "n", "pinned": True}, headers=admin).status_code == 201
    full = client.post(path, json={"body": "n", "pinned": True}, headers=admin)
    assert (full.status_code, full.json["code"]) == (409, "NOTE_LIMIT_REACHED")
    assert make.one("SELECT count(*) FROM staff_note WHERE about_organization_id = :o", o=org.id) == 5
    assert make.one("SELECT count(*) FROM org_audit_log WHERE organization_id = :o", o=org.id) == 0


def test_notes_are_never_seen_by_the_organisation_not_even_in_the_database(
    app: Any, client: Any, make: Any, staff: Any, web_engine: Any
) -> None:
    org = pending(make)
    owner = make.member(org)
    secret = "Zebra suspicion"
    client.post(f"{ADMIN_API}/{org.public_id}/notes", json={"body": secret}, headers=staff)
    headers = make.bearer(owner)
    for method, suffix in (("get", "/notes"), ("post", "/notes")):
        answer = getattr(client, method)(
            f"{ADMIN_API}/{org.public_id}{suffix}",
            headers=headers,
            **({"json": {"body": "x"}} if method == "post" else {}),
        )
        assert (answer.status_code, answer.json["code"]) == (403, "INSUFFICIENT_ROLE")
    for path in ("", "/verification"):
        assert secret not in client.get(f"{API}/{org.slug}{path}", headers=headers).text
    browser = make.sign_in(app.test_client(), owner)
    for path in ("home", "settings", "settings/verification"):
        assert secret not in browser.get(f"/dashboard/organization/{org.slug}/{path}").text
    with make.acting(owner) as s:  # the ORM, as a service of the organisation would ask
        assert s.scalars(select(StaffNote)).all() == []
    with web_engine.begin() as c:  # the database alone, with everything an organisation can set
        c.execute(text("SELECT set_config('app.org_id', :o, true)"), {"o": str(org.id)})
        c.execute(text("SELECT set_config('app.user_id', :u, true)"), {"u": str(owner.user_id)})
        c.execute(text("SELECT set_config('app.scope', 'org', true)"))
        assert c.execute(text("SELECT count(*) FROM staff_note")).scalar() == 0
        assert c.execute(text("UPDATE staff_note SET body = 'x'")).rowcount == 0
        assert c.execute(text("DELETE FROM staff_note")).rowcount == 0
    with pytest.raises(DBAPIError, match="row-level security"), web_engine.begin() as c:
        c.execute(text("SELECT set_config('app.org_id', :o, true)"), {"o": str(org.id)})
        c.execute(
            text("INSERT INTO staff_note (about_organization_id, body) VALUES (:o, 'x')"), {"o": org.id}
        )
    assert make.one("SELECT body FROM staff_note WHERE about_organization_id = :o", o=org.id) == secret


# ---- the growth cap --------------------------------------------------------------------------------------------------


def test_the_growth_cap_is_waived_and_restored(client: Any, make: Any, admin: Any, staff: Any) -> None:
    org = make.org(domain=False)
    owner = make.member(org)
    for _ in range(4):
        make.member(org, "MANAGER")
    invite = f"{API}/{org.slug}/invitations"
    body = {"email": f"{org.slug}@people.test", "role": "SUPPORT"}
    refused = client.post(invite, json=body, headers=make.bearer(owner))
    assert refused.json["code"] == "DOMAIN_VERIFICATION_REQUIRED"
    path = f"{ADMIN_API}/{org.public_id}/domain-cap-waiver"
    for who in (staff, make.bearer(owner)):
        assert client.post(path, json={"reason": "x"}, headers=who).json["code"] == "INSUFFICIENT_ROLE"
    assert client.post(path, json={"reason": " "}, headers=admin).json["code"] == "VALIDATION_FAILED"
    assert make.one("SELECT domain_cap_waived_at FROM organization WHERE id = :o", o=org.id) is None
    done = client.post(path, json={"reason": "A school without a domain"}, headers=admin)
    assert done.status_code == 200 and done.json["organization"]["domain_cap_waived_at"]
    assert client.post(path, json={"reason": "x"}, headers=admin).json["code"] == "ILLEGAL_TRANSITION"
    assert client.post(invite, json=body, headers=make.bearer(owner)).status_code == 201
    assert client.delete(path, json={"reason": "It has one now"}, headers=admin).status_code == 200
    assert client.delete(path, json={"reason": "x"}, headers=admin).json["code"] == "ILLEGAL_TRANSITION"
    rows = make.rows(
        "SELECT action, actor_type, details->>'reason' FROM org_audit_log WHERE organization_id = :o "
        "AND action LIKE 'DOMAIN_CAP%' ORDER BY id",
        o=org.id,
    )
    assert rows == [
        ("DOMAIN_CAP_WAIVED", "ADMIN", "A school without a domain"),
        ("DOMAIN_CAP_RESTORED", "ADMIN", "It has one now"),
    ]
    refused = client.post(invite, json={**body, "email": f"b{body['email']}"}, headers=make.bearer(owner))
    assert refused.json["code"] == "DOMAIN_VERIFICATION_REQUIRED"


def test_the_waiver_on_the_page(app: Any, make: Any) -> None:
    org = make.org(domain=False)
    browser = make.sign_in(app.test_client(), make.user(platform_role=PlatformRole.ADMIN))
    path = f"/admin/organizations/{org.public_id}"
    browser.form(f"{path}/growth-cap", {"waived": "y", "reason": "A school"})
    assert "Apply the limit again" in browser.get(path).text
    browser.form(f"{path}/growth-cap", {"waived": "", "reason": "Done"})
    assert make.one("SELECT domain_cap_waived_at FROM organization WHERE id = :o", o=org.id) is None
    browser.form(f"{path}/notes", {"body": "By <b>phone</b>", "pinned": "y"})
    page = browser.get(path).text
    assert "By &lt;b&gt;phone&lt;/b&gt;" in page and "Unpin" in page
    note = make.one("SELECT public_id FROM staff_note WHERE about_organization_id = :o", o=org.id)
    browser.form(f"{path}/notes/{note}/pin", {"pinned": ""})
    assert "Unpin" not in browser.get(path).text
    browser.form(f"{path}/notes/{note}/delete")
    assert make.one("SELECT count(*) FROM staff_note WHERE about_organization_id = :o", o=org.id) == 0
