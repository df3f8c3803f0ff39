"""The settings of an organisation: section by section, each field by its gate (chapter 1, "PATCH fields")."""

from __future__ import annotations

from typing import Any

from flask import current_app, flash, redirect, request, url_for
from flask_appbuilder import expose

from app.api.images import posted_file, store
from app.errors import DomainError, Invalid
from app.extensions import db
from app.models import Organization, OrgStatus, SizeBucket
from app.security import limits, matrix, uploads
from app.security.context import ctx
from app.services import images, org_fields, org_status, organizations
from app.services.tax import STATES

from . import winding
from .pages import OrgPage, page

SECTIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "profile": (
        "Profile",
        "What members and experts see.",
        ("name", "slug", "industry", "website", "size_bucket", "description", "is_public"),
    ),
    "branding": (
        "Branding",
        "Colours, logo and banner: on the tile, on the invitation page and in invitation mails.",
        ("primary_color", "secondary_color"),
    ),
    "tax": (
        "Tax identity",
        "Printed on every invoice. The GSTIN's first two digits decide the state.",
        (
            "gstin",
            "pan",
            "gst_state_code",
            "gst_reg_status",
            "hsn_default",
            "msme_status",
            "msme_agreement_on_file",
        ),
    ),
    "billing": (
        "Billing",
        "Where invoices and reminders go, and what they need.",
        ("billing_email", "payment_terms_days", "requires_po", "invoice_number_prefix"),
    ),
    "contacts": ("Contacts", "Whom the platform team calls.", ("contacts",)),
    "people": ("People", "Seats, and who may change members.", ("seats_total", "people_owner_only")),
    "policies": (
        "Policies",
        "Shown before a booking is confirmed, and how long data stays.",
        (
            "default_cancellation_policy",
            "default_refund_policy",
            "stream_recording_retention_days",
            "data_residency_region",
        ),
    ),
}
FLAGS = frozenset({"requires_po", "people_owner_only", "is_public", "msme_agreement_on_file"})
MENDED_AT = {
    "SLUG_TAKEN": "slug",
    "INVALID_GSTIN_FORMAT": "gstin",
    "INVALID_PAN_FORMAT": "pan",
    "GST_STATE_REQUIRED": "gst_state_code",
    "SEATS_BELOW_USAGE": "seats_total",
}
CAPABILITIES = {"sponsor": "can_sponsor", "host": "can_host"}


def size_words(bucket: SizeBucket) -> str:
    """A size as people read it."""
    return {
        "SMALL_1_50": "1 to 50 people",
        "MEDIUM_51_200": "51 to 200 people",
        "LARGE_201_1000": "201 to 1,000 people",
        "ENTERPRISE_1000_PLUS": "More than 1,000 people",
    }[bucket]


def _locked(row: Organization) -> frozenset[str]:
    """Fields that wait for verification."""
    return org_fields.VERIFIED_ONLY if row.status == OrgStatus.PENDING_VERIFICATION else frozenset()


def _editable(row: Organization) -> frozenset[str]:
    """Fields the reader may change now; none of a suspended organisation, none while support only looks."""
    if ctx().viewing:
        return frozenset()
    if not org_status.writable(row.status):
        return frozenset()
    return org_fields.editable(ctx().roles)


def _contacts() -> dict[str, Any]:
    return {
        kind: found
        for kind in org_fields.CONTACTS
        if any(
            (found := {f: request.form.get(f"{kind}_{f}", "") for f in ("name", "email", "phone")}).values()
        )
    }


def _seen_version() -> int | None:
    """The version of the organisation that the page showed."""
    version = request.form.get("version", "")
    return int(version) if version.isascii() and version.isdigit() and len(version) < 10 else None


def _on_file(row: Organization, name: str) -> str:
    """What a field says now, for somebody whose page showed an older state."""
    told = name not in ("pan", "contacts", *FLAGS) and getattr(row, name, None)
    now = f" It now says “{told}”." if told and len(str(told)) <= 80 else ""
    return f"Settings were changed after you opened this page.{now} Save again to put yours in place."


