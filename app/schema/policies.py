"""Row-level security: which rule guards which table, and the SQL that puts it there (design rule 5, chapter 3, 3.7).

Settings of a transaction (``set_config(..., true)``): ``app.org_id`` the organisation acted for, ``app.user_id`` the
person, ``app.scope`` one of org, platform (reads across organisations), job (reads across, writes operations tables),
``app.token`` the hash of a capability link. Unset means no rows.

A migration that adds a table calls ``protect(op, table)`` after naming it here; a test fails on a table that is missing.
"""

from __future__ import annotations

from typing import Any

WEB, OWNER = "consilium_web", "consilium_owner"

ORG = "nullif(current_setting('app.org_id', true), '')::bigint"
USER = "nullif(current_setting('app.user_id', true), '')::integer"
SCOPE = "current_setting('app.scope', true)"
READS_ALL = f"{SCOPE} IN ('platform', 'job')"
JOB = f"{SCOPE} = 'job'"
TOKEN = "nullif(current_setting('app.token', true), '')"

Rule = tuple[str, str, str]  # (name, command, condition used for USING and WITH CHECK)

_READ: Rule = ("platform_read", "SELECT", READS_ALL)
_ORG: Rule = ("org_all", "ALL", f"organization_id = {ORG}")


def _mine(*columns: str) -> str:
    return "(" + " OR ".join(f"{c} = {USER}" for c in columns) + ")"


def _personal(*columns: str) -> list[Rule]:
    """Rows of an organisation, or of a person where organization_id is NULL; the person reads their own anywhere."""
    return [
        _ORG,
        _READ,
        ("own_read", "SELECT", _mine(*columns)),
        ("own_all", "ALL", f"organization_id IS NULL AND {_mine(*columns)}"),
    ]


_SYSTEM: list[Rule] = [_READ, ("job_all", "ALL", JOB)]
_QUEUE: list[Rule] = [
    *_SYSTEM,
    ("org_insert", "INSERT", f"organization_id IS NULL OR organization_id = {ORG}"),
]
_LEDGER: list[Rule] = [_READ, ("org_read", "SELECT", f"organization_id = {ORG}")]
_TENANT: list[Rule] = [_ORG, _READ]
_OWN: list[Rule] = [_READ, ("own_all", "ALL", _mine("user_id")), ("job_all", "ALL", JOB)]

# what hangs on a plan: its independent expert writes it, and whoever sees the plan sees it
_OWN_EXPERTS_PLAN: list[Rule] = [
    (
        "expert_all",
        "ALL",
        "organization_id IS NULL AND plan_id IN (SELECT p.id FROM plan p JOIN consultant_profile x ON x.id = p.expert_id "
        f"WHERE x.user_id = {USER})",
    )
]
_SEEN_WITH_PLAN: Rule = (
    "plan_read",
    "SELECT",
    f"{USER} IS NOT NULL AND plan_id IN (SELECT p.id FROM plan p)",
)

_IN_CHANNEL = (
    f"EXISTS (SELECT 1 FROM chat_channel c WHERE c.id = channel_id AND {USER} = ANY(c.member_user_ids))"
)

