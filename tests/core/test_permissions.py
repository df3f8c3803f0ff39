"""The matrix, role by role, against chapter 1, 1.5 written out a second time here."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy.orm import Session

from app.cli import roles
from app.security import matrix
from app.security.manager import grants

O, M, B, G, E, S, L = matrix.ORG_ROLES  # noqa: E741  (the chapter's letters)
ALL = set(matrix.ORG_ROLES)
OPS, OPS_READ, GOV, FIN_READ, FIN_WRITE = {O, M, G}, {O, M, G, S}, {O, M}, {O, M, B, G}, {O, B}
SPEC: dict[tuple[str, str], set[str]] = {
    ("organization", "read"): ALL,
    ("organization", "delete"): {O},
    ("settings", "read"): GOV,
    ("verification", "write"): GOV,
    ("images", "write"): GOV,
    ("members", "read"): OPS_READ,
    ("members", "write"): GOV,
    ("directory", "read"): ALL,
    ("spend-limit", "read"): FIN_READ,
    ("spend-limit", "write"): {O, M, B},
    ("leave", "write"): ALL,
    ("invitations", "read"): GOV,
    ("invitations", "write"): GOV,
    ("learners", "read"): OPS,
    ("experts", "read"): OPS,
    ("plans", "read"): OPS,
    ("plans", "write"): GOV,
    ("contracts", "read"): {O, M, B},
    ("contracts", "write"): {O},
    ("programs", "read"): ALL,
    ("programs", "write"): GOV,
    ("assignments", "write"): GOV,
    ("billing-account", "read"): FIN_READ,
    ("billing-account", "write"): FIN_WRITE,
    ("wallet", "read"): FIN_READ,
    ("wallet", "write"): FIN_WRITE,
    ("top-ups", "read"): FIN_READ,
    ("top-ups", "write"): FIN_WRITE,
    ("invoices", "read"): FIN_READ,
    ("invoices", "write"): FIN_WRITE,
    ("purchase-orders", "read"): FIN_READ,
    ("purchase-orders", "write"): FIN_WRITE,
    ("rate-cards", "write"): FIN_WRITE,
    ("payouts", "write"): FIN_WRITE,
    ("payout-account", "read"): FIN_READ,
    ("payout-account", "write"): {O},
    ("earnings", "read"): FIN_READ,
    ("reimbursements", "read"): FIN_READ,
    ("disputes", "read"): FIN_READ,
    ("sso", "read"): OPS,
    ("sso", "write"): {O},
    ("domain-claims", "read"): OPS,
    ("domain-claims", "write"): {O},
    ("scim", "read"): FIN_READ,
    ("scim", "write"): {O},
    ("webhooks", "read"): FIN_READ,
    ("webhooks", "write"): FIN_WRITE,
    ("webhooks", "delete"): {O},
    ("webhooks", "rotate"): {O},
    ("data-exports", "read"): FIN_READ,
    ("data-exports", "write"): FIN_WRITE,
    ("data-exports", "download"): FIN_WRITE,
    ("appointments", "read"): OPS_READ,
    ("trials", "read"): OPS_READ,
    ("waitlist", "read"): OPS_READ,
    ("recordings", "read"): OPS_READ,
    ("documents", "read"): OPS_READ,
    ("calls", "read"): OPS,
    ("analytics", "read"): OPS_READ | {B},
    ("activity", "read"): OPS,
    ("hierarchy", "read"): OPS,
    ("hierarchy", "write"): {O},
    ("group", "read"): FIN_WRITE,
    ("audit", "read"): OPS_READ,
    ("audit", "export"): GOV,
    ("consent", "read"): OPS,
    ("consent", "write"): OPS,
    ("hris", "read"): OPS,
    ("hris", "write"): {O},
    ("checkout-preview", "read"): ALL,
}


@pytest.mark.parametrize("role", matrix.ORG_ROLES)
def test_matrix_matches_the_chapter(role):
    for (resource, verb), holders in SPEC.items():
        assert matrix.allowed([role], resource, verb) == (role in holders), f"{role} {verb} {resource}"


def test_staff_has_no_bypass_and_admin_acts_as_owner():
    for resource, verbs in matrix.MATRIX.items():
        for verb in verbs:
            if resource not in matrix.PLATFORM_RESOURCES:
                assert not matrix.allowed([matrix.STAFF], resource, verb), f"STAFF {verb} {resource}"
            if matrix.allowed([O], resource, verb):
                assert matrix.allowed([matrix.ADMIN], resource, verb)


def test_organisation_roles_never_open_platform_rooms():
    for resource, role in itertools.product(matrix.PLATFORM_RESOURCES, matrix.ORG_ROLES):
        assert not any(matrix.allowed([role], resource, verb) for verb in matrix.MATRIX[resource])


def test_financial_write_is_a_set_and_not_a_rank():
    assert matrix.allowed([B], "wallet", "write") and not matrix.allowed([M], "wallet", "write")
    assert matrix.refusal_code("wallet", "write") == "BILLING_ADMIN_OR_OWNER_REQUIRED"
    assert matrix.refusal_code("contracts", "write") == "OWNER_REQUIRED"
    assert matrix.refusal_code("members", "write") == "INSUFFICIENT_ROLE"


def test_unknown_pairs_are_refused():
    assert not matrix.allowed(matrix.ORG_ROLES, "nothing", "read") and not matrix.allowed(
        [O], "wallet", "nothing"
    )
    assert not matrix.allowed([matrix.ADMIN], "nothing", "read")


def test_roles_sync_makes_the_database_equal_in_both_directions(app, web_engine):
    from flask_appbuilder.security.sqla.models import Role

    with app.app_context(), Session(web_engine) as s:
        roles.sync(s)
        assert not roles.compare(s)
        s.add(Role(name="Intruder"))
        s.flush()
        assert roles.compare(s).surplus == ["Intruder"]
        roles.sync(s)
        assert not roles.compare(s)
        assert sum(len(g) for g in grants().values()) > 200
        s.rollback()


def test_the_generated_page_is_current():
    assert roles.DOC.read_text(encoding="utf-8") == roles.document()
