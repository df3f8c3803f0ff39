"""Database roles: who owns the tables and who serves requests are never the same.

Cluster-wide group roles ``consilium_owner`` (owns the schema) and ``consilium_web`` (row-level security applies to it),
both NOLOGIN; per database one login ``consilium_app_<database>``, member of ``consilium_web``.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors, sql
from sqlalchemy.engine import URL, make_url

from app.runtime import RuntimeFailure
from app.runtime.datadir import secret_store

OWNER_ROLE = "consilium_owner"
WEB_ROLE = "consilium_web"
MAINTENANCE_DATABASE = "postgres"
ADVISORY_KEY = 0x636F6E73  # "cons"
Connection = psycopg.Connection[tuple[Any, ...]]


def parse_url(text: str) -> URL:
    """A PostgreSQL URL in any of its spellings as a SQLAlchemy URL for psycopg 3.

    Raises RuntimeFailure, without repeating the URL (it may hold a password), when it is none.
    """
    for prefix in ("postgres://", "postgresql://"):
        if text.startswith(prefix):
            text = "postgresql+psycopg://" + text.removeprefix(prefix)
    try:
        url = make_url(text)
    except Exception:
        raise RuntimeFailure(
            "The database URL cannot be read; expected postgresql://user:password@host/database."
        ) from None
    if url.drivername != "postgresql+psycopg":
        raise RuntimeFailure(
            f"The database URL starts with {url.drivername}://; only postgresql:// is supported."
        )
    return url


def url_text(url: URL) -> str:
    """*url* with its password, as SQLAlchemy and the settings take it."""
    return url.render_as_string(hide_password=False)


def connect_arguments(url: URL) -> dict[str, Any]:
    """Keyword arguments for ``psycopg.connect`` (libpq reads a URL's escapes otherwise than SQLAlchemy writes them)."""
    arguments: dict[str, Any] = dict(url.query)
    for key, value in (
        ("user", url.username),
        ("password", url.password),
        ("host", url.host),
        ("port", url.port),
        ("dbname", url.database),
    ):
        if value is not None:
            arguments[key] = value
    return arguments


def connect(url: URL, **changes: Any) -> Connection:
    """An autocommit connection. Raises psycopg.OperationalError."""
    arguments = {
        "connect_timeout": 10,
        "application_name": "consilium provision",
        **connect_arguments(url),
        **changes,
    }
    return psycopg.connect(**arguments, autocommit=True)


def app_role(database: str) -> str:
    """Name of the login role for *database*, within PostgreSQL's 63 bytes."""
    name = f"consilium_app_{database}"
    if len(name.encode()) > 63:
        name = f"consilium_app_{hashlib.sha256(database.encode()).hexdigest()[:32]}"
    return name


def provision(owner_url: str, data_dir: Path | str) -> str:
    """Make roles, database and login where missing; return the SQLAlchemy URL of the web's role.

    *owner_url* belongs to a superuser, or to a role that may create roles and owns (or may create) the database. Safe to
    repeat and to run at the same time elsewhere. The login's password is kept in ``<data_dir>/secrets.json``.
    Raises RuntimeFailure with one sentence when the server is not there or refuses.
    """
    url = parse_url(owner_url)
    database = url.database or url.username or ""
    url = url.set(database=database)
    attempts = 5
    for attempt in range(attempts):
        try:
            return _provision(url, database, data_dir)
        except (
            errors.InternalError_,
            errors.DuplicateObject,
            errors.UniqueViolation,
            errors.DuplicateDatabase,
        ):
            # "tuple concurrently updated": somebody who does not know our lock changed the same role
            if attempt == attempts - 1:
                raise
            time.sleep(0.1 * 2**attempt)
        except errors.InsufficientPrivilege as error:
            raise RuntimeFailure(
                f"The database role {url.username} may not set up Consilium's roles ({error.diag.message_primary}); give "
                "DATABASE_URL a role with CREATEROLE that owns the database, or set both DATABASE_URL and "
                "DATABASE_OWNER_URL to roles made beforehand."
            ) from None
        except psycopg.OperationalError as error:
            raise _unreachable(url, error) from None
    raise AssertionError("unreachable")


def _unreachable(url: URL, error: psycopg.Error) -> RuntimeFailure:
    reason = (str(error).strip().splitlines() or ["no reason given"])[-1].strip()
    return RuntimeFailure(
        f"The database {url.render_as_string(hide_password=True)} cannot be reached: {reason}"
    )


def _provision(url: URL, database: str, data_dir: Path | str) -> str:
    with _lock_connection(url) as connection:
        # Advisory locks belong to one database, roles to the cluster: so everyone locks in the same one.
        connection.execute("SELECT pg_advisory_lock(%s)", (ADVISORY_KEY,))
        version = connection.info.server_version
        if version < 150000:
            raise RuntimeFailure(f"PostgreSQL {version // 10000} is too old; Consilium needs 15 or newer.")
        login = app_role(database)
        for group in (OWNER_ROLE, WEB_ROLE):
            _ensure_role(connection, group, login=False)
        _ensure_member(connection, OWNER_ROLE, _current_user(connection))
        _ensure_role(connection, login, login=True)
        _ensure_member(connection, WEB_ROLE, login)
        _ensure_database(connection, database)
        password = _ensure_password(connection, url, login, data_dir)
        with connect(url) as inside:
            _ensure_grants(inside, database, login)
    return url_text(url.set(username=login, password=password))


def _lock_connection(url: URL) -> Connection:
    try:
        return connect(url, dbname=MAINTENANCE_DATABASE)
    except psycopg.OperationalError:
        return connect(url)  # a hosted server that keeps its maintenance database to itself


def _current_user(connection: Connection) -> str:
    row = connection.execute("SELECT current_user").fetchone()
    assert row is not None
    return str(row[0])


def _ensure_role(connection: Connection, name: str, login: bool) -> None:
    row = connection.execute(
        "SELECT rolcanlogin, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole FROM pg_roles "
        "WHERE rolname = %s",
        (name,),
    ).fetchone()
    role, kind = sql.Identifier(name), sql.SQL("LOGIN" if login else "NOLOGIN")
    if row is None:
        connection.execute(
            sql.SQL("CREATE ROLE {} {} NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE").format(role, kind)
        )
        return
    # only what differs: before PostgreSQL 16 naming BYPASSRLS at all in ALTER ROLE takes a superuser
    wanted = (login, False, False, False, False)
    words = (("NOLOGIN", "LOGIN"), ("NOSUPERUSER",), ("NOBYPASSRLS",), ("NOCREATEDB",), ("NOCREATEROLE",))
    changes = [word[want] for have, want, word in zip(row, wanted, words, strict=True) if have != want]
    if changes:
        connection.execute(sql.SQL("ALTER ROLE {} {}").format(role, sql.SQL(" ".join(changes))))


def _ensure_member(connection: Connection, group: str, member: str) -> None:
    row = connection.execute(
        "SELECT 1 FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member "
        "WHERE g.rolname = %s AND r.rolname = %s AND (current_setting('server_version_num')::int < 160000 "
        "OR (to_jsonb(m) ->> 'set_option')::boolean)",
        (group, member),
    ).fetchone()
    if row is None:
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(member)))


