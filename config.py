"""Every setting of Consilium, read from the environment and validated once at start.

Twelve-factor: nothing else in the code reads ``os.environ``. Each field below says what it means; ``load()`` collects
every problem before it complains, so an operator mends a deployment in one go.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

ENVIRONMENTS = ("development", "test", "production")


class SettingsError(Exception):
    """One or more settings are missing or malformed; the message lists all of them."""


def _doc(text: str, default: Any = "", **extra: Any) -> Any:
    return field(default=default, metadata={"doc": text, **extra})


@dataclass(frozen=True)
class Settings:
    """The validated settings. Field name = environment variable in lower case."""

    app_env: str = _doc(
        "development, test or production. Test endpoints exist in test only; demo never in production.",
        "development",
    )
    app_version: str = _doc("Version shown by /version and the metrics.", "0.1.0")
    secret_key: str = _doc(
        "Signs cookies and one-time links. Required in production, at least 32 characters."
    )
    base_url: str = _doc(
        "Public address of the console, used in mails and documents.", "http://127.0.0.1:8080"
    )
    database_url: str = _doc(
        "Role of the web and the jobs: never a superuser, never BYPASSRLS. bin/run makes one."
    )
    database_owner_url: str = _doc(
        "Role that owns the tables; used by migrations only. Default: DATABASE_URL."
    )
    database_pool_size: int = _doc("Connections a process keeps.", 10)
    database_max_overflow: int = _doc("Connections a process may open beyond the pool.", 10)
    database_statement_timeout_ms: int = _doc(
        "Longest statement of a web request, milliseconds; 0 for none.", 30_000
    )
    redis_url: str = _doc("Redis or Valkey: queues, rate limits, locks.", "redis://127.0.0.1:6379/0")
    data_dir: str = _doc(
        "Folder of embedded servers and local files in development; production keeps nothing there.", ".data"
    )
    storage_url: str = _doc(
        "Where uploads and documents go (fsspec): a folder or s3://bucket/prefix. Default: DATA_DIR/files."
    )
    auth_config_encryption_key: str = _doc(
        "Key ring for secrets at rest: comma-separated id:base64 of 32 bytes, newest first."
    )
    erasure_salt: str = _doc("Salt of pseudonyms after erasure. Required in production.")

    mail_url: str = _doc(
        "smtp://user:pass@host:port or smtps://…; empty: mail is stored only (development mailbox)."
    )
    mail_from: str = _doc("Sender of all mail.", "Consilium <no-reply@consilium.test>")

    gateway: str = _doc(
        "Payment gateway for new orders: sandbox, razorpay or stripe. Sandbox is refused in production.",
        "sandbox",
    )
    sandbox_webhook_secret: str = _doc("Secret of the sandbox gateway's webhooks.", "sandbox-webhook-secret")
    sandbox_webhook_url: str = _doc(
        "Where the sandbox gateway posts its webhooks. Default: BASE_URL/webhooks/gateway/sandbox."
    )
    gateway_timeout_seconds: int = _doc("Longest wait for a payment gateway's answer, seconds.", 10)
    razorpay_key_id: str = _doc("Razorpay key id. Empty: Razorpay answers GATEWAY_NOT_CONFIGURED.")
    razorpay_key_secret: str = _doc("Razorpay key secret.")
    razorpay_webhook_secret: str = _doc(
        "Secret of Razorpay's payment webhooks; after a rotation current,previous."
    )
    razorpay_payout_webhook_secret: str = _doc(
        "Secret of RazorpayX's payout webhooks, current,previous; accepted for payout events only."
    )
    razorpay_account_number: str = _doc("RazorpayX account that payouts are made from.")
    razorpay_base_url: str = _doc(
        "Razorpay's API; tests point it at a local peer.", "https://api.razorpay.com"
    )
    stripe_secret_key: str = _doc("Stripe secret key. Empty: Stripe answers GATEWAY_NOT_CONFIGURED.")
    stripe_webhook_secret: str = _doc("Secret of Stripe's webhooks; after a rotation current,previous.")
    stripe_payout_webhook_secret: str = _doc(
        "Secret of Stripe Connect's webhooks, current,previous; accepted for payout events only."
    )
    stripe_base_url: str = _doc("Stripe's API; tests point it at a local peer.", "https://api.stripe.com")

    session_absolute_hours: int = _doc(
        "Longest session of a member, hours (sliding for others: 30 days).", 720
    )
    session_sso_absolute_hours: int = _doc(
        "Longest session where an organisation enforces single sign-on, hours.", 24
    )
    session_staff_absolute_hours: int = _doc("Longest session of ADMIN and STAFF, hours.", 12)
    session_staff_idle_minutes: int = _doc(
        "ADMIN and STAFF are signed out after this idle time, minutes.", 120
    )
    trusted_proxies: int = _doc(
        "How many reverse proxies stand in front (X-Forwarded-For is read that deep).", 0
    )
    rate_limits: bool = _doc("Rate limits on (chapter 3, 3.7). Off only in benchmarks.", True)
    supplier_name: str = _doc("Legal name of the platform on documents.", "Consilium Experts Private Limited")
    supplier_address: str = _doc(
        "Registered address on documents.", "14 Residency Road, Bengaluru, Karnataka 560025"
    )
    supplier_gstin: str = _doc(
        "GSTIN of the platform; its first two digits are the supplier's state.", "29AAZCE4321Q1ZO"
    )
    supplier_city: str = _doc("City of the registered address, for e-invoices.", "Bengaluru")
    supplier_pin: str = _doc("PIN code of the registered address, for e-invoices.", "560025")
    supplier_email: str = _doc(
        "Address of the platform's billing team, printed on documents.", "billing@consilium.test"
    )
    supplier_bank: str = _doc(
        "Where customers transfer to, printed on invoices: account holder, number, IFSC, bank. Empty: not printed."
    )
    supplier_signatory: str = _doc("Name under the signature line of invoices.", "Authorised signatory")
    irp_url: str = _doc(
        "Invoice Registration Portal or GSP, base address. Empty: the upload job skips its runs."
    )
    irp_environment: str = _doc("sandbox or production: stored with every e-invoice.", "sandbox")
    irp_client_id: str = _doc("Client id at the portal.")
    irp_client_secret: str = _doc("Client secret at the portal.")
    irp_username: str = _doc("API user of the supplier's GSTIN at the portal.")
    irp_password: str = _doc("Password of that user.")
    irp_timeout_seconds: int = _doc("Longest wait for the portal's answer, seconds.", 15)

    enable_host_orgs: bool = _doc("Organisations may host experts (chapter 1, 1.2).", False)
    enable_csp_enforce: bool = _doc("Content-Security-Policy enforced, not report-only.", False)
    enable_hris: bool = _doc("HRIS sync (chapter 3, 3.6).", False)
    enable_irp_uploader: bool = _doc("E-invoice upload (chapter 3, 3.6).", False)
    enable_tds_admin_view: bool = _doc("TDS pages for ADMIN (chapter 3, 3.6).", False)
    enable_dunning_suspend: bool = _doc(
        "Dunning may suspend an organisation's billing (chapter 2, 2.9).", False
    )
    enable_live_payouts: bool = _doc("Payouts reach the live gateway (chapter 2, 2.7).", False)
    dpdp_sweeper_delete: bool = _doc("Consent sweep deletes instead of counting (chapter 3, 3.5).", False)

    dns_resolver: str = _doc("Resolver for domain claims, host:port; only read in test.")
    egress_test_allowlist: str = _doc(
        "Private networks (CIDR, comma-separated) reachable by webhooks; only in test."
    )

    @property
    def production(self) -> bool:
        return self.app_env == "production"

    @property
    def testing(self) -> bool:
        return self.app_env == "test"

    @property
    def owner_url(self) -> str:
        """URL of the role that owns the schema."""
        return self.database_owner_url or self.database_url

    @property
    def files_url(self) -> str:
        """Base of stored files as an fsspec URL or folder."""
        return self.storage_url or str(Path(self.data_dir).absolute() / "files")

    @property
    def sandbox_webhook(self) -> str:
        return self.sandbox_webhook_url or f"{self.base_url}/webhooks/gateway/sandbox"


def normalise_database_url(url: str) -> str:
    """postgres:// and postgresql:// become postgresql+psycopg://, the one driver used."""
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def _convert(kind: str, raw: str) -> Any:
    if kind == "bool":
        low = raw.strip().lower()
        if low in ("1", "true", "yes", "on"):
            return True
        if low in ("0", "false", "no", "off", ""):
            return False
        raise ValueError("expected true or false")
    if kind == "int":
        return int(raw)
    return raw


