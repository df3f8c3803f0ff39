"""Organisations over REST: creation, the organisation itself, its verification (chapter 1, 1.2)."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, g, request
from flask_appbuilder.api import expose
from marshmallow import Schema, fields, validate
from sqlalchemy import select

from app.extensions import db
from app.models import BillingAccount, Organization, OrgRole
from app.security import matrix
from app.security.context import ctx
from app.services import images, organizations
from app.services.invitations import NewInvitation

from .http import Api, gate, idempotent, ok, payload, signed_in

TRIMMED = ("name", "slug", "description", "industry", "website", "primary_color", "secondary_color")
SHOWN = (
    "name",
    "slug",
    "description",
    "industry",
    "website",
    "size_bucket",
    "can_sponsor",
    "can_host",
    "version",
    "verification_reason",
    "primary_color",
    "secondary_color",
    "logo",
    "banner_image",
    "is_public",
    "billing_email",
    "contacts",
    "payment_terms_days",
    "requires_po",
    "invoice_number_prefix",
    "seats_total",
    "seats_used",
    "gstin",
    "pan_last4",
    "gst_state_code",
    "gst_reg_status",
    "hsn_default",
    "msme_status",
    "msme_agreement_on_file",
    "default_cancellation_policy",
    "default_refund_policy",
    "data_residency_region",
    "stream_recording_retention_days",
    "people_owner_only",
)
OPERATORS = frozenset({"OWNER", "MAINTAINER", "BILLING_ADMIN", "MANAGER", "ADMIN"})


class InviteSchema(Schema):
    email = fields.String(required=True, validate=validate.Length(1, 320))
    role = fields.Enum(OrgRole, required=True, by_value=True)
    department_label = fields.String(load_default=None, allow_none=True, validate=validate.Length(max=100))


class OrganizationSchema(Schema):
    """Types only: what the values may be is decided in app/services/org_fields.py."""

    name = fields.String()
    slug = fields.String(validate=validate.Length(max=200))
    description = fields.String(allow_none=True)
    industry = fields.String(allow_none=True)
    website = fields.String(allow_none=True)
    size_bucket = fields.String(allow_none=True)
    can_sponsor = fields.Boolean()
    can_host = fields.Boolean()
    primary_color = fields.String(allow_none=True)
    secondary_color = fields.String(allow_none=True)
    is_public = fields.Boolean()
    billing_email = fields.String(allow_none=True)
    contacts = fields.Dict(keys=fields.String())
    payment_terms_days = fields.Integer(strict=True)
    requires_po = fields.Boolean()
    invoice_number_prefix = fields.String(allow_none=True)
    seats_total = fields.Integer(strict=True, allow_none=True)
    gstin = fields.String(allow_none=True)
    pan = fields.String(allow_none=True, load_only=True, validate=validate.Length(max=40))
    gst_state_code = fields.String(allow_none=True)
    gst_reg_status = fields.String(allow_none=True)
    hsn_default = fields.String(allow_none=True)
    msme_status = fields.String(allow_none=True)
    msme_agreement_on_file = fields.Boolean()
    default_cancellation_policy = fields.String(allow_none=True)
    default_refund_policy = fields.String(allow_none=True)
    data_residency_region = fields.String()
    stream_recording_retention_days = fields.Integer(strict=True)
    people_owner_only = fields.Boolean()


class PatchSchema(OrganizationSchema):
    expected_version = fields.Integer(strict=True)


class RateCardSchema(Schema):
    platform_bps = fields.Integer(strict=True, required=True)
    org_bps = fields.Integer(strict=True, required=True)
    consultant_bps = fields.Integer(strict=True, required=True)


class CreateSchema(OrganizationSchema):
    name = fields.String(required=True)
    rate_card = fields.Nested(RateCardSchema)
    funding_source = fields.String(allow_none=True)
    invitations = fields.List(fields.Nested(InviteSchema), validate=validate.Length(max=200))


def allow_host() -> bool:
    """The flag ENABLE_HOST_ORGS."""
    return bool(current_app.config["SETTINGS"].enable_host_orgs)


def organization_view(
    row: Organization, *, trimmed: bool = False, account: BillingAccount | None = None
) -> dict[str, Any]:
    """An organisation as REST shows it; E, S and L see the trimmed form (chapter 1, 1.5)."""
    view: dict[str, Any] = {
        "id": str(row.public_id),
        "kind": row.kind,
        "status": str(row.status),
        "created_at": row.created_at.isoformat(),
    }
    view.update({name: getattr(row, name) for name in (TRIMMED if trimmed else SHOWN)})
    for name in ("logo", "banner_image"):
        view[name] = images.address(getattr(row, name))
    if not trimmed:
        for name in (
            "verification_submitted_at",
            "verification_rejected_at",
            "verification_info_requested_at",
        ):
            value = getattr(row, name)
            view[name] = value.isoformat() if value else None
        view["billing_account"] = (
            {
                "id": str(account.public_id),
                "funding_source": str(account.funding_source),
                "wallet_balance_paise": account.wallet_balance_paise,
            }
            if account
            else None
        )
    return view


class OrganizationsApi(Api):
    """Create organisations; list one's own."""

    route_base = "/api/organizations"
    resource_name = "organizations"
    openapi_spec_tag = "Organisations"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @signed_in
    def mine(self) -> Any:
        """My organisations
        ---
        get:
          summary: Organisations of the signed-in person, by rank and slug
          responses:
            200:
              description: organizations
        """
        return ok(
            {
                "organizations": [
                    {
                        "id": m["public_id"],
                        "name": m["name"],
                        "slug": m["slug"],
                        "status": m["status"],
                        "role": m["role"],
                        "can_sponsor": m["can_sponsor"],
                        "can_host": m["can_host"],
                        "funding_source": m["funding_source"],
                    }
                    for m in g.memberships
                ]
            }
        )

    @expose("", methods=["POST"])
    @expose("/", methods=["POST"])
    @signed_in
    def create(self) -> Any:
        """Create an organisation
        ---
        post:
          summary: Create an organisation; its creator becomes OWNER. An Idempotency-Key makes a repetition harmless
          requestBody:
            required: true
            content:
              application/json:
                schema:
                  type: object
                  required: [name]
                  properties:
                    name: {type: string}
                    slug: {type: string}
                    can_sponsor: {type: boolean}
                    can_host: {type: boolean}
                    funding_source: {type: string, enum: [PERSONAL, WALLET, INVOICE, LICENSE]}
                    gst_state_code: {type: string}
                    gstin: {type: string}
                    rate_card:
                      type: object
                      description: Shares of a hosting organisation in basis points; together 10000
                      properties:
                        platform_bps: {type: integer, minimum: 1000}
                        org_bps: {type: integer}
                        consultant_bps: {type: integer}
          responses:
            201:
              description: organization, billing_account_id, membership, org_workspace_profile_id
            200:
              description: The stored answer of the same Idempotency-Key
            400:
              description: VALIDATION_FAILED, HOST_ORGS_GATED, INERT_ORG, GST_STATE_REQUIRED, INVALID_GSTIN_FORMAT, INVALID_PAN_FORMAT, RATE_CARD_BPS_SUM, RATE_CARD_PLATFORM_MINIMUM
            403:
              description: ORG_LIMIT_REACHED, ONBOARDING_REQUIRED, DOMAIN_VERIFICATION_REQUIRED
            409:
              description: SLUG_TAKEN
        """
        body = payload(CreateSchema)

        def work() -> tuple[int, dict[str, Any]]:
            values = dict(body)
            invite = [NewInvitation(**one) for one in values.pop("invitations", [])]
            made = organizations.create_organization(
                db.session(),
                values,
                invite=invite,
                allow_host=allow_host(),
                settings=current_app.config["SETTINGS"],
                funding_source=values.pop("funding_source", None),
                rate_card=values.pop("rate_card", None),
            )
            return 201, created_view(made)

        if not request.headers.get("Idempotency-Key"):
            status, answer = work()
            return ok(answer, status)
        return idempotent(f"user:{ctx().user_id}:organizations", body, work)