PROTECTED: dict[str, list[Rule]] = {
    "organization": [
        ("org_all", "ALL", f"id = {ORG}"),
        _READ,
        (
            "member_read",
            "SELECT",
            f"id IN (SELECT m.organization_id FROM membership m WHERE m.user_id = {USER})",
        ),
    ],
    "membership": [*_TENANT, ("own_read", "SELECT", _mine("user_id"))],
    "invitation": [*_TENANT, ("token_read", "SELECT", f"token_hash = {TOKEN}")],
    "domain_claim": _TENANT,
    "sso_settings": _TENANT,
    "sso_provider": _TENANT,
    "sso_certificate": _TENANT,
    "sso_identity": _TENANT,
    "sso_recovery_code": _TENANT,
    "sso_seen": _TENANT,
    "sso_attempt": _TENANT,
    "sso_setup_link": [*_TENANT, ("token_read", "SELECT", f"token_hash = {TOKEN}")],
    "billing_account": [
        *_TENANT,
        (
            "member_read",
            "SELECT",
            f"organization_id IN (SELECT m.organization_id FROM "
            f"membership m WHERE m.user_id = {USER} AND m.status = 'ACTIVE')",
        ),
    ],
    "wallet_top_up": _TENANT,
    "wallet_top_up_refund": _TENANT,
    "dispute": [  # written by the provider's events and the platform only
        *_SYSTEM,
        ("org_read", "SELECT", f"organization_id = {ORG}"),
        ("own_read", "SELECT", _mine("user_id")),
    ],
    "manual_posting": [_READ, ("platform_write", "ALL", f"{SCOPE} = 'platform'")],
    "gateway_report": _SYSTEM,
    "verification_message": _TENANT,
    "staff_note": [
        _READ,
        ("platform_write", "ALL", f"{SCOPE} = 'platform'"),
    ],
    "support_access": [*_TENANT, ("own_read", "SELECT", _mine("user_id"))],
    "member_request": _TENANT,
    "import_batch": _TENANT,
    "import_row": _TENANT,
    "org_api_key": [*_TENANT, ("own_read", "SELECT", _mine("user_id"))],
    "scim_token": _TENANT,
    "scim_profile": _TENANT,
    "scim_email": _TENANT,
    "scim_group": _TENANT,
    "scim_group_member": _TENANT,
    "scim_group_mapping": _TENANT,
    "scim_event": [*_TENANT, ("job_all", "ALL", JOB)],
    "scim_total": _TENANT,
    "erased_identity": _TENANT,
    "purchase_order": _TENANT,
    "rate_card": _TENANT,
    "billing_profile": _TENANT,
    "document_counter": _TENANT,
    "invoice": _TENANT,
    "invoice_line": _TENANT,
    "invoice_receipt": _TENANT,
    "credit_note": _TENANT,
    "credit_note_line": _TENANT,
    "invoice_refund": _TENANT,
    "tax_voucher": _TENANT,
    "einvoice": _TENANT,
    "document_file": _TENANT,
    "chat_channel": [
        _ORG,  # ending a membership takes the person out of the organisation's channels
        _READ,
        ("member_all", "ALL", f"{USER} = ANY(member_user_ids)"),
    ],
    "chat_message": [
        ("member_read", "SELECT", _IN_CHANNEL),
        ("member_insert", "INSERT", f"author_user_id = {USER} AND {_IN_CHANNEL}"),
        ("job_read", "SELECT", JOB),
    ],
    "contract": _TENANT,
    "program": _TENANT,
    "assignment": _TENANT,
    "booking_utilization": _TENANT,
    "usage_ledger_entry": _TENANT,
    "billing_subscription": _TENANT,
    "overage_event": [*_TENANT, ("own_read", "SELECT", _mine("user_id"))],
    "org_audit_log": _TENANT,
    "audit_chain": _LEDGER,  # written by audit_seal() alone
    "plan_collaborator": [*_TENANT, *_OWN_EXPERTS_PLAN, _SEEN_WITH_PLAN],
    "event": [*_TENANT, *_OWN_EXPERTS_PLAN, _SEEN_WITH_PLAN, ("job_all", "ALL", JOB)],
    "event_session": [
        *_TENANT,
        (
            "expert_all",
            "ALL",
            f"organization_id IS NULL AND event_id IN (SELECT e.id FROM event e "
            f"WHERE e.expert_user_id = {USER})",
        ),
        ("member_read", "SELECT", f"{USER} IS NOT NULL AND event_id IN (SELECT e.id FROM event e)"),
    ],
    "waitlist_entry": [
        *_TENANT,
        ("own_all", "ALL", _mine("user_id")),
        (
            "event_read",
            "SELECT",
            "event_id IN (SELECT e.id FROM event e WHERE "
            f"e.organization_id = {ORG} OR e.expert_user_id = {USER})",
        ),
        ("job_all", "ALL", JOB),
    ],
    "trial": [
        _ORG,
        _READ,
        ("own_all", "ALL", _mine("learner_user_id", "expert_user_id")),
        ("job_all", "ALL", JOB),
    ],
    "discount_code": [
        *_TENANT,
        ("job_all", "ALL", JOB),
    ],  # a code is looked up by its letters, under job scope
    "discount_use": [*_SYSTEM, ("own_read", "SELECT", _mine("user_id"))],
    "referral": [*_SYSTEM, ("own_read", "SELECT", _mine("referrer_user_id", "referee_user_id"))],
    "referral_credit": _OWN,
    "referral_credit_use": _OWN,
    "cancellation_policy": [
        *_TENANT,
        ("terms_read", "SELECT", f"{USER} IS NOT NULL"),
    ],  # terms everybody books under
    "plan": [
        _ORG,
        (
            "expert_all",
            "ALL",
            "organization_id IS NULL AND expert_id IN "
            f"(SELECT x.id FROM consultant_profile x WHERE x.user_id = {USER})",
        ),
        _READ,
        ("job_all", "ALL", JOB),
        ("public_read", "SELECT", "visibility = 'PUBLIC'"),
        (
            "member_read",
            "SELECT",
            f"organization_id IN (SELECT m.organization_id FROM membership m WHERE "
            f"m.user_id = {USER} AND m.status = 'ACTIVE')",
        ),
    ],
    "appointment": [*_personal("learner_user_id", "expert_user_id"), ("job_all", "ALL", JOB)],
    "payment": _personal("user_id"),
    "refund": _personal("user_id"),
    "payment_leg": [
        *_TENANT,
        (
            "own_all",
            "ALL",
            "organization_id IS NULL AND payment_id IN (SELECT p.id FROM payment p "
            f"WHERE p.user_id = {USER})",
        ),
        ("personal_insert", "INSERT", "organization_id IS NULL"),  # beside a payment of the same statement
    ],
    "consultant_earnings": [
        *_TENANT,
        ("own_read", "SELECT", _mine("consultant_user_id")),
        ("personal_insert", "INSERT", "organization_id IS NULL"),
        (  # a capture and a refund act for who pays
            "payer_all",
            "ALL",
            "organization_id IS NULL AND payment_id IN (SELECT p.id FROM payment p "
            f"WHERE p.user_id = {USER})",
        ),
    ],
    "organization_earnings": _TENANT,
    "notification": [
        _READ,
        ("own_all", "ALL", _mine("user_id")),
        ("job_all", "ALL", JOB),
        ("org_insert", "INSERT", f"organization_id IS NULL OR organization_id = {ORG}"),
    ],
    "saved_view": _OWN,
    "org_workspace_profile": _OWN,
    "consultee_profile": _OWN,
    "idempotency_key": [
        ("org_all", "ALL", f"organization_id = {ORG}"),
        ("own_all", "ALL", f"organization_id IS NULL AND {_mine('user_id')}"),
        *_SYSTEM,
    ],
    "ledger_account": [
        *_LEDGER,
        ("own_read", "SELECT", f"scope IN ('user', 'consultant') AND scope_id = {USER}"),
    ],
    "ledger_transaction": _LEDGER,
    "ledger_entry": _LEDGER,
    "ledger_balance": _LEDGER,
    "ledger_reconciliation_report": _SYSTEM,
    "outbox_message": _QUEUE,
    "mail_message": _QUEUE,
    "system_event": _QUEUE,
    "gateway_event": _SYSTEM,
    "unapplied_receipt": _SYSTEM,
    "job_run": _SYSTEM,
}

