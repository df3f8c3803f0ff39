"""A double of the Invoice Registration Portal, run as a process of its own.

It is ours, so it proves the format we believe in (schema INV-01 1.1 and the public description of the API), not the
portal's behaviour; docs/invoices.md says so. It does what makes the difference to a caller: tokens, schema and arithmetic
checked, one registration a document (2150 names the one there is), answers that never come after the work was done,
cancelling for 24 hours only.

    python irp_peer.py SCHEMA      prints the port it listens on; /_peer/… are the levers of tests
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import secrets
import sys
import time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

import jsonschema

SCHEMA = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
IST = dt.timezone(dt.timedelta(hours=5, minutes=30))
CLIENT, SECRET, USER, PASSWORD = "peer-client", "peer-secret", "peer-user", "peer-password"
LOCK = Lock()
TOKENS: set[str] = set()
BOOKS: dict[str, dict] = {}  # IRN -> what was registered
LEVERS: list[str] = []
LOG: list[dict] = []


def jwt(data: dict) -> str:
    def part(value: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    body = f"{part({'alg': 'none'})}.{part({'data': json.dumps(data), 'iss': 'NIC'})}"
    return f"{body}.{hashlib.sha256(body.encode()).hexdigest()}"


def irn_of(doc: dict) -> str:
    kind, number = doc["DocDtls"]["Typ"], doc["DocDtls"]["No"].upper()
    day = dt.date(*(int(v) for v in reversed(doc["DocDtls"]["Dt"].split("/"))))
    year = day.year if day.month >= 4 else day.year - 1
    text = f"{doc['SellerDtls']['Gstin']}{year}-{(year + 1) % 100:02d}{kind}{number}"
    return hashlib.sha256(text.encode()).hexdigest()


def no(code: str, message: str, info: list | None = None) -> dict:
    return {
        "Status": 0,
        "ErrorDetails": [{"ErrorCode": code, "ErrorMessage": message}],
        "Data": None,
        "InfoDtls": info,
    }


def yes(row: dict) -> dict:
    return {
        "Status": 1,
        "ErrorDetails": None,
        "Data": {
            "AckNo": row["ack"],
            "AckDt": row["at"].strftime("%Y-%m-%d %H:%M:%S"),
            "Irn": row["irn"],
            "SignedInvoice": jwt(row["doc"]),
            "SignedQRCode": jwt({"Irn": row["irn"], "SellerGstin": row["doc"]["SellerDtls"]["Gstin"]}),
            "Status": row["status"],
        },
    }


def money(value: object) -> Decimal:
    return Decimal(str(value or 0)).quantize(Decimal("0.01"))


def check(doc: dict) -> str | None:
    """The arithmetic the portal does: items against the document's values."""
    items, sums = doc["ItemList"], doc["ValDtls"]
    for item in items:
        total = sum(money(item.get(k)) for k in ("AssAmt", "IgstAmt", "CgstAmt", "SgstAmt"))
        if abs(total - money(item["TotItemVal"])) > Decimal("1"):
            return f"Total value of item {item['SlNo']} does not add up"
        if abs(money(item["UnitPrice"]) * Decimal(str(item.get("Qty", 1))) - money(item["TotAmt"])) > Decimal(
            "1"
        ):
            return f"Unit price of item {item['SlNo']} does not match"
        inter = doc["TranDtls"]["SupTyp"] != "B2B" or doc["SellerDtls"]["Stcd"] != doc["BuyerDtls"]["Pos"]
        if inter and (item.get("CgstAmt") or item.get("SgstAmt")):
            return "CGST and SGST are not payable on an inter-state supply"
        if not inter and item.get("IgstAmt"):
            return "IGST is not payable on an intra-state supply"
    for total, part in (
        ("AssVal", "AssAmt"),
        ("IgstVal", "IgstAmt"),
        ("CgstVal", "CgstAmt"),
        ("SgstVal", "SgstAmt"),
    ):
        if abs(sum(money(i.get(part)) for i in items) - money(sums.get(total))) > Decimal("1"):
            return f"{total} does not equal its items"
    return None


