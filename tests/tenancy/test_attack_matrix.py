"""Every generated view and REST resource against every probe: another organisation's row is never seen, never changed."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from flask_appbuilder.api import ModelRestApi
from sqlalchemy import text
from sqlalchemy.exc import DataError

from app.schema.base import MaybeTenant, Tenant
from app.security import context
from tests.tenancy.world import World

# tables whose rows the factory of attacks cannot make; other tests guard them
UNLIKE = {"organization", "ledger_account", "ledger_entry", "ledger_transaction", "ledger_balance"}


@pytest.fixture(autouse=True)
def hosting(app):
    """Hosts' pages are attacked as well: ENABLE_HOST_ORGS on."""
    before = app.config["SETTINGS"]
    app.config["SETTINGS"] = replace(before, enable_host_orgs=True)
    yield
    app.config["SETTINGS"] = before


@pytest.fixture(scope="module")
def world(app, owner_engine, web_engine):
    """Two organisations with a row in every tenant table each, and an owner of both kinds."""
    from tests.factories import Factory

    make = Factory(app, owner_engine, web_engine)
    sides = []
    for _ in range(2):
        org = make.org(can_host=True)
        owner = make.member(org, "OWNER")
        with make.session() as s:
            w = World(s, s.merge(org), s.merge(owner.user))
            tables = sorted({v.datamodel.obj.__tablename__ for v in views(app)} - UNLIKE)
            ids = {}
            for table in tables:
                row = w.row(table)
                ids[table] = (str(row.public_id), row.id)
        sides.append((org, owner, ids))
    return make, sides


def views(app):
    return [
        v
        for v in app.extensions["console"].views
        if v.scope == "org" and issubclass(v.datamodel.obj, Tenant | MaybeTenant)
    ]


def resources(app):
    return [
        v
        for v in app.appbuilder.baseviews
        if isinstance(v, ModelRestApi) and issubclass(v.datamodel.obj, Tenant | MaybeTenant)
    ]


def checksum(make, org):
    """A fingerprint of every row of an organisation."""
    tables = [
        r[0]
        for r in make.rows(
            "select table_name from information_schema.columns where column_name = "
            "'organization_id' and table_schema = 'public' order by 1"
        )
    ]
    return {
        t: make.one(
            f"select md5(coalesce(string_agg(x::text, ',' order by x::text), '')) from {t} x "
            "where organization_id = :o",
            o=org.id,
        )
        for t in tables
        if t not in ("org_audit_log", "notification", "saved_view")
    }


@pytest.mark.scenario("I-37")
def test_generated_pages(app, world):
    make, [(mine, owner, own), (other, _, foreign)] = world
    client = make.sign_in(app.test_client(), owner)
    before = checksum(make, other)
    attacked = 0
    for view in views(app):
        table = view.datamodel.obj.__tablename__
        if table not in foreign:
            assert table in UNLIKE, f"{table}: no row of it is made to attack with"
            continue
        base = view.route_base.replace("<org_id>", mine.slug)
        public_id, inner = foreign[table]
        where = f"{type(view).__name__} "
        listed = client.get(f"{base}/")
        assert listed.status_code == 200, where + "list"
        assert public_id not in listed.text and own[table][0] in listed.text, where + "list"
        assert client.get(f"{base}/show/{own[table][0]}").status_code == 200, where + "own show (control)"
        for key in (public_id, inner, "0", "99999999999999999999", "not-an-id"):
            assert client.get(f"{base}/show/{key}").status_code == 404, where + f"show {key}"
        for suffix in ("edit", "delete"):
            assert client.form(f"{base}/{suffix}/{public_id}", {"name": "EVIL"}).status_code in (
                403,
                404,
                405,
            ), where
        for name in view.declared:
            assert client.form(f"{base}/action/{name}/{public_id}").status_code in (403, 404), where + name
            assert client.form(f"{base}/action_post", {"action": name, "rowid": public_id}).status_code in (
                403,
                404,
            )
            assert client.get(f"{base}/action/{name}/{public_id}").status_code in (404, 405), (
                where + "GET acts"
            )
        exported = client.get(f"{base}/export/csv")
        assert exported.status_code in (200, 403) and public_id not in exported.text, where + "export"
        name = view.endpoint
        for odd in (
            f"_oc_{name}=zzz&_od_{name}=asc",
            f"psize_{name}=100000",
            f"page_{name}=999999",
            "page_x=abc",
            "q=%27%22%3Cscript%3E%00",
            "_flt_0_organization_id=" + str(other.id),
            "_flt_99_zzz=1",
        ):
            answer = client.get(f"{base}/?{odd}")
            assert answer.status_code in (200, 400, 404), where + odd
            assert public_id not in answer.text and "<script>\x00" not in answer.text, where + odd
        assert client.get(f"{base.replace(mine.slug, other.slug)}/").status_code == 403
        attacked += 1
    assert attacked >= 5
    assert checksum(make, other) == before


