"""Channels: who gets one, who reads it, and that nobody else does (chapter 1, 1.6)."""

from __future__ import annotations

import threading
import uuid

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.models import ChatChannel, ChatMessage, PlatformRole
from app.security import context
from app.services import chats


def opened(both, row, who=None, **extra):
    answer = both.send("/api/chat/channels", {"appointment_id": str(row.public_id), **extra}, who)
    assert answer.status_code == 200, answer.text
    return answer.json


def say(both, channel, body, who=None):
    return both.send(f"/api/chat/channels/{channel['id']}/messages", {"body": body}, who)


def counts(make, channel):
    return make.one(
        "SELECT count(*) FROM chat_message m JOIN chat_channel c ON c.id = m.channel_id WHERE c.public_id = :i",
        i=channel["id"],
    )


def test_two_people_write_to_each_other(both, make):
    learner = make.user(name="Lena Learner")
    row = both.appointment(both.acme, learner)
    channel = opened(both, row)
    assert channel["id"] == opened(both, row, learner)["id"]
    assert [m["name"] for m in channel["members"]] == ["Lena Learner", "Esha Expert"]
    first = say(both, channel, "  Bring your deck.\r\nSee you. ")
    assert first.status_code == 201 and first.json["body"] == "Bring your deck.\nSee you."
    assert both.get("/api/chat/channels", learner, org_scope="personal").json["result"] == []
    assert say(both, channel, "Will do", learner).status_code == 201
    got = both.get(f"/api/chat/channels/{channel['id']}/messages", learner).json["result"]
    assert [(m["author"]["name"], m["author"]["me"]) for m in got] == [
        ("Lena Learner", True),
        ("Esha Expert", False),
    ]


def test_unread_until_seen(both, make):
    learner = make.user()
    make.member(both.acme, "LEARNER", learner)
    channel = opened(both, both.appointment(both.acme, learner))
    say(both, channel, "Hello")
    listed = both.get("/api/chat/channels", learner, org_scope=f"org:{both.acme.slug}").json["result"]
    assert [(c["unread"], c["last_message"]["body"]) for c in listed] == [(True, "Hello")]
    both.get(f"/api/chat/channels/{channel['id']}/messages", learner)
    listed = both.get("/api/chat/channels", learner, org_scope=f"org:{both.acme.slug}").json["result"]
    assert [c["unread"] for c in listed] == [False]
    assert (
        both.get("/api/chat/channels", org_scope=f"org:{both.acme.slug}").json["result"][0]["unread"] is False
    )


def test_nobody_but_members_reads_or_writes(both, app, make):
    channel = opened(both, both.appointment(both.acme))
    say(both, channel, "Confidential zebra")
    nobodies = [
        make.member(both.acme, "OWNER").user,
        make.member(both.acme, "MAINTAINER").user,
        make.user(),
        make.user(platform_role=PlatformRole.STAFF),
        make.user(platform_role=PlatformRole.ADMIN),
    ]
    base = f"/api/chat/channels/{channel['id']}"
    for who in nobodies:
        for path in (base, f"{base}/messages"):
            answer = both.get(path, who)
            assert answer.status_code == 404 and "zebra" not in answer.text
        assert say(both, channel, "I was here", who).status_code == 404
        browser = make.sign_in(app.test_client(), who)
        for path in (f"/dashboard/chats/{channel['id']}", f"/dashboard/chats/{channel['id']}/new?after=0"):
            answer = browser.get(path)
            assert answer.status_code == 404 and "zebra" not in answer.text, path
        assert browser.form(f"/dashboard/chats/{channel['id']}", {"body": "x"}).status_code in (302, 404)
        scopes = [f"org:{both.acme.slug}", "personal", "all"]
        for scope in scopes:
            assert "zebra" not in both.get("/api/chat/channels", who, org_scope=scope).text
        assert "zebra" not in browser.get("/dashboard/chats/").text
    admin = make.sign_in(app.test_client(), nobodies[-1])
    for table in ("chat_message", "chat_channel", "notification", "outbox_message"):
        assert "zebra" not in admin.get(f"/admin/data/{table}/").text
        assert "zebra" not in admin.get(f"/admin/data/{table}/export/csv").text
    assert counts(make, channel) == 1


