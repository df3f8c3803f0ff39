"""Images: what is accepted, what becomes of it, where it lies and how it is served (chapter 1, "Images")."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.jobs.outbox import deliver_outbox
from app.models import OrgStatus
from app.services import images
from app.services.storage import Storage
from tests.organizations.test_creation import race

RED = (200, 30, 40)


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, RED).save(out, kind, **options)
    return out.getvalue()


def upload(
    client: Any, org: Any, headers: Any, data: bytes, kind: str = "logo", name: str = "logo.png"
) -> Any:
    return client.post(
        f"/api/organizations/{org.slug}/images",
        data={"type": kind, "file": (io.BytesIO(data), name)},
        headers=headers,
    )


def stored(make: Any, org: Any, column: str = "logo") -> Any:
    return make.one(f"SELECT {column} FROM organization WHERE id = :i", i=org.id)


def deliver(app: Any, make: Any) -> None:
    from sqlalchemy.orm import Session

    from app.security import context

    with app.app_context(), Session(make.web, expire_on_commit=False) as session:
        context._current.set(context.Ctx(scope="job"))
        try:
            deliver_outbox(session)
        finally:
            context.reset()


def store(app: Any) -> Storage:
    return Storage(app.config["SETTINGS"].files_url)


@pytest.mark.scenario("P-30")
def test_size_type_and_acceptance(client: Any, make: Any) -> None:
    org = make.org()
    headers = make.bearer(make.member(org))
    png = b"\x89PNG\r\n\x1a\n" + os.urandom(6_000_000)
    answer = upload(client, org, headers, png)
    assert (answer.status_code, answer.json["code"]) == (413, "IMAGE_TOO_LARGE")
    answer = upload(client, org, headers, b"%PDF-1.7\n" + b"x" * 2000, name="logo.png")
    assert (answer.status_code, answer.json["code"]) == (400, "IMAGE_TYPE_INVALID")
    assert stored(make, org) is None
    noise = io.BytesIO()
    Image.frombytes("RGB", (1100, 1000), os.urandom(1100 * 1000 * 3)).save(noise, "WEBP", quality=95)
    assert 700_000 < len(noise.getvalue()) < 1_500_000
    answer = upload(client, org, headers, noise.getvalue(), "banner", "banner.webp")
    assert answer.status_code == 201, answer.json
    assert stored(make, org, "banner_image") == answer.json["key"]
    assert answer.json["key"].startswith(f"{org.public_id}/banner-")


def test_a_long_body_is_refused_before_it_is_read(client: Any, make: Any) -> None:
    """Only its length is looked at: the body itself would fail if anybody read it."""
    org = make.org()
    owner = make.member(org)

    class Unreadable(io.RawIOBase):
        def read(self, *_: Any) -> bytes:
            raise AssertionError("read")

        readinto = readline = read

    call = {
        "wsgi.input": Unreadable(),
        "CONTENT_LENGTH": "50000000",
        "CONTENT_TYPE": "multipart/form-data; boundary=x",
    }
    path = f"/api/organizations/{org.slug}/images"
    for headers in (make.bearer(owner), {}):
        browser = client if headers else make.sign_in(client, owner)
        answer = browser.post(path, headers=headers, environ_overrides=call)
        assert (answer.status_code, answer.json["code"]) == (413, "IMAGE_TOO_LARGE")


@pytest.mark.parametrize(("kind", "most"), [("logo", (512, 512)), ("banner", (2400, 800))])
def test_it_is_fitted_turned_upright_and_stripped(
    client: Any, app: Any, make: Any, kind: str, most: tuple[int, int]
) -> None:
    org = make.org()
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "Secret place 12.97N 77.59E"  # turned by 90 degrees; a description
    answer = upload(
        client,
        org,
        make.bearer(make.member(org)),
        picture("JPEG", (3000, 1500), exif=exif),
        kind,
        "photo.jpg",
    )
    assert answer.status_code == 201
    raw = store(app).read(answer.json["key"])
    made = Image.open(io.BytesIO(raw))
    assert made.width < made.height and made.width <= most[0] and made.height <= most[1]
    assert (answer.json["width"], answer.json["height"]) == made.size
    assert (
        not made.getexif()
        and b"Secret" not in raw
        and "exif" not in made.info
        and "icc_profile" not in made.info
    )
    assert made.format == {"logo": "PNG", "banner": "WEBP"}[kind]


def test_transparency_stays(client: Any, app: Any, make: Any) -> None:
    org = make.org()
    out = io.BytesIO()
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(out, "PNG")
    answer = upload(client, org, make.bearer(make.member(org)), out.getvalue())
    assert Image.open(io.BytesIO(store(app).read(answer.json["key"]))).getpixel((5, 5))[3] == 0


def bomb() -> bytes:
    """A PNG of a few bytes that claims 50,000 by 50,000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10_000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (bomb(), 413, "IMAGE_TOO_LARGE"),
        (picture()[:80], 400, "IMAGE_TYPE_INVALID"),
        (b"", 400, "IMAGE_TYPE_INVALID"),
        (b"\xff\xd8\xff" + b"\0" * 500, 400, "IMAGE_TYPE_INVALID"),
        (b"RIFF\x10\0\0\0WEBPVP8 junkjunk", 400, "IMAGE_TYPE_INVALID"),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
            400,
            "IMAGE_TYPE_INVALID",
        ),
        (picture("GIF"), 400, "IMAGE_TYPE_INVALID"),
        (picture("BMP"), 400, "IMAGE_TYPE_INVALID"),
    ],
)
def test_hostile_files(client: Any, make: Any, data: bytes, status: int, code: str) -> None:
    org = make.org()
    answer = upload(client, org, make.bearer(make.member(org)), data)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert stored(make, org) is None