# Tables without row-level security, each with its reason. No row of them belongs to one organisation.
GLOBAL: dict[str, str] = {
    "user_session": "looked up by the hash of a secret before anybody is known",
    "one_time_token": "looked up by the hash of a secret before anybody is known",
    "consultant_profile": "public face of an expert, platform-wide",
    "availability_window": "public bookable hours of an expert, platform-wide",
    "availability_override": "public bookable hours of an expert on a date, platform-wide",
    "referral_code": "names its owner to whoever types it; holds nothing else",
    "calendar_claim": "busy time of a person across organisations; holds no tenant data",
    "tax_state": "law, the same for everybody; only new rows, by ADMIN's service",
    "tax_rate": "law, the same for everybody; only new rows, by ADMIN's service",
    "tax_parameter": "law and the platform's own facts; only new rows, by ADMIN's service",
    "fx_rate": "published exchange rates; only new rows, by ADMIN's service",
    "tax_change": "who changed the tax tables; append-only",
    "sandbox_order": "books of the sandbox payment provider, not ours",
    "sandbox_refund": "books of the sandbox payment provider, not ours",
    "sandbox_webhook": "books of the sandbox payment provider, not ours",
    "sandbox_mandate": "books of the sandbox payment provider, not ours",
    "sandbox_payee": "books of the sandbox payment provider, not ours",
    "sandbox_payout": "books of the sandbox payment provider, not ours",
    "sandbox_dispute": "books of the sandbox payment provider, not ours",
    "sandbox_entry": "books of the sandbox payment provider, not ours",
    "sandbox_lever": "books of the sandbox payment provider, not ours",
    "alembic_version": "migration bookkeeping",
}
GLOBAL_PREFIX = "ab_"  # Flask-AppBuilder's users, roles and permissions are platform-wide

