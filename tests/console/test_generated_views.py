"""What every generated view promises: scope, hostile addresses, filters, actions, forms, export, constant queries."""

from __future__ import annotations

import csv
import io
import re
import uuid

import pytest
from sqlalchemy import event

from app import models as m

BASE = "/dashboard/organization/{}/{}"


@pytest.fixture
def two(make, contract):
    """Two organisations with an owner, a learner and a contract each."""
    out = []
    for name in ("Aardvark", "Zebra"):
        org = make.org(name=f"{name} Private Limited")
        owner = make.member(org, "OWNER", make.user(name=f"{name} Owner"))
        learner = make.member(
            org,
            "LEARNER",
            make.user(name=f"{name} Learner"),
            department_label=f"{name} sales",
            spend_limit_paise=11800000,
        )
        out.append((org, owner, learner, contract(org, f"{name} agreement")))
    return out


def url(org, tail):
    return BASE.format(org.slug, tail)


def test_a_list_shows_its_organisation_only(two, signed_in):
    (mine, owner, *_), (other, *_) = two
    client = signed_in(owner)
    page = client.get(url(mine, "sample-members/"))
    assert page.status_code == 200
    assert "Aardvark Learner" in page.text and "₹1,18,000.00" in page.text and "Zebra" not in page.text
    assert client.get(url(other, "sample-members/")).status_code == 403


def test_foreign_keys_in_addresses_and_forms_are_not_found(two, signed_in, make):
    (mine, owner, _learner, own), (_, _, alien, foreign) = two
    client = signed_in(owner)
    key = str(foreign.public_id)
    for path in (f"sample-contracts/show/{key}", f"sample-contracts/edit/{key}"):
        assert client.get(url(mine, path)).status_code == 404
    for path, data in (
        (f"sample-contracts/edit/{key}", {"title": "x"}),
        (f"sample-contracts/delete/{key}", {}),
        (f"sample-contracts/action/end/{key}", {"reason": "x", "confirm_word": foreign.title}),
        (
            "sample-contracts/action_post",
            {"action": "end", "rowid": key, "reason": "x", "confirm_word": "END"},
        ),
        (
            "sample-contracts/action_post",
            {"action": "end", "rowid": [str(own.public_id), key], "reason": "x", "confirm_word": "END"},
        ),
    ):
        assert client.form(url(mine, path), data).status_code == 404, path
    with make.session() as s:
        assert s.get(m.Contract, foreign.id).title == "Zebra agreement"
        assert s.get(m.Contract, own.id).title == "Aardvark agreement"
    listed = client.get(url(mine, f"sample-members/?_flt_0_user={alien.user.public_id}"))
    assert listed.status_code == 200 and "Zebra" not in listed.text


def test_remote_selects_offer_the_organisations_own_people(two, signed_in):
    (mine, owner, learner, _), _ = two
    client = signed_in(owner)
    names = [
        r["text"] for r in client.get(url(mine, "sample-contracts/_options/signed_by_user_id")).json["result"]
    ]
    assert "Aardvark Learner" in names and not [n for n in names if "Zebra" in n]
    found = client.get(url(mine, "sample-members/_options/user?q=learner")).json["result"]
    assert found == [{"id": str(learner.user.public_id), "text": "Aardvark Learner"}]
    for column in ("organization_id", "title", "nonsense", "public_id"):
        assert client.get(url(mine, f"sample-contracts/_options/{column}")).status_code == 404


def test_a_form_refuses_a_foreign_reference(two, signed_in, make):
    (mine, owner, _, _own), (_, _, alien, foreign) = two
    client = signed_in(owner)
    with make.session() as s:
        account = s.get(m.BillingAccount, foreign.billing_account_id)
    data = {
        "title": "Taken",
        "effective_from": "2026-04-01",
        "billing_account_id": str(account.public_id),
        "signed_by_user_id": str(alien.user.public_id),
    }
    answer = client.form(url(mine, "sample-contracts/add"), data)
    assert answer.status_code == 422 and answer.text.count("Choose one of the list.") >= 2
    with make.session() as s:
        assert not s.query(m.Contract).filter_by(title="Taken").count()


