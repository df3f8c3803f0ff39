"""The journal balances, never changes, and is written through one door (chapter 2, 2.2)."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.errors import DomainError
from app.security import context
from app.services import ledger, reconcile
from tests.factories import unique


def topup(session, org, paise, key=None):
    return ledger.post(
        session,
        key or f"topup:{unique('k')}",
        "TOPUP",
        [ledger.debit(ledger.CASH, paise), ledger.credit(ledger.org_account("WALLET", org.id), paise)],
        organization_id=org.id,
    )


def spend(session, org, paise, user_id=1):
    return ledger.post(
        session,
        f"booking:{unique('k')}",
        "BOOKING",
        [
            ledger.debit(ledger.org_account("WALLET", org.id), paise),
            ledger.credit(ledger.consultant_account("CONSULTANT_PAYABLE", user_id), paise),
        ],
        organization_id=org.id,
    )


def test_posting_moves_snapshot_cache_and_entries_together(make):
    org = make.org()
    with make.acting(make.member(org)) as s:
        assert topup(s, org, 20_000) is not None
        spend(s, org, 5_000)
        s.commit()
    assert make.balance(org) == 15_000
    code = ledger.org_account("WALLET", org.id)
    assert (
        make.one(
            "select balance_paise from ledger_balance b join ledger_account a on a.id = b.account_id "
            "where a.code = :c",
            c=code,
        )
        == -15_000
    )
    assert [
        r[0]
        for r in make.rows(
            "select balance_after_paise from ledger_entry e join ledger_account a on "
            "a.id = e.account_id where a.code = :c order by e.id",
            c=code,
        )
    ] == [-20_000, -15_000]


def test_a_repeated_key_is_a_no_op_and_other_legs_are_an_error(make):
    org = make.org()
    with make.acting(make.member(org)) as s:
        assert topup(s, org, 10_000, "topup:same-key-" + org.slug)
        assert topup(s, org, 10_000, "topup:same-key-" + org.slug) is None
        s.commit()
        with pytest.raises(DomainError, match="LEDGER_KEY_REUSED"):
            topup(s, org, 10_001, "topup:same-key-" + org.slug)
    assert make.balance(org) == 10_000


@pytest.mark.parametrize(
    ("legs", "code"),
    [
        ([("CASH|platform|INR", "D", 5), ("GST_PAYABLE|platform|INR", "C", 4)], "LEDGER_LEGS_UNBALANCED"),
        ([("CASH|platform|INR", "D", 5)], "LEDGER_LEGS_INVALID"),
        ([("CASH|platform|INR", "D", 5), ("NONSENSE|platform|INR", "C", 5)], "LEDGER_ACCOUNT_INVALID"),
        ([("CASH|platform|INR", "D", 5), ("WALLET|platform|INR", "C", 5)], "LEDGER_ACCOUNT_INVALID"),
        ([("CASH|platform|INR", "D", 5), ("GST_PAYABLE|platform|USD", "C", 5)], "LEDGER_ACCOUNT_INVALID"),
    ],
)
def test_malformed_legs_are_refused(make, legs, code):
    with make.acting(make.member(make.org())) as s, pytest.raises(DomainError, match=code):
        ledger.post(s, unique("bad"), "X", [ledger.Leg(*leg) for leg in legs])


@pytest.mark.parametrize("paise", [0, -5])
def test_amounts_are_positive(make, paise):
    with make.acting(make.member(make.org())) as s, pytest.raises(DBAPIError):
        ledger.post(
            s,
            unique("neg"),
            "X",
            [ledger.Leg(ledger.CASH, "D", paise), ledger.Leg(ledger.GST_PAYABLE, "C", paise)],
        )


def test_another_organisations_wallet_cannot_be_debited_or_posted_for(make):
    mine, other = make.org(), make.org()
    make.fund(other, 50_000)
    with make.acting(make.member(mine)) as s:
        with pytest.raises(DomainError, match="LEDGER_FOREIGN_ORGANIZATION"):
            spend(s, other, 100)
        s.rollback()
        with pytest.raises(DomainError, match="LEDGER_FOREIGN_ORGANIZATION"):
            ledger.post(
                s,
                unique("x"),
                "BOOKING",
                [ledger.debit(ledger.org_account("WALLET", other.id), 100), ledger.credit(ledger.CASH, 100)],
                organization_id=mine.id,
            )
    assert make.balance(other) == 50_000


def test_the_web_role_has_no_other_door(make, web_engine):
    org = make.org()
    make.fund(org, 10_000)
    for statement in (
        "insert into ledger_entry (transaction_id, account_id, side, amount_paise, posted_at) "
        "values (1, 1, 'D', 1, now())",
        "update ledger_balance set balance_paise = 0",
        "delete from ledger_transaction",
        "truncate ledger_entry",
    ):
        with pytest.raises(DBAPIError, match="permission denied"), web_engine.begin() as c:
            c.execute(text("select set_config('app.org_id', :o, true)"), {"o": str(org.id)})
            c.execute(text(statement))


def test_history_is_append_only_even_for_the_owner(make, owner_engine):
    make.fund(make.org(), 10_000)
    for table in ("ledger_entry", "ledger_transaction", "usage_ledger_entry"):
        for statement in (
            f"update {table} set created_at = now()"
            if table != "ledger_entry"
            else "update ledger_entry set amount_paise = 1",
            f"delete from {table}",
            f"truncate {table} cascade",
        ):
            try:
                with owner_engine.begin() as c:
                    changed = c.execute(text(statement)).rowcount
            except DBAPIError as error:
                assert "append-only" in str(error)
            else:
                assert table == "usage_ledger_entry" and changed == 0  # no rows there yet: nothing to refuse


def test_an_unbalanced_transaction_cannot_be_committed(make, owner_engine):
    org = make.org()
    make.fund(org, 10_000)
    with pytest.raises(DBAPIError, match="out of balance"), owner_engine.begin() as c:
        c.execute(
            text(
                "insert into ledger_entry (transaction_id, account_id, organization_id, side, amount_paise, posted_at) "
                "select transaction_id, account_id, organization_id, side, 1, now() from ledger_entry "
                "where organization_id = :o limit 1"
            ),
            {"o": org.id},
        )


def test_members_see_their_own_entries_only(make):
    mine, other = make.org(), make.org()
    make.fund(mine, 10_000)
    make.fund(other, 20_000)
    with make.acting(make.member(mine)) as s:
        rows = s.execute(text("select distinct organization_id from ledger_entry")).scalars().all()
        assert rows == [mine.id]
        assert s.execute(text("select count(*) from ledger_account where scope = 'platform'")).scalar() == 0


def test_concurrent_debits_never_overdraw(make, web_engine):
    org = make.org()
    make.fund(org, 50_000)
    outcomes = []

    def work():
        context._current.set(context.Ctx(org_id=org.id))
        with Session(web_engine) as s:
            try:
                spend(s, org, 10_000, user_id=threading.get_ident() % 1000 + 1)
                s.commit()
                outcomes.append("ok")
            except DomainError as error:
                outcomes.append(error.code)

    threads = [threading.Thread(target=work) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sorted(outcomes) == ["WALLET_INSUFFICIENT_FUNDS"] * 3 + ["ok"] * 5
    assert make.balance(org) == 0


def test_one_key_from_many_threads_posts_once(make, web_engine):
    org, key, posted = make.org(), unique("topup:race"), []

    def work():
        context._current.set(context.Ctx(org_id=org.id))
        with Session(web_engine) as s:
            posted.append(topup(s, org, 10_000, key))
            s.commit()

    threads = [threading.Thread(target=work) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len([p for p in posted if p is not None]) == 1 and make.balance(org) == 10_000


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["in", "out"]), st.integers(1, 10**9)), min_size=1, max_size=12))
def test_random_histories_reconcile(make, moves):
    org, expected = make.org(), 0
    with make.acting(make.member(org)) as s:
        for kind, paise in moves:
            if kind == "in":
                topup(s, org, paise)
                expected += paise
            else:
                savepoint = s.begin_nested()
                try:
                    spend(s, org, paise, user_id=999_000_000)
                    expected -= paise
                    savepoint.commit()
                except DomainError as error:
                    assert error.code == "WALLET_INSUFFICIENT_FUNDS" and paise > expected
                    savepoint.rollback()
        s.commit()
        assert ledger.balance(s, ledger.org_account("WALLET", org.id)) == expected == make.balance(org) >= 0


@pytest.fixture
def job(app, web_engine):
    with app.app_context(), Session(web_engine, expire_on_commit=False) as s:
        context._current.set(context.Ctx(scope="job"))
        yield s
        s.rollback()


@pytest.mark.scenario("M-10")
def test_a_drifting_wallet_is_found_frozen_and_still_credited(make, job, client):
    org = make.org()
    owner = make.member(org)
    make.fund(org, 30_000)
    assert (
        client.post("/api/test/fault", json={"point": "wallet_drift", "organization": org.slug}).status_code
        == 200
    )
    context.use(job, context.Ctx(scope="job"))  # the request above ended with its identity forgotten
    report = reconcile.run(job, org.id)
    job.commit()
    assert [(f["kind"], f["delta"]) for f in report.findings] == [("WALLET_BALANCE_DRIFT", 1)]
    with make.acting(owner) as s, pytest.raises(DomainError, match="WALLET_FROZEN"):
        spend(s, org, 100)
    make.fund(org, 10_000)
    assert make.balance(org) == 40_001


def test_a_skewed_snapshot_is_found(make, job, owner_engine):
    org = make.org()
    make.fund(org, 30_000)
    with owner_engine.begin() as c:
        c.execute(
            text("update ledger_balance set balance_paise = balance_paise - 7 where organization_id = :o"),
            {"o": org.id},
        )
    report = reconcile.run(job, org.id)
    assert [(f["kind"], f["delta"]) for f in report.findings] == [("LEDGER_BALANCE_SNAPSHOT_DRIFT", -7)]


def test_admin_reconciles_and_others_do_not(make, client):
    from app.models import PlatformRole

    org = make.org()
    make.fund(org, 12_000)
    admin, staff = (make.bearer(make.user(platform_role=r)) for r in (PlatformRole.ADMIN, PlatformRole.STAFF))
    answer = client.post("/api/admin/reconcile", json={"organization_id": str(org.public_id)}, headers=admin)
    assert answer.status_code == 200 and answer.json["ok"] and answer.json["findings"] == []
    assert client.post("/api/admin/reconcile", headers=staff).status_code == 403
    assert (
        client.post("/api/admin/reconcile", json={"organization_id": "nope"}, headers=admin).status_code
        == 404
    )