@pytest.mark.parametrize(
    "role", ["OWNER", "MAINTAINER", "BILLING_ADMIN", "MANAGER", "EXPERT", "SUPPORT", "LEARNER"]
)
def test_owners_and_maintainers_only(client: Any, make: Any, role: str) -> None:
    org = make.org(can_host=True)
    answer = upload(client, org, make.bearer(make.member(org, role)), picture())
    allowed = role in ("OWNER", "MAINTAINER")
    assert answer.status_code == (201 if allowed else 403) and bool(stored(make, org)) == allowed


def test_foreign_suspended_and_odd_requests(client: Any, make: Any) -> None:
    org, other = make.org(), make.org()
    stranger = make.bearer(make.member(other))
    assert upload(client, org, stranger, picture()).json["code"] == "NOT_A_MEMBER"
    assert client.delete(f"/api/organizations/{org.slug}/images/logo", headers=stranger).status_code == 403
    owner = make.bearer(make.member(org))
    assert upload(client, org, owner, picture(), "avatar").json["code"] == "VALIDATION_FAILED"
    assert client.delete(f"/api/organizations/{org.slug}/images/face", headers=owner).status_code == 404
    path = f"/api/organizations/{org.slug}/images"
    assert client.post(path, data={"type": "logo"}, headers=owner).json["code"] == "VALIDATION_FAILED"
    assert client.post(path, json={"type": "logo"}, headers=owner).status_code == 400
    quiet = make.org(status=OrgStatus.SUSPENDED)
    answer = upload(client, quiet, make.bearer(make.member(quiet)), picture())
    assert answer.json["code"] == "ORG_NOT_ACTIVE" and stored(make, quiet) is None
    pending = make.org(status=OrgStatus.PENDING_VERIFICATION)
    assert upload(client, pending, make.bearer(make.member(pending)), picture()).status_code == 201


def test_replacing_and_removing_takes_the_old_file_away(client: Any, app: Any, make: Any) -> None:
    org = make.org()
    headers = make.bearer(make.member(org))
    first = upload(client, org, headers, picture()).json["key"]
    second = upload(client, org, headers, picture()).json["key"]
    assert first != second and store(app).read(first) is not None  # the outbox removes it, after commit
    deliver(app, make)
    assert store(app).read(first) is None and store(app).read(second) is not None
    for _ in range(2):
        assert client.delete(f"/api/organizations/{org.slug}/images/logo", headers=headers).status_code == 204
    deliver(app, make)
    assert store(app).read(second) is None and stored(make, org) is None
    rows = make.rows(
        "SELECT action, description FROM org_audit_log WHERE organization_id = :o ORDER BY id", o=org.id
    )
    assert [r[1] for r in rows] == ["Replaced the logo.", "Replaced the logo.", "Removed the logo."]
    assert {r[0] for r in rows} == {"SETTINGS_CHANGED"}


def test_two_uploads_at_once_leave_one_file(app: Any, make: Any) -> None:
    org = make.org()
    headers = make.bearer(make.member(org))
    answers = race(app, [lambda c: upload(c, org, headers, picture()) for _ in range(3)])
    assert [a.status_code for a in answers] == [201] * 3
    deliver(app, make)
    alive = [a.json["key"] for a in answers if store(app).read(a.json["key"]) is not None]
    assert alive == [stored(make, org)]


