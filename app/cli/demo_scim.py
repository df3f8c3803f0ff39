"""The demo's directory: Globex is provisioned by Okta, with groups, a mapping and a log that shows a refusal."""

from __future__ import annotations

from sqlalchemy import select

from app import clock
from app.cli.demo_books import Books
from app.errors import DomainError
from app.models import OrgRole, ScimToken
from app.security.context import acting
from app.services import scim_events, scim_people, scim_roles, scim_tokens
from app.services.scim_events import Entry
from app.services.scim_people import Wanted

ORG = "globex"
PEOPLE = (
    ("anjali.menon@globex.test", "Anjali", "Menon", "Finance", ["Everyone", "Finance leads"]),
    ("farhan.qureshi@globex.test", "Farhan", "Qureshi", "Operations", ["Everyone", "Team leads"]),
    ("leela.thomas@globex.test", "Leela", "Thomas", "Operations", ["Everyone"]),
)
MAPPINGS = (("Finance leads", OrgRole.BILLING_ADMIN), ("Team leads", OrgRole.MANAGER))


def seed(books: Books) -> None:
    """Make it where it is missing."""
    session = books.session
    if books.find_org(ORG) is None:
        return
    with books.as_member(ORG, f"owner@{ORG}.test"):
        if session.scalar(select(ScimToken.id).limit(1)) is not None:
            return
        token = scim_tokens.create(session, "Okta production", per_minute=600).row
        token.last_used_at = clock.now()
        for name, role in MAPPINGS:
            scim_roles.map_group(session, name, role)
        session.flush()
        with acting(
            session,
            user_id=None,
            membership_id=None,
            role=OrgRole.OWNER.value,
            scim_token_id=token.id,
            scim_label=token.label,
        ):
            for number, (email, given, family, department, groups) in enumerate(PEOPLE):
                wanted = Wanted(
                    user_name=email,
                    given=given,
                    family=family,
                    external_id=f"00u{number + 1}globex",
                    department=department,
                    groups=groups,
                )
                status, detail = 201, None
                try:
                    with session.begin_nested():
                        scim_people.provision(session, wanted, upsert=True)
                except DomainError as error:
                    status, detail = error.status, error.message
                scim_events.record(
                    session, Entry("POST", "/Users", status, "Users", None, email, None, detail, 18)
                )
            scim_events.record(
                session,
                Entry(
                    "POST",
                    "/Users",
                    400,
                    "Users",
                    None,
                    "consultant@gmail.com",
                    "invalidValue",
                    "userName must be on a verified domain of the organisation.",
                    6,
                ),
            )
            scim_events.record(
                session,
                Entry(
                    "GET",
                    "/Users?startIndex=1&count=100",
                    200,
                    "Users",
                    duration_ms=9,
                ),
            )
    books.done("directory of Globex: Okta, three people, two mapped groups")
