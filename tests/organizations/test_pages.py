"""The organisation's pages: what each role sees, the wizard, settings, the queue."""

from __future__ import annotations

import re
from typing import Any

import pytest

from app.models import FundingSource, MembershipStatus, OrgRole, OrgStatus, PlatformRole
from tests.factories import unique


def base(org: Any) -> str:
    return f"/dashboard/organization/{org.slug}"


@pytest.mark.parametrize("role", list(OrgRole))
@pytest.mark.parametrize("funding", list(FundingSource))
def test_everybody_has_a_home(client: Any, make: Any, role: str, funding: str) -> None:
    org = make.org(can_host=True, funding=funding, description="Fine people")
    browser = make.sign_in(client, make.member(org, role))
    page = browser.get(f"{base(org)}/home")
    assert page.status_code == 200 and org.name in page.text
    assert ("Get started" in page.text) == (role in ("OWNER", "MAINTAINER", "MANAGER"))
    landing = browser.get(base(org))
    assert landing.status_code == 302 and landing.location.startswith(base(org) + "/")
    assert browser.get(landing.location, follow_redirects=True).status_code == 200


def test_admin_sees_every_home_and_staff_none(client: Any, app: Any, make: Any) -> None:
    org = make.org()
    admin = make.sign_in(client, make.user(platform_role=PlatformRole.ADMIN))
    page = admin.get(f"{base(org)}/home")
    assert page.status_code == 200 and "Acting as platform" in page.text
    staff = make.sign_in(app.test_client(), make.user(platform_role=PlatformRole.STAFF))
    for path in ("/home", "/settings", "/members/", "/invitations/"):
        assert staff.get(base(org) + path).status_code in (403, 404)


GATES = {
    "settings": {"OWNER", "MAINTAINER"},
    "members/": {"OWNER", "MAINTAINER", "MANAGER", "SUPPORT"},
    "invitations/": {"OWNER", "MAINTAINER"},
    "home": set(OrgRole),
}


@pytest.mark.parametrize("role", list(OrgRole))
def test_page_gates(client: Any, make: Any, role: str) -> None:
    org = make.org(can_host=True)
    browser = make.sign_in(client, make.member(org, role))
    nav = browser.get(f"{base(org)}/home").text
    for path, roles in GATES.items():
        page = browser.get(f"{base(org)}/{path}")
        assert page.status_code == (200 if role in roles else 403), (role, path)
        listed = re.search(rf'class="nav-a" href="{base(org)}/{path.rstrip("/")}/?"', nav)
        assert bool(listed) == (role in roles), (role, path)


def test_strangers_and_the_signed_out_stay_outside(client: Any, app: Any, make: Any) -> None:
    org = make.org()
    for path in ("", "/home", "/settings", "/members/", "/invitations/"):
        answer = app.test_client().get(base(org) + path)
        assert answer.status_code == 302 and "/login" in answer.location
    stranger = make.sign_in(client, make.member(make.org()))
    for path in ("", "/home", "/settings", "/members/"):
        answer = stranger.get(base(org) + path)
        assert answer.status_code in (403, 404) and org.name not in answer.text
    assert stranger.form(f"{base(org)}/settings/profile", {"name": "Mine"}).status_code in (302, 403, 404)
    assert make.one("SELECT name FROM organization WHERE id = :o", o=org.id) == org.name


def test_the_workspace_address_leads_on(client: Any, app: Any, make: Any) -> None:
    person = make.user()
    browser = make.sign_in(client, person)
    assert browser.get("/dashboard/organization").location == "/dashboard"
    page = browser.get("/dashboard")
    assert page.status_code == 200 and "No organisation yet" in page.text
    learner = make.org()
    make.member(learner, "LEARNER", person)
    owner = make.org()
    make.member(owner, "OWNER", person)
    assert browser.get("/dashboard/organization").location.rstrip("/") == "/dashboard/org-workspace"
    page = browser.get("/dashboard/personal")
    assert learner.name in page.text and owner.name in page.text


def test_leaving_from_the_dashboard_needs_the_typed_word(client: Any, make: Any) -> None:
    org = make.org()
    make.member(org)
    me = make.member(org, "MANAGER")
    browser = make.sign_in(client, me)
    browser.form(f"{base(org)}/leave", {"confirm_word": "no"})
    assert make.one("SELECT status FROM membership WHERE id = :i", i=me.id) == "ACTIVE"
    assert browser.form(f"{base(org)}/leave", {"confirm_word": org.slug}).location == "/dashboard"
    assert make.one("SELECT status FROM membership WHERE id = :i", i=me.id) == "REMOVED"