def test_the_database_itself_keeps_messages_for_members(both, make, web_engine):
    """Without any of our conditions: another person's, an owner's and the platform's identity see no message."""
    channel = opened(both, both.appointment(both.acme))
    say(both, channel, "Confidential zebra")
    owner, outsider = make.member(both.acme, "OWNER"), make.user()
    inner = make.one("SELECT id FROM chat_channel WHERE public_id = :i", i=channel["id"])
    identities = [
        make.ctx(owner),
        context.Ctx(user_id=outsider.id),
        context.Ctx(user_id=outsider.id, platform_role="ADMIN", scope="platform"),
        context.NOBODY,
    ]
    for identity in identities:
        context._current.set(identity)
        with Session(web_engine) as session:
            seen = session.execute(
                text("SELECT count(*) FROM chat_message WHERE channel_id = :c"), {"c": inner}
            )
            assert seen.scalar() == 0, identity
            with pytest.raises(Exception, match="row-level security"):
                session.execute(
                    text("INSERT INTO chat_message (channel_id, author_user_id, body) VALUES (:c, :u, 'x')"),
                    {"c": inner, "u": identity.user_id},
                )
            session.rollback()
    context.reset()
    assert counts(make, channel) == 1


def test_a_channel_takes_the_explicit_organisation_then_the_plans_then_the_appointments(both, make):
    expert = make.one("SELECT expert_id FROM plan WHERE id = :i", i=both.plan.id)
    with make.session() as s:
        from app.models import ConsultantProfile

        profile = s.get(ConsultantProfile, expert)
    hosted = make.plan(profile, organization_id=both.zeta.id)

    def tagged(row, **extra):
        opened(both, row, **extra)
        return make.one("SELECT organization_id FROM chat_channel WHERE appointment_id = :i", i=row.id)

    assert tagged(both.appointment(both.acme, plan=hosted), organization_id=both.acme.slug) == both.acme.id
    assert tagged(both.appointment(both.acme, plan=hosted)) == both.zeta.id
    assert tagged(both.appointment(both.acme)) == both.acme.id
    assert tagged(both.appointment(None)) is None
    row = both.appointment(both.acme)
    refused = both.send(
        "/api/chat/channels", {"appointment_id": str(row.public_id), "organization_id": both.other.slug}
    )
    assert refused.status_code == 403 and refused.json["code"] == "ORG_MEMBERSHIP_REQUIRED"
    assert make.one("SELECT count(*) FROM chat_channel WHERE appointment_id = :i", i=row.id) == 0


def test_strangers_open_nothing(both, make):
    row = both.appointment(both.acme)
    for who in (make.user(), make.member(both.acme, "OWNER").user):
        for body in ({"appointment_id": str(row.public_id)}, {"plan_id": str(both.plan.public_id)}):
            assert both.send("/api/chat/channels", body, who).json["code"] == "NOT_FOUND"
        unknown = both.send("/api/chat/channels", {"email": "nobody@nowhere.test"}, who)
        stranger = both.send("/api/chat/channels", {"email": make.user().email}, who)
        assert unknown.status_code == stranger.status_code == 404 and unknown.json == stranger.json
    assert make.one("SELECT count(*) FROM chat_channel WHERE appointment_id = :i", i=row.id) == 0
    for body in ({}, {"email": "a@b.test", "plan_id": str(both.plan.public_id)}, {"plan_id": "x"}):
        assert both.send("/api/chat/channels", body).status_code == 400


def test_direct_messages_carry_no_organisation_and_exist_once(both, make):
    colleague = make.member(both.acme, "MANAGER").user
    one = both.send("/api/chat/channels", {"email": colleague.email.upper()}).json
    two = both.send("/api/chat/channels", {"email": both.expert.email}, colleague).json
    assert one["id"] == two["id"] and one["kind"] == "DIRECT" and one["tagged"] is False
    listed = both.get("/api/chat/channels", colleague).json["result"]
    assert [c["id"] for c in listed] == [one["id"]]
    assert both.get("/api/chat/channels", colleague, org_scope=f"org:{both.acme.slug}").json["result"] == []
    assert both.send("/api/chat/channels", {"email": both.expert.email}).json["code"] == "USER_NOT_FOUND"


