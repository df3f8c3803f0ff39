"""Test-only endpoints (chapter 3): they exist under APP_ENV=test and nowhere else."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, jsonify, request
from sqlalchemy import select

from app import clock, faults
from app.errors import Invalid
from app.extensions import db
from app.models import BillingAccount, MailMessage, Organization
from app.security.context import acting


def _object() -> dict[str, Any]:
    """The JSON object of the request; empty for anything else."""
    body = request.get_json(silent=True)
    return body if isinstance(body, dict) else {}


def register(app: Flask, appbuilder: Any) -> None:
    """Add the endpoints in test, do nothing elsewhere."""
    if not app.config["SETTINGS"].testing:
        return
    faults.enable(app.extensions["redis"])

    @app.post("/api/test/clock")
    def set_clock() -> Any:
        body = _object()
        try:
            offset = float(body["offset_seconds"])
        except (KeyError, TypeError, ValueError):
            raise Invalid({"offset_seconds": ["A number of seconds."]}) from None
        current_app.extensions["redis"].set("test:clock", offset)
        clock.set_offset(offset)
        return jsonify(offset_seconds=offset, now=clock.now().isoformat())

    @app.post("/api/test/flags")
    def set_flags() -> Any:
        """Switch feature flags of this process for a test; unknown names are refused."""
        import dataclasses

        body = _object()
        s = current_app.config["SETTINGS"]
        wanted = {str(k).lower(): bool(v) for k, v in body.items()}
        unknown = [k for k in wanted if not isinstance(getattr(s, k, None), bool)]
        if unknown:
            raise Invalid({k: ["No such flag."] for k in unknown})
        current_app.config["SETTINGS"] = dataclasses.replace(s, **wanted)
        return jsonify(wanted)

    @app.post("/api/test/fault")
    def set_fault() -> Any:
        """Crash once at a named point, or skew a wallet's cache by one paisa (``wallet_drift``)."""
        body = _object()
        point = str(body.get("point", ""))[:60]
        if point == "wallet_drift":
            with acting(db.session(), scope="job"):
                org = db.session.scalar(
                    select(Organization.id).where(Organization.slug == body.get("organization"))
                )
            with acting(db.session(), org_id=org):
                account = db.session.scalars(select(BillingAccount)).one()
                account.wallet_balance_paise = (account.wallet_balance_paise or 0) + int(body.get("paise", 1))
            db.session.commit()
        else:
            current_app.extensions["redis"].set(f"test:fault:{point}", "1")
        return jsonify(point=point)

    @app.get("/api/test/outbox")
    def outbox() -> Any:
        """Deliver what waits, then the mail sent so far, newest first; ``?to=`` narrows."""
        from app.jobs import runner

        runner.execute("deliver_outbox")
        statement = select(MailMessage).order_by(MailMessage.id.desc()).limit(50)
        if request.args.get("to"):
            statement = statement.where(MailMessage.to_address == request.args["to"].lower())
        with acting(db.session(), scope="job"):
            rows = db.session.scalars(statement).all()
        return jsonify(
            mail=[
                {
                    "to": m.to_address,
                    "subject": m.subject,
                    "text": m.body_text,
                    "html": m.body_html,
                    "sent_at": m.sent_at.isoformat(),
                }
                for m in rows
            ]
        )
