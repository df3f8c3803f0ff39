"""org_scope on every personal list (chapter 1, 1.6; P-29)."""

from __future__ import annotations

import pytest

from app.models import PlatformRole


def personal_lists(app):
    """GET routes of signed-in people that list: no argument in the path, guarded as the reader's own."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        gate = getattr(view, "_gate", None) or getattr(getattr(view, "__func__", view), "_gate", None)
        if (
            rule.rule.startswith("/api/")
            and "GET" in rule.methods
            and not rule.arguments
            and gate is not None
            and gate[0] == "self"
        ):
            yield rule.rule


def test_every_personal_list_takes_a_scope(app, both, make):
    """A new personal list is found here by itself and must refuse what is no scope of the caller's."""
    staff = make.user(platform_role=PlatformRole.STAFF)
    found = [r for r in personal_lists(app) if r not in EXEMPT]
    assert {"/api/appointments", "/api/payments", "/api/chat/channels"} <= set(found)
    for path in found:
        for value, status, code in (
            ("nonsense", 400, "INVALID_SCOPE"),
            ("org:", 400, "INVALID_SCOPE"),
            ("org:" + "x" * 200, 400, "INVALID_SCOPE"),
            ("", 400, "INVALID_SCOPE"),
            ("ALL", 400, "INVALID_SCOPE"),
            (f"org:{both.other.slug}", 403, "ORG_MEMBERSHIP_REQUIRED"),
            ("org:no-such-organisation", 403, "ORG_MEMBERSHIP_REQUIRED"),
            ("all", 403, "ALL_REQUIRES_PRIVILEGED_ROLE"),
        ):
            answer = both.get(path, org_scope=value)
            assert (answer.status_code, (answer.json or {}).get("code")) == (status, code), (
                f"{path}?org_scope={value}"
            )
        assert both.get(path, staff, org_scope="all").json["code"] == "ALL_REQUIRES_PRIVILEGED_ROLE", path
        for value in ("personal", f"org:{both.acme.slug}", f"org:{both.zeta.public_id}"):
            assert both.get(path, org_scope=value).status_code == 200, f"{path}?org_scope={value}"


# Personal resources that are no lists of rows with an organisation.
EXEMPT = {
    "/api/v1/security/me": "who am I: names every membership",
    "/api/organizations": "the organisations themselves",
    "/api/organizations/": "the same",
    "/api/plans": "the catalogue of everybody's plans",
    "/api/referrals": "deliberately personal (1.6)",
    "/api/plans/facets": "the catalogue of everybody's plans",
    "/api/availability": "an expert's own hours, platform-wide",
}


def titles(answer):
    assert answer.status_code == 200, answer.text
    return sorted(r["title"] for r in answer.json["result"])


@pytest.mark.scenario("P-29")
def test_appointments_and_chats_of_an_expert_in_two_organisations(both, make):
    for org in (both.acme, both.zeta):
        row = both.appointment(org)
        assert both.send("/api/chat/channels", {"appointment_id": str(row.public_id)}).status_code == 200
    acme, zeta = (f"Session {o.slug}" for o in (both.acme, both.zeta))
    for path in ("/api/appointments", "/api/chat/channels"):
        assert titles(both.get(path, org_scope=f"org:{both.acme.slug}")) == [acme], path
        assert titles(both.get(path, org_scope=f"org:{both.acme.public_id}")) == [acme], path
        assert titles(both.get(path, org_scope=f"org:{both.zeta.slug}")) == [zeta], path
        assert titles(both.get(path, org_scope="personal")) == [] == titles(both.get(path)), path
        refused = both.get(path, org_scope=f"org:{both.other.slug}")
        assert refused.status_code == 403 and refused.json["code"] == "ORG_MEMBERSHIP_REQUIRED"
        staff = make.user(platform_role=PlatformRole.STAFF)
        refused = both.get(path, staff, org_scope="all")
        assert refused.status_code == 403 and refused.json["code"] == "ALL_REQUIRES_PRIVILEGED_ROLE"