# Written by database functions, or append-only: what the web role may not do.
REVOKED: dict[str, str] = {
    "ledger_account": "INSERT, UPDATE, DELETE, TRUNCATE",
    "ledger_transaction": "INSERT, UPDATE, DELETE, TRUNCATE",
    "ledger_entry": "INSERT, UPDATE, DELETE, TRUNCATE",
    "ledger_balance": "INSERT, UPDATE, DELETE, TRUNCATE",
    "org_audit_log": "UPDATE, DELETE, TRUNCATE",
    "audit_chain": "INSERT, UPDATE, DELETE, TRUNCATE",
    "usage_ledger_entry": "UPDATE, DELETE, TRUNCATE",
    "invoice_receipt": "DELETE, TRUNCATE",
    "credit_note": "DELETE, TRUNCATE",
    "credit_note_line": "UPDATE, DELETE, TRUNCATE",
    "tax_voucher": "UPDATE, DELETE, TRUNCATE",
    "document_counter": "DELETE, TRUNCATE",
    "tax_state": "DELETE, TRUNCATE",
    "tax_rate": "DELETE, TRUNCATE",
    "tax_parameter": "DELETE, TRUNCATE",
    "fx_rate": "UPDATE, DELETE, TRUNCATE",
    "tax_change": "UPDATE, DELETE, TRUNCATE",
    "alembic_version": "INSERT, UPDATE, DELETE, TRUNCATE",
    "cancellation_policy": "UPDATE, TRUNCATE",
}
APPEND_ONLY = (
    "ledger_transaction",
    "ledger_entry",
    "org_audit_log",
    "usage_ledger_entry",
    "credit_note_line",
    "tax_voucher",
    "tax_change",
)


def is_global(table: str) -> bool:
    """Whether *table* stands outside row-level security by decision."""
    return table in GLOBAL or table.startswith(GLOBAL_PREFIX)


def statements(table: str) -> list[str]:
    """The SQL that grants, protects and freezes *table*. Raises KeyError for a table that nobody classified."""
    out = [f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {WEB}"]
    if table in REVOKED:
        out.append(f"REVOKE {REVOKED[table]} ON {table} FROM {WEB}")
    if not is_global(table):
        out += [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY owner_all ON {table} TO {OWNER} USING (true) WITH CHECK (true)",
        ]
        for name, command, condition in PROTECTED[table]:
            using = "" if command == "INSERT" else f" USING ({condition})"
            check = "" if command == "SELECT" else f" WITH CHECK ({condition})"
            out.append(f"CREATE POLICY {name} ON {table} FOR {command} TO {WEB}{using}{check}")
    if table in APPEND_ONLY:
        out.append(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION consilium_refuse()"
        )
        out.append(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION consilium_refuse()"
        )
    return out


def protect(op: Any, *tables: str) -> None:
    """Apply ``statements`` to *tables* inside an Alembic migration."""
    for table in tables:
        for statement in statements(table):
            op.execute(statement)