def _ensure_database(connection: Connection, database: str) -> None:
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))


def _ensure_password(connection: Connection, url: URL, login: str, data_dir: Path | str) -> str:
    """The login's password: the stored one while it opens the server, else a new one."""
    with secret_store(data_dir) as store:
        passwords: dict[str, str] = store.setdefault("database_passwords", {})
        known = passwords.get(login)
        if known is not None and _opens(url, login, known):
            return known
        password = known or secrets.token_urlsafe(24)
        verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256")
        # the verifier, not the password: statements may be logged
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(login), sql.Literal(verifier.decode()))
        )
        passwords[login] = password
        return password


def _opens(url: URL, login: str, password: str) -> bool:
    row = None
    try:
        with connect(url, user=login, password=password) as connection:
            row = connection.execute("SELECT 1").fetchone()
    except psycopg.OperationalError:
        return False
    return row is not None


def _ensure_grants(connection: Connection, database: str, login: str) -> None:
    """CONNECT for the login; for the schema's owner the right to create in ``public`` and new schemas."""
    grants = (
        (
            "has_database_privilege(%s, current_database(), 'CONNECT')",
            login,
            "GRANT CONNECT ON DATABASE {db} TO {role}",
        ),
        ("has_schema_privilege(%s, 'public', 'USAGE')", WEB_ROLE, "GRANT USAGE ON SCHEMA public TO {role}"),
        (
            "has_schema_privilege(%s, 'public', 'CREATE')",
            OWNER_ROLE,
            "GRANT USAGE, CREATE ON SCHEMA public TO {role}",
        ),
        (
            "has_database_privilege(%s, current_database(), 'CREATE')",
            OWNER_ROLE,
            "GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {db} TO {role}",
        ),
    )
    for question, role, statement in grants:
        row = connection.execute(sql.SQL("SELECT " + question), (role,)).fetchone()
        if row is None or not row[0]:
            connection.execute(
                sql.SQL(statement).format(db=sql.Identifier(database), role=sql.Identifier(role))
            )