def test_a_plans_channel_holds_those_who_booked_through_the_organisation(both, make):
    inside, outside = make.user(), make.user()
    both.appointment(both.acme, inside)
    both.appointment(None, outside)
    body = {"plan_id": str(both.plan.public_id), "organization_id": both.acme.slug}
    channel = both.send("/api/chat/channels", body).json
    assert channel["member_count"] == 2 and channel["kind"] == "PLAN"
    assert both.get(f"/api/chat/channels/{channel['id']}", inside).status_code == 200
    assert both.get(f"/api/chat/channels/{channel['id']}", outside).status_code == 404
    late = make.user()
    both.appointment(both.acme, late)
    again = both.send("/api/chat/channels", body).json
    assert again["id"] == channel["id"] and again["member_count"] == 3


def test_an_organisations_channel(both, make):
    maintainer = make.member(both.acme, "MAINTAINER")
    learner = make.member(both.acme, "LEARNER", department_label="Design")
    path = f"/api/organizations/{both.acme.slug}/chat/channels"
    for role in ("MANAGER", "BILLING_ADMIN", "SUPPORT", "LEARNER"):
        refused = both.send(path, {"title": "Everybody"}, make.member(both.acme, role).user)
        assert refused.status_code == 403 and refused.json["code"] == "INSUFFICIENT_ROLE"
    admin = make.user(platform_role=PlatformRole.ADMIN)
    assert both.send(path, {"title": "Everybody"}, admin).json["code"] == "NOT_A_MEMBER"
    assert make.one("SELECT count(*) FROM chat_channel WHERE organization_id = :o", o=both.acme.id) == 0
    channel = both.send(path, {"title": "Design guild", "department": "design"}, maintainer.user).json
    assert channel["member_count"] == 2
    assert both.send(path, {"title": "x", "department": "Nowhere"}, maintainer.user).status_code == 400
    wide = both.send(path, {"title": "Everybody"}, maintainer.user).json
    assert wide["member_count"] == 7 and wide["kind"] == "ORGANIZATION"
    assert both.get(f"/api/chat/channels/{wide['id']}", learner.user).status_code == 200


def test_ending_a_membership_revokes(both, make):
    owner, learner = make.member(both.acme, "OWNER"), make.member(both.acme, "LEARNER")
    row = both.appointment(both.acme, learner.user)
    channel = opened(both, row, learner.user)
    friend = both.send("/api/chat/channels", {"email": owner.user.email}, learner.user).json
    with make.session() as s:  # the session took place: nothing holds the member any more
        s.execute(text("UPDATE appointment SET status = 'COMPLETED' WHERE id = :i"), {"i": row.id})
    gone = both.client.delete(
        f"/api/organizations/{both.acme.slug}/members/{learner.public_id}", headers=make.bearer(owner)
    )
    assert gone.status_code in (200, 204), gone.text
    assert both.get(f"/api/chat/channels/{channel['id']}", learner.user).status_code == 404
    assert both.get(f"/api/chat/channels/{friend['id']}", learner.user).status_code == 200
    again = both.send("/api/chat/channels", {"appointment_id": str(row.public_id)}, learner.user)
    assert again.status_code == 403 and again.json["code"] == "ORG_MEMBERSHIP_REQUIRED"
    closed = say(both, channel, "Still there?")
    assert closed.status_code == 409 and closed.json["code"] == "CHAT_CLOSED"
    assert counts(make, channel) == 0
    with make.session() as s:
        s.execute(text("UPDATE membership SET status = 'ACTIVE' WHERE id = :i"), {"i": learner.id})
    assert opened(both, row, learner.user)["id"] == channel["id"]
    assert say(both, channel, "Back", learner.user).status_code == 201


def test_a_revoked_member_opens_no_new_channel_of_the_organisation(both, make):
    learner = make.member(both.acme, "LEARNER", status="REMOVED")
    row = both.appointment(both.acme, learner.user)
    answer = both.send("/api/chat/channels", {"appointment_id": str(row.public_id)}, learner.user)
    assert answer.json["code"] == "ORG_MEMBERSHIP_REQUIRED"
    assert make.one("SELECT count(*) FROM chat_channel WHERE appointment_id = :i", i=row.id) == 0
    assert opened(both, row)["member_count"] == 1