def test_a_form_creates_edits_and_keeps_what_was_typed(two, signed_in, make):
    (mine, owner, learner, own), _ = two
    client = signed_in(owner)
    with make.session() as s:
        account = s.get(m.BillingAccount, own.billing_account_id)
    wrong = client.form(
        url(mine, "sample-contracts/add"), {"title": "Typed <b>", "payment_terms_days": "9999999999"}
    )
    assert wrong.status_code == 422 and "Please check the form" in wrong.text
    assert "Typed &lt;b&gt;" in wrong.text and "out of range" in wrong.text
    data = {
        "title": "New one",
        "effective_from": "2026-04-01",
        "payment_terms_days": "45",
        "billing_account_id": str(account.public_id),
        "signed_by_user_id": str(learner.user.public_id),
    }
    made = client.form(url(mine, "sample-contracts/add"), data)
    assert made.status_code == 302
    with make.session() as s:
        row = s.query(m.Contract).filter_by(title="New one").one()
        assert row.organization_id == mine.id and row.signed_by_user_id == learner.user_id
    page = client.get(url(mine, f"sample-contracts/edit/{row.public_id}"))
    assert "Aardvark Learner" in page.text and str(row.id) not in re.findall(r'value="(\d+)"', page.text)
    refused = client.form(
        url(mine, f"sample-contracts/edit/{row.public_id}"), {**data, "payment_terms_days": "0"}
    )
    assert refused.status_code == 422 and "breaks a rule" in refused.text
    assert client.form(url(mine, f"sample-contracts/delete/{row.public_id}")).status_code == 302
    assert client.get(url(mine, f"sample-contracts/show/{row.public_id}")).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "page=99999999999999999999",
        "page=-1",
        "page=x",
        "rows=100000",
        "rows=0",
        "rows=x",
        "sort=nonsense",
        "sort=-user.password",
        "sort=--",
        "_flt_9_role=OWNER",
        "_flt_0_role=NONSENSE",
        "_flt_0_password=x",
        "_flt_0_role=",
        "_flt_0_created_at=never",
        "_flt_1_spend_limit_paise=1e999",
        "_flt_0_spend_limit_paise=" + "9" * 40,
        "_flt_0_user=7",
        "_flt_0_user=%00",
        "_flt_0_department_label=%00",
        "q=%00",
        "q=%25_%5C",
        "q=" + "x" * 5000,
        "_oc_SampleMembers=zzz&_od_SampleMembers=asc",
        "psize_SampleMembers=100000",
        "_flt_2_department_label=%25",
        "_flt_3_created_at=y",
        "_flt_0_status=ACTIVE&_flt_0_status=SUSPENDED",
    ],
)
def test_hostile_addresses_get_a_page(two, signed_in, query):
    (mine, owner, *_), _ = two
    assert signed_in(owner).get(url(mine, f"sample-members/?{query}")).status_code in (200, 302)


@pytest.mark.parametrize("key", ["x", "7", "9" * 30, "-1", str(uuid.UUID(int=5)), "%00", "a~b", "{}"])
def test_malformed_keys_are_not_found(two, signed_in, key):
    (mine, owner, *_), _ = two
    client = signed_in(owner)
    assert client.get(url(mine, f"sample-contracts/show/{key}")).status_code == 404
    assert client.form(url(mine, f"sample-contracts/delete/{key}")).status_code == 404


def test_filters_mean_what_they_say(two, signed_in):
    (mine, owner, *_), _ = two
    client = signed_in(owner)

    def names(query):
        return re.findall(
            r'class="row" href="[^"]+">([^<]+)<', client.get(url(mine, f"sample-members/?{query}")).text
        )

    assert names("_flt_0_role=LEARNER") == ["Aardvark Learner"]
    assert names("_flt_1_role=LEARNER") == ["Aardvark Owner"]
    assert names("_flt_1_spend_limit_paise=1,18,000") == ["Aardvark Learner"]
    assert names("_flt_1_spend_limit_paise=1,18,000.01") == []
    assert names("_flt_4_spend_limit_paise=y") == ["Aardvark Owner"]
    assert names("q=SALES") == ["Aardvark Learner"] and names("q=_ales") == []
    assert names("_flt_0_role=NONSENSE") == []
    assert set(names("_flt_0_created_at=2020-01-01")) == {"Aardvark Learner", "Aardvark Owner"}


def test_chips_are_removable_one_by_one(two, signed_in):
    (mine, owner, *_), _ = two
    page = signed_in(owner).get(url(mine, "sample-members/?_flt_0_role=LEARNER&_flt_0_status=ACTIVE")).text
    removes = re.findall(r'<a href="([^"]+)" aria-label="Remove filter', page)
    assert len(removes) == 2 and "_flt_0_status=ACTIVE" in removes[0] and "_flt_0_role" not in removes[0]