def register(doc: dict) -> dict:
    problems = sorted(jsonschema.Draft7Validator(SCHEMA).iter_errors(doc), key=str)
    if problems:
        return no("5002", f"{'/'.join(map(str, problems[0].absolute_path))}: {problems[0].message}"[:300])
    wrong = check(doc)
    if wrong:
        return no("2193", wrong)
    irn = irn_of(doc)
    known = BOOKS.get(irn)
    if known is not None:
        return no(
            "2150",
            "Duplicate IRN",
            [{"InfCd": "DUPIRN", "Desc": {"AckNo": known["ack"], "AckDt": str(known["at"]), "Irn": irn}}],
        )
    BOOKS[irn] = {
        "irn": irn,
        "ack": str(secrets.randbelow(10**14) + 10**14),
        "at": dt.datetime.now(IST).replace(microsecond=0),
        "doc": doc,
        "status": "ACT",
    }
    return yes(BOOKS[irn])


def cancel(body: dict) -> dict:
    row = BOOKS.get(str(body.get("Irn")))
    if row is None:
        return no("2255", "IRN does not exist")
    if row["status"] == "CNL":
        return no("9999", "Invoice is not active")
    if dt.datetime.now(IST) - row["at"] > dt.timedelta(hours=24):
        return no("2270", "The allowed cancellation time limit is crossed")
    row["status"] = "CNL"
    return {
        "Status": 1,
        "Data": {"Irn": row["irn"], "CancelDate": dt.datetime.now(IST).strftime("%Y-%m-%d %H:%M:%S")},
    }


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def answer(self, body: dict, status: int = 200) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def body(self) -> dict:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return json.loads(raw) if raw else {}

    def allowed(self) -> bool:
        good = self.headers.get("client_id") == CLIENT and self.headers.get("client_secret") == SECRET
        return good and self.headers.get("authtoken") in TOKENS

    def do_GET(self) -> None:
        with LOCK:
            if self.path == "/_peer/log":
                return self.answer({"log": LOG, "registered": len(BOOKS)})
            if not self.allowed():
                return self.answer(no("1005", "Invalid token"))
            irn = self.path.rpartition("/")[2]
            row = BOOKS.get(irn)
            return self.answer(yes(row) if row else no("2148", "Requested IRN data is not available"))

    def do_POST(self) -> None:
        body = self.body()
        with LOCK:
            if self.path == "/_peer/next":
                LEVERS.extend(body["do"])
                return self.answer({})
            if self.path == "/_peer/age":
                for row in BOOKS.values():
                    row["at"] -= dt.timedelta(hours=body["hours"])
                return self.answer({})
            if (
                self.path == "/_peer/forge"
            ):  # another document under a number, as a mistaken second system would
                BOOKS[body["irn"]] = {
                    **BOOKS.get(body["irn"], {}),
                    **body,
                    "ack": "1",
                    "status": "ACT",
                    "at": dt.datetime.now(IST).replace(microsecond=0),
                }
                return self.answer({})
            LOG.append({"path": self.path, "body": body})
            if self.path.endswith("/auth"):
                if body.get("UserName") != USER or body.get("Password") != PASSWORD:
                    return self.answer(no("3028", "Invalid user"))
                token = secrets.token_hex(12)
                TOKENS.add(token)
                return self.answer(
                    {"Status": 1, "Data": {"AuthToken": token, "TokenExpiry": "2099-01-01 00:00:00"}}
                )
            if not self.allowed():
                return self.answer(no("1005", "Invalid token"))
            lever = LEVERS.pop(0) if LEVERS else ""
            if lever == "500":
                return self.answer({"Status": 0}, 503)
            if lever == "reject":
                return self.answer(no("3075", "GSTIN of the recipient is cancelled"))
            if lever == "garbage":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"<html>maintenance</html>")
                return None
            made = cancel(body) if self.path.endswith("/Cancel") else register(body)
        if lever == "hang":  # the work is done, the answer never comes
            time.sleep(5)
        return self.answer(made)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
