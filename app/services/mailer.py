"""Mail: templates rendered at delivery, sent over SMTP, kept as rows that the development mailbox shows."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from flask import current_app
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.models import MailMessage, OutboxMessage
from app.security.context import acting

TIMEOUT = 15  # seconds
_TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


@cache
def _environment() -> Environment:
    from app.views import format as formats

    env = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=select_autoescape(["html"], default=False),
    )
    env.filters.update({name: getattr(formats, name) for name in ("money",) if hasattr(formats, name)})
    return env


def render(template: str, values: dict[str, Any], base_url: str) -> tuple[str, str, str]:
    """(subject, text, html) of the mail *template*; the text's first line is ``Subject: …``."""
    env, everything = _environment(), {**values, "base_url": base_url}
    head, _, body = env.get_template(f"mail/{template}.txt").render(everything).partition("\n")
    subject = " ".join(head.removeprefix("Subject:").split())[:300]
    html = env.get_template(f"mail/{template}.html").render({**everything, "subject": subject})
    return subject, body.lstrip("\n"), html


def deliver(session: Session, message: OutboxMessage) -> None:
    """Send one outbox mail and keep it. Raises smtplib.SMTPException or OSError: the outbox tries again."""
    settings = current_app.config["SETTINGS"]
    if session.scalar(select(MailMessage.id).where(MailMessage.outbox_id == message.id)):
        return  # sent before; only the outbox row was not marked
    data = message.payload
    subject, text, html = render(data["template"], data["values"], settings.base_url)
    transport = "stored"
    if settings.mail_url:
        _send(
            settings.mail_url,
            settings.mail_from,
            data["to"],
            subject,
            text,
            html,
            key=str(message.public_id),
            file=_file(session, message, data.get("attach"), settings),
        )
        transport = "smtp"
    session.add(
        MailMessage(
            outbox_id=message.id,
            organization_id=message.organization_id,
            to_address=data["to"],
            subject=subject,
            body_text=text,
            body_html=html,
            sent_at=clock.now(),
            transport=transport,
        )
    )


def _file(session: Session, message: OutboxMessage, wanted: Any, settings: Any) -> Any:
    """The document a mail carries (``name`` and ``data``), rendered now; None for a mail without one."""
    if not wanted or message.organization_id is None:
        return None
    from app.documents import store  # late: documents are heavy, and few mails carry one

    with acting(session, scope="org", org_id=message.organization_id, user_id=None, role=None):
        return store.attachment(session, wanted, settings)


def _send(
    url: str, sender: str, to: str, subject: str, text: str, html: str, key: str, file: Any = None
) -> None:
    parts = urlsplit(url)
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, to, subject
    mail["Date"], mail["Message-ID"] = format_datetime(clock.now()), make_msgid(key, "consilium")
    mail.set_content(text)
    mail.add_alternative(html, subtype="html")
    if file is not None:
        mail.add_attachment(file.data, maintype="application", subtype="pdf", filename=file.filename)
    secure = parts.scheme == "smtps"
    context = ssl.create_default_context()
    port = parts.port or (465 if secure else 25)
    server = (
        smtplib.SMTP_SSL(parts.hostname or "", port, timeout=TIMEOUT, context=context)
        if secure
        else smtplib.SMTP(parts.hostname or "", port, timeout=TIMEOUT)
    )
    with server:
        if not secure and server.has_extn("starttls"):
            server.starttls(context=context)
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        server.send_message(mail)