def test_both_sides_of_an_appointment_and_payments_of_the_payer_only(both, make):
    learner = make.user()
    make.member(both.acme, "LEARNER", learner)
    row = both.appointment(both.acme, learner)
    own = both.appointment(None, learner)
    for who in (learner, both.expert):
        got = both.get("/api/appointments", who, org_scope=f"org:{both.acme.slug}").json["result"]
        assert [a["id"] for a in got] == [str(row.public_id)]
        got = both.get("/api/appointments", who).json["result"]
        assert [a["id"] for a in got] == [str(own.public_id)]
    paid = both.get("/api/payments", learner, org_scope=f"org:{both.acme.slug}").json["result"]
    assert [p["appointment_id"] for p in paid] == [str(row.public_id)]
    assert [p["appointment_id"] for p in both.get("/api/payments", learner).json["result"]] == [
        str(own.public_id)
    ]
    assert both.get("/api/payments", org_scope=f"org:{both.acme.slug}").json["result"] == []


def test_a_suspended_membership_is_no_scope(both, make):
    learner = make.user()
    make.member(both.acme, "LEARNER", learner, status="SUSPENDED")
    answer = both.get("/api/appointments", learner, org_scope=f"org:{both.acme.slug}")
    assert answer.json["code"] == "ORG_MEMBERSHIP_REQUIRED"


def test_admin_reads_all_and_members_of_others_nothing(both, make):
    row = both.appointment(both.acme)
    admin = make.user(platform_role=PlatformRole.ADMIN)
    seen, cursor = set(), ""
    while str(row.public_id) not in seen:  # other tests' rows are there too
        args = {"cursor": cursor} if cursor else {}
        body = both.get("/api/appointments", admin, org_scope="all", limit="100", **args).json
        seen |= {a["id"] for a in body["result"]}
        cursor = body["next_cursor"]
        assert cursor or str(row.public_id) in seen
    assert both.get("/api/appointments", admin).json["result"] == []


def test_payments_page_by_cursor_without_gaps(both, make):
    learner = make.user()
    for _ in range(5):
        both.appointment(None, learner)
    seen, cursor = [], ""
    for _ in range(5):
        page = both.get("/api/payments", learner, limit="2", **({"cursor": cursor} if cursor else {})).json
        seen += [p["id"] for p in page["result"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 5


def test_pages_offer_the_switch_and_obey_it(both, app, make):
    both.rows = [both.appointment(both.acme), both.appointment(None)]
    browser = make.sign_in(app.test_client(), both.expert)
    acme, own = f"Session {both.acme.slug}", "Session personal"
    for path in ("/dashboard/appointments/", "/dashboard", "/dashboard/chats/"):
        if "chats" in path:
            for row in both.rows:
                both.send("/api/chat/channels", {"appointment_id": str(row.public_id)})
        whole = browser.get(path).text
        assert acme in whole and own in whole and f"org_scope=org%3A{both.zeta.slug}" in whole, path
        one = browser.get(f"{path}?org_scope=org:{both.acme.slug}").text
        assert acme in one and own not in one, path
        one = browser.get(f"{path}?org_scope=personal").text
        assert acme not in one and own in one, path
        assert browser.get(f"{path}?org_scope=org:{both.other.slug}").status_code == 403, path
        assert browser.get(f"{path}?org_scope=bogus").status_code == 400, path
    alone = make.sign_in(app.test_client(), make.user())
    assert "org_scope=" not in alone.get("/dashboard/appointments/").text.split("<main")[1]


# Personal pages that are no lists of rows with an organisation, each with its reason.
NO_LIST = {
    "/": "redirects",
    "/dashboard/organization": "redirects to where the person works",
    "/explore/experts": "the catalogue",
    "/dashboard/org-workspace": "the owner's own rooms and the wizard",
    "/api-docs": "the reference",
    "/confirm": "asks for the password again",
    "/organizations/invite": "the invitation this browser opened",
    "/onboarding": "the first steps of a new person",
    "/account": "the person themselves",
    "/dashboard/referrals": "deliberately personal (1.6)",
}


def test_every_personal_page_that_lists_takes_a_scope(app, both, make):
    """A new personal page is found here by itself: it refuses what is no scope, or stands above with its reason."""
    browser = make.sign_in(app.test_client(), both.expert)
    silent = []
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        gate = getattr(view, "_gate", None)
        if gate != ("self", "read") or "GET" not in rule.methods or rule.arguments:
            continue
        path = rule.rule.rstrip("/") or "/"
        if any(path == p or path.startswith(p + "/") for p in NO_LIST if p != "/") or path in NO_LIST:
            continue
        if browser.get(f"{rule.rule}?org_scope=bogus", follow_redirects=True).status_code != 400:
            silent.append(rule.rule)
    assert silent == []
