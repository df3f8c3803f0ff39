"""Every table is guarded by row-level security, or stands on the list of exceptions with its reason (design rule 5)."""

from __future__ import annotations

import pytest
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.models import AuditLog, BillingAccount, Membership, Organization, WalletTopUp
from app.schema import policies
from app.schema.base import MaybeTenant, Model, Owned, Tenant
from app.security import context


def tables(engine):
    return inspect(engine).get_table_names()


def test_every_table_is_classified_and_forced(make, owner_engine):
    found = tables(owner_engine)
    assert set(found) >= set(Model.metadata.tables)
    forced = {
        r.relname: (r.relrowsecurity, r.relforcerowsecurity)
        for r in make.rows(
            "select relname, relrowsecurity, relforcerowsecurity from pg_class where relkind = 'r' "
            "and relnamespace = 'public'::regnamespace"
        )
    }
    for table in found:
        assert policies.is_global(table) != (table in policies.PROTECTED), (
            f"{table}: say in policies.py who may see it"
        )
        assert forced[table] == ((False, False) if policies.is_global(table) else (True, True)), table


def test_every_tenant_model_is_protected():
    for mapper in Model.registry.mappers:
        if issubclass(mapper.class_, Tenant | MaybeTenant | Owned):
            assert mapper.local_table.name in policies.PROTECTED


def test_a_tenant_column_never_stands_on_a_global_table():
    for name, table in Model.metadata.tables.items():
        if "organization_id" in table.c:
            assert name in policies.PROTECTED, name


def test_without_context_no_tenant_row_is_seen(make, web_engine):
    make.member(make.org())
    with web_engine.connect() as c:
        for table in sorted(policies.PROTECTED):
            if table == "plan":  # public plans are public
                continue
            assert c.execute(text(f"select count(*) from {table}")).scalar() == 0, table


def test_references_between_tenant_rows_carry_the_organisation():
    """Foreign-key checks bypass row-level security, so a tenant's reference to a tenant names the organisation too."""
    tenants = {m.local_table.name for m in Model.registry.mappers if issubclass(m.class_, Tenant)} - {
        "organization"
    }
    loose = []
    for name in tenants:
        for key in Model.metadata.tables[name].foreign_key_constraints:
            if key.referred_table.name in tenants and "organization_id" not in key.column_keys:
                loose.append(f"{name}.{key.column_keys}")
    assert loose == []


@pytest.mark.scenario("I-37")
def test_row_level_security_alone_keeps_organisations_apart(make, web_engine):
    mine, theirs = make.member(make.org()), make.member(make.org())
    with web_engine.begin() as c:  # no ORM, no guard: only the database
        c.execute(text("select set_config('app.org_id', :o, true)"), {"o": str(mine.organization_id)})
        assert {r.organization_id for r in c.execute(text("select organization_id from membership"))} == {
            mine.organization_id
        }
        assert (
            c.execute(
                text("update membership set department_label = 'x' where id = :i"), {"i": theirs.id}
            ).rowcount
            == 0
        )
        assert c.execute(text("delete from membership where id = :i"), {"i": theirs.id}).rowcount == 0
    with pytest.raises(DBAPIError, match="row-level security"), web_engine.begin() as c:
        c.execute(text("select set_config('app.org_id', :o, true)"), {"o": str(mine.organization_id)})
        c.execute(
            text(
                "insert into wallet_top_up (organization_id, billing_account_id, amount_paise, gateway) "
                "select :o, id, 10000, 'sandbox' from billing_account"
            ),
            {"o": theirs.organization_id},
        )
        c.execute(
            text(
                "insert into membership (organization_id, user_id, role, status) values (:o, :u, 'OWNER', 'ACTIVE')"
            ),
            {"o": theirs.organization_id, "u": mine.user_id},
        )


def test_platform_scope_reads_and_never_writes(make, web_engine):
    org = make.org()
    with web_engine.begin() as c:
        c.execute(text("select set_config('app.scope', 'platform', true)"))
        assert c.execute(text("select count(*) from organization where id = :i"), {"i": org.id}).scalar() == 1
        assert (
            c.execute(text("update organization set name = 'x' where id = :i"), {"i": org.id}).rowcount == 0
        )


def test_orm_criteria_hide_other_organisations(make):
    mine, theirs = make.member(make.org()), make.member(make.org())
    with make.acting(mine) as s:
        assert {m.organization_id for m in s.scalars(select(Membership))} == {mine.organization_id}
        assert s.get(Membership, theirs.id) is None
        assert s.scalars(select(BillingAccount)).one().organization_id == mine.organization_id


def test_flush_guard_refuses_foreign_rows(make):
    mine, theirs = make.member(make.org()), make.member(make.org())
    with make.acting(mine) as s, pytest.raises(context.TenancyError):
        s.add(
            WalletTopUp(
                organization_id=theirs.organization_id, billing_account_id=1, amount_paise=10_000, gateway="x"
            )
        )
        s.flush()
    with make.acting(mine) as s, pytest.raises(context.TenancyError):
        # the guard judges the object, wherever it came from
        with context.acting(s, scope="platform"):
            row = s.get(Organization, theirs.organization_id)
        row.name = "Taken over"
        s.flush()


def test_composite_keys_refuse_a_foreign_parent(make, owner_engine):
    a, b = make.org(), make.org()
    account_b = make.one("select id from billing_account where organization_id = :o", o=b.id)
    with pytest.raises(DBAPIError, match="fk_wallet_top_up"), Session(owner_engine) as s:
        s.execute(
            text(
                "insert into wallet_top_up (organization_id, billing_account_id, amount_paise, gateway) "
                "values (:a, :x, 10000, 'sandbox')"
            ),
            {"a": a.id, "x": account_b},
        )


def test_audit_rows_cannot_be_changed_by_anybody(make, owner_engine, web_engine):
    member = make.member(make.org())
    make.add(
        AuditLog(
            organization_id=member.organization_id,
            category="MEMBER",
            action="MEMBER_ADDED",
            description="x",
            actor_type="SYSTEM",
        )
    )
    for engine, match in ((web_engine, "permission denied"), (owner_engine, "append-only")):
        for statement in (
            "update org_audit_log set description = 'y'",
            "delete from org_audit_log",
            "truncate org_audit_log",
        ):
            with pytest.raises(DBAPIError, match=match), engine.begin() as c:
                c.execute(
                    text("select set_config('app.org_id', :o, true)"), {"o": str(member.organization_id)}
                )
                c.execute(text(statement))
