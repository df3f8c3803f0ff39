"""Handing an organisation over (chapter 1, 1.3): atomic, confirmed, and never without an owner."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.errors import DomainError, Invalid
from app.models import Membership, MembershipStatus, OrgRole, OrgStatus, PlatformRole
from app.security import context
from app.services import members, ownership
from app.services.ownership import Afterwards
from tests.factories import PASSWORD


def confirmed(client, make, who):
    headers = make.bearer(who)
    assert (
        client.post("/api/v1/security/confirm", headers=headers, json={"password": PASSWORD}).status_code
        == 200
    )
    return headers


def hand_over(client, org, headers, target, afterwards="MAINTAINER", word=None):
    return client.post(
        f"/api/organizations/{org.slug}/ownership-transfer",
        headers=headers,
        json={"member_id": str(target.public_id), "afterwards": afterwards, "confirm": word or org.slug},
    )


def state(make, org):
    return dict(
        make.rows(
            "select user_id, role || ' ' || status from membership where organization_id = :o", o=org.id
        )
    )


def test_the_new_owner_stands_and_the_former_steps_back(client, make):
    org = make.org()
    owner, manager = make.member(org), make.member(org, "MANAGER")
    generations = {m.user_id: m.user.session_generation for m in (owner, manager)}
    done = hand_over(client, org, confirmed(client, make, owner), manager)
    assert done.status_code == 200
    assert done.json["owner"]["role"] == "OWNER" and done.json["former"]["role"] == "MAINTAINER"
    assert state(make, org) == {owner.user_id: "MAINTAINER ACTIVE", manager.user_id: "OWNER ACTIVE"}
    audit = make.rows(
        "select action, target_membership_id from org_audit_log where organization_id = :o order by id",
        o=org.id,
    )
    assert [tuple(r) for r in audit] == [
        ("ROLE_CHANGE", manager.id),
        ("OWNERSHIP_TRANSFERRED", manager.id),
        ("ROLE_CHANGE", owner.id),
    ]
    for m in (owner, manager):
        assert (
            make.one("select session_generation from ab_user where id = :u", u=m.user_id)
            > generations[m.user_id]
        )
        assert make.one(
            "select count(*) from notification where user_id = :u and kind like 'ownership_%'", u=m.user_id
        )
        mail = client.get(f"/api/test/outbox?to={m.user.email}").json["mail"]
        assert [x for x in mail if org.name in x["subject"]]


@pytest.mark.parametrize(("afterwards", "former"), [("OWNER", "OWNER ACTIVE"), ("LEAVE", "OWNER REMOVED")])
def test_the_former_owner_may_stay_or_leave(client, make, afterwards, former):
    org = make.org()
    owner, manager = make.member(org), make.member(org, "MANAGER")
    assert hand_over(client, org, confirmed(client, make, owner), manager, afterwards).status_code == 200
    assert state(make, org) == {owner.user_id: former, manager.user_id: "OWNER ACTIVE"}


def test_what_is_refused_changes_nothing(client, make):
    org, foreign = make.org(), make.org()
    owner = make.member(org)
    others = {r: make.member(org, r) for r in ("MAINTAINER", "BILLING_ADMIN", "MANAGER", "SUPPORT")}
    suspended = make.member(org, "MANAGER", status=MembershipStatus.SUSPENDED)
    gone = make.member(org, "MANAGER", status=MembershipStatus.REMOVED)
    second = make.member(org, "OWNER")
    outsider = make.member(foreign, "MANAGER")
    admin = make.user(platform_role=PlatformRole.ADMIN)
    before = state(make, org)
    headers = confirmed(client, make, owner)
    manager = others["MANAGER"]
    assert hand_over(client, org, headers, manager, word="something-else").json["code"] == "VALIDATION_FAILED"
    assert hand_over(client, org, headers, owner).json["code"] == "SELF_CHANGE"
    assert hand_over(client, org, headers, suspended).json["code"] == "MEMBERSHIP_NOT_ACTIVE"
    assert hand_over(client, org, headers, gone).json["code"] in ("MEMBER_NOT_FOUND", "MEMBERSHIP_NOT_ACTIVE")
    assert hand_over(client, org, headers, second).json["code"] == "VALIDATION_FAILED"
    assert hand_over(client, org, headers, outsider).json["code"] == "MEMBER_NOT_FOUND"
    assert hand_over(client, foreign, headers, outsider).json["code"] == "NOT_A_MEMBER"
    assert hand_over(client, org, headers, manager, afterwards="KING").status_code == 400
    for member in others.values():
        refused = hand_over(client, org, confirmed(client, make, member), manager)
        assert (refused.status_code, refused.json["code"]) == (403, "OWNER_REQUIRED")
    assert hand_over(client, org, confirmed(client, make, admin), manager).json["code"] == "OWNER_REQUIRED"
    assert state(make, org) == before
    assert make.one("select count(*) from org_audit_log where organization_id = :o", o=org.id) == 0
    assert make.one("select count(*) from outbox_message where organization_id = :o", o=org.id) == 0


def test_a_suspended_organisation_is_read_only(client, make):
    org = make.org(status=OrgStatus.SUSPENDED)
    owner, manager = make.member(org), make.member(org, "MANAGER")
    refused = hand_over(client, org, confirmed(client, make, owner), manager)
    assert (refused.status_code, refused.json["code"]) == (409, "ORG_NOT_ACTIVE")
    with make.acting(owner) as s, pytest.raises(DomainError, match="ORG_NOT_ACTIVE"):
        ownership.transfer(s, s.get(Membership, manager.id), Afterwards.MAINTAINER, org.slug)


def test_leaving_with_obligations_rolls_everything_back(client, make):
    org = make.org(can_host=True)
    owner, manager = make.member(org), make.member(org, "MANAGER")
    before = state(make, org)
    plan = make.plan(make.expert())
    with make.session() as s:
        from app.models import Appointment
        from tests.tenancy.world import World

        row = World(s, s.merge(org), s.merge(owner.user))._values(Appointment)
        row.update(learner_user_id=owner.user_id, organization_id=org.id, plan_id=plan.id)
        s.add(Appointment(**row))
    refused = hand_over(client, org, confirmed(client, make, owner), manager, "LEAVE")
    assert (refused.status_code, refused.json["code"]) == (409, "MEMBER_HAS_OBLIGATIONS")
    assert state(make, org) == before
    assert make.one("select count(*) from org_audit_log where organization_id = :o", o=org.id) == 0


def race(make, *jobs):
    """Run (member, work) pairs at once, each in a session of its own; returns the code of each, or None."""
    barrier, out = threading.Barrier(len(jobs)), [None] * len(jobs)

    def run(i, member, work):
        context._current.set(make.ctx(member))
        with make.app.app_context(), Session(make.web, expire_on_commit=False) as s:
            try:
                s.execute(text("select 1"))
                barrier.wait(timeout=10)
                work(s)
                s.commit()
            except (DomainError, Invalid) as error:
                s.rollback()
                out[i] = error.code

    threads = [threading.Thread(target=run, args=(i, m, w)) for i, (m, w) in enumerate(jobs)]
    [t.start() for t in threads]
    [t.join(20) for t in threads]
    return out


def owners(make, org):
    return make.one(
        "select count(*) from membership where organization_id = :o and role = 'OWNER' and status = 'ACTIVE'",
        o=org.id,
    )


def giving(org, target, afterwards=Afterwards.MAINTAINER):
    return lambda s: ownership.transfer(s, s.get(Membership, target.id), afterwards, org.slug)


@pytest.mark.scenario("P-17")
def test_two_transfers_at_once(make):
    for _ in range(4):
        org = make.org()
        owner, a, b = make.member(org), make.member(org, "MANAGER"), make.member(org, "MANAGER")
        out = race(make, (owner, giving(org, a)), (owner, giving(org, b)))
        assert sorted(out, key=str) == [None, "OWNER_REQUIRED"]
        assert owners(make, org) == 1


@pytest.mark.scenario("P-17")
def test_a_transfer_against_a_demotion_of_its_owner(make):
    for _ in range(4):
        org = make.org()
        first, second, target = make.member(org), make.member(org), make.member(org, "MANAGER")

        def demote(s, first=first):
            members.change_member(s, s.get(Membership, first.id), role=OrgRole.MANAGER)

        out = race(make, (first, giving(org, target)), (second, demote))
        assert out in ([None, None], ["OWNER_REQUIRED", None])
        assert owners(make, org) >= 1


@pytest.mark.scenario("P-17")
def test_a_transfer_against_the_other_owner_leaving_and_the_target_removed(make):
    for _ in range(4):
        org = make.org()
        first, second, target = make.member(org), make.member(org), make.member(org, "MANAGER")

        def remove(s, target=target):
            members.remove_member(s, s.get(Membership, target.id))

        out = race(
            make,
            (first, giving(org, target, Afterwards.LEAVE)),
            (second, members.leave),
            (second, remove),
        )
        assert owners(make, org) >= 1, out
