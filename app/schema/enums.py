"""States and kinds, spelled as the specification spells them."""

from __future__ import annotations

from enum import StrEnum


class PlatformRole(StrEnum):
    ADMIN = "ADMIN"
    STAFF = "STAFF"
    CONSULTANT = "CONSULTANT"
    CONSULTEE = "CONSULTEE"
    ORG_ADMIN = "ORG_ADMIN"


class OrgStatus(StrEnum):
    PENDING_VERIFICATION = "PENDING_VERIFICATION"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    DEACTIVATED = "DEACTIVATED"


class SizeBucket(StrEnum):
    SMALL_1_50 = "SMALL_1_50"
    MEDIUM_51_200 = "MEDIUM_51_200"
    LARGE_201_1000 = "LARGE_201_1000"
    ENTERPRISE_1000_PLUS = "ENTERPRISE_1000_PLUS"


class OrgRole(StrEnum):
    OWNER = "OWNER"
    MAINTAINER = "MAINTAINER"
    BILLING_ADMIN = "BILLING_ADMIN"
    MANAGER = "MANAGER"
    EXPERT = "EXPERT"
    SUPPORT = "SUPPORT"
    LEARNER = "LEARNER"


class MembershipStatus(StrEnum):
    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    REMOVED = "REMOVED"
    ERASED = "ERASED"


class PayoutRecipient(StrEnum):
    SELF = "SELF"
    ORGANIZATION = "ORGANIZATION"


class InvitationStatus(StrEnum):
    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    DECLINED = "DECLINED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"


class FundingSource(StrEnum):
    PERSONAL = "PERSONAL"
    WALLET = "WALLET"
    INVOICE = "INVOICE"
    LICENSE = "LICENSE"


class PlanType(StrEnum):
    CONSULTATION = "CONSULTATION"
    SUBSCRIPTION = "SUBSCRIPTION"
    WEBINAR = "WEBINAR"
    CLASS = "CLASS"


class Visibility(StrEnum):
    PUBLIC = "PUBLIC"
    ORG_ONLY = "ORG_ONLY"


class SupplyModel(StrEnum):
    PRINCIPAL = "PRINCIPAL"
    ECO = "ECO"


class ExpertStatus(StrEnum):
    UNVERIFIED = "UNVERIFIED"
    VERIFIED = "VERIFIED"


class AppointmentStatus(StrEnum):
    TENTATIVE = "TENTATIVE"
    CONFIRMED = "CONFIRMED"
    COMPLETED = "COMPLETED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    NO_SHOW = "NO_SHOW"


class EventState(StrEnum):
    """Of a webinar or class that people register for."""

    OPEN = "OPEN"
    ENDED = "ENDED"
    CANCELLED = "CANCELLED"


class WaitlistStatus(StrEnum):
    WAITING = "WAITING"
    NOTIFIED = "NOTIFIED"
    BOOKED = "BOOKED"
    EXPIRED = "EXPIRED"


class TrialStatus(StrEnum):
    PENDING = "PENDING"
    AWAITING_PAYMENT = "AWAITING_PAYMENT"
    SCHEDULED = "SCHEDULED"
    COMPLETED = "COMPLETED"
    CONVERTED = "CONVERTED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"


class DiscountKind(StrEnum):
    PERCENTAGE = "PERCENTAGE"
    FLAT = "FLAT"


class CreditKind(StrEnum):
    """Where a personal credit comes from."""

    REFERRAL_BONUS = "REFERRAL_BONUS"
    REFEREE_BONUS = "REFEREE_BONUS"
    PROMOTION = "PROMOTION"
    COMPENSATION = "COMPENSATION"
    MANUAL = "MANUAL"


class TopUpStatus(StrEnum):
    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    FAILED = "FAILED"


class TopUpKind(StrEnum):
    """Bought by a person, or charged to the mandate because the balance fell below the minimum."""

    MANUAL = "MANUAL"
    AUTO = "AUTO"


class MandateStatus(StrEnum):
    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    PAUSED = "PAUSED"
    CANCELLED = "CANCELLED"


class DisputeStatus(StrEnum):
    """States of a dispute; the last three are terminal (chapter 2, 2.8)."""

    WARNING_NEEDS_RESPONSE = "WARNING_NEEDS_RESPONSE"
    WARNING_UNDER_REVIEW = "WARNING_UNDER_REVIEW"
    WARNING_CLOSED = "WARNING_CLOSED"
    NEEDS_RESPONSE = "NEEDS_RESPONSE"
    UNDER_REVIEW = "UNDER_REVIEW"
    WON = "WON"
    LOST = "LOST"
    CHARGE_REFUNDED = "CHARGE_REFUNDED"


class ManualKind(StrEnum):
    """Postings that people make by hand."""

    GRANT = "GRANT"
    ADJUSTMENT = "ADJUSTMENT"
    TAX_REMITTED = "TAX_REMITTED"


class ManualStatus(StrEnum):
    PROPOSED = "PROPOSED"
    POSTED = "POSTED"
    REJECTED = "REJECTED"