def test_suspension(both, make):
    maintainer, learner = make.member(both.acme, "MAINTAINER"), make.member(both.acme, "LEARNER")
    path = f"/api/organizations/{both.acme.slug}/chat/channels"
    channel = both.send(path, {"title": "Everybody"}, maintainer.user).json
    booked = opened(both, both.appointment(both.acme, learner.user), learner.user)
    with make.session() as s:
        s.execute(text("UPDATE membership SET status = 'SUSPENDED' WHERE id = :i"), {"i": learner.id})
    assert (
        both.get(f"/api/chat/channels/{channel['id']}", learner.user).json["code"] == "MEMBERSHIP_SUSPENDED"
    )
    assert say(both, booked, "My session stands", learner.user).status_code == 201
    with make.session() as s:
        s.execute(text("UPDATE organization SET status = 'SUSPENDED' WHERE id = :i"), {"i": both.acme.id})
    assert both.get(f"/api/chat/channels/{channel['id']}", maintainer.user).status_code == 200
    assert say(both, channel, "x", maintainer.user).json["code"] == "ORG_NOT_ACTIVE"
    assert counts(make, channel) == 0


def test_messages_are_bounded(both, make):
    channel = opened(both, both.appointment(None))
    for body in ("", "   ", "x" * 5001, "a\x00b", 7, None):
        assert say(both, channel, body).status_code == 400, repr(body)[:20]
    assert say(both, channel, "x" * 5000).status_code == 201
    for key in ("x", str(uuid.uuid4()), "9" * 40):
        assert both.get(f"/api/chat/channels/{key}").status_code == 404
    assert counts(make, channel) == 1


def test_writing_is_rate_limited(both, make):
    channel = opened(both, both.appointment(None))
    headers = make.bearer(both.expert)
    path = f"/api/chat/channels/{channel['id']}/messages"
    answers = [both.client.post(path, json={"body": "hi"}, headers=headers).status_code for _ in range(31)]
    assert answers[:30] == [201] * 30 and answers[30] == 429
    assert counts(make, channel) == 30


def test_messages_page_by_cursor_and_lists_load_more(both, make):
    learner = make.user()
    channel = opened(both, both.appointment(None, learner), learner)
    for n in range(5):
        say(both, channel, f"m{n}")
    seen, cursor = [], {}
    for _ in range(4):
        page = both.get(f"/api/chat/channels/{channel['id']}/messages", limit="2", **cursor).json
        seen += [m["body"] for m in page["result"]]
        if not page["next_cursor"]:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ["m4", "m3", "m2", "m1", "m0"]
    for _ in range(4):
        opened(both, both.appointment(None, learner), learner)
    ids, cursor = [], {}
    for _ in range(4):
        page = both.get("/api/chat/channels", learner, limit="2", **cursor).json
        ids += [c["id"] for c in page["result"]]
        if not page["next_cursor"]:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(ids) == len(set(ids)) == 5
    for bad in ("x", "e30", "eyJpZCI6IjcifQ"):
        assert both.get("/api/chat/channels", learner, cursor=bad).status_code == 400


def test_one_bell_a_channel_however_many_messages(both, make, bells):
    learner = make.user()
    channel = opened(both, both.appointment(both.acme, learner), learner)
    say(both, channel, "Confidential zebra")
    bells()
    say(both, channel, "Two")
    say(both, channel, "Three")
    bells()

    def entries(user):
        return make.rows(
            "SELECT title, body, url FROM notification WHERE user_id = :u AND kind = 'chat'", u=user.id
        )

    [entry] = entries(learner)
    assert entry.title == "3 new messages, the last from Esha Expert"
    assert entry.url == f"/dashboard/chats/{channel['id']}" and "zebra" not in entry.title + entry.body
    assert entries(both.expert) == []
    both.get(f"/api/chat/channels/{channel['id']}/messages", learner)
    say(both, channel, "Seen at once")
    both.get(f"/api/chat/channels/{channel['id']}/messages", learner)
    bells()
    assert len(entries(learner)) == 1


def test_opening_at_the_same_moment_makes_one_channel(both, app, make, web_engine):
    learner = make.user()
    row = both.appointment(both.acme, learner)
    start, made, failed = threading.Barrier(2), [], []

    def go(user):
        context._current.set(context.Ctx(user_id=user.id))
        try:
            with app.app_context(), Session(web_engine) as session:
                start.wait()
                made.append(chats.for_appointment(session, row.public_id).id)
                session.commit()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=go, args=(u,)) for u in (learner, both.expert)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failed == [] and len(set(made)) == 1
    with make.session() as s:
        assert len(s.scalars(select(ChatChannel).where(ChatChannel.appointment_id == row.id)).all()) == 1
        assert s.scalars(select(ChatMessage).where(ChatMessage.channel_id == made[0])).all() == []