def created_view(made: organizations.Created) -> dict[str, Any]:
    """What a Launch answers; links of invitations are only mailed."""
    return {
        "organization": organization_view(made.organization, account=made.account),
        "billing_account_id": str(made.billing_account_id) if made.billing_account_id else None,
        "membership": {
            "id": str(made.membership.public_id),
            "role": str(made.membership.role),
            "status": str(made.membership.status),
        },
        "org_workspace_profile_id": str(made.org_workspace_profile_id),
        "invitations": [
            {"id": str(s.invitation.public_id), "email": s.invitation.email, "role": str(s.invitation.role)}
            for s in made.invitations
        ],
    }


class OrganizationApi(Api):
    """One organisation."""

    route_base = "/api/organizations/<org_id>"
    resource_name = "organization"
    openapi_spec_tag = "Organisations"

    @expose("", methods=["GET"])
    @expose("/", methods=["GET"])
    @gate("organization", "read")
    def show(self) -> Any:
        """The organisation
        ---
        get:
          summary: The organisation; experts, support and learners see a trimmed form
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}, description: slug or id}
          responses:
            200:
              description: organization
            403:
              description: NOT_A_MEMBER, MEMBERSHIP_SUSPENDED, ORG_DEACTIVATED
        """
        row = organizations.current(db.session())
        return ok({"organization": self._view(row), "role": ctx().role})

    @expose("", methods=["PATCH"])
    @expose("/", methods=["PATCH"])
    @gate("organization", "write")
    def change(self) -> Any:
        """Change fields
        ---
        patch:
          summary: Change fields your role may change; one forbidden field rejects the whole request
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          responses:
            200:
              description: organization
            400:
              description: VALIDATION_FAILED, HOST_ORGS_GATED, GST_STATE_REQUIRED, INVALID_GSTIN_FORMAT, INVALID_PAN_FORMAT
            403:
              description: FIELD_RBAC_FORBIDDEN with fields
            409:
              description: ORG_NOT_VERIFIED, ORG_NOT_ACTIVE, INERT_ORG, VERSION_CONFLICT, SLUG_TAKEN, SEATS_BELOW_USAGE
        """
        values = payload(PatchSchema)
        version = values.pop("expected_version", None)
        row = organizations.update_organization(
            db.session(),
            values,
            expected_version=version,
            allow_host=allow_host(),
            settings=current_app.config["SETTINGS"],
        )
        return ok({"organization": self._view(row)})

    def _view(self, row: Organization) -> dict[str, Any]:
        trimmed = not ctx().roles & OPERATORS
        finance = matrix.can("read", "billing-account")
        account = db.session.scalars(select(BillingAccount)).one_or_none() if finance else None
        return organization_view(row, trimmed=trimmed, account=account)


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resources."""
    from .members import MembersApi
    from .org_lifecycle import OrganizationLifecycleApi
    from .platform_notes import PlatformNotesApi
    from .platform_organizations import IsolationApi, PlatformOrganizationsApi

    for resource in (OrganizationsApi, OrganizationApi, OrganizationLifecycleApi, MembersApi):
        appbuilder.add_api(resource)
    for resource in (PlatformOrganizationsApi, PlatformNotesApi, IsolationApi):
        appbuilder.add_api(resource)