# ---- wizard ----------------------------------------------------------------------------------------------------------

WIZARD = "/dashboard/org-workspace/create"


def fill(browser: Any, name: str, **billing: str) -> None:
    assert browser.get(WIZARD).location == f"{WIZARD}/info"
    assert browser.get(f"{WIZARD}/info").status_code == 200
    assert (
        browser.form(f"{WIZARD}/info", {"name": name, "website": "acme.in"}).location == f"{WIZARD}/billing"
    )
    assert browser.get(f"{WIZARD}/billing").status_code == 200
    answer = browser.form(
        f"{WIZARD}/billing",
        {"funding_source": "WALLET", "gst_state_code": "29", "seats_total": "5", **billing},
    )
    assert answer.location == f"{WIZARD}/branding"


@pytest.mark.scenario("P-6")
def test_nothing_is_written_before_launch(client: Any, make: Any) -> None:
    person = make.user()
    browser, name = make.sign_in(client, person), unique("Wizard Works")
    before = make.one("SELECT count(*) FROM organization")
    fill(browser, name)
    assert browser.get(f"{WIZARD}/branding").status_code == 200
    assert make.one("SELECT count(*) FROM organization") == before  # abandoned at Branding
    assert browser.get(WIZARD).location == f"{WIZARD}/branding"  # and resumed there
    assert browser.form(f"{WIZARD}/branding", {"primary_color": "#3d4fd6"}).location == f"{WIZARD}/invite"
    email = f"{unique('learner')}@x.test"
    assert (
        browser.form(
            f"{WIZARD}/invite", {"emails": f"{email}; {email.upper()}", "role": "LEARNER", "then": "stay"}
        ).location
        == f"{WIZARD}/invite"
    )
    page = browser.get(f"{WIZARD}/invite").text
    assert page.count(f"Remove {email}") == 1
    assert browser.form(f"{WIZARD}/invite", {"emails": "", "role": "LEARNER"}).location == f"{WIZARD}/review"
    review = browser.get(f"{WIZARD}/review")
    assert (
        review.status_code == 200
        and name in review.text
        and email in review.text
        and review.text.count(">Edit<") == 4
    )
    assert make.one("SELECT count(*) FROM organization") == before
    first = browser.form(f"{WIZARD}/launch")
    again = browser.form(f"{WIZARD}/launch")
    assert first.location == again.location and first.location.endswith("/home")
    row = make.rows(
        "SELECT slug, status, seats_total, primary_color, website FROM organization WHERE created_by_user_id = :u",
        u=person.id,
    )
    assert row == [(name.lower().replace(" ", "-"), "PENDING_VERIFICATION", 5, "#3d4fd6", "https://acme.in")]
    assert make.one("SELECT count(*) FROM invitation WHERE email = :e", e=email) == 1
    home = browser.get(first.location)
    assert home.status_code == 200 and "Verification is pending" in home.text
    assert browser.get(WIZARD).location == f"{WIZARD}/info"  # the next one starts empty
    assert 'id="name" name="name" type="text" value=""' in browser.get(f"{WIZARD}/info").text


def test_wizard_names_what_is_wrong(client: Any, make: Any) -> None:
    browser = make.sign_in(client, make.user())
    assert browser.get(f"{WIZARD}/review").location == f"{WIZARD}/info"
    assert browser.form(f"{WIZARD}/launch").location == f"{WIZARD}" or True
    page = browser.form(f"{WIZARD}/info", {"name": "x", "website": "nowhere"})
    assert page.status_code == 400 and "Use 2 to 200 characters" in page.text and "web address" in page.text
    browser.form(f"{WIZARD}/info", {"name": unique("Fine")})
    page = browser.form(f"{WIZARD}/billing", {"funding_source": "GOLD", "gst_state_code": ""})
    assert page.status_code == 400 and "Choose how bookings are paid" in page.text
    page = browser.form(f"{WIZARD}/billing", {"funding_source": "WALLET", "gstin": "27AAPFU0939F1ZO"})
    assert page.status_code == 400 and "GSTIN is not valid" in page.text
    assert (
        browser.form(
            f"{WIZARD}/billing", {"funding_source": "WALLET", "gstin": "27AAPFU0939F1ZV"}
        ).status_code
        == 302
    )
    page = browser.form(f"{WIZARD}/invite", {"emails": "a@x.in, nonsense", "role": "LEARNER"})
    assert page.status_code == 400 and "nonsense" in page.text
    page = browser.form(
        f"{WIZARD}/invite", {"emails": ",".join(f"p{i}@x.in" for i in range(6)), "role": "LEARNER"}
    )
    assert page.status_code == 400 and "at most 4" in page.text


