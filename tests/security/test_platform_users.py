"""Accounts in the staff console: platform roles are granted by administrators only, and one always remains."""

from __future__ import annotations

from typing import Any

import pytest

from app.models import PlatformRole
from tests.factories import PASSWORD
from tests.organizations.test_creation import race

API = "/api/admin/users"


def confirmed(client: Any, make: Any, user: Any) -> dict[str, str]:
    """A bearer of *user* whose session has just been confirmed."""
    head: dict[str, str] = make.bearer(user)
    answer = client.post("/api/v1/security/confirm", json={"password": PASSWORD}, headers=head)
    assert answer.status_code == 200
    return head


def role_of(make: Any, user: Any) -> str:
    return str(make.one("SELECT platform_role FROM ab_user WHERE id = :u", u=user.id))


@pytest.fixture
def admin(make: Any) -> Any:
    return make.user(platform_role=PlatformRole.ADMIN, name="Indira Admin")


def test_an_administrator_grants_and_takes_a_role(client: Any, make: Any, admin: Any) -> None:
    person, path = make.user(name="Samir New"), ""
    head, path = confirmed(client, make, admin), f"{API}/{person.public_id}"
    own = make.bearer(person)
    assert client.get(API, headers=own).status_code == 403
    granted = client.put(f"{path}/platform-role", json={"platform_role": "STAFF"}, headers=head)
    assert granted.status_code == 200 and granted.json["user"]["platform_role"] == "STAFF"
    assert client.get(API, headers=own).status_code == 200  # on the next request, without signing in again
    mail = make.one(
        "SELECT payload->'values'->>'role' FROM outbox_message WHERE payload->>'template' = 'platform_role'"
        " AND payload->>'to' = :to",
        to=person.email,
    )
    assert mail == "a member of staff"
    assert (
        make.one("SELECT count(*) FROM system_event WHERE context->>'user' = :u", u=str(person.public_id))
        == 1
    )
    assert client.put(f"{path}/platform-role", json={"platform_role": None}, headers=head).status_code == 200
    assert role_of(make, person) == "CONSULTEE" and client.get(API, headers=own).status_code == 403


def test_a_founder_becomes_an_org_admin_again(client: Any, make: Any, admin: Any) -> None:
    person = make.user(platform_role=PlatformRole.STAFF)
    made = client.post(
        "/api/organizations",
        json={"name": "Founders Inc", "slug": f"founders-{person.id}", "gst_state_code": "29"},
        headers=make.bearer(person),
    )
    assert made.status_code == 201
    taken = client.put(
        f"{API}/{person.public_id}/platform-role",
        json={"platform_role": None},
        headers=confirmed(client, make, admin),
    )
    assert taken.json["user"]["platform_role"] == "ORG_ADMIN"


@pytest.mark.parametrize("by", [PlatformRole.STAFF, PlatformRole.CONSULTEE])
def test_nobody_else_grants(client: Any, make: Any, by: PlatformRole) -> None:
    other, person = make.user(platform_role=by), make.user()
    head = confirmed(client, make, other)
    for answer in (
        client.put(f"{API}/{person.public_id}/platform-role", json={"platform_role": "ADMIN"}, headers=head),
        client.put(f"{API}/{other.public_id}/platform-role", json={"platform_role": "ADMIN"}, headers=head),
        client.post(f"{API}/{person.public_id}/deactivate", headers=head),
    ):
        assert (answer.status_code, answer.json["code"]) == (403, "INSUFFICIENT_ROLE")
    assert role_of(make, person) == "CONSULTEE" and role_of(make, other) == by.value


def test_refusals_change_nothing(client: Any, make: Any, admin: Any) -> None:
    person = make.user()
    path = f"{API}/{person.public_id}/platform-role"
    unconfirmed = client.put(path, json={"platform_role": "ADMIN"}, headers=make.bearer(admin))
    assert (unconfirmed.status_code, unconfirmed.json["code"]) == (403, "CONFIRMATION_REQUIRED")
    head = confirmed(client, make, admin)
    for value in ("OWNER", "CONSULTANT", 1, ""):
        assert client.put(path, json={"platform_role": value}, headers=head).status_code == 400, value
    own = client.put(f"{API}/{admin.public_id}/platform-role", json={"platform_role": None}, headers=head)
    assert (own.status_code, own.json["code"]) == (403, "SELF_CHANGE")
    off = client.post(f"{API}/{admin.public_id}/deactivate", headers=head)
    assert (off.status_code, off.json["code"]) == (403, "SELF_CHANGE")
    for key in ("nobody", "01890000-0000-7000-8000-000000000000"):
        gone = client.put(f"{API}/{key}/platform-role", json={"platform_role": "STAFF"}, headers=head)
        assert (gone.status_code, gone.json["code"]) == (404, "USER_NOT_FOUND")
    assert role_of(make, person) == "CONSULTEE" and role_of(make, admin) == "ADMIN"


