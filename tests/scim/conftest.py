"""A directory: an organisation, its token, and a client that speaks SCIM with it."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from app import clock
from app.models import DuplicatePolicy, ScimToken, ScimTokenStatus
from app.services import scim_tokens
from tests.factories import unique

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


class Directory:
    """An identity provider of one organisation."""

    def __init__(self, app: Any, make: Any, *, upsert: bool = True, rate: int = 3000, **org: Any) -> None:
        self.app, self.make, self.client = app, make, app.test_client()
        self.org = make.org(**org)
        self.owner = make.member(self.org, "OWNER")
        self.domain = f"{self.org.slug}.test"
        self.raw, self.token = self.new_token(upsert=upsert, rate=rate)

    def new_token(self, *, upsert: bool = True, rate: int = 3000, days: float = 365) -> tuple[str, Any]:
        raw = scim_tokens.PREFIX + unique("token").ljust(64, "x")
        now = clock.now()
        row = self.make.add(
            ScimToken(
                organization_id=self.org.id,
                label="Directory",
                token_hash=scim_tokens.digest(raw),
                token_prefix=raw[:12],
                status=ScimTokenStatus.ACTIVE,
                duplicate_policy=DuplicatePolicy.UPSERT if upsert else DuplicatePolicy.CONFLICT,
                rate_limit_per_minute=rate,
                expires_at=now + dt.timedelta(days=days),
            )
        )
        return raw, row

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        given = {"Authorization": f"Bearer {self.raw}", **headers}
        data = None
        if body is not None:
            data = body if isinstance(body, str | bytes) else json.dumps(body)
            given.setdefault("Content-Type", "application/scim+json")
        return self.client.open(f"/scim/v2{path}", method=method, data=data, headers=given)

    def get(self, path: str, **headers: str) -> Any:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.send("POST", path, body, **headers)

    def put(self, path: str, body: Any, **headers: str) -> Any:
        return self.send("PUT", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        return self.send("DELETE", path, **headers)

    def patch(self, path: str, *operations: dict[str, Any], **headers: str) -> Any:
        return self.send("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, **headers)

    def address(self, name: str = "person") -> str:
        return f"{unique(name)}@{self.domain}"

    def user(self, email: str | None = None, **values: Any) -> dict[str, Any]:
        """Create a member and return it."""
        response = self.post("/Users", self.body(email, **values))
        assert response.status_code == 201, response.text
        return dict(response.json)

    def body(self, email: str | None = None, **values: Any) -> dict[str, Any]:
        return {
            "schemas": [USER],
            "userName": email or self.address(),
            "name": {"givenName": "Dana", "familyName": "Rao"},
            "active": True,
            **values,
        }

    def group(self, name: str | None = None, *members: str) -> dict[str, Any]:
        response = self.post(
            "/Groups",
            {
                "schemas": [GROUP],
                "displayName": name or unique("Group"),
                "members": [{"value": m} for m in members],
            },
        )
        assert response.status_code == 201, response.text
        return dict(response.json)

    def map(self, group: str, role: str) -> Any:
        """Map a group as the owner does, over REST."""
        return self.app.test_client().post(
            f"/api/organizations/{self.org.slug}/scim/group-mappings",
            json={"scim_group_name": group, "role": role},
            headers=self.make.bearer(self.owner),
        )

    def member(self, public_id: str) -> Any:
        """(role, status, role_source, department_label, external_scim_id) as stored."""
        return self.make.rows(
            "select role, status, role_source, department_label, external_scim_id from membership "
            "where public_id = cast(:i as uuid)",
            i=public_id,
        )[0]

    def seats(self) -> int:
        return int(self.make.one("select seats_used from organization where id = :i", i=self.org.id))

    def audits(self, action: str | None = None) -> int:
        return int(
            self.make.one(
                "select count(*) from org_audit_log where organization_id = :o "
                "and (cast(:a as text) is null or action = :a)",
                o=self.org.id,
                a=action,
            )
        )

    def events(self, name: str) -> list[dict[str, Any]]:
        """Announced events of this name, oldest first."""
        return [
            r.payload["data"]
            for r in self.make.rows(
                "select payload from outbox_message where organization_id = :o and topic = 'event' "
                "and payload->>'event' = :n order by id",
                o=self.org.id,
                n=name,
            )
        ]


@pytest.fixture
def directory(app, make):
    return Directory(app, make)


@pytest.fixture
def new_directory(app, make):
    return lambda **kw: Directory(app, make, **kw)


def refused(response: Any, status: int, scim_type: str | None = None) -> None:
    """*response* is SCIM's error envelope."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/scim+json"
    assert response.json["schemas"] == [ERROR]
    assert response.json["status"] == str(status)
    assert response.json.get("scimType") == scim_type, response.json
    assert response.json["detail"]