class GstMode(StrEnum):
    VOUCHER = "VOUCHER"
    ADVANCE = "ADVANCE"


class PaymentStatus(StrEnum):
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


class RefundStatus(StrEnum):
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class LegSource(StrEnum):
    CARD = "CARD"
    WALLET = "WALLET"
    REFERRAL_CREDIT = "REFERRAL_CREDIT"
    INVOICE_ACCRUAL = "INVOICE_ACCRUAL"
    OVERAGE_INVOICE_ACCRUAL = "OVERAGE_INVOICE_ACCRUAL"
    LICENSE = "LICENSE"
    CARD_REVERSAL = "CARD_REVERSAL"
    WALLET_REVERSAL = "WALLET_REVERSAL"
    REFERRAL_CREDIT_REVERSAL = "REFERRAL_CREDIT_REVERSAL"
    INVOICE_ACCRUAL_REVERSAL = "INVOICE_ACCRUAL_REVERSAL"
    OVERAGE_INVOICE_ACCRUAL_REVERSAL = "OVERAGE_INVOICE_ACCRUAL_REVERSAL"
    LICENSE_REVERSAL = "LICENSE_REVERSAL"

    @property
    def reversal(self) -> LegSource:
        """The source of the negative leg that a refund writes against this one."""
        return LegSource(f"{self.value.removesuffix('_REVERSAL')}_REVERSAL")


class EventStatus(StrEnum):
    RECEIVED = "RECEIVED"
    PROCESSED = "PROCESSED"
    DEFERRED = "DEFERRED"
    IGNORED = "IGNORED"
    ABANDONED = "ABANDONED"


class ContractStatus(StrEnum):
    DRAFT = "DRAFT"
    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    TERMINATED = "TERMINATED"


class LicenseModel(StrEnum):
    """How a contract's licence is priced."""

    FLAT_FEE = "FLAT_FEE"
    PER_SEAT = "PER_SEAT"


class SupersedeReason(StrEnum):
    """Why a contract took another's place; TERMINATION_REPLACEMENT is the system's own."""

    AMENDMENT = "AMENDMENT"
    RENEWAL = "RENEWAL"
    TERMINATION_REPLACEMENT = "TERMINATION_REPLACEMENT"


class SubscriptionStatus(StrEnum):
    ACTIVE = "ACTIVE"
    ENDED = "ENDED"


class ProgramType(StrEnum):
    LICENSED_SEAT = "LICENSED_SEAT"
    CREDIT_POOL = "CREDIT_POOL"


class ProgramStatus(StrEnum):
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    EXPIRED = "EXPIRED"
    ARCHIVED = "ARCHIVED"


class PoolScope(StrEnum):
    PER_MEMBER = "PER_MEMBER"
    SHARED = "SHARED"


class Cycle(StrEnum):
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    ANNUAL = "ANNUAL"


class OverageBehavior(StrEnum):
    BLOCK = "BLOCK"
    CHARGE_MEMBER = "CHARGE_MEMBER"
    CHARGE_ORG = "CHARGE_ORG"


class AssignmentStatus(StrEnum):
    ACTIVE = "ACTIVE"
    ROLLED = "ROLLED"
    PAUSED = "PAUSED"
    CLOSED = "CLOSED"
    CANCELLED = "CANCELLED"


class CloseReason(StrEnum):
    """Why the cycle engine or the end of a contract closed a place."""

    CONTRACT_INACTIVE = "CONTRACT_INACTIVE"
    AUTORENEW_OFF = "AUTORENEW_OFF"


class ChargeTo(StrEnum):
    """Who pays what a program does not cover."""

    ORGANIZATION = "ORGANIZATION"
    MEMBER = "MEMBER"


class OverageStatus(StrEnum):
    PENDING = "PENDING"
    ACCRUED = "ACCRUED"
    CHARGED = "CHARGED"
    FAILED = "FAILED"
    REVERSED = "REVERSED"
    BLOCKED = "BLOCKED"


class EarningStatus(StrEnum):
    PENDING_TRUST = "PENDING_TRUST"
    PENDING = "PENDING"
    READY = "READY"
    BATCHED = "BATCHED"
    PAID = "PAID"
    HELD = "HELD"
    REFUNDED = "REFUNDED"


class ActorType(StrEnum):
    MEMBER = "MEMBER"
    ADMIN = "ADMIN"
    SCIM_TOKEN = "SCIM_TOKEN"  # noqa: S105
    SYSTEM = "SYSTEM"


class AuditCategory(StrEnum):
    MEMBER = "MEMBER"
    CONTRACT = "CONTRACT"
    PROGRAM = "PROGRAM"
    WALLET = "WALLET"
    INVOICE = "INVOICE"
    PAYOUT = "PAYOUT"
    SETTINGS = "SETTINGS"
    CONSENT = "CONSENT"
    CATALOG = "CATALOG"
    WEBHOOK = "WEBHOOK"
    SYSTEM = "SYSTEM"


class Severity(StrEnum):
    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class RunStatus(StrEnum):
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class NotificationRouting(StrEnum):
    BELL_AND_EMAIL = "BELL_AND_EMAIL"
    BELL_ONLY = "BELL_ONLY"
    EMAIL_ONLY = "EMAIL_ONLY"
    NEITHER = "NEITHER"


