"""Pages of the console: hand-written ones by domain, and the base of the generated ones."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from flask import Flask

DOMAINS = (
    "auth",
    "account",
    "security",
    "scim",
    "support",
    "saml_doors",
    "oidc_doors",
    "sso_start",
    "sso",
    "sso_setup",
    "onboarding",
    "organizations",
    "workspace",
    "winding",
    "hierarchy",
    "people",
    "imports",
    "departments",
    "member_requests",
    "rosters",
    "billing",
    "money",
    "disputes",
    "books",
    "purchase_orders",
    "invoices",
    "platform_tax",
    "ledger",
    "explore",
    "booking",
    "attending",
    "offering",
    "market_admin",
    "hosted",
    "directory",
    "programs",
    "rates",
    "my_payments",
    "side_payments",
    "chats",
    "insights",
    "sandbox",
    "admin",
    "platform_users",
    "operations",
)


def register(app: Flask, appbuilder: Any) -> None:
    """Register every domain's pages."""
    for name in DOMAINS:
        import_module(f"app.views.{name}").register(appbuilder)
