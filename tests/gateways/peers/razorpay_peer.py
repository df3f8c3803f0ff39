"""A double of Razorpay's REST API in the format of its public reference, run as a process of its own.

It is ours, so it proves the format we believe in and not Razorpay's behaviour; docs/gateways.md says so. It does what
makes the difference to a caller: two orders for a repeated receipt, notes of an order that do not reach its payment,
refunds that may not exceed the payment, payouts once per idempotency key.

    python razorpay_peer.py      prints the port it listens on; /_peer/… are the levers of tests
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qsl, urlsplit

KEY, SECRET = sys.argv[1:3] if len(sys.argv) > 2 else ("rzp_test_key", "secret")
LOCK = Lock()
BOOKS: dict[str, dict[str, dict]] = {}
DONE: dict[str, dict] = {}  # answers by idempotency key


class No(Exception):
    def __init__(self, status: int, text: str, field: str | None = None) -> None:
        self.status, self.text, self.field = status, text, field


def new(kind: str, prefix: str, **values: object) -> dict:
    row = {"id": f"{prefix}_{secrets.token_hex(7)}", "entity": kind, "created_at": int(time.time()), **values}
    BOOKS.setdefault(kind, {})[row["id"]] = row
    return row


def get(kind: str, key: str) -> dict:
    try:
        return BOOKS[kind][key]
    except KeyError:
        raise No(400, "The id provided does not exist") from None


def listed(kind: str, query: dict, **same: object) -> dict:
    rows = [r for r in BOOKS.get(kind, {}).values() if all(r.get(k) == v for k, v in same.items())]
    low, high = int(query.get("from", 0)), int(query.get("to", 10**12))
    rows = [r for r in rows if low <= r["created_at"] <= high]
    skip, count = int(query.get("skip", 0)), min(int(query.get("count", 10)), 100)
    rows = rows[skip : skip + count]
    return {"entity": "collection", "count": len(rows), "items": rows}


def order(body: dict) -> dict:
    if not isinstance(body.get("amount"), int) or body["amount"] < 100 or body.get("currency") != "INR":
        raise No(400, "Order amount less than minimum amount allowed", "amount")
    if len(body.get("receipt") or "") > 40:
        raise No(400, "The receipt may not be greater than 40 characters.", "receipt")
    return new(
        "order",
        "order",
        amount=body["amount"],
        amount_paid=0,
        currency="INR",
        receipt=body.get("receipt"),
        status="created",
        attempts=0,
        notes=body.get("notes") or [],
        customer_id=body.get("customer_id"),
        token=body.get("token"),
    )


def take(found: dict, amount: int, **more: object) -> dict:
    if found["status"] == "paid":
        raise No(400, "Order already paid")
    fee = amount * 236 // 10_000
    payment = new(
        "payment",
        "pay",
        amount=amount,
        currency="INR",
        status="captured",
        order_id=found["id"],
        method="upi",
        amount_refunded=0,
        captured=True,
        email="payer@example.test",
        contact="+919876543210",
        notes=more.pop("notes", []),
        fee=fee,
        tax=fee * 18 // 118,
        error_code=None,
        **more,
    )
    found.update(status="paid", amount_paid=amount)
    return payment


def refund(payment_id: str, body: dict) -> dict:
    payment = get("payment", payment_id)
    amount = body.get("amount", payment["amount"])
    if payment["amount_refunded"] + amount > payment["amount"]:
        raise No(400, "The total refund amount is greater than the refund payment amount", "amount")
    payment["amount_refunded"] += amount
    return new(
        "refund",
        "rfnd",
        amount=amount,
        currency="INR",
        payment_id=payment_id,
        receipt=body.get("receipt"),
        notes=[],
        status="processed",
        speed_processed="normal",
    )


def recurring(body: dict) -> dict:
    token = get("token", body["token"])
    if token["recurring_details"]["status"] != "confirmed" or token["customer_id"] != body["customer_id"]:
        raise No(400, "The token is not confirmed")
    paid = take(
        get("order", body["order_id"]),
        body["amount"],
        notes=body.get("notes", []),
        customer_id=body["customer_id"],
        token_id=token["id"],
    )
    return {"razorpay_payment_id": paid["id"], "razorpay_order_id": body["order_id"]}


def customer(body: dict) -> dict:
    contact = body.get("contact")
    if contact and re.search(r"(\d)\1{9}", contact):
        raise No(400, "Contact number contains 10 identical digits in a row", "contact")
    return new("customer", "cust", name=body.get("name"), email=body.get("email"), contact=contact or "")


def payout(body: dict, headers: object) -> dict:
    key = headers.get("X-Payout-Idempotency") or ""
    if not 4 <= len(key) <= 36:
        raise No(400, "Idempotency key is mandatory, 4 to 36 characters")
    if key in DONE:
        return DONE[key]
    get("fund_account", body["fund_account_id"])
    DONE[key] = new(
        "payout",
        "pout",
        fund_account_id=body["fund_account_id"],
        amount=body["amount"],
        currency="INR",
        notes=body.get("notes") or [],
        fees=590,
        tax=90,
        status="processing",
        utr=None,
        mode=body["mode"],
        reference_id=body.get("reference_id"),
        account_number=body["account_number"],
        status_details={"reason": None, "description": None},
    )
    return DONE[key]


def webhook(kind: str, **entities: dict) -> dict:
    """What the provider would send: the exact bytes and their signature with the webhook secret ``whsec``."""
    secret = "xsec" if kind.startswith(("payout.", "fund_account.")) else "whsec"
    body = json.dumps(
        {
            "entity": "event",
            "account_id": "acc_peer",
            "event": kind,
            "contains": list(entities),
            "payload": {k.replace("__", "."): {"entity": v} for k, v in entities.items()},
            "created_at": int(time.time()),
        }
    )
    signed = hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
    return {
        "body": body,
        "headers": {"X-Razorpay-Signature": signed, "x-razorpay-event-id": secrets.token_hex(7)},
    }


def lever(path: str, body: dict) -> dict:
    what, _, key = path.removeprefix("/_peer/").partition("/")
    if what == "pay":
        paid = take(get("order", key), body.get("amount") or get("order", key)["amount"])
        return webhook(body.get("event", "payment.captured"), payment=paid)
    if what == "refund":
        return webhook("refund.processed", refund=get("refund", key))
    if what == "confirm":  # the payer authorises the mandate of this customer
        details = {"status": "confirmed", "failure_reason": None}
        token = new("token", "token", customer_id=key, recurring=True, recurring_details=details)
        return webhook("token.confirmed", token=token)
    if what == "payout":
        row = get("payout", key)
        row.update(status=body["status"], utr="UTR123456789" if body["status"] == "processed" else row["utr"])
        return webhook(f"payout.{body['status']}", payout=row)
    if what == "validation":
        row = get("fund_account.validation", key)
        row.update(
            status="completed",
            results={"account_status": body["account_status"], "registered_name": "ASHA RAO"},
        )
        return webhook("fund_account.validation.completed", fund_account__validation=row)
    if what == "dispute":
        paid = get("payment", key)
        row = new(
            "dispute",
            "disp",
            payment_id=key,
            amount=paid["amount"],
            currency="INR",
            phase="chargeback",
            status="open",
            reason_code="service_not_received",
            respond_by=int(time.time()) + 86_400,
        )
        return webhook("payment.dispute.created", payment=paid, dispute=row)
    raise No(404, "no such lever")


def answer(method: str, path: str, query: dict, body: dict, headers: object) -> dict:
    parts = path.removeprefix("/v1/").split("/")
    match (method, *parts):
        case ("POST", "orders"):
            return order(body)
        case ("GET", "orders"):
            return listed("order", query, **({"receipt": query["receipt"]} if "receipt" in query else {}))
        case ("GET", "orders", key):
            return get("order", key)
        case ("GET", "orders", key, "payments"):
            return listed("payment", {}, order_id=get("order", key)["id"])
        case ("GET", "payments"):
            return listed("payment", query)
        case ("POST", "payments", "create", "recurring"):
            return recurring(body)
        case ("POST", "payments", key, "refund"):
            return refund(key, body)
        case ("GET", "payments", key, "refunds"):
            return listed("refund", query, payment_id=get("payment", key)["id"])
        case ("GET", "refunds" | "settlements" | "payouts" as kind):
            return listed(kind[:-1], query)
        case ("GET", "refunds" | "payouts" | "customers" | "disputes" as kind, key):
            return get(kind[:-1], key)
        case ("POST", "customers"):
            return customer(body)
        case ("GET", "customers", key, "tokens"):
            return listed("token", {}, customer_id=get("customer", key)["id"])
        case ("POST", "contacts"):
            return new("contact", "cont", **body)
        case ("POST", "fund_accounts"):
            get("contact", body["contact_id"])
            return new("fund_account", "fa", contact_id=body["contact_id"], account_type=body["account_type"])
        case ("POST", "fund_accounts", "validations"):
            account = get("fund_account", body["fund_account"]["id"])
            return new("fund_account.validation", "fav", fund_account=account, status="created", results={})
        case ("POST", "payouts"):
            return payout(body, headers)
        case ("POST", "disputes", key, "accept") | ("PATCH", "disputes", key, "contest"):
            row = get("dispute", key)
            if row["status"] != "open":
                raise No(400, "The dispute is not open")
            row["status"] = "lost" if method == "POST" else "under_review"
            return row
    raise No(404, "The requested URL was not found on the server.")


class Peer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        url = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, found = 200, {}
        try:
            body = json.loads(raw) if raw else {}
            with LOCK:
                if url.path.startswith("/_peer/"):
                    found = lever(url.path, body)
                else:
                    wanted = "Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
                    if self.headers.get("Authorization") != wanted:
                        raise No(401, "Authentication failed")
                    found = answer(self.command, url.path, dict(parse_qsl(url.query)), body, self.headers)
        except No as no:
            status = no.status
            found = {"error": {"code": "BAD_REQUEST_ERROR", "description": no.text, "field": no.field}}
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = _serve

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    print(server.server_address[1], flush=True)
    server.serve_forever()