class MessageKind(StrEnum):
    """Entries of the conversation about a verification."""

    INFO_REQUESTED = "INFO_REQUESTED"
    ANSWER = "ANSWER"
    REJECTED = "REJECTED"
    RESUBMITTED = "RESUBMITTED"
    VERIFIED = "VERIFIED"


class RequestKind(StrEnum):
    PROGRAM_PLACE = "PROGRAM_PLACE"
    SEATS = "SEATS"
    PAYOUT_ROUTING = "PAYOUT_ROUTING"


class RequestStatus(StrEnum):
    PENDING = "PENDING"
    APPROVED = "APPROVED"
    DECLINED = "DECLINED"
    CANCELED = "CANCELED"


class ImportStatus(StrEnum):
    CHECKED = "CHECKED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    CANCELED = "CANCELED"
    FAILED = "FAILED"


class ImportRowStatus(StrEnum):
    READY = "READY"
    INVALID = "INVALID"
    DUPLICATE = "DUPLICATE"
    SENT = "SENT"
    REFRESHED = "REFRESHED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"


class ChannelKind(StrEnum):
    APPOINTMENT = "APPOINTMENT"
    PLAN = "PLAN"
    ORGANIZATION = "ORGANIZATION"
    DIRECT = "DIRECT"


class PurchaseOrderStatus(StrEnum):
    ACTIVE = "ACTIVE"
    CLOSED = "CLOSED"
    CANCELLED = "CANCELLED"


class Currency(StrEnum):
    INR = "INR"
    USD = "USD"
    EUR = "EUR"
    GBP = "GBP"


class InvoiceKind(StrEnum):
    """ROLL_UP gathers bookings, LICENSE is a subscription's cycle, STATEMENT says the tax of a month's wallet spending."""

    ROLL_UP = "ROLL_UP"
    MANUAL = "MANUAL"
    LICENSE = "LICENSE"
    STATEMENT = "STATEMENT"


class InvoiceStatus(StrEnum):
    DRAFT = "DRAFT"
    ISSUED = "ISSUED"
    OVERDUE = "OVERDUE"
    PAID = "PAID"
    REFUNDED = "REFUNDED"
    VOID = "VOID"
    CANCELLED = "CANCELLED"


class InvoiceLineKind(StrEnum):
    BOOKING = "BOOKING"
    LICENSE = "LICENSE"
    MANUAL = "MANUAL"
    COMMITMENT = "COMMITMENT"


class DocumentNature(StrEnum):
    """What a document is in law: exempt supplies go on a bill of supply (chapter 4, 4.2)."""

    TAX_INVOICE = "TAX_INVOICE"
    BILL_OF_SUPPLY = "BILL_OF_SUPPLY"
    INVOICE_CUM_BILL = "INVOICE_CUM_BILL"


class SupplyType(StrEnum):
    """Of the e-invoice schema, and B2C, which it does not know."""

    B2B = "B2B"
    B2C = "B2C"
    SEZWP = "SEZWP"
    SEZWOP = "SEZWOP"
    EXPWP = "EXPWP"
    EXPWOP = "EXPWOP"


class TaxTreatment(StrEnum):
    TAXABLE = "TAXABLE"
    EXEMPT = "EXEMPT"


class ReceiptMethod(StrEnum):
    GATEWAY = "GATEWAY"
    BANK = "BANK"


class CreditNoteKind(StrEnum):
    TAX = "TAX"
    COMMERCIAL = "COMMERCIAL"


class ItcReversal(StrEnum):
    """Whether the recipient has reversed the input tax credit of a credit note."""

    NOT_APPLICABLE = "NOT_APPLICABLE"
    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"


class InvoiceRefundStatus(StrEnum):
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class VoucherKind(StrEnum):
    RECEIPT = "RECEIPT"
    REFUND = "REFUND"


class IrpStatus(StrEnum):
    NOT_APPLICABLE = "NOT_APPLICABLE"
    PENDING = "PENDING"
    SUBMITTED = "SUBMITTED"
    RETRY = "RETRY"
    REGISTERED = "REGISTERED"
    FAILED_PERMANENT = "FAILED_PERMANENT"
    CANCELLED = "CANCELLED"


class TaxTable(StrEnum):
    STATE = "STATE"
    RATE = "RATE"
    PARAMETER = "PARAMETER"
    FX = "FX"


class ApiAccess(StrEnum):
    """What an organisation's API key may do, within what its owner may."""

    READ = "READ"
    WRITE = "WRITE"


class ScimTokenStatus(StrEnum):
    ACTIVE = "ACTIVE"
    REVOKED = "REVOKED"


class DuplicatePolicy(StrEnum):
    UPSERT = "UPSERT"
    CONFLICT = "CONFLICT"


class RoleSource(StrEnum):
    MANUAL = "MANUAL"
    SCIM = "SCIM"


class SsoProtocol(StrEnum):
    """How an identity provider speaks."""

    SAML = "SAML"
    OIDC = "OIDC"