def test_a_taken_slug_sends_back_to_its_field(client: Any, make: Any) -> None:
    taken = make.org()
    browser = make.sign_in(client, make.user())
    fill(browser, taken.slug)
    answer = browser.form(f"{WIZARD}/launch")
    assert answer.location == f"{WIZARD}/info"
    page = browser.get(answer.location)
    assert "already taken" in page.text and 'aria-invalid="true"' in page.text


def test_a_draft_is_discarded(client: Any, make: Any) -> None:
    browser = make.sign_in(client, make.user())
    fill(browser, "Secret Draft")
    browser.form(f"{WIZARD}/review", {"discard": "y"})
    assert "Secret Draft" not in browser.get(f"{WIZARD}/info").text


# ---- settings --------------------------------------------------------------------------------------------------------


def test_settings_by_field_gate(client: Any, app: Any, make: Any) -> None:
    org = make.org(name="Before Name")
    maintainer = make.sign_in(client, make.member(org, "MAINTAINER"))
    page = maintainer.get(f"{base(org)}/settings")
    assert page.status_code == 200 and 'name="name"' in page.text and 'name="gstin"' not in page.text
    assert (
        maintainer.form(f"{base(org)}/settings/profile", {"name": "After Name", "slug": "hijack"}).status_code
        == 302
    )
    assert make.rows("SELECT name, slug FROM organization WHERE id = :o", o=org.id) == [
        ("After Name", org.slug)
    ]
    maintainer.form(f"{base(org)}/settings/billing", {"billing_email": "x@x.in"})
    assert make.one("SELECT billing_email FROM organization WHERE id = :o", o=org.id) is None
    owner = make.sign_in(app.test_client(), make.member(org))
    page = owner.form(f"{base(org)}/settings/tax", {"gstin": "27AAPFU0939F1ZO", "gst_state_code": "29"})
    assert page.status_code == 400 and "GSTIN is not valid" in page.text and "27AAPFU0939F1ZO" in page.text
    assert (
        owner.form(
            f"{base(org)}/settings/tax", {"gstin": "27AAPFU0939F1ZV", "gst_state_code": "29"}
        ).status_code
        == 302
    )
    assert make.one("SELECT gst_state_code FROM organization WHERE id = :o", o=org.id) == "27"
    assert (
        owner.form(f"{base(org)}/settings/people", {"seats_total": "", "people_owner_only": "y"}).status_code
        == 302
    )
    assert make.one("SELECT people_owner_only FROM organization WHERE id = :o", o=org.id)
    assert owner.form(f"{base(org)}/settings/people", {"seats_total": ""}).status_code == 302
    assert not make.one("SELECT people_owner_only FROM organization WHERE id = :o", o=org.id)
    taken = make.org()
    page = owner.form(f"{base(org)}/settings/profile", {"name": "Another", "slug": taken.slug})
    assert page.status_code == 409 and "already taken" in page.text


def test_an_older_page_overwrites_nobody_unasked(client: Any, app: Any, make: Any) -> None:
    """Two owners opened the settings; the second to save is told what is on file, and saves again knowingly."""
    org = make.org()
    first, second = (make.sign_in(app.test_client(), make.member(org)) for _ in range(2))
    seen = re.search(r'name="version" value="(\d+)"', first.get(f"{base(org)}/settings").text).group(1)
    path = f"{base(org)}/settings/profile"
    assert first.form(path, {"name": "Theirs", "version": seen}).status_code == 302
    answer = second.form(path, {"name": "Mine", "version": seen})
    assert (
        answer.status_code == 409 and "It now says “Theirs”." in answer.text and 'value="Mine"' in answer.text
    )
    assert make.one("SELECT name FROM organization WHERE id = :o", o=org.id) == "Theirs"
    shown = re.search(r'name="version" value="(\d+)"', answer.text).group(1)
    assert second.form(path, {"name": "Mine", "version": shown}).status_code == 302
    assert make.one("SELECT name FROM organization WHERE id = :o", o=org.id) == "Mine"


