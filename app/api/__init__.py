"""REST: hand-written resources by domain, and the base of the generated ones."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from flask import Flask

DOMAINS = (
    "session",
    "security",
    "scim",
    "domain_claims",
    "sso",
    "sso_providers",
    "sso_doors",
    "onboarding",
    "organizations",
    "hierarchy",
    "directory",
    "workspace",
    "images",
    "invitations",
    "imports",
    "departments",
    "member_requests",
    "rosters",
    "billing",
    "topups",
    "disputes",
    "books",
    "purchase_orders",
    "invoices",
    "invoice_money",
    "billing_summary",
    "platform_tax",
    "gateway",
    "catalogue",
    "checkout",
    "marketplace",
    "attending",
    "hosted",
    "programs",
    "rates",
    "chats",
    "insights",
    "admin",
    "platform_users",
    "testing",
    "operations",
    "openapi",
)


def register(app: Flask, appbuilder: Any) -> None:
    """Register every domain's resources on *app*."""
    for name in DOMAINS:
        import_module(f"app.api.{name}").register(app, appbuilder)
