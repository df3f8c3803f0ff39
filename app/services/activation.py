"""What an organisation should do next, and what it should know now (chapter 1, 1.7 "Home")."""

from __future__ import annotations

from dataclasses import dataclass

from app import clock
from app.models import BillingAccount, FundingSource, Organization, OrgStatus
from app.services.home import LOW_WALLET, Figures


@dataclass(frozen=True)
class Step:
    """A line of the activation checklist; *page* names the page that does it."""

    label: str
    done: bool
    hint: str
    page: str
    action: str


def checklist(organization: Organization, account: BillingAccount | None, f: Figures) -> list[Step]:
    """The activation checklist, empty once everything is done (chapter 1, "Home").

    verify, KYB (INVOICE), billing (a licence counts), contract, program, invite, assign; a host verifies and invites.
    Whose members pay themselves (PERSONAL) has neither contract nor program (chapter 2, 2.5).
    """
    steps = [
        Step(
            "Verification",
            organization.status != OrgStatus.PENDING_VERIFICATION,
            "The platform team checks your details, usually within two working days.",
            "settings",
            "Review details",
        )
    ]
    covers = False
    if organization.can_sponsor and account is not None:
        steps += _billing_steps(organization, account, f)
        covers = account.funding_source != FundingSource.PERSONAL
    if covers:
        steps += [
            Step("Sign a contract", f.has_contract, "It stands behind every program.", "contracts", "Create"),
            Step(
                "Create a program",
                f.programs > 0,
                "It says what members may book, and how much.",
                "programs",
                "Create",
            ),
        ]
    hint = "One by one, or 200 addresses at once."
    steps.append(Step("Invite people", f.members > 1 or f.invited > 0, hint, "invitations", "Invite"))
    if covers:
        steps.append(
            Step(
                "Assign members to a program", f.assignments > 0, "Then they can book.", "programs", "Assign"
            )
        )
    return [] if all(step.done for step in steps) else steps


def _billing_steps(organization: Organization, account: BillingAccount, f: Figures) -> list[Step]:
    if account.funding_source == FundingSource.WALLET:
        paid = f.topped_up or bool(account.wallet_balance_paise)
        return [Step("Buy credits", paid, "Bookings are paid from the wallet.", "wallet", "Buy")]
    steps = []
    if account.funding_source == FundingSource.INVOICE:
        known = bool(organization.gstin and organization.gst_state_code)
        hint = "Your GSTIN, so that invoices carry who you are."
        steps.append(Step("Business identity", known, hint, "settings", "Add GSTIN"))
    licensed = account.funding_source == FundingSource.LICENSE and f.licences > 0
    hint = "Whom the platform writes to about money."
    steps.append(
        Step("Billing contact", licensed or bool(organization.billing_email), hint, "billing", "Add contact")
    )
    return steps


@dataclass(frozen=True)
class Banner:
    """A notice on the home page; *page* names where it is dealt with."""

    tone: str
    title: str
    text: str
    page: str = ""
    action: str = ""
    verb: str = "read"


def banners(organization: Organization, account: BillingAccount | None, f: Figures) -> list[Banner]:
    """Notices by severity (chapter 1, "Home"); the frame above them says suspended and pending.

    *account* None leaves out what only readers of the finances may know.
    """
    out = []
    if account is not None and account.wallet_frozen_at is not None:
        text = "The platform team looks into a difference. Top-ups still arrive."
        out.append(Banner("bad", "Wallet spending is frozen.", text))
    if account is not None and f.receivables.overdue:
        out.append(Banner("bad", "An invoice is overdue.", "Pay it to keep billing open.", "invoices", "Pay"))
    out += _usage(organization, f)
    if f.contract_ends is not None and (f.contract_ends - clock.today_ist()).days <= 30:
        text = f"On {f.contract_ends:%-d %B %Y}."
        out.append(Banner("warn", "The contract ends soon.", text, "contracts", "See contracts"))
    if account is not None:
        out += _money_banners(organization, account, f)
    return out


def _usage(organization: Organization, f: Figures) -> list[Banner]:
    out = []
    total, used = organization.seats_total, organization.seats_used
    if total is not None and used * 5 >= total * 4 and used:
        title = "All seats are taken." if used >= total else "Seats are running low."
        out.append(Banner("warn", title, f"{used} of {total} are in use.", "learners", "See learners"))
    if f.nearly_used:
        who = "One member has" if f.nearly_used == 1 else f"{f.nearly_used} members have"
        text = f"{who} used four fifths of a program or more."
        out.append(Banner("warn", "Budgets are running low.", text, "programs", "See programs"))
    return out


def _money_banners(organization: Organization, account: BillingAccount, f: Figures) -> list[Banner]:
    out = []
    balance = account.wallet_balance_paise
    if balance is not None and balance < LOW_WALLET and organization.status == OrgStatus.ACTIVE:
        title = "The wallet is nearly empty." if balance else "The wallet is empty."
        text = "Bookings are refused when it does not cover them."
        out.append(Banner("warn", title, text, "wallet", "Buy credits", "write"))
    if f.overages:
        n = "One booking" if f.overages == 1 else f"{f.overages} bookings"
        text = f"{n} went beyond a program in 30 days; the next invoice carries the difference."
        out.append(Banner("info", "Overages.", text, "billing", "See billing"))
    if f.payouts_held:
        n = "One earning is" if f.payouts_held == 1 else f"{f.payouts_held} earnings are"
        out.append(Banner("info", "Payouts are held.", f"{n} on hold.", "earnings", "See earnings"))
    if f.pending_top_ups:
        text = "Credits arrive when the payment provider confirms it."
        out.append(Banner("info", "A top-up is on its way.", text, "wallet", "See wallet"))
    return out
