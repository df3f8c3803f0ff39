"""The Invoice Registration Portal behind one interface (chapter 4, 4.3; docs/invoices.md).

``HttpIrp`` speaks the JSON that portals and GSPs share: authenticate, register, fetch by IRN, cancel. Only a time-out or a
5xx is worth another attempt; a rejection says what is wrong with the document.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from dataclasses import dataclass
from typing import Any, Protocol

import requests

from app import clock
from app.errors import DomainError
from config import Settings

DUPLICATE = "2150"
MAX_ANSWER = 4 * 1024 * 1024


class IrpUnavailable(Exception):
    """Nobody knows whether the portal took the request: time-out, transport, 5xx."""


class IrpRejected(Exception):
    """The portal said no. *irn* is set where it says that it knows the document already (code 2150)."""

    def __init__(self, code: str, message: str, irn: str | None = None) -> None:
        self.code, self.message, self.irn = code, message, irn
        super().__init__(f"{code}: {message}")


@dataclass(frozen=True)
class Registered:
    """What the portal acknowledged. ``document`` is what it registered, read from its signed copy."""

    irn: str
    ack_number: str
    ack_date: dt.datetime
    signed_document: str
    signed_qr: str
    document: dict[str, Any]


class Irp(Protocol):
    """What the submission job needs of a portal."""

    def register(self, body: dict[str, Any]) -> Registered:
        """Raises IrpRejected, IrpUnavailable."""

    def fetch(self, irn: str) -> Registered:
        """Raises IrpRejected (unknown), IrpUnavailable."""

    def cancel(self, irn: str, reason: str) -> dt.datetime:
        """Cancel within the portal's window; answers when. Raises IrpRejected, IrpUnavailable."""


def signed_payload(token: str) -> dict[str, Any]:
    """The invoice inside the portal's signed copy (a JWT whose ``data`` is the document). Raises ValueError."""
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError("not a signed document")
    claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    data = claims.get("data")
    found = json.loads(data) if isinstance(data, str) else data
    if not isinstance(found, dict):
        raise ValueError("the signed copy holds no document")
    return found


class HttpIrp:
    """A portal over HTTPS; one token for the adapter's life."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.base = settings.irp_url.rstrip("/")
        self.session = requests.Session()
        self.session.max_redirects = 0
        self.token: str | None = None

    def _headers(self) -> dict[str, str]:
        s = self.settings
        head = {
            "client_id": s.irp_client_id,
            "client_secret": s.irp_client_secret,
            "gstin": s.supplier_gstin,
            "user_name": s.irp_username,
        }
        return {**head, "authtoken": self.token} if self.token else head

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self.session.request(
                method,
                f"{self.base}{path}",
                json=body,
                headers=self._headers(),
                timeout=self.settings.irp_timeout_seconds,
                allow_redirects=False,
                stream=True,
            )
            raw = answer.raw.read(MAX_ANSWER + 1, decode_content=True)
        except (requests.RequestException, OSError) as error:
            raise IrpUnavailable(type(error).__name__) from None
        if answer.status_code >= 500 or answer.status_code in (408, 429) or 300 <= answer.status_code < 400:
            raise IrpUnavailable(f"http_{answer.status_code}")
        try:
            if len(raw) > MAX_ANSWER:
                raise ValueError
            found = json.loads(raw)
        except ValueError:
            raise IrpUnavailable("malformed") from None
        if not isinstance(found, dict):
            raise IrpUnavailable("malformed")
        if str(found.get("Status")) != "1":
            raise _rejection(found, answer.status_code)
        return found

    def _authenticated(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if self.token is None:
            answer = self._call(
                "POST",
                "/eivital/v1.04/auth",
                {"UserName": self.settings.irp_username, "Password": self.settings.irp_password},
            )
            data = answer.get("Data")
            self.token = str(data.get("AuthToken", "")) if isinstance(data, dict) else ""
            if not self.token:
                raise IrpUnavailable("no_token")
        return self._call(method, path, body)

    def register(self, body: dict[str, Any]) -> Registered:
        return _registered(self._authenticated("POST", "/eicore/v1.03/Invoice", body))

    def fetch(self, irn: str) -> Registered:
        return _registered(self._authenticated("GET", f"/eicore/v1.03/Invoice/irn/{irn}"))

    def cancel(self, irn: str, reason: str) -> dt.datetime:
        answer = self._authenticated(
            "POST",
            "/eicore/v1.03/Invoice/Cancel",
            {"Irn": irn, "CnlRsn": "4", "CnlRem": reason[:100]},
        )
        data = answer.get("Data")
        return _moment(data.get("CancelDate") if isinstance(data, dict) else None)


def _rejection(found: dict[str, Any], status: int) -> IrpRejected:
    errors = found.get("ErrorDetails")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    known = None
    for info in found.get("InfoDtls") or []:
        if isinstance(info, dict) and info.get("InfCd") == "DUPIRN" and isinstance(info.get("Desc"), dict):
            known = str(info["Desc"].get("Irn") or "")[:64] or None
    return IrpRejected(
        str(first.get("ErrorCode") or f"http_{status}")[:40],
        str(first.get("ErrorMessage") or "The portal gave no reason.")[:400],
        known,
    )


def _registered(answer: dict[str, Any]) -> Registered:
    data = answer.get("Data")
    try:
        if not isinstance(data, dict):
            raise ValueError("no data")
        signed = str(data["SignedInvoice"])
        return Registered(
            str(data["Irn"])[:64],
            str(data["AckNo"])[:40],
            _moment(data["AckDt"]),
            signed,
            str(data["SignedQRCode"]),
            signed_payload(signed),
        )
    except (KeyError, ValueError, TypeError):
        raise IrpUnavailable("malformed") from None


def _moment(value: Any) -> dt.datetime:
    """The portal's local time. Raises ValueError."""
    if value is None:
        return clock.now()
    return dt.datetime.strptime(str(value), "%Y-%m-%d %H:%M:%S").replace(tzinfo=clock.IST)


def open_irp(settings: Settings) -> Irp | None:
    """The configured portal; None where credentials are missing, and then the job skips its run."""
    if not (
        settings.irp_url and settings.irp_client_id and settings.irp_client_secret and settings.irp_username
    ):
        return None
    if settings.production and not settings.irp_url.startswith("https://"):
        raise DomainError("GATEWAY_NOT_CONFIGURED", gateway="irp")
    return HttpIrp(settings)
