"""The permission matrix of chapter 1, 1.5, as one table: resource -> verb -> set of roles.

Roles are sets, never ranks: OWNER-or-BILLING_ADMIN is written out, so a MAINTAINER never slips in between. Everything
else is derived: Flask-AppBuilder's permissions (``roles sync``), REST gates, page guards, the sidebar and
docs/permissions.md. ADMIN acts as OWNER everywhere; STAFF reads the platform views and nothing of an organisation.

Verbs: read, write, export, plus named actions of one resource.
"""

from __future__ import annotations

from collections.abc import Iterable

from .context import ctx

OWNER, MAINTAINER, BILLING_ADMIN, MANAGER, EXPERT, SUPPORT, LEARNER = (
    "OWNER",
    "MAINTAINER",
    "BILLING_ADMIN",
    "MANAGER",
    "EXPERT",
    "SUPPORT",
    "LEARNER",
)
ADMIN, STAFF = "ADMIN", "STAFF"
ORG_ROLES = (OWNER, MAINTAINER, BILLING_ADMIN, MANAGER, EXPERT, SUPPORT, LEARNER)
PLATFORM_ROLES = (ADMIN, STAFF)
ALL_ROLES = ORG_ROLES + PLATFORM_ROLES
RANK = {
    OWNER: 100,
    MAINTAINER: 80,
    BILLING_ADMIN: 70,
    MANAGER: 60,
    EXPERT: 40,
    SUPPORT: 30,
    LEARNER: 20,
}  # for display

Roles = frozenset[str]


def _set(*roles: str | Iterable[str]) -> Roles:
    return frozenset(r for role in roles for r in ([role] if isinstance(role, str) else role))


ANY = _set(ORG_ROLES)
GOV = _set(OWNER, MAINTAINER)
OPS = _set(OWNER, MAINTAINER, MANAGER)
OPS_READ = _set(OPS, SUPPORT)
FIN_READ = _set(OWNER, MAINTAINER, BILLING_ADMIN, MANAGER)
FIN_WRITE = _set(OWNER, BILLING_ADMIN)  # an explicit disjunction: MAINTAINER is refused
CONTRACTS = _set(OWNER, MAINTAINER, BILLING_ADMIN)
OWNER_ONLY = _set(OWNER)
NONE: Roles = frozenset()
PLATFORM = _set(PLATFORM_ROLES)
ADMIN_ONLY = _set(ADMIN)

