"""An application of its own with a few declared views, so that the base is tested whatever the product declares."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from app import models as m
from app.errors import DomainError
from app.security.context import ctx
from app.views import base as console
from app.views.base import Ask, Rows, TenantView, action


class SampleMembers(TenantView):
    """Reads only; relation, money, choice and moment columns."""

    datamodel = Rows(m.Membership)
    resource, path, menu, title, one = "members", "sample-members", "People", "Members", "member"
    list_columns = ["user", "role", "status", "department_label", "spend_limit_paise", "created_at"]
    search_columns = [
        "user",
        "role",
        "status",
        "department_label",
        "spend_limit_paise",
        "created_at",
        "seat_assigned_at",
    ]
    quick_search = ("department_label",)
    saved = [("Owners", "_flt_0_role=OWNER")]
    related = ["SampleAssignments"]


class SampleContracts(TenantView):
    """Generated forms, actions with questions and a typed word."""

    datamodel = Rows(m.Contract)
    resource, path, menu, title, one = "contracts", "sample-contracts", "Commerce", "Contracts", "contract"
    list_columns = ["title", "status", "effective_from", "billing_account_id", "signed_by_user_id"]
    search_columns = ["title", "status", "effective_from", "signed_by_user_id"]
    quick_search = ("title",)
    writes = True
    add_columns = ["title", "effective_from", "payment_terms_days", "billing_account_id", "signed_by_user_id"]
    related = ["SamplePrograms"]

    @action(
        "end",
        "End",
        multiple=True,
        confirm="It ends today.",
        confirm_word=lambda c: c.title,
        when=lambda c: c.status == "DRAFT",
        asks=[Ask("reason", "Reason", required=True, max_length=20)],
    )
    def end(self, items: list[Any], reason: str) -> str:
        for item in items:
            item.title = f"{item.title} ended: {reason}"
        return f"{len(items)} ended."

    @action("fail", "Fail")
    def fail(self, items: list[Any]) -> None:
        items[0].title = "changed before the refusal"
        self.datamodel.session.flush()
        raise DomainError("CONTRACT_TERMS_LOCKED")


class SamplePrograms(TenantView):
    datamodel = Rows(m.Program)
    resource, path, menu, title = "programs-page", "sample-programs", "Commerce", "Programs"
    list_columns = ["name", "contract", "status"]
    search_columns = ["name", "contract", "status"]
    quick_search = ("name",)


class SampleAssignments(TenantView):
    datamodel = Rows(m.Assignment)
    resource, path, menu, title = "assignments", "sample-assignments", "Commerce", "Assignments"
    list_columns = ["membership", "program", "status"]
    search_columns = ["membership", "program", "status"]


class SampleAudit(TenantView):
    """Narrows its rows by the reader's role."""

    datamodel = Rows(m.AuditLog)
    resource, path, title = "audit", "sample-audit", "Audit log"
    list_columns = ["description", "category"]
    quick_search = ("description",)

    def base_query(self) -> Any:
        query = super().base_query()
        return (
            query.filter(m.AuditLog.category != m.AuditCategory.WALLET) if ctx().role == "SUPPORT" else query
        )


class SampleHidden(TenantView):
    datamodel = Rows(m.WalletTopUp)
    resource, path, title = "top-ups", "sample-top-ups", "Top-ups"
    when = staticmethod(lambda org: org["funding_source"] == "WALLET")


SAMPLES = (SampleMembers, SampleContracts, SamplePrograms, SampleAssignments, SampleAudit, SampleHidden)


@pytest.fixture(scope="session")
def app(settings: Any) -> Flask:
    """The application with the sample views instead of the product's."""
    from app import create_app, views
    from tests.conftest import ConsoleClient

    def register(app: Flask, appbuilder: Any) -> None:
        for view in SAMPLES:
            console.register(appbuilder, view)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "register", register)
        application = create_app(settings)
    application.config["RAISE_CRASHES"] = True
    application.test_client_class = ConsoleClient
    return application


@pytest.fixture
def contract(make: Any) -> Any:
    """A function that makes a contract of an organisation."""
    import datetime as dt

    from sqlalchemy import select

    def one(org: Any, title: str = "Agreement", **values: Any) -> Any:
        with make.session() as session:
            account = session.scalar(
                select(m.BillingAccount).where(m.BillingAccount.organization_id == org.id)
            )
            row = m.Contract(
                **{
                    "organization_id": org.id,
                    "billing_account_id": account.id,
                    "title": title,
                    "status": "DRAFT",
                    "effective_from": dt.date(2026, 4, 1),
                    **values,
                }
            )
            session.add(row)
        return row

    return one


@pytest.fixture
def signed_in(app: Flask, make: Any) -> Any:
    """A function that signs a user or member in on the sample application."""
    return lambda who: make.sign_in(app.test_client(), who)