class SettingsPage(OrgPage):
    """Profile, branding, tax, billing, contacts, people, policies and what the organisation does."""

    route_base = "/dashboard/organization/<org_id>/settings"
    resource = "settings"

    @expose("")
    @expose("/")
    @page("settings")
    def index(self) -> Any:
        return self._page(organizations.current(db.session()))

    @expose("/<section>", methods=["POST"])
    @page("settings", "write")
    def save(self, section: str) -> Any:
        if section not in SECTIONS:
            raise DomainError("NOT_FOUND")
        row = organizations.current(db.session())
        open_fields = (set(SECTIONS[section][2]) & _editable(row)) - _locked(row)
        given: dict[str, Any] = {
            name: (name in request.form) if name in FLAGS else request.form.get(name, "")
            for name in open_fields
            if name in FLAGS or name in request.form
        }
        if "pan" in given and not given["pan"].strip() and "pan_remove" not in request.form:
            del given["pan"]  # never shown, so an empty field means: as it is
        if "contacts" in open_fields:
            given["contacts"] = _contacts()
        try:
            cleaned = org_fields.clean(given)
            values = {k: given[k] for k, v in cleaned.items() if k == "pan" or v != getattr(row, k)}
            row = organizations.update_organization(
                db.session(),
                values,
                expected_version=_seen_version() if values else None,
                allow_host=winding.hosting_on(),
                settings=current_app.config["SETTINGS"],
            )
        except Invalid as error:
            return self._again(section, error.fields, 400)
        except DomainError as error:
            if error.code == "VERSION_CONFLICT":
                return self._again(section, {name: [_on_file(row, name)] for name in values}, error.status)
            if error.code not in MENDED_AT:
                raise
            return self._again(section, {MENDED_AT[error.code]: [error.message]}, error.status)
        flash(
            f"{SECTIONS[section][0]} saved." if values else "Nothing to save: everything is as it was.",
            "success",
        )
        return redirect(f"/dashboard/organization/{row.slug}/settings#{section}")

    @expose("/images/<kind>", methods=["POST"])
    @uploads.limited(images.MAX_BYTES, "IMAGE_TOO_LARGE")
    @page("images", "write")
    def picture(self, kind: str) -> Any:
        """Upload the logo or the banner: what the page does where no script runs."""
        if kind not in images.COLUMNS:
            raise DomainError("NOT_FOUND")
        limits.hit("image-upload", str(ctx().user_id))
        images.set_image(db.session(), store(), kind, posted_file())
        flash(f"{kind.capitalize()} saved.", "success")
        return redirect(url_for("SettingsPage.index", _anchor="branding"))

    @expose("/images/<kind>/remove", methods=["POST"])
    @page("images", "write")
    def remove_picture(self, kind: str) -> Any:
        """Take the logo or the banner away."""
        if kind not in images.COLUMNS:
            raise DomainError("NOT_FOUND")
        images.remove_image(db.session(), kind)
        flash(f"{kind.capitalize()} removed.", "success")
        return redirect(url_for("SettingsPage.index", _anchor="branding"))

    @expose("/capability/<what>", methods=["POST"])
    @page("settings", "write")
    def capability(self, what: str) -> Any:
        """Start or stop sponsoring or hosting, against the version the page showed."""
        if what not in CAPABILITIES:
            raise DomainError("NOT_FOUND")
        wanted = request.form.get("on") == "y"
        row = organizations.update_organization(
            db.session(),
            {CAPABILITIES[what]: wanted},
            expected_version=_seen_version(),
            allow_host=winding.hosting_on(),
        )
        flash(f"{row.name} is now a {row.kind.lower()}.", "success")
        return redirect(url_for("SettingsPage.index"))

    def _again(self, section: str, problems: dict[str, list[str]], status: int) -> Any:
        db.session.rollback()
        return self._page(
            organizations.current(db.session()), problems, request.form.to_dict(), section
        ), status

    def _page(
        self,
        row: Organization,
        errors: dict[str, list[str]] | None = None,
        given: dict[str, Any] | None = None,
        section: str = "",
    ) -> str:
        return self.render(
            "organizations/settings.html",
            title="Settings",
            organization=row,
            address=images.address,
            sections=SECTIONS,
            errors=errors or {},
            given=given or {},
            failed=section,
            editable=_editable(row),
            locked=_locked(row),
            flags=FLAGS,
            options={
                "gst_state_code": [("", "Choose a state")]
                + [(code, f"{code} · {name}") for code, name in STATES.items()],
                "size_bucket": [("", "Not said")] + [(s.value, size_words(s)) for s in SizeBucket],
                "gst_reg_status": [("", "Not said")]
                + [(r, r.capitalize()) for r in org_fields.GST_REGISTRATION],
                "msme_status": [("", "Not registered")] + [(m, m.capitalize()) for m in org_fields.MSME],
                "data_residency_region": [("IN", "India"), ("EU", "European Union"), ("US", "United States")],
            },
            contacts=org_fields.CONTACTS,
            **winding.settings_parts(row),
            can_resubmit=matrix.can("write", "verification"),
        )
