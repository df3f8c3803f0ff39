"""The document behind a purchase order (chapter 3, 3.7 "Uploads")."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from app.models import OrgRole

PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n"


@pytest.fixture
def desk(make, client):
    org = make.org(requires_po=True)
    billing = make.member(org, OrgRole.BILLING_ADMIN)
    headers = make.bearer(billing)
    url = f"/api/organizations/{org.slug}/purchase-orders"
    po = client.post(url, json={"po_number": "PO-7", "total_paise": 100_000}, headers=headers).json
    return make, client, org, headers, f"{url}/{po['id']}"


def send(client, url, headers, data, name="order.pdf"):
    return client.put(f"{url}/document", data={"file": (io.BytesIO(data), name)}, headers=headers)


def test_a_document_is_attached_replaced_served_and_removed(desk):
    _make, client, _org, headers, url = desk
    r = send(client, url, headers, PDF, '../..\\or"der\r\n.exe')
    assert r.status_code == 200, r.json
    assert r.json["document"]["name"].endswith(".pdf") and '"' not in r.json["document"]["name"]
    served = client.get(f"{url}/document", headers=headers)
    assert served.data == PDF and served.mimetype == "application/pdf"
    assert served.headers["Content-Disposition"].startswith("attachment;")
    picture = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(picture, "PNG")
    assert send(client, url, headers, picture.getvalue(), "scan.png").json["document"]["name"] == "scan.jpg"
    served = client.get(f"{url}/document", headers=headers)
    assert served.mimetype == "image/jpeg" and served.data != picture.getvalue()
    assert client.delete(f"{url}/document", headers=headers).status_code == 204
    assert client.get(f"{url}/document", headers=headers).status_code == 404


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "UPLOAD_TYPE_NOT_ALLOWED"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 40, 415, "UPLOAD_TYPE_NOT_ALLOWED"),
        (PDF + b"0" * (10 * 1024 * 1024), 413, "UPLOAD_TOO_LARGE"),
    ],
)
def test_what_is_refused_changes_nothing(desk, data, status, code):
    _make, client, _org, headers, url = desk
    r = send(client, url, headers, data)
    assert (r.status_code, r.json["code"]) == (status, code)
    assert client.get(url, headers=headers).json["document"] is None


def test_others_neither_read_nor_write_it(desk):
    make, client, org, headers, url = desk
    send(client, url, headers, PDF)
    learner = make.bearer(make.member(org, OrgRole.LEARNER))
    assert client.get(f"{url}/document", headers=learner).status_code == 403
    manager = make.bearer(make.member(org, OrgRole.MANAGER))
    assert client.get(f"{url}/document", headers=manager).status_code == 200
    assert send(client, url, manager, PDF).status_code == 403


def test_the_page_offers_it(desk):
    make, client, org, headers, url = desk
    send(client, url, headers, PDF, "Order 7.pdf")
    owner = make.member(org, OrgRole.OWNER)
    browser = make.sign_in(client, owner)
    page = browser.get(f"/dashboard/organization/{org.slug}/purchase-orders/").text
    assert "Order 7.pdf" in page and "Replace document" in page
    key = url.rsplit("/", 1)[1]
    assert browser.get(f"/dashboard/organization/{org.slug}/purchase-orders/{key}/document").data == PDF
    assert (
        browser.form(f"/dashboard/organization/{org.slug}/purchase-orders/{key}/document/remove").status_code
        == 302
    )
    assert make.one("SELECT document FROM purchase_order WHERE public_id = :k", k=key) is None