def test_two_administrators_cannot_take_each_others_role(
    app: Any, client: Any, make: Any, admin: Any
) -> None:
    other = make.user(platform_role=PlatformRole.ADMIN)
    pairs = [(confirmed(client, make, actor), target) for actor, target in ((admin, other), (other, admin))]
    calls = [
        lambda c, head=head, path=f"{API}/{target.public_id}/platform-role": (
            c.put(path, json={"platform_role": None}, headers=head).status_code
        )
        for head, target in pairs
    ]
    assert sorted(race(app, calls)) == [200, 403]
    assert sorted([role_of(make, admin), role_of(make, other)]) == ["ADMIN", "CONSULTEE"]


def test_switched_off_is_signed_out_at_once(client: Any, make: Any, admin: Any) -> None:
    org = make.org()
    member = make.member(org)
    own, head = make.bearer(member), make.bearer(admin)
    path = f"{API}/{member.user.public_id}"
    assert client.post(f"{path}/deactivate", headers=head).json["user"]["active"] is False
    assert client.get(f"/api/organizations/{org.slug}", headers=own).status_code == 401
    signing_in = {"username": member.user.email, "password": PASSWORD}
    assert client.post("/api/v1/security/login", json=signing_in).status_code == 401
    granted = client.put(
        f"{path}/platform-role", json={"platform_role": "STAFF"}, headers=confirmed(client, make, admin)
    )
    assert granted.status_code == 400
    assert client.post(f"{path}/reactivate", headers=head).json["user"]["active"] is True
    assert client.post("/api/v1/security/login", json=signing_in).status_code == 200
    shown = client.get(path, headers=head).json
    assert shown["memberships"] == [
        {"organization": org.slug, "role": "OWNER", "status": "ACTIVE", "department_label": None}
    ]


def test_lists_are_searched_and_paged(client: Any, make: Any, admin: Any) -> None:
    head = make.bearer(admin)
    people = [make.user(name=f"Zubeida{admin.id} Nr{n}") for n in range(3)]
    query = f"{API}?q=zubeida{admin.id}&limit=2"
    first = client.get(query, headers=head).json
    second = client.get(f"{query}&cursor={first['next_cursor']}", headers=head).json
    assert [u["id"] for u in first["users"] + second["users"]] == [str(p.public_id) for p in reversed(people)]
    assert second["next_cursor"] is None
    assert client.get(f"{API}?q=%25_%25", headers=head).json["users"] == []
    assert client.get(f"{API}?tab=nonsense", headers=head).status_code == 400
    assert str(admin.public_id) in [
        u["id"] for u in client.get(f"{API}?tab=team&limit=100", headers=head).json["users"]
    ]


def test_the_pages(app: Any, make: Any, admin: Any) -> None:
    person = make.user(name="<script>x</script> Rao")
    client = make.sign_in(app.test_client(), admin)
    listed = client.get(f"/admin/users/?q={person.email}").text
    assert person.email in listed and "<script>x" not in listed
    here = f"/admin/users/{person.public_id}"
    assert "Save role" in client.get(here).text
    sent = client.form(f"{here}/platform-role", {"role": "STAFF"})
    assert "/confirm" in sent.location and role_of(make, person) == "CONSULTEE"
    client.form("/confirm", {"password": PASSWORD})
    assert client.form(f"{here}/platform-role", {"role": "STAFF"}).location.endswith(here)
    assert role_of(make, person) == "STAFF"
    client.form(f"{here}/active", {})
    assert "Switched off" in client.get(here).text
    client.form(f"{here}/active", {"on": "y"})
    assert make.one("SELECT active FROM ab_user WHERE id = :u", u=person.id) is True
    assert "Save role" not in client.get(f"/admin/users/{admin.public_id}").text
    staff = make.sign_in(app.test_client(), make.user(platform_role=PlatformRole.STAFF))
    assert "Save role" not in staff.get(here).text and staff.get("/admin/users/").status_code == 200
    assert make.sign_in(app.test_client(), make.user()).get("/admin/users/").status_code == 404