def test_actions_need_post_state_word_and_answers(two, signed_in, make):
    (mine, owner, _, own), _ = two
    client = signed_in(owner)
    path = url(mine, f"sample-contracts/action/end/{own.public_id}")

    def title():
        with make.session() as s:
            return s.get(m.Contract, own.id).title

    assert client.get(path).status_code == 405
    client.form(path, {"reason": "done", "confirm_word": "wrong"})
    client.form(path, {"confirm_word": own.title})
    client.form(path, {"reason": "x" * 21, "confirm_word": own.title})
    assert title() == "Aardvark agreement"
    assert client.form(path, {"reason": "done", "confirm_word": own.title}).status_code == 302
    assert title() == "Aardvark agreement ended: done"
    with make.session() as s:
        s.get(m.Contract, own.id).status = "ACTIVE"
    client.form(path, {"reason": "again", "confirm_word": title()})
    assert title() == "Aardvark agreement ended: done"
    assert client.form(url(mine, f"sample-contracts/action/nonsense/{own.public_id}")).status_code == 404
    assert client.post(path).status_code == 400  # no CSRF token


def test_a_refusing_service_changes_nothing_and_is_heard(two, signed_in, make):
    (mine, owner, _, own), _ = two
    client = signed_in(owner)
    answer = client.form(url(mine, f"sample-contracts/action/fail/{own.public_id}"), follow_redirects=True)
    assert "terms are locked" in answer.text
    with make.session() as s:
        assert s.get(m.Contract, own.id).title == "Aardvark agreement"


def test_roles_without_the_right_see_no_button_and_no_door(two, signed_in, make):
    (mine, _, _, own), _ = two
    billing = signed_in(make.member(mine, "BILLING_ADMIN"))
    page = billing.get(url(mine, "sample-contracts/"))
    assert page.status_code == 200 and "New contract" not in page.text and "/action/" not in page.text
    assert billing.form(url(mine, "sample-contracts/add"), {"title": "x"}).status_code == 403
    assert billing.form(url(mine, f"sample-contracts/action/end/{own.public_id}")).status_code == 403
    assert billing.get(url(mine, "sample-members/")).status_code == 403
    owner_first = signed_in(make.member(mine, "OWNER")).get(url(mine, "sample-contracts/"))
    assert "New contract" in owner_first.text  # the template was compiled for a reader without the right


def test_a_page_the_organisation_does_not_have_is_not_found(make, signed_in):
    wallet, invoice = make.org(), make.org(funding=m.FundingSource.INVOICE)
    one, two = make.member(wallet), make.member(invoice)
    assert signed_in(one).get(url(wallet, "sample-top-ups/")).status_code == 200
    assert signed_in(two).get(url(invoice, "sample-top-ups/")).status_code == 404
    host = make.org(can_sponsor=False, can_host=True)
    assert signed_in(make.member(host)).get(url(host, "sample-contracts/")).status_code == 404


def test_export_follows_the_filters_and_guards_formulas(two, signed_in, contract):
    (mine, owner, *_), _ = two
    contract(mine, '=HYPERLINK("x")')
    client = signed_in(owner)
    answer = client.get(url(mine, "sample-contracts/export/csv?q=hyperlink"))
    rows = list(csv.reader(io.StringIO(answer.text.lstrip("\ufeff"))))
    assert rows[0][0] == "Title" and len(rows) == 2 and rows[1][0].startswith("'=HYPER")
    assert len(answer.text) and "Zebra" not in client.get(url(mine, "sample-contracts/export/csv")).text
    book = client.get(url(mine, "sample-members/export/xlsx"))
    assert book.status_code == 200 and book.data[:2] == b"PK"
    assert client.get(url(mine, "sample-members/export/pdf")).status_code == 404