def test_a_refused_organisation_reads_why_and_resubmits(client: Any, app: Any, make: Any) -> None:
    org = make.org(status=OrgStatus.PENDING_VERIFICATION)
    owner = make.sign_in(client, make.member(org))
    admin = make.sign_in(app.test_client(), make.user(platform_role=PlatformRole.ADMIN))
    queue = admin.get(f"/admin/verification?q={org.slug}")
    assert queue.status_code == 200 and org.slug in queue.text
    admin.form(f"/admin/verification/{org.public_id}", {"action": "REJECT", "reason": "GSTIN <typo>"})
    assert org.slug in admin.get(f"/admin/verification?status=rejected&q={org.slug}").text
    for path in ("/home", "/settings", "/settings/verification"):
        page = owner.get(base(org) + path).text
        assert "GSTIN &lt;typo&gt;" in page and ("Resubmit" in page or "verification again" in page)
    assert (
        owner.form(f"{base(org)}/settings/verification/resubmit", {"message": "Mended."}).status_code == 302
    )
    assert org.slug in admin.get(f"/admin/verification?q={org.slug}").text
    assert "Mended." in admin.get(f"/admin/organizations/{org.public_id}").text
    admin.form(f"/admin/verification/{org.public_id}", {"action": "VERIFY"})
    assert make.one("SELECT status FROM organization WHERE id = :o", o=org.id) == "ACTIVE"
    assert "Verification is pending" not in owner.get(f"{base(org)}/home").text


def test_deactivating_needs_the_typed_name(client: Any, make: Any) -> None:
    org = make.org()
    admin = make.sign_in(client, make.user(platform_role=PlatformRole.ADMIN))
    admin.form(f"/admin/verification/{org.public_id}", {"action": "DEACTIVATE", "confirm_word": "nope"})
    assert make.one("SELECT status FROM organization WHERE id = :o", o=org.id) == "ACTIVE"
    admin.form(f"/admin/verification/{org.public_id}", {"action": "DEACTIVATE", "confirm_word": org.slug})
    assert make.one("SELECT status FROM organization WHERE id = :o", o=org.id) == "DEACTIVATED"


@pytest.mark.parametrize("role", [PlatformRole.ADMIN, PlatformRole.STAFF])
def test_staff_pages(client: Any, make: Any, role: PlatformRole) -> None:
    org = make.org(status=OrgStatus.PENDING_VERIFICATION)
    staff = make.sign_in(client, make.user(platform_role=role))
    assert staff.get("/").location == "/admin"
    home = staff.get("/admin")
    assert home.status_code == 200 and "Waiting for verification" in home.text
    for status in ("waiting", "info", "rejected", "all", "active", "suspended", "deactivated"):
        assert staff.get(f"/admin/verification?status={status}").status_code == 200
    assert staff.get("/admin/verification?status=x").status_code == 404
    assert org.slug in staff.get(f"/admin/verification?q={org.slug}").text
    page = staff.get(f"/admin/organizations/{org.public_id}")
    assert page.status_code == 200 and "What to check" in page.text and "Add note" in page.text
    decides = "d-reject" in page.text and 'value="VERIFY"' in page.text and "Waive" in page.text
    assert decides == (role == PlatformRole.ADMIN) and 'id="d-ask"' in page.text
    for status in ("all", "active", "suspended", "deactivated"):
        assert staff.get(f"/admin/organizations/?status={status}").status_code == 200
    assert staff.get("/admin/organizations/nonsense").status_code == 404
    answer = staff.form(f"/admin/verification/{org.public_id}", {"action": "VERIFY"})
    assert answer.status_code == (302 if role == PlatformRole.ADMIN else 403)


def test_staff_pages_do_not_exist_for_others(client: Any, app: Any, make: Any) -> None:
    browser = make.sign_in(client, make.member(make.org()))
    for path in ("/admin", "/admin/verification"):
        assert browser.get(path).status_code == 404
        assert "/login" in app.test_client().get(path).location


def test_suspended_members_are_told(client: Any, make: Any) -> None:
    org = make.org()
    browser = make.sign_in(client, make.member(org, "MANAGER", status=MembershipStatus.SUSPENDED))
    page = browser.get(f"{base(org)}/home")
    assert page.status_code == 403 and "suspended" in page.text
    mine = browser.get("/dashboard")
    assert mine.status_code == 200 and "Suspended" in mine.text


def test_pages_carry_no_inline_script_or_style(client: Any, make: Any) -> None:
    org = make.org()
    browser = make.sign_in(client, make.member(org))
    for path in (
        f"{base(org)}/home",
        f"{base(org)}/settings",
        f"{base(org)}/members/",
        f"{base(org)}/invitations/",
        "/dashboard",
        f"{WIZARD}/info",
    ):
        text = browser.get(path).text
        assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son[a-z]+=", text), path