@pytest.mark.scenario("I-37")
def test_relations_of_generated_pages(app, world):
    """Selects, prefilled forms, filters and posted relations: another organisation's rows are no choice anywhere."""
    make, [(mine, owner, own), (other, _, foreign)] = world
    client = make.sign_in(app.test_client(), owner)
    before, attacked = checksum(make, other), 0
    for view in views(app):
        base = view.route_base.replace("<org_id>", mine.slug)
        where = type(view).__name__
        columns = {*view.filterable, *view.add_columns, *view.edit_columns}
        related = {}
        for column in sorted(columns):
            spec = view.datamodel.filter_for(column)
            target = spec[2].__tablename__ if spec and spec[2] is not None else None
            if target in foreign:
                related[column] = foreign[target]
        if not related:
            continue
        for column, (public_id, inner) in related.items():
            for q in ("", public_id, str(inner), public_id[-12:]):
                choices = client.get(f"{base}/_options/{column}?q={q}")
                assert choices.status_code in (200, 403, 404), f"{where} options {column}"
                assert public_id not in choices.text, f"{where} options {column}"
            for key in (public_id, inner):
                listed = client.get(f"{base}/?_flt_0_{column}={key}")
                assert listed.status_code in (200, 400, 404), f"{where} filter {column}"
                for table in foreign:
                    assert f"/show/{foreign[table][0]}" not in listed.text, f"{where} filter {column}"
                prefilled = client.get(f"{base}/add?_flt_0_{column}={key}&{column}={key}")
                assert f'value="{public_id}"' not in prefilled.text, f"{where} prefill {column}"
        posted = {column: public_id for column, (public_id, _) in related.items()}
        for address in (f"{base}/add", f"{base}/edit/{own[view.datamodel.obj.__tablename__][0]}"):
            for values in (posted, {c: str(inner) for c, (_, inner) in related.items()}):
                answer = client.form(address, {**values, "name": "EVIL", "title": "EVIL"})
                assert answer.status_code in (200, 302, 400, 403, 404, 405, 409, 422), f"{where} {address}"
        attacked += 1
    assert attacked >= 3
    assert checksum(make, other) == before
    for table in {v.datamodel.obj.__tablename__ for v in views(app)} & set(foreign):
        for name, (_, inner) in foreign.items():
            references = make.rows(
                "select k.column_name from information_schema.key_column_usage k join information_schema."
                "referential_constraints r using (constraint_name) join information_schema.table_constraints t "
                "on t.constraint_name = r.unique_constraint_name where k.table_name = :t and t.table_name = :n "
                "and k.column_name <> 'organization_id'",
                t=table,
                n=name,
            )
            for (column,) in {tuple(r) for r in references}:
                assert (
                    make.one(
                        f"select count(*) from {table} where organization_id = :o and {column} = :i",
                        o=mine.id,
                        i=inner,
                    )
                    == 0
                ), f"{table}.{column} points at another organisation's {name}"


@pytest.mark.scenario("I-37")
def test_the_palette_finds_nothing_of_others(app, world):
    make, [(mine, owner, _), (other, stranger, _)] = world
    client = make.sign_in(app.test_client(), owner)
    for q in (other.name, other.slug, stranger.user.email, str(other.public_id)):
        assert other.slug not in client.get("/console/search", query_string={"q": q}).text
        inside = client.get(f"/dashboard/organization/{mine.slug}/_search", query_string={"q": q}).text
        assert other.slug not in inside and str(stranger.public_id) not in inside
    assert client.get(f"/dashboard/organization/{other.slug}/_search?q=a").status_code == 403


