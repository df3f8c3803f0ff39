"""Bulk import: reading files, checking without sending, sending once (chapter 1, "Bulk import")."""

from __future__ import annotations

import io
from typing import Any

import pytest

from app.errors import DomainError, Invalid
from app.models import OrgStatus
from app.services.imports import MAX_BYTES, Line, read
from tests.factories import unique
from tests.organizations.test_creation import race


def path(org: Any, tail: str = "") -> str:
    return f"/api/organizations/{org.slug}/members/bulk-import{tail}"


def upload(client: Any, make: Any, org: Any, by: Any, text: str, dry: bool = True) -> Any:
    return client.post(
        path(org, "?dry_run=1" if dry else ""),
        data={"file": (io.BytesIO(text.encode()), "people.csv")},
        headers=make.bearer(by),
    )


def sent(make: Any, org: Any) -> int:
    return int(make.one("SELECT count(*) FROM invitation WHERE organization_id = :o", o=org.id))


@pytest.mark.parametrize(
    "data",
    [
        b"a@x.com,Jos\xe9,R&D",
        "\ufeffe-mail;Name;Department\r\na@x.com;José;R&D\r\n".encode(),
        'Department,"Email",name\n"R&D",a@x.com,"José"\n\n'.encode(),
    ],
)
def test_files_are_read_forgivingly(data: bytes) -> None:
    assert read(data) == [Line("a@x.com", "José", "R&D")]


def test_what_is_no_file_is_refused() -> None:
    with pytest.raises(Invalid):
        read(b"a\x00b")
    with pytest.raises(DomainError, match="larger"):
        read(b"x" * (MAX_BYTES + 1))


def test_a_dry_run_sends_nothing_and_confirming_sends_once(client: Any, make: Any) -> None:
    org = make.org()
    owner, a = make.member(org), f"{unique('a')}@x.com"
    answer = upload(client, make, org, owner, f"{a},A\nbad\n{a.upper()}\n{owner.user.email}\n")
    assert answer.status_code == 201 and answer.json["import"]["status"] == "CHECKED"
    assert [r["status"] for r in answer.json["rows"]] == ["READY", "INVALID", "DUPLICATE", "DUPLICATE"]
    assert sent(make, org) == 0
    tail = f"/{answer.json['import']['id']}"
    done = client.post(path(org, tail + "/confirm"), headers=make.bearer(owner))
    assert done.status_code == 200 and done.json["rows"][0]["status"] == "SENT"
    assert (done.json["import"]["sent"], done.json["import"]["failed"], sent(make, org)) == (1, 3, 1)
    for verb in ("/confirm", "/cancel"):
        again = client.post(path(org, tail + verb), headers=make.bearer(owner))
        assert (again.status_code, again.json["code"]) == (409, "CONFLICT")
    refreshed = upload(client, make, org, owner, a, dry=False)
    assert refreshed.json["rows"][0]["status"] == "REFRESHED" and sent(make, org) == 1
    assert len(client.get(path(org), headers=make.bearer(owner)).json["imports"]) == 2


def test_two_confirms_at_once_send_once(app: Any, client: Any, make: Any) -> None:
    org = make.org()
    owner = make.member(org)
    key = upload(client, make, org, owner, f"{unique('a')}@x.com").json["import"]["id"]
    head = make.bearer(owner)
    confirm = [lambda c: c.post(path(org, f"/{key}/confirm"), headers=head).status_code] * 2
    answers = race(app, confirm)
    assert sorted(answers) == [200, 409] and sent(make, org) == 1


def test_a_cancelled_import_stays_unsent(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.member(org)
    key = upload(client, make, org, owner, f"{unique('a')}@x.com").json["import"]["id"]
    assert client.post(path(org, f"/{key}/cancel"), headers=make.bearer(owner)).status_code == 200
    assert client.post(path(org, f"/{key}/confirm"), headers=make.bearer(owner)).status_code == 409
    assert sent(make, org) == 0


@pytest.mark.parametrize("role", ["LEARNER", "EXPERT", "BILLING_ADMIN"])
def test_others_may_not_import(client: Any, make: Any, role: str) -> None:
    org = make.org()
    assert upload(client, make, org, make.member(org, role), "a@x.com", dry=False).status_code == 403
    assert sent(make, org) == 0


def test_another_organisations_import_is_not_found(client: Any, make: Any) -> None:
    org, other = make.org(), make.org()
    owner, stranger = make.member(org), make.member(other)
    key = upload(client, make, org, owner, f"{unique('a')}@x.com").json["import"]["id"]
    head = make.bearer(stranger)
    assert client.get(path(other, f"/{key}"), headers=head).status_code == 404
    assert client.post(path(other, f"/{key}/confirm"), headers=head).status_code == 404
    assert sent(make, org) == sent(make, other) == 0


def test_too_many_rows_keep_nothing(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.member(org)
    answer = upload(client, make, org, owner, "\n".join(f"a{n}@x.com" for n in range(10_001)))
    assert (answer.status_code, answer.json["code"]) == (400, "VALIDATION_FAILED")
    assert make.one("SELECT count(*) FROM import_batch WHERE organization_id = :o", o=org.id) == 0


def test_the_twenty_first_request_waits(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.member(org)
    codes = [upload(client, make, org, owner, "bad").status_code for _ in range(21)]
    assert codes == [201] * 20 + [429]


def test_a_suspended_organisation_imports_nobody(client: Any, make: Any) -> None:
    org = make.org(status=OrgStatus.SUSPENDED)
    owner = make.member(org)
    assert upload(client, make, org, owner, "a@x.com", dry=False).status_code in (403, 409)
    assert sent(make, org) == 0


def test_the_growth_cap_is_foretold_and_kept(client: Any, make: Any) -> None:
    org = make.org(status=OrgStatus.PENDING_VERIFICATION)
    owner, name = make.member(org), unique("a")
    text = "\n".join(f"{name}{n}@x.com" for n in range(6))
    answer = upload(client, make, org, owner, text)
    assert answer.json["growth_problem"] == "DOMAIN_VERIFICATION_REQUIRED"
    done = upload(client, make, org, owner, text, dry=False)
    assert [r["status"] for r in done.json["rows"]] == ["SENT"] * 4 + ["FAILED"] * 2
    assert sent(make, org) == 4
