"""Domain errors and their one registry of human copy (design rule 10, chapter 3, 3.11).

``raise DomainError("SLUG_TAKEN", slug=slug)``: the registry gives the HTTP status and the sentence people read; keyword
arguments become ``details``. A test fails for a raised code that has no copy.
"""

from __future__ import annotations

from typing import Any

# code: (HTTP status, what happened and what to do next)
REGISTRY: dict[str, tuple[int, str]] = {
    # 400
    "VALIDATION_FAILED": (400, "Some fields need your attention."),
    "HOST_ORGS_GATED": (
        400,
        "Hosting experts is not switched on here yet. Create a sponsoring organisation, or ask the platform team to enable hosting.",
    ),
    "INERT_ORG": (400, "An organisation must sponsor or host. Choose at least one."),
    "EXPERT_REQUIRES_CANHOST": (400, "Experts can only join an organisation that hosts."),
    "LEARNER_REQUIRES_CANSPONSOR": (400, "Learners can only join an organisation that sponsors."),
    "GST_STATE_REQUIRED": (400, "Indian sponsors need a GST state. Choose the state, or enter a GSTIN."),
    "INVALID_PAN_FORMAT": (
        400,
        "This PAN is not valid. It has five letters, four digits and a letter, as on the card.",
    ),
    "INVALID_GSTIN_FORMAT": (
        400,
        "This GSTIN is not valid. Check the 15 characters against the certificate.",
    ),
    "IMAGE_TYPE_INVALID": (400, "This is not a JPEG, PNG or WebP image that can be read."),
    "DEFAULT_LANDING_ORG_INVALID": (400, "Choose an organisation that you own and that is active."),
    "RATE_CARD_BPS_SUM": (400, "The three shares must add up to 100 %."),
    "RATE_CARD_PLATFORM_MINIMUM": (400, "The platform's share is at least 10 %."),
    "INVALID_SCOPE": (400, "The scope must be personal, all or org:<id>."),
    "NOT_A_CONSULTANT": (400, "This person has no expert profile yet. Invite them as an expert instead."),
    "UNREACHABLE_FUNDING_PATH": (
        400,
        "This program type does not work with the organisation's funding source.",
    ),
    "PROGRAM_TYPE_NOT_AVAILABLE": (400, "This program type is reserved and cannot be created yet."),
    "LICENSE_ECONOMICS_REQUIRED": (
        400,
        "A licence needs its fee first. Licence terms cannot be entered yet.",
    ),
    "AUTO_TOP_UP_INCOMPLETE": (400, "Automatic top-up needs a minimum balance and an amount."),
    "INVALID_OVERAGE_CONFIG": (400, "The overage settings contradict each other."),
    "WEBHOOK_SIGNATURE_INVALID": (400, "The webhook's signature does not match."),
    "IDEMPOTENCY_KEY_REQUIRED": (
        400,
        "Send an Idempotency-Key header, so that a repeated request is charged once.",
    ),
    "DISCOUNT_INVALID": (400, "This discount code cannot be used here."),
    "SCIM_ROLE_NOT_ALLOWED": (400, "A directory's group never makes owners. Choose another role."),
    "CSRF_FAILED": (400, "This form has expired. Reload the page and try again."),
    "BAD_REQUEST": (400, "The request could not be read."),
    "INVALID_DEFAULT_ROLE": (
        400,
        "People who join by single sign-on become learners; no other role is possible.",
    ),
    "INVALID_X509_CERT": (
        400,
        "This certificate cannot be used. Paste the PEM text of a certificate that is not expired, RSA from 2048 bits.",
    ),
    "SAML_METADATA_INVALID": (400, "This is not the metadata of a SAML identity provider that can be read."),
    "PROVIDERID_RESERVED": (400, "This identifier is reserved. Choose another, such as your company's name."),
    "PUBLIC_DOMAIN": (
        400,
        "Everybody can have an address there. Claim a domain that belongs to your organisation.",
    ),
    "WEBHOOK_URL_BLOCKED": (400, "This address cannot be called. Use a public https address on port 443."),
    # 401
    "UNAUTHENTICATED": (401, "Please sign in to continue."),
    "INVALID_CREDENTIALS": (401, "E-mail or password is wrong. Try again, or reset your password."),
    "SESSION_REVOKED": (401, "You have been signed out. Please sign in again."),
    "SCIM_TOKEN_INVALID": (401, "This token is not valid: unknown, expired or revoked."),
    "API_KEY_INVALID": (401, "This API key is not valid: unknown, expired, revoked, or its owner left."),
    # 402
    "WALLET_INSUFFICIENT_FUNDS": (
        402,
        "The organisation's wallet does not hold enough credits. Ask a finance lead to top it up.",
    ),
    "CREDIT_LIMIT_EXCEEDED": (402, "This booking would exceed the organisation's credit limit."),
    "PROGRAM_SESSION_CAP_REACHED": (402, "Your allowance in this program is used up."),
    "PROGRAM_CAP_EXHAUSTED": (402, "The program's overage ceiling is reached."),
    "MEMBER_OVERAGE_UNPAID": (
        402,
        "An earlier overage of yours was not paid in time. Pay it, then book again.",
    ),
    "BILLING_SUSPENDED_DUNNING": (402, "Billing is suspended until overdue invoices are paid."),
    # 403
    "NOT_A_MEMBER": (403, "You are not a member of this organisation."),
    "MEMBERSHIP_SUSPENDED": (403, "Your membership is suspended. Ask an owner of the organisation."),
    "ORG_DEACTIVATED": (403, "This organisation has been deactivated."),
    "INSUFFICIENT_ROLE": (403, "Your role does not include this. Ask an owner of the organisation."),
    "OWNER_REQUIRED": (403, "Only an owner can do this."),
    "BILLING_ADMIN_OR_OWNER_REQUIRED": (403, "Only an owner or a billing administrator can do this."),
    "ROLE_REQUIRES_OWNER": (403, "Only an owner can grant or change this role."),
    "FIELD_RBAC_FORBIDDEN": (403, "Your role may not change some of these fields."),
    "SELF_CHANGE": (403, "You cannot change your own role or status."),
    "SEAT_LIMIT_REACHED": (403, "All seats are taken. Free one or raise the number of seats."),
    "DOMAIN_VERIFICATION_REQUIRED": (
        403,
        "Verify a domain first: without one an organisation may have five people.",
    ),
    "ORG_LIMIT_REACHED": (403, "You already own five organisations, the most one person may own."),
    "INVITATION_EMAIL_MISMATCH": (
        403,
        "This invitation was sent to another address. Sign in with that address.",
    ),
    "ORG_NOT_ACCEPTING_MEMBERS": (403, "This organisation does not accept members at the moment."),
    "ORG_MEMBERSHIP_REQUIRED": (403, "You are not a member of this organisation."),
    "ALL_REQUIRES_PRIVILEGED_ROLE": (403, "Only an administrator may look at all organisations at once."),
    "ONBOARDING_REQUIRED": (403, "Complete your profile before you create an organisation."),
    "CONFIRMATION_REQUIRED": (403, "Confirm that it is you first: enter your password again."),
    "SUPPORT_ACCESS_READ_ONLY": (403, "Support access only looks: nothing can be changed or exported."),
    "API_KEY_NOT_ALLOWED": (403, "An API key cannot be used here."),
    "API_KEY_READ_ONLY": (403, "This API key only reads."),
    "FORBIDDEN": (403, "You do not have access to this."),
    "SSO_REQUIRED": (403, "Your organisation signs you in. Continue with single sign-on."),
    "SSO_EMAIL_DOMAIN_MISMATCH": (
        403,
        "Your identity provider named an address outside your organisation's domains. Ask your IT department.",
    ),
    "SSO_EMAIL_NOT_VERIFIED": (
        403,
        "Your identity provider has not verified your e-mail address. Verify it there, then sign in again.",
    ),
    "SSO_HOSTED_DOMAIN_MISMATCH": (
        403,
        "This Google account does not belong to your organisation's Workspace. Choose your work account.",
    ),
    "SSO_ACCOUNT_ALREADY_LINKED": (
        403,
        "Your account is linked to another person of this identity provider. Ask an owner of your organisation.",
    ),
    "SSO_PLATFORM_ACCOUNT": (403, "Accounts of the platform's own team sign in with their password."),
    "SSO_ACCOUNT_CLOSED": (403, "This account is closed. Ask an owner of your organisation."),
    "SSO_IDP_REFUSED": (
        403,
        "Your identity provider did not sign you in. Try again, or ask your IT department.",
    ),
    "SSO_STATE_EXPIRED": (403, "This sign-in took too long or began in another browser. Please start again."),
    "SAML_ASSERTION_INVALID": (
        403,
        "The answer of your identity provider could not be trusted. Please sign in again.",
    ),
    "SAML_REPLAY": (403, "This sign-in was used already. Please sign in again."),
    "OIDC_RESPONSE_INVALID": (
        403,
        "The answer of your identity provider could not be trusted. Please sign in again.",
    ),
    "IDP_INITIATED_DISABLED": (
        403,
        "Start from our sign-in page: your organisation does not allow the shortcut.",
    ),
    # 404
    "NOT_FOUND": (404, "We could not find that. It may have been removed, or it belongs to someone else."),
    "INVITATION_NOT_FOUND": (
        404,
        "This invitation does not exist or its link has been replaced by a newer one.",
    ),
    "MEMBER_NOT_FOUND": (404, "No such member in this organisation."),
    "USER_NOT_FOUND": (404, "Nobody with this address has an account yet. Send an invitation instead."),
    "SSO_NOT_ENFORCED": (404, "Single sign-on is not enforced here, so there is nothing to open."),
    # 405
    "METHOD_NOT_ALLOWED": (405, "This address does not support that method."),
    "BULK_REMOVAL_NOT_SUPPORTED": (
        405,
        "Members are removed one by one, so that nobody is removed by accident.",
    ),
    # 409
    "EMAIL_TAKEN": (409, "An account with this e-mail address already exists. Sign in instead."),
    "SLUG_TAKEN": (409, "This address is already taken. Choose another short name."),
    "VERSION_CONFLICT": (409, "Someone changed this in the meantime. Reload and try again."),
    "CONFLICT": (409, "This conflicts with something that already exists."),
    "ORG_NOT_VERIFIED": (
        409,
        "The organisation is not verified yet. This opens as soon as verification is complete.",
    ),
    "ORG_NOT_ACTIVE": (409, "The organisation is suspended and read-only."),
    "ILLEGAL_TRANSITION": (409, "This is not possible in the current state. Reload to see what changed."),
    "NOTHING_TO_RESUBMIT": (409, "There is no rejected verification to resubmit."),
    "NOTHING_TO_ANSWER": (409, "There is no open question: it was answered already, or nobody asked."),
    "NOTE_LIMIT_REACHED": (409, "Enough notes are pinned. Take one off first."),
    "WIND_DOWN_REQUIRED": (
        409,
        "Something is still open. Settle it first, then delete the organisation.",
    ),
    "SPONSOR_CAPABILITY_REQUIRED": (409, "This organisation does not sponsor learners."),
    "HOST_CAPABILITY_REQUIRED": (409, "This organisation does not host experts."),
    "HIERARCHY_CYCLE": (
        409,
        "An organisation cannot stand below itself. Choose a parent outside its own group.",
    ),
    "HIERARCHY_TOO_DEEP": (409, "A group has at most five levels. Choose a parent further up."),
    "ALREADY_MEMBER": (409, "This person is already a member."),
    "LAST_OWNER": (409, "An organisation needs at least one owner. Name another owner first."),
    "WALLET_NOT_EMPTY": (409, "The wallet still holds credits. Spend them or have them refunded first."),
    "CANSPONSOR_WINDDOWN_REQUIRED": (
        409,
        "Sponsoring ends once its live assignments and invoices are settled.",
    ),
    "CANHOST_WINDDOWN_REQUIRED": (
        409,
        "Hosting ends once its experts have left and their earnings are settled.",
    ),
    "SEATS_BELOW_USAGE": (
        409,
        "More seats are in use than that. Free seats first, or choose a higher number.",
    ),
    "ROLE_TRANSITION_BLOCKED": (409, "A learner cannot become an expert here, nor an expert a learner."),
    "REMOVE_AND_REINVITE": (
        409,
        "This member has bookings here. Remove and invite them again to change the role.",
    ),
    "MEMBER_HAS_OBLIGATIONS": (409, "This member still has open sessions, seats or earnings here."),
    "REQUEST_ALREADY_PENDING": (409, "You have asked for this already. An answer is on its way."),
    "REQUEST_NOT_PENDING": (409, "This request has already been answered or withdrawn."),
    "INVITATION_NOT_PENDING": (409, "This invitation has already been answered or withdrawn."),
    "FUNDING_SOURCE_MISMATCH": (409, "This does not fit the organisation's funding source."),
    "WALLET_FROZEN": (
        409,
        "Wallet spending is frozen while a difference is investigated. Top-ups still arrive.",
    ),
    "WALLET_BALANCE_TOO_LOW": (409, "The wallet balance does not cover this."),
    "SECOND_ADMIN_REQUIRED": (
        409,
        "An adjustment is posted by another administrator than the one who proposed it.",
    ),
    "MANDATE_REQUIRED": (409, "Automatic top-up needs a mandate that the bank has confirmed."),
    "PO_REQUIRED": (409, "This organisation requires an active purchase order first."),
    "PO_NUMBER_TAKEN": (409, "This purchase order number is in use already. Choose another."),
    "PO_BELOW_DRAWN": (409, "Invoices have drawn more than that already. Enter a higher total."),
    "PO_BALANCE_EXCEEDED": (409, "The purchase order does not hold enough for this invoice."),
    "PO_CURRENCY_MISMATCH": (409, "The purchase order is in another currency."),
    "PO_NOT_ACTIVE": (409, "The purchase order is closed, cancelled or past its date."),
    "PO_REFERENCED": (409, "Invoices or contracts name this purchase order. Cancel it instead."),
    "INVOICE_NOT_PAYABLE": (409, "This invoice cannot be paid: it is a draft, void, or settled already."),
    "NOTHING_TO_BILL": (409, "There is nothing to bill: every booking stands on an invoice already."),
    "FX_RATE_MISSING": (
        409,
        "There is no exchange rate of the last seven days. The platform team enters it.",
    ),
    "UTR_ALREADY_RECORDED": (409, "This bank reference was recorded already. Check the earlier receipt."),
    "IRP_CANCEL_FIRST": (
        409,
        "This invoice is registered at the portal. Its registration is cancelled first.",
    ),
    "IRP_CANCEL_WINDOW_CLOSED": (
        409,
        "The portal takes back a document within 24 hours only. Write a credit note instead.",
    ),
    "IRP_REJECTED": (409, "The Invoice Registration Portal refused this."),
    "FUNDING_CHANGE_NOT_PENDING": (409, "No change of the funding source is scheduled."),
    "CONTRACT_ALREADY_ACTIVE": (
        409,
        "Another contract of this organisation is active. End or supersede it first.",
    ),
    "CONTRACT_NOT_ACTIVE": (409, "The contract is not active."),
    "CONTRACT_ALREADY_SUPERSEDED": (409, "Another contract has taken this one's place already."),
    "CONTRACT_HAS_LIVE_ASSIGNMENTS": (
        409,
        "Members still hold places under this contract. Cancel them first.",
    ),
    "CONTRACT_HAS_OUTSTANDING_INVOICES": (
        409,
        "Invoices of this contract are not paid yet. Settle or void them first.",
    ),
    "CONTRACT_NOT_DELETABLE": (409, "Only a draft without programs can be deleted."),
    "CONTRACT_TERMS_LOCKED": (409, "A signed contract's terms are locked. Supersede it to change them."),
    "PROGRAM_COVERAGE_OVERLAP": (409, "Another active program already covers these bookings."),
    "PROGRAM_CONFIG_LOCKED": (
        409,
        "Members hold places in this program, so its figures are locked. Supersede it to change them.",
    ),
    "PROGRAM_HAS_ACTIVE_ASSIGNMENTS": (409, "Members still hold places in this program. Cancel them first."),
    "EXPERT_NOT_ON_PANEL": (
        409,
        "Your program covers other experts. Choose one of its panel, or pay yourself.",
    ),
    "ASSIGNMENT_OVERLAP": (409, "This member is already assigned in that period."),
    "ASSIGNMENT_NOT_ACTIVE": (409, "This assignment is not active."),
    "MEMBERSHIP_NOT_ACTIVE": (409, "The member is not active."),
    "MEMBER_SPEND_LIMIT_EXCEEDED": (409, "This booking would exceed your monthly spend limit."),
    "SLOT_TAKEN": (409, "Someone else has just booked this time. Pick another slot."),
    "SLOT_UNAVAILABLE": (409, "The expert is not available at this time. Pick another slot."),
    "LEARNER_DOUBLE_BOOKED": (409, "You already have an appointment at this time."),
    "EVENT_NOT_OPEN": (409, "This is not open for booking."),
    "EVENT_FULL": (409, "All seats are taken. Join the waitlist to hear when one is free."),
    "REFERRAL_NOT_POSSIBLE": (409, "This works once, before your first paid booking."),
    "WAITLIST_NOT_NEEDED": (409, "There is a free seat: book it."),
    "ALREADY_REGISTERED": (409, "You have a seat at this event already."),
    "TRIAL_ALREADY_USED": (409, "You have had a trial with this expert, or one is under way."),
    "EXPERT_NOT_BOOKABLE": (409, "This expert cannot be booked at the moment."),
    "SELF_BOOKING_FORBIDDEN": (409, "You cannot book yourself."),
    "PROGRAM_ASSIGNMENT_INACTIVE": (
        409,
        "You have no active program that covers this booking. Ask your organisation, or pay yourself.",
    ),
    "PAYER_NOT_AVAILABLE": (409, "This way of paying is not available yet. Choose another payer."),
    "IDEMPOTENCY_KEY_REUSED": (409, "This Idempotency-Key was used for a different request."),
    "IDEMPOTENT_REPLAY_TERMINAL": (
        409,
        "The earlier attempt under this key has ended. Start again with a new key.",
    ),
    "CHECKOUT_CONTENTION": (409, "Too many people are booking at once. Please try again."),
    "WALLET_NOT_ALLOWED_FOR_ECO": (409, "A wallet cannot pay for services sold by a host directly."),
    "CHAT_CLOSED": (409, "The other person no longer takes part in this conversation."),
    "SUPPORT_ACCESS_OPEN": (409, "You are looking at an organisation already. End that access first."),
    "SCIM_GROUP_DUPLICATE": (409, "A group of this name is mapped already, in whatever case it is written."),
    "TOKEN_LIMIT_REACHED": (409, "Five tokens are active, as many as there may be. Revoke one first."),
    "API_KEY_LIMIT_REACHED": (409, "The organisation has as many API keys as it may. Revoke one first."),
    "JOB_RUNNING": (409, "This job is already running."),
    "LEDGER_KEY_REUSED": (409, "This posting key was used for different legs."),
    "DOMAIN_ALREADY_CLAIMED": (409, "Another organisation has verified this domain."),
    "DOMAIN_ALREADY_REGISTERED": (409, "Another identity provider signs in this domain already."),
    "PROVIDERID_TAKEN": (409, "This identifier is in use. Choose another."),
    "SSO_NOT_PROVEN": (409, "Complete a test sign-in first, so that nobody is locked out."),
    "LAST_PROVIDER_GUARD": (
        409,
        "Single sign-on is enforced and this is its last way in. Stop enforcing it first.",
    ),
    "LAST_DOMAIN_GUARD": (409, "Single sign-on is enforced on this domain. Stop enforcing it first."),
    # 410, 413, 415, 429
    "INVITATION_EXPIRED": (410, "This invitation has expired. Ask for a new one."),
    "USER_ERASED": (410, "This person's data has been erased."),
    "LINK_EXPIRED": (410, "This link has expired or was used already. Request a new one."),
    "IMAGE_TOO_LARGE": (413, "This image is too large. At most 5 MB and 40 megapixels."),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Send application/scim+json or application/json."),
    "PAYLOAD_TOO_LARGE": (413, "This is larger than allowed."),
    "UPLOAD_TOO_LARGE": (413, "The file is larger than allowed."),
    "UPLOAD_TYPE_NOT_ALLOWED": (415, "This type of file is not accepted."),
    "RATE_LIMITED": (429, "Too many attempts. Wait a little and try again."),
    # 422
    "DOMAIN_NOT_OWNED": (422, "Your organisation has not claimed this domain."),
    "DOMAIN_NOT_VERIFIED": (422, "This domain is claimed but not verified yet. Verify it first."),
    "DNS_VERIFICATION_FAILED": (
        422,
        "The TXT record was not found, or holds something else. DNS changes can take an hour; try again then.",
    ),
    "OIDC_DISCOVERY_FAILED": (422, "The provider's discovery document could not be read or does not fit."),
    "SSO_PROVIDER_MISCONFIGURED": (
        422,
        "Your organisation's single sign-on is set up wrongly. Tell an owner or your IT department.",
    ),
    # 5xx
    "SSO_ENCRYPTION_KEY_MISSING": (
        500,
        "This installation has no key to keep secrets with. Tell whoever runs it; nothing was saved.",
    ),
    "DNS_RESOLVE_ERROR": (
        502,
        "The domain's name servers did not answer. Please try again in a few minutes.",
    ),
    "INTERNAL_ERROR": (500, "Something went wrong on our side. Nothing was changed; please try again."),
    "PAYMENT_NOT_REFUNDABLE": (409, "Only a payment that succeeded can be refunded."),
    "REFUND_EXCEEDS_BALANCE": (409, "That is more than is left to refund of this payment."),
    "REFUND_WINDOW_CLOSED": (409, "Cards take refunds for 180 days; this payment is older."),
    "EARNINGS_PAID_OUT": (
        409,
        "The expert's share was paid out already. An administrator may force the refund.",
    ),
    "NOT_IMPLEMENTED": (501, "This is not offered here."),
    "GATEWAY_ERROR": (502, "The payment provider answered with an error. Nothing was charged."),
    "GATEWAY_UNAVAILABLE": (
        503,
        "The payment provider does not answer at the moment. Try again with the same request.",
    ),
    "GATEWAY_NOT_CONFIGURED": (503, "This payment provider is not set up."),
    "IRP_UNAVAILABLE": (503, "The Invoice Registration Portal does not answer. Try again in a few minutes."),
    "STORAGE_UNAVAILABLE": (503, "Files cannot be stored or read right now. Please try again."),
    "DATABASE_UNAVAILABLE": (503, "The service is briefly unavailable. Please try again."),
    "SESSION_LOOKUP_FAILED": (503, "We could not check your session. Please try again."),
    # the journal's own refusals: defects, never shown with details
    "LEDGER_FOREIGN_ORGANIZATION": (
        500,
        "Something went wrong on our side. Nothing was changed; please try again.",
    ),
    "LEDGER_LEGS_INVALID": (500, "Something went wrong on our side. Nothing was changed; please try again."),
    "LEDGER_LEGS_UNBALANCED": (
        500,
        "Something went wrong on our side. Nothing was changed; please try again.",
    ),
    "LEDGER_ACCOUNT_INVALID": (
        500,
        "Something went wrong on our side. Nothing was changed; please try again.",
    ),
}


class DomainError(Exception):
    """A rule said no. Carries code, HTTP status, human message and details."""

    def __init__(
        self, code: str, /, *, http_status: int | None = None, message: str | None = None, **details: Any
    ) -> None:
        self.code = code
        default_status, default_message = REGISTRY[code]
        self.status = http_status or default_status
        self.message = message or default_message
        self.details = details
        super().__init__(f"{code}: {self.message}")

    def body(self) -> dict[str, Any]:
        """The error as every API answers it."""
        return {"code": self.code, "message": self.message, "details": self.details}


class Invalid(DomainError):
    """VALIDATION_FAILED with every field's problem at once: ``Invalid({"name": ["is required"]})``."""

    def __init__(self, fields: dict[str, list[str]]) -> None:
        super().__init__("VALIDATION_FAILED", fields=fields)
        self.fields = fields