def check_roles(web_url: str, owner_url: str) -> None:
    """Both URLs come from the operator: change nothing, only see that the web's role cannot step over security.

    Raises RuntimeFailure with one sentence for the first thing that is wrong.
    """
    web, owner = parse_url(web_url), parse_url(owner_url)
    try:
        with connect(owner) as connection:
            missing = [
                name
                for name in (OWNER_ROLE, WEB_ROLE)
                if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is None
            ]
    except psycopg.OperationalError as error:
        raise _unreachable(owner, error) from None
    if missing:
        raise RuntimeFailure(
            f"The database roles {' and '.join(missing)} are missing; make them as docs/operations.md shows."
        )
    try:
        with connect(web) as connection:
            name = _current_user(connection)
            powers = connection.execute(
                "SELECT rolname, rolsuper FROM pg_roles WHERE (rolsuper OR rolbypassrls) "
                "AND (rolname = current_user OR pg_has_role(current_user, oid, 'MEMBER')) LIMIT 1"
            ).fetchone()
            owns = connection.execute(
                "SELECT pg_has_role(current_user, %s, 'MEMBER')", (OWNER_ROLE,)
            ).fetchone()
            serves = connection.execute(
                "SELECT pg_has_role(current_user, %s, 'MEMBER')", (WEB_ROLE,)
            ).fetchone()
    except psycopg.OperationalError as error:
        raise _unreachable(web, error) from None
    if powers is not None:
        what = "is a superuser" if powers[1] else "bypasses row-level security"
        who = f"The role {name} of DATABASE_URL"
        how = what if powers[0] == name else f"is a member of {powers[0]}, which {what}"
        raise RuntimeFailure(f"{who} {how}; the web must use a role that is bound by row-level security.")
    if owns is not None and owns[0]:
        raise RuntimeFailure(
            f"The role {name} of DATABASE_URL is a member of {OWNER_ROLE}; the web must not own the tables."
        )
    if serves is not None and not serves[0]:
        raise RuntimeFailure(
            f"The role {name} of DATABASE_URL is not a member of {WEB_ROLE}: GRANT {WEB_ROLE} TO {name}."
        )


def web_url_for(database_url: str, database_owner_url: str, data_dir: Path | str) -> tuple[str, str]:
    """(web URL, owner URL) from what the operator set: both are checked, one alone is provisioned from."""
    if database_url and database_owner_url:
        check_roles(database_url, database_owner_url)
        return url_text(parse_url(database_url)), url_text(parse_url(database_owner_url))
    owner = url_text(parse_url(database_url or database_owner_url))
    return provision(owner, data_dir), owner