@pytest.mark.scenario("I-37")
def test_generated_rest(app, world):
    make, [(mine, owner, own), (other, _, foreign)] = world
    headers = make.bearer(owner, **{"X-Organization": mine.slug})
    client, before, attacked = app.test_client(), checksum(make, other), 0
    for api in resources(app):
        table = api.datamodel.obj.__tablename__
        if table not in foreign:
            continue
        base, (public_id, inner) = f"/api/v1/{api.resource_name}", foreign[table]
        listed = client.get(f"{base}/", headers=headers)
        assert listed.status_code == 200, f"{base} {listed.text[:200]}"
        assert public_id not in listed.text and own[table][0] in listed.text, base
        assert client.get(f"{base}/{own[table][0]}", headers=headers).status_code == 200, (
            base + " own (control)"
        )
        for key in (public_id, inner, "not-an-id", "99999999999999999999"):
            for method in ("get", "put", "delete"):
                answer = getattr(client, method)(f"{base}/{key}", headers=headers, json={"name": "EVIL"})
                assert answer.status_code in (400, 403, 404, 405, 422), (
                    f"{method} {base}/{key} {answer.status_code}"
                )
                assert answer.status_code != 200
        assert client.get(f"{base}/", headers={**headers, "X-Organization": other.slug}).status_code == 403
        assert client.get(f"{base}/").status_code == 401, base + " signed out"
        assert public_id not in client.get(f"{base}/_info", headers=headers).text
        for q in (
            f"(filters:!((col:organization_id,opr:eq,value:'{other.id}')))",
            "(page_size:100000)",
            "(((",
        ):
            answer = client.get(f"{base}/?q={q}", headers=headers)
            assert answer.status_code in (200, 400, 422) and public_id not in answer.text, base + q
        attacked += 1
    assert attacked >= 5
    assert checksum(make, other) == before


def test_concurrent_searches_never_show_each_other(app, world):
    """Flask-AppBuilder keeps a request's filters on the singleton view; ours keep them in the request."""
    import sys

    make, [(mine, owner, _), (other, second, _)] = world
    view = next(v for v in views(app) if v.quick_search or v.filterable)
    column = (view.filterable or view.quick_search)[0]
    leaks, before = [], sys.getswitchinterval()

    def browse(org, member, needle, forbidden):
        client = make.sign_in(app.test_client(), member)
        base = view.route_base.replace("<org_id>", org.slug)
        for _ in range(25):
            page = client.get(f"{base}/?_flt_2_{column}={needle}&q={needle}").text
            if forbidden in page:
                leaks.append(forbidden)

    sys.setswitchinterval(1e-5)
    try:
        threads = [
            threading.Thread(target=browse, args=(mine, owner, "SECRETALPHA", "SECRETBETA")),
            threading.Thread(target=browse, args=(other, second, "SECRETBETA", "SECRETALPHA")),
        ]
        [t.start() for t in threads]
        [t.join() for t in threads]
    finally:
        sys.setswitchinterval(before)
    assert leaks == []


def test_data_pages_are_for_staff_and_write_nothing(app, make, world):
    from app.models import PlatformRole

    assert world
    staff = make.sign_in(app.test_client(), make.user(platform_role=PlatformRole.STAFF))
    seen = 0
    for view in app.extensions["console"].views:
        if view.scope != "platform":
            continue
        page = staff.get(f"{view.route_base}/")
        expected = 403 if view.permission_resource == "system-events" else 200
        assert page.status_code == expected, f"{type(view).__name__} {page.status_code}"
        for suffix in ("add", "edit/1", "delete/1"):
            assert staff.form(f"{view.route_base}/{suffix}").status_code in (403, 404, 405)
        seen += 1
    assert seen >= 40


def test_an_error_inside_a_scope_reaches_the_caller_as_itself(db_session):
    """Leaving ``acting`` must not ask a failed transaction anything: the first error would be hidden by a second."""
    with pytest.raises(DataError), context.acting(db_session, scope="platform"):
        db_session.execute(text("SELECT 1 / 0"))
    db_session.rollback()
    with pytest.raises(ValueError), context.acting(db_session, scope="platform"):
        raise ValueError
    assert db_session.execute(text("SELECT current_setting('app.scope', true)")).scalar() == "org"
