"""Database roles: made once, safe together, never too powerful."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from app.runtime import RuntimeFailure
from app.runtime.provision import (
    app_role,
    check_roles,
    connect,
    parse_url,
    provision,
    url_text,
    web_url_for,
)


@pytest.fixture(scope="module")
def admin() -> Iterator[psycopg.Connection]:
    with connect(parse_url(os.environ["TEST_OWNER_DATABASE_URL"])) as connection:
        yield connection


@pytest.fixture
def scratch(admin: psycopg.Connection) -> Iterator[Callable[[], str]]:
    """Gives URLs of databases that do not exist yet; drops what was made of them."""
    names: list[str] = []

    def new() -> str:
        names.append(f"prov_{secrets.token_hex(6)}")
        return url_text(parse_url(os.environ["TEST_OWNER_DATABASE_URL"]).set(database=names[-1]))

    yield new
    for name in names:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(app_role(name))))


@pytest.fixture
def role(admin: psycopg.Connection) -> Iterator[Callable[[str], str]]:
    """Makes a login with the attributes given; drops it."""
    names: list[str] = []

    def new(attributes: str) -> str:
        names.append(f"prov_{secrets.token_hex(6)}")
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x' ").format(sql.Identifier(names[-1]))
            + sql.SQL(attributes)
        )
        return names[-1]

    yield new
    for name in names:
        admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_the_web_role_is_bound_by_row_level_security(scratch: Callable[[], str], tmp_path: Path) -> None:
    url = provision(scratch(), tmp_path)
    with connect(parse_url(url)) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, pg_has_role('consilium_web', 'MEMBER'), "
            "pg_has_role('consilium_owner', 'MEMBER') FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert row == (False, False, False, False, True, False)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE intruder (x int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SET ROLE consilium_owner")


def test_the_owner_role_can_make_the_schema(scratch: Callable[[], str], tmp_path: Path) -> None:
    url = scratch()
    provision(url, tmp_path)
    with connect(parse_url(url)) as connection:
        connection.execute("SET ROLE consilium_owner")
        connection.execute("CREATE TABLE t (x int)")
        connection.execute("CREATE SCHEMA s")
        row = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 't'").fetchone()
        assert row == ("consilium_owner",)


def test_a_second_time_changes_nothing(
    scratch: Callable[[], str], tmp_path: Path, admin: psycopg.Connection
) -> None:
    def state() -> list[tuple[object, ...]]:
        name = app_role(parse_url(url).database or "")
        return admin.execute("SELECT xmin::text, * FROM pg_authid WHERE rolname = %s", (name,)).fetchall()

    url = scratch()
    first = provision(url, tmp_path)
    before = state()
    assert provision(url, tmp_path) == first
    assert state() == before
    secrets_file = tmp_path / "secrets.json"
    assert secrets_file.stat().st_mode & 0o777 == 0o600
    assert parse_url(first).password in json.loads(secrets_file.read_text())["database_passwords"].values()


def test_powers_given_by_hand_are_taken_back(
    scratch: Callable[[], str], tmp_path: Path, admin: psycopg.Connection
) -> None:
    url = scratch()
    name = parse_url(provision(url, tmp_path)).username or ""
    admin.execute(sql.SQL("ALTER ROLE {} SUPERUSER BYPASSRLS").format(sql.Identifier(name)))
    provision(url, tmp_path)
    row = admin.execute("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    assert row == (False, False)


def test_many_at_once_on_one_and_on_several_databases(scratch: Callable[[], str], tmp_path: Path) -> None:
    urls = [scratch(), scratch()] * 3
    with ThreadPoolExecutor(len(urls)) as pool:
        results = list(pool.map(lambda url: provision(url, tmp_path), urls))
    assert len(set(results)) == 2
    for result in set(results):
        with connect(parse_url(result)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_plain_owner_without_createrole_gets_a_sentence(
    scratch: Callable[[], str], tmp_path: Path, role: Callable[[str], str]
) -> None:
    url = url_text(parse_url(scratch()).set(username=role("NOCREATEROLE"), password="x"))
    with pytest.raises(RuntimeFailure, match="may not set up Consilium's roles"):
        provision(url, tmp_path)


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [("SUPERUSER", "is a superuser"), ("BYPASSRLS", "bypasses row-level security")],
)
def test_a_web_role_with_powers_is_refused(
    scratch: Callable[[], str], tmp_path: Path, role: Callable[[str], str], attributes: str, sentence: str
) -> None:
    owner = scratch()
    provision(owner, tmp_path)
    web = url_text(parse_url(owner).set(username=role(attributes), password="x"))
    with pytest.raises(RuntimeFailure, match=sentence):
        check_roles(web, owner)


def test_a_web_role_that_can_become_owner_or_is_no_web_role_is_refused(
    scratch: Callable[[], str], tmp_path: Path, role: Callable[[str], str]
) -> None:
    owner = scratch()
    provision(owner, tmp_path)
    parsed = parse_url(owner)
    for attributes, sentence in (
        ("IN ROLE consilium_owner", "must not own"),
        ("", "not a member of consilium_web"),
    ):
        with pytest.raises(RuntimeFailure, match=sentence):
            check_roles(url_text(parsed.set(username=role(attributes), password="x")), owner)


def test_both_urls_given_are_only_checked(scratch: Callable[[], str], tmp_path: Path) -> None:
    owner = scratch()
    web = provision(owner, tmp_path)
    untouched = tmp_path / "other"
    assert web_url_for(web.replace("postgresql+psycopg", "postgres"), owner, untouched) == (web, owner)
    assert not untouched.exists()


def test_no_server_is_one_sentence_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        provision("postgres://someone:hidden-word@127.0.0.1:1/x", tmp_path)
    assert "cannot be reached" in str(caught.value)
    assert "hidden-word" not in str(caught.value)


@pytest.mark.parametrize("text", ["mysql://h/d", "sqlite:///x", "nonsense"])
def test_other_databases_are_refused(text: str) -> None:
    with pytest.raises(RuntimeFailure):
        parse_url(text)


def test_a_long_database_name_still_makes_a_role_name_that_fits() -> None:
    long = "d" * 63
    assert len(app_role(long).encode()) <= 63
    assert app_role(long) != app_role("d" * 62)