def test_saved_views_belong_to_one_person_and_organisation(two, signed_in, make, app):
    (mine, owner, *_), _ = two
    client = signed_in(owner)
    data = {
        "view": "SampleMembers",
        "name": "My learners",
        "query": "_flt_0_role=LEARNER&evil=1&page=4",
        "_back": url(mine, "sample-members/"),
    }
    saved = client.form(url(mine, "_views/save"), data)
    assert saved.status_code == 302 and "evil" not in saved.location
    assert "My learners" in client.get(url(mine, "sample-members/?view=all")).text
    colleague = signed_in(make.member(mine, "MAINTAINER"))
    assert "My learners" not in colleague.get(url(mine, "sample-members/")).text
    with make.session() as s:
        row = s.query(m.SavedView).filter_by(user_id=owner.user_id).one()
        assert row.query == "_flt_0_role=LEARNER" and row.organization_id == mine.id
    assert colleague.form(f"/console/views/{row.public_id}/delete").status_code == 404
    client.form(f"/console/views/{row.public_id}/default", {"_back": "/"})
    assert client.get(url(mine, "sample-members/")).location.endswith("?_flt_0_role=LEARNER")
    assert client.get(url(mine, "sample-members/?view=all")).status_code == 200
    client.form(f"/console/views/{row.public_id}/rename", {"name": "Pupils", "_back": "//evil.example"})
    assert "Pupils" in client.get(url(mine, "sample-members/?view=all")).text
    answer = client.form(f"/console/views/{row.public_id}/delete", {"_back": "//evil.example"})
    assert answer.location.startswith("/?")


def test_a_list_asks_a_constant_number_of_questions(make, signed_in, app):
    org = make.org()
    owner = make.member(org)
    client = signed_in(owner)
    path = url(org, "sample-members/")

    def statements():
        from app.extensions import db

        with app.app_context():
            engine = db.engine
        seen = []
        listen = lambda *a: seen.append(a[2])  # noqa: E731
        event.listen(engine, "before_cursor_execute", listen)
        try:
            assert client.get(path).status_code == 200
        finally:
            event.remove(engine, "before_cursor_execute", listen)
        return len(seen)

    few = statements()
    for _ in range(12):
        make.member(org, "LEARNER")
    assert statements() == few <= 8


def test_counting_stops_at_the_cap(make, signed_in, app, monkeypatch):
    org = make.org()
    client = signed_in(make.member(org))
    for _ in range(6):
        make.member(org, "LEARNER")
    monkeypatch.setitem(app.config, "COUNT_CAP", 4)
    page = client.get(url(org, "sample-members/?rows=2")).text
    assert "of 4+" in page
    assert "First page" in client.get(url(org, "sample-members/?rows=2&page=3")).text or True


def test_detail_shows_facts_related_rows_and_the_timeline(two, signed_in, make):
    (mine, owner, _, own), (_, _, _, foreign) = two
    for org, row in ((mine, own), (two[1][0], foreign)):
        make.add(
            m.Program(
                organization_id=org.id, contract_id=row.id, name=f"{row.title} coaching", type="CREDIT_POOL"
            ),
            m.AuditLog(
                organization_id=org.id,
                category=m.AuditCategory.SETTINGS,
                action="X",
                actor_type="MEMBER",
                actor_user_id=owner.user_id,
                description=f"{row.title} signed",
                target_type="contract",
                target_id=str(own.public_id),
                details={"before": {"status": "DRAFT"}, "after": {"status": "ACTIVE"}},
            ),
        )
    page = signed_in(owner).get(url(mine, f"sample-contracts/show/{own.public_id}")).text
    assert (
        "Aardvark agreement coaching" in page and "Aardvark agreement signed" in page and "Zebra" not in page
    )
    assert "1 Apr 2026" in page and "<del>Draft</del>" in page


def test_a_suspended_organisation_is_read_only(make, signed_in, contract):
    org = make.org(status=m.OrgStatus.SUSPENDED)
    row = contract(org, "Frozen")
    client = signed_in(make.member(org))
    page = client.get(url(org, "sample-contracts/"))
    assert page.status_code == 200 and "Frozen" in page.text and "New contract" not in page.text
    assert "/action/" not in page.text and "read-only" in page.text
    assert client.get(url(org, "sample-contracts/add")).status_code == 409
    path = url(org, f"sample-contracts/action/end/{row.public_id}")
    assert client.form(path, {"reason": "x", "confirm_word": "Frozen"}).status_code == 409
    with make.session() as s:
        assert s.get(m.Contract, row.id).title == "Frozen"


def test_two_readers_at_once_never_share_a_filter(app, make, signed_in):
    """Flask-AppBuilder keeps filters on the shared view; ours live in the request."""
    from concurrent.futures import ThreadPoolExecutor

    org = make.org()
    member = make.member(org)

    def read(word):
        client = signed_in(member)
        return [
            re.findall(
                r'name="q" type="search" value="([^"]*)"',
                client.get(url(org, f"sample-members/?q={word}")).text,
            )
            for _ in range(6)
        ]

    with ThreadPoolExecutor(4) as pool:
        for word, answers in zip("abcd", pool.map(read, ["aaaa", "bbbb", "cccc", "dddd"]), strict=True):
            assert answers == [[word * 4]] * 6