def load(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings from *environ* (default: the process environment); keyword arguments win.

    Raises SettingsError naming every problem at once.
    """
    env = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    problems: list[str] = []
    for f in fields(Settings):
        raw = env.get(f.name.upper())
        if raw is None or raw == "":
            continue
        try:
            values[f.name] = _convert(str(f.type), raw)
        except ValueError as error:
            problems.append(f"{f.name.upper()}: {error}")
    values.update(overrides)
    for name in ("database_url", "database_owner_url"):
        if values.get(name):
            values[name] = normalise_database_url(values[name])
    if "base_url" in values:
        values["base_url"] = str(values["base_url"]).rstrip("/")
    if not values.get("secret_key") and values.get("app_env", "development") != "production":
        values["secret_key"] = secrets.token_hex(
            32
        )  # a restart signs everyone out; bin/run keeps one in DATA_DIR
    settings = Settings(**values)
    problems += _problems(settings)
    if problems:
        raise SettingsError("Consilium cannot start:\n  " + "\n  ".join(problems))
    return settings


def _problems(s: Settings) -> list[str]:
    found = []
    if s.app_env not in ENVIRONMENTS:
        found.append(f"APP_ENV: {s.app_env!r} is none of {', '.join(ENVIRONMENTS)}")
    if not s.database_url:
        found.append("DATABASE_URL: not set (bin/run starts an embedded server and sets it)")
    elif not s.database_url.startswith("postgresql+psycopg://"):
        found.append("DATABASE_URL: only PostgreSQL (postgresql://…) is supported")
    if not s.base_url.startswith(("http://", "https://")):
        found.append("BASE_URL: must start with http:// or https://")
    if s.gateway not in ("sandbox", "razorpay", "stripe"):
        found.append(f"GATEWAY: {s.gateway!r} is none of sandbox, razorpay, stripe")
    found += _gateway_problems(s)
    for name in (
        "database_pool_size",
        "gateway_timeout_seconds",
        "session_absolute_hours",
        "session_sso_absolute_hours",
        "session_staff_absolute_hours",
        "session_staff_idle_minutes",
    ):
        if getattr(s, name) < 1:
            found.append(f"{name.upper()}: must be at least 1")
    if s.production:
        if len(s.secret_key) < 32:
            found.append("SECRET_KEY: production needs at least 32 characters")
        if not s.base_url.startswith("https://"):
            found.append("BASE_URL: production needs https")
        if s.gateway == "sandbox":
            found.append("GATEWAY: the sandbox gateway is refused in production")
        for name in ("razorpay_base_url", "stripe_base_url"):
            if not getattr(s, name).startswith("https://"):
                found.append(f"{name.upper()}: production needs https")
        if not s.erasure_salt:
            found.append("ERASURE_SALT: required in production")
        if not s.mail_url:
            found.append("MAIL_URL: required in production")
    return found


def _gateway_problems(s: Settings) -> list[str]:
    """Half a set of keys is a mistake: it would fail at the first payment."""
    found = []
    if bool(s.razorpay_key_id) != bool(s.razorpay_key_secret):
        found.append("RAZORPAY_KEY_ID, RAZORPAY_KEY_SECRET: set both or neither")
    if s.razorpay_key_id and not s.razorpay_webhook_secret:
        found.append(
            "RAZORPAY_WEBHOOK_SECRET: needed with RAZORPAY_KEY_ID; without it no payment is confirmed"
        )
    if s.stripe_secret_key and not s.stripe_webhook_secret:
        found.append(
            "STRIPE_WEBHOOK_SECRET: needed with STRIPE_SECRET_KEY; without it no payment is confirmed"
        )
    if s.gateway == "razorpay" and not s.razorpay_key_id:
        found.append("GATEWAY: razorpay needs RAZORPAY_KEY_ID and RAZORPAY_KEY_SECRET")
    if s.gateway == "stripe" and not s.stripe_secret_key:
        found.append("GATEWAY: stripe needs STRIPE_SECRET_KEY")
    return found