def test_what_is_not_committed_leaves_no_file(app: Any, make: Any) -> None:
    org = make.org()
    with make.acting(make.member(org)) as session:
        made = images.set_image(session, store(app), "logo", picture())
        assert store(app).read(made.key) is not None
        session.rollback()
    assert store(app).read(made.key) is None and stored(make, org) is None


# ---- serving ---------------------------------------------------------------------------------------------------------
def test_served_without_cookies_for_ever_and_inert(client: Any, make: Any) -> None:
    org = make.org()
    owner = make.member(org)
    url = upload(client, org, make.bearer(owner), picture()).json["url"]
    browser = make.sign_in(client, owner)
    with browser.session_transaction() as cookie:
        cookie.permanent = True
    answer = browser.get(url)
    assert answer.status_code == 200 and answer.content_type == "image/png"
    h = answer.headers
    assert "Set-Cookie" not in h and "Vary" not in h
    assert h["Cache-Control"] == "public, max-age=31536000, immutable"
    assert h["X-Content-Type-Options"] == "nosniff" and "sandbox" in h["Content-Security-Policy"]
    assert browser.get(url, headers={"If-None-Match": h["ETag"]}).status_code == 304
    assert browser.post(url).status_code in (400, 405)


@pytest.mark.parametrize(
    "path",
    [
        "/media/../config.py",
        "/media/%2e%2e/%2e%2e/etc/passwd",
        "/media/..%2f..%2fetc/passwd",
        "/media/a/b",
        "/media/{org}/logo-",
        "/media/{org}/logo-{org}",
        "/media/{org}/invoice-{org}",
        "/media/{org}/logo-{org}.png",
        "/media/{org}/..%5clogo-{org}",
        "/media/{org}/logo-{org}%00",
        "/media/{org}/logo-{org}%0a",
        "/media/{org}/",
    ],
)
def test_only_keys_of_the_expected_shape(client: Any, make: Any, path: str) -> None:
    answer = client.get(path.format(org=make.org().public_id))
    assert answer.status_code == 404 and "Set-Cookie" not in answer.headers


def test_a_portrait(client: Any, app: Any, make: Any) -> None:
    user = make.user()
    headers = make.bearer(user)
    first = client.post("/api/me/image", data={"file": (io.BytesIO(picture()), "me.png")}, headers=headers)
    assert first.status_code == 201 and first.json["key"].startswith(f"{user.public_id}/avatar-")
    assert client.get(first.json["url"]).content_type == "image/webp"
    assert client.delete("/api/me/image", headers=headers).status_code == 204
    deliver(app, make)
    assert client.get(first.json["url"]).status_code == 404
    assert client.post("/api/me/image", data={"file": (io.BytesIO(picture()), "x.png")}).status_code == 401


# ---- storage ---------------------------------------------------------------------------------------------------------
def check_store(storage: Storage) -> None:
    key = "0192e4a0-0000-7000-8000-000000000001/logo-0192e4a0-0000-7000-8000-000000000002"
    assert storage.read(key) is None
    storage.write(key, b"one", "image/png")
    storage.write(key, b"two", "image/png")
    assert storage.read(key) == b"two"
    storage.delete(key)
    storage.delete(key)
    assert storage.read(key) is None
    for bad in ("../x", "/etc/passwd", f"{key}/../../x", f"{key}\n", ""):
        with pytest.raises(ValueError, match="not a key"):
            storage.read(bad)


def test_a_folder(tmp_path: Path) -> None:
    check_store(Storage(str(tmp_path / "files")))


def test_an_object_store(s3: str) -> None:
    check_store(Storage(s3))


def test_uploads_reach_the_object_store(client: Any, app: Any, make: Any, s3: str) -> None:
    from dataclasses import replace

    before = app.config["SETTINGS"]
    app.config["SETTINGS"] = replace(before, storage_url=s3)
    try:
        org = make.org()
        headers = make.bearer(make.member(org))
        first = upload(client, org, headers, picture())
        assert first.status_code == 201
        assert client.get(first.json["url"]).data.startswith(b"\x89PNG")
        assert client.delete(f"/api/organizations/{org.slug}/images/logo", headers=headers).status_code == 204
        deliver(app, make)
        assert client.get(first.json["url"]).status_code == 404
    finally:
        app.config["SETTINGS"] = before


def test_a_store_that_is_away(client: Any, app: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    before = app.config["SETTINGS"]
    app.config["SETTINGS"] = replace(before, storage_url="s3://nowhere/away")
    try:
        org = make.org()
        answer = upload(client, org, make.bearer(make.member(org)), picture())
        assert (answer.status_code, answer.json["code"]) == (503, "STORAGE_UNAVAILABLE")
        assert stored(make, org) is None
    finally:
        app.config["SETTINGS"] = before