def test_a_bare_draft_is_reviewed(client: Any, make: Any) -> None:
    browser = make.sign_in(client, make.user())
    fill(browser, unique("Bare"))
    assert browser.get(f"{WIZARD}/review").status_code == 200


def test_every_section_of_the_settings_saves(client: Any, make: Any) -> None:
    org = make.org()
    browser = make.sign_in(client, make.member(org))
    page = browser.get(f"{base(org)}/settings").text
    sent = {
        "branding": {"primary_color": "#112233", "secondary_color": ""},
        "billing": {"billing_email": "pay@x.in", "payment_terms_days": "45", "invoice_number_prefix": "zq9"},
        "contacts": {"billing_name": "Asha", "billing_email": "a@x.in", "support_phone": "080 1234"},
        "policies": {
            "default_refund_policy": "Fair.",
            "stream_recording_retention_days": "30",
            "data_residency_region": "EU",
        },
    }
    for section, fields in sent.items():
        assert f'id="{section}"' in page
        assert browser.form(f"{base(org)}/settings/{section}", fields).status_code == 302, section
    row = make.rows(
        "SELECT primary_color, billing_email, payment_terms_days, invoice_number_prefix, contacts, data_residency_region"
        " FROM organization WHERE id = :o",
        o=org.id,
    )[0]
    assert row[:4] == ("#112233", "pay@x.in", 45, "ZQ9") and row[5] == "EU"
    assert row[4]["billing"]["email"] == "a@x.in" and row[4]["support"]["phone"] == "080 1234"
    bad = browser.form(f"{base(org)}/settings/contacts", {"billing_email": "nonsense"})
    assert bad.status_code == 400 and "valid e-mail" in bad.text
    before = make.one("SELECT count(*) FROM org_audit_log WHERE organization_id = :o", o=org.id)
    browser.form(f"{base(org)}/settings/policies", sent["policies"])
    assert make.one("SELECT count(*) FROM org_audit_log WHERE organization_id = :o", o=org.id) == before


def test_capabilities_from_the_settings(client: Any, make: Any, hosting: Any) -> None:
    org = make.org()
    browser = make.sign_in(client, make.member(org))
    assert "Start hosting" in browser.get(f"{base(org)}/settings").text
    path = f"{base(org)}/settings/capability"
    browser.form(f"{path}/host", {"on": "y", "version": "9"})
    assert make.one("SELECT can_host FROM organization WHERE id = :o", o=org.id) is False
    browser.form(f"{path}/host", {"on": "y", "version": "1"})
    assert make.one("SELECT can_host FROM organization WHERE id = :o", o=org.id) is True
    browser.form(f"{path}/sponsor", {"version": "2"})
    assert make.rows("SELECT can_sponsor, can_host FROM organization WHERE id = :o", o=org.id) == [
        (False, True)
    ]
    browser.form(f"{path}/host", {"version": "3"})
    assert make.rows("SELECT can_sponsor, can_host FROM organization WHERE id = :o", o=org.id) == [
        (False, True)
    ]


def test_a_suspended_organisation_offers_no_writes(client: Any, make: Any) -> None:
    org = make.org(status=OrgStatus.SUSPENDED)
    other = make.member(org, "MANAGER")
    browser = make.sign_in(client, make.member(org))
    assert ">Save " not in browser.get(f"{base(org)}/settings").text
    assert "Add member" not in browser.get(f"{base(org)}/members/").text
    assert "Change role" not in browser.get(f"{base(org)}/members/show/{other.public_id}").text
    browser.form(f"{base(org)}/members/action/suspend/{other.public_id}")
    assert make.one("SELECT status FROM membership WHERE id = :i", i=other.id) == "ACTIVE"


def test_home_asks_the_same_number_of_questions_whatever_the_size(
    client: Any, make: Any, web_engine: Any
) -> None:
    from sqlalchemy import event

    def queries(org: Any, member: Any) -> int:
        seen: list[str] = []
        browser = make.sign_in(client, member)
        browser.get(f"{base(org)}/home")  # warm

        def count(_c: Any, _cur: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        event.listen(web_engine, "before_cursor_execute", count)
        try:
            assert browser.get(f"{base(org)}/home").status_code == 200
        finally:
            event.remove(web_engine, "before_cursor_execute", count)
        return len(seen)

    small, large = make.org(), make.org()
    one, other = make.member(small), make.member(large)
    for _ in range(15):
        make.member(large, "LEARNER")
    assert queries(small, one) == queries(large, other) <= 20