MATRIX: dict[str, dict[str, Roles]] = {
    # an organisation and its people
    "organization": {"read": ANY, "write": _set(OWNER, MAINTAINER, BILLING_ADMIN), "delete": OWNER_ONLY},
    "home": {"read": ANY},
    "settings": {"read": GOV, "write": _set(OWNER, MAINTAINER, BILLING_ADMIN)},
    "verification": {"read": GOV, "write": GOV},
    "images": {"write": GOV},
    "members": {"read": OPS_READ, "write": GOV, "export": OPS_READ},
    "directory": {"read": ANY},
    "spend-limit": {"read": FIN_READ, "write": CONTRACTS},
    "leave": {"write": ANY},
    "channels": {"write": GOV},
    "invitations": {"read": GOV, "write": GOV, "export": GOV},
    "learners": {"read": OPS},
    "experts": {"read": OPS},
    "departments": {"read": OPS_READ, "write": GOV},
    "requests": {"read": OPS, "decide": GOV},  # more seats: an OWNER, checked with the request
    "own-requests": {"read": ANY, "write": _set(OPS, LEARNER, EXPERT)},
    "hierarchy": {"read": OPS, "write": OWNER_ONLY},
    "group": {"read": FIN_WRITE},  # figures of the organisations below
    # commerce
    "plans": {"read": OPS, "write": GOV, "export": OPS},
    "discount-codes": {"read": FIN_READ, "write": FIN_WRITE, "export": FIN_READ},
    "cancellation-policies": {"read": OPS_READ, "write": GOV},
    "contracts": {"read": CONTRACTS, "write": OWNER_ONLY, "export": CONTRACTS},
    "programs": {"read": ANY, "write": GOV, "export": OPS},
    "programs-page": {"read": OPS, "write": GOV, "export": OPS},
    "assignments": {"read": OPS, "write": GOV, "export": OPS},
    "my-program": {"read": _set(LEARNER)},
    "my-arrangement": {"read": _set(EXPERT)},
    "billing-account": {"read": FIN_READ, "write": FIN_WRITE},
    "wallet": {"read": FIN_READ, "write": FIN_WRITE, "export": FIN_READ},
    "top-ups": {"read": FIN_READ, "write": FIN_WRITE, "export": FIN_READ},
    "invoices": {"read": FIN_READ, "write": FIN_WRITE, "pay": FIN_WRITE, "export": FIN_READ},
    "credit-notes": {"read": FIN_READ, "write": FIN_WRITE, "export": FIN_READ},
    "purchase-orders": {"read": FIN_READ, "write": FIN_WRITE, "export": FIN_READ},
    "rate-cards": {"read": FIN_READ, "write": FIN_WRITE, "export": FIN_READ},
    "payouts": {"read": FIN_READ, "write": FIN_WRITE, "export": FIN_READ},
    "payout-account": {"read": FIN_READ, "write": OWNER_ONLY},
    "payments": {"read": FIN_READ, "export": FIN_READ},
    "earnings": {"read": FIN_READ, "export": FIN_READ},
    "reimbursements": {"read": FIN_READ, "export": FIN_READ},
    "disputes": {"read": FIN_READ},
    # operations
    "appointments": {"read": OPS_READ, "export": OPS_READ},
    "trials": {"read": OPS_READ, "export": OPS_READ},
    "waitlist": {"read": OPS_READ, "export": OPS_READ},
    "hosted-sessions": {"read": OPS_READ},
    "recordings": {"read": OPS_READ},
    "documents": {"read": OPS_READ},
    "calls": {"read": OPS, "export": OPS},
    # insights
    "analytics": {"read": _set(OPS_READ, BILLING_ADMIN)},
    "activity": {"read": OPS},
    "audit": {"read": OPS_READ, "export": GOV, "verify": GOV},
    "consent": {"read": OPS, "write": OPS},
    # configuration
    "sso": {"read": OPS, "write": OWNER_ONLY},
    "domain-claims": {"read": OPS, "write": OWNER_ONLY},
    "scim": {"read": FIN_READ, "write": OWNER_ONLY},
    "webhooks": {"read": FIN_READ, "write": FIN_WRITE, "delete": OWNER_ONLY, "rotate": OWNER_ONLY},
    "data-exports": {"read": FIN_READ, "write": FIN_WRITE, "download": FIN_WRITE},
    "hris": {"read": OPS, "write": OWNER_ONLY},
    "checkout-preview": {"read": ANY},
    # the organisation's own locks: an owner sees every key, a maintainer their own (app/services/api_keys.py)
    "api-keys": {"read": GOV, "write": GOV},
    "ownership": {"read": OWNER_ONLY, "write": OWNER_ONLY},
    "support-access": {"read": GOV, "write": OWNER_ONLY},
    # the platform's own rooms
    "platform-data": {"read": PLATFORM, "export": PLATFORM},
    "platform-home": {"read": PLATFORM},
    "verification-queue": {"read": PLATFORM, "ask": PLATFORM, "write": ADMIN_ONLY},
    "staff-notes": {"read": PLATFORM, "write": PLATFORM},
    "jobs": {"read": PLATFORM, "write": ADMIN_ONLY},
    "mailbox": {"read": PLATFORM, "open": ADMIN_ONLY},  # mails carry links that let people in
    "look-in": {"read": PLATFORM, "write": PLATFORM},  # support access, from the platform's side
    "ledger": {"read": PLATFORM, "write": ADMIN_ONLY},
    "refunds": {"read": PLATFORM, "write": ADMIN_ONLY},
    "einvoices": {"read": PLATFORM, "write": ADMIN_ONLY},
    "tax-tables": {"read": PLATFORM, "write": ADMIN_ONLY},
    "promotions": {"read": PLATFORM, "write": ADMIN_ONLY},
    "disputes-desk": {"read": PLATFORM, "write": ADMIN_ONLY},
    "sandbox": {"read": PLATFORM, "write": ADMIN_ONLY},
    "style-guide": {"read": PLATFORM},
    "system-events": {"read": ADMIN_ONLY},
    "users": {"read": PLATFORM, "write": ADMIN_ONLY},
    "sso-emergency": {"write": ADMIN_ONLY},  # break-glass for an organisation that locked itself out
}
PLATFORM_RESOURCES = frozenset(
    r for r, verbs in MATRIX.items() if all(roles <= PLATFORM for roles in verbs.values())
)

# resources whose rows only make sense with a capability (chapter 1, 1.5: API 409, page 404)
NEEDS_SPONSOR = frozenset(
    {
        "contracts",
        "programs",
        "programs-page",
        "assignments",
        "invoices",
        "credit-notes",
        "wallet",
        "top-ups",
        "learners",
        "my-program",
    }
)
NEEDS_HOST = frozenset(
    {"experts", "rate-cards", "my-arrangement", "payouts", "earnings", "payout-account", "hosted-sessions"}
)

_AUTHORITY_CODES = {FIN_WRITE: "BILLING_ADMIN_OR_OWNER_REQUIRED", OWNER_ONLY: "OWNER_REQUIRED"}


def allowed(roles: Iterable[str], resource: str, verb: str) -> bool:
    """Whether any of *roles* may *verb* on *resource*. ADMIN acts as OWNER; an unknown pair is refused."""
    granted = MATRIX.get(resource, {}).get(verb, NONE)
    held = set(roles)
    if ADMIN in held:
        held.add(OWNER)
        if granted and resource not in ("my-program", "my-arrangement"):
            return True
    return bool(granted & held)


def can(verb: str, resource: str) -> bool:
    """Whether the identity acting now may *verb* on *resource*."""
    c = ctx()
    return allowed(c.roles, resource, verb) and not c.narrowed(verb, resource)


def refusal_code(resource: str, verb: str) -> str:
    """The error code chapter 1, 1.8 gives to a refusal of *verb* on *resource*."""
    c = ctx()
    if c.viewing and verb != "read":
        return "SUPPORT_ACCESS_READ_ONLY"
    if c.key_id is not None and c.narrowed(verb, resource):
        return "API_KEY_READ_ONLY" if c.key_access != "WRITE" else "API_KEY_NOT_ALLOWED"
    return _AUTHORITY_CODES.get(MATRIX.get(resource, {}).get(verb, NONE), "INSUFFICIENT_ROLE")
