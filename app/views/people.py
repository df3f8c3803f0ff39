"""Members and invitations of an organisation, and the page behind an invitation's link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from flask import Response, current_app, g, make_response, url_for

from app import clock
from app.extensions import db
from app.models import Invitation, InvitationStatus, Membership, MembershipStatus, OrgRole
from app.security import limits, matrix
from app.security.context import ctx
from app.services import departments, invitations, joining, members, org_status, organizations, rosters
from app.services.member_rules import PRIVILEGED, is_owner, words
from app.services.people_search import matching
from app.views.base import Ask, Rows, TenantView, action
from app.views.base import export as files
from app.views.base import page as page_entry
from app.views.base import register as register_view
from app.views.base.refs import values
from app.views.shell import flash_undo

from . import member_detail

ROLES = [(r.value, words(r).capitalize()) for r in OrgRole]
IN_FORM = frozenset(
    {"role", "department", "payout", "limit", "remove"}
)  # MemberEditPage and MemberRemovePage


def offered_roles() -> list[tuple[str, str]]:
    """Roles the reader may give in the organisation acted for (chapter 1, 1.4)."""
    org = g.org
    out = []
    for role in OrgRole:
        if (
            (role in PRIVILEGED and not is_owner())
            or (role == OrgRole.LEARNER and not org["can_sponsor"])
            or (role == OrgRole.EXPERT and not org["can_host"])
        ):
            continue
        out.append((role.value, words(role).capitalize()))
    return sorted(out, key=lambda r: matrix.RANK[r[0]])


def may_write() -> bool:
    """Whether the reader changes people here at all: the organisation is not suspended, and people are not the
    owners' own business (people_owner_only).
    """
    if not org_status.writable(g.org["status"]):
        return False
    return is_owner() or not organizations.current(db.session()).people_owner_only


def may_touch(member: Membership) -> bool:
    """Whether the reader's authority reaches this member: nobody oneself, only owners the powerful."""
    if g.get("org") is None or member.user_id == ctx().user_id or not may_write():
        return False
    return member.role not in PRIVILEGED or is_owner()


def may_answer_for(invitation: Invitation) -> bool:
    """Whether the reader may resend or withdraw this invitation."""
    return g.get("org") is not None and may_write() and (invitation.role not in PRIVILEGED or is_owner())


def moved_with_undo(member: Membership, was: str | None) -> None:
    """Say where the member is now, with the way back to the department before."""
    undo = url_for("MemberEditPage.undo_department", key=member.public_id, was=was or "")
    flash_undo(f"{member.user.name} is now in {member.department_label or 'no department'}.", undo)


class People(Rows):
    """Memberships, searched by what people are called: name, address, department."""

    def searched(self, query: Any, text: str, columns: Any, order: Any) -> Any:
        """*query* limited to members whose name or address begins with *text*, or whose department contains it."""
        labels = departments.labels(self.session)
        named = [label for label in labels if text.lower() in label.lower()]
        return query.filter(Membership.id.in_(matching(text, departments=named)))


class Members(TenantView):
    """The roster; every change goes through the guard module."""

    datamodel = People(Membership, eager=("user",))
    resource = "members"
    menu, icon, title, one = "People", "users", "Members", "member"
    list_columns = ["user", "user.email", "role", "status", "department_label", "joined_at"]
    show_columns = [
        "user",
        "user.email",
        "role",
        "status",
        "department_label",
        "joined_at",
        "seat_assigned_at",
    ]
    search_columns = ["role", "status", "department_label", "user_id", "joined_at"]
    labels: ClassVar[dict[str, str]] = {
        "user": "Name",
        "user.email": "E-mail",
        "department_label": "Department",
        "joined_at": "Joined",
        "seat_assigned_at": "Seat since",
        "user_id": "Person",
        "payout_recipient": "Paid out to",
    }
    kinds: ClassVar[dict[str, str]] = {
        "user": "person",
        "user.email": "email",
        "role": "tag",
        "joined_at": "date",
        "seat_assigned_at": "date",
        "payout_recipient": "tag",
    }
    saved = [
        ("Active", "_flt_0_status=ACTIVE"),
        ("Learners", "_flt_0_role=LEARNER&_flt_0_status=ACTIVE"),
        ("Suspended", "_flt_0_status=SUSPENDED"),
        ("Removed", "_flt_0_status=REMOVED"),
    ]
    quick_search = ("department_label",)
    search_note = "Search finds the beginning of a name or an address, 200 of each at most."
    phone = ("user", "status", "user.email", "role")
    list_template = "people/members.html"
    show_template = "people/member.html"
    empty = ("No members yet", "People appear here when they accept an invitation.")

    @property
    def search_hint(self) -> str:
        return "name, e-mail, department"

    def base_query(self) -> Any:
        """Erased people are gone for everybody."""
        return super().base_query().filter(Membership.status != MembershipStatus.ERASED)

    def detail(self, item: Membership) -> dict[str, Any]:
        """Spending, places, bookings, what happened, and what a removal would meet; each for those who may see it."""
        return member_detail.of(self.datamodel.session, item, may_touch(item))

    def offered(self, item: Any = None, multiple: bool = False) -> Sequence[Any]:
        """Of one member the form changes everything, and the removal has a dialog that shows what is still open."""
        return [a for a in super().offered(item, multiple) if multiple or a.name not in IN_FORM]

    def links(self, item: Membership) -> Sequence[tuple[str, str, str]]:
        """The form with everything, and the removal with what it would meet."""
        if not (self.may("write") and may_touch(item) and item.status in rosters.HERE):
            return ()
        key = item.public_id
        return (
            ("Edit", url_for("MemberEditPage.form", key=key), "pencil"),
            ("Remove", url_for("MemberRemovePage.form", key=key), "user-minus"),
        )

    def render_template(self, template: str, **kwargs: Any) -> Any:
        if template == self.list_template:
            kwargs.update(
                roles=offered_roles(), open=may_write(), departments=departments.labels(db.session())
            )
        return super().render_template(template, **kwargs)

    @action(
        "role",
        "Change role",
        icon="user-cog",
        when=lambda m: (
            may_touch(m)
            and m.status in (MembershipStatus.ACTIVE, MembershipStatus.PENDING, MembershipStatus.SUSPENDED)
        ),
        asks=[Ask("role", "New role", "select", required=True, options=ROLES)],
    )
    def change_role(self, items: list[Membership], role: str) -> str:
        for row in items:
            members.change_member(self.datamodel.session, row, role=OrgRole(role))
        return f"{items[0].user.name} is now {words(role)}."

    @action(
        "department",
        "Change department",
        icon="tag",
        multiple=True,
        when=lambda m: may_touch(m) and m.status in (MembershipStatus.ACTIVE, MembershipStatus.SUSPENDED),
        asks=[
            Ask(
                "department",
                "Department",
                hint="Left empty: no department.",
                max_length=100,
                suggest=lambda: departments.labels(db.session()),
            )
        ],
    )
    def change_department(self, items: list[Membership], department: str | None) -> Any:
        was = items[0].department_label
        for row in items:
            members.change_member(self.datamodel.session, row, department_label=department)
        if len(items) > 1:
            return f"Department of {len(items)} members changed."
        moved_with_undo(items[0], was)
        return self.back(items[0])

    @action(
        "payout",
        "Change payout routing",
        icon="banknote",
        when=lambda m: may_touch(m) and m.role == OrgRole.EXPERT and m.status == MembershipStatus.ACTIVE,
        asks=[
            Ask(
                "recipient",
                "Earnings go to",
                "select",
                required=True,
                options=[("SELF", "The expert"), ("ORGANIZATION", "The organisation")],
            )
        ],
    )
    def change_payout(self, items: list[Membership], recipient: str) -> str:
        from app.models import PayoutRecipient

        for row in items:
            members.change_member(self.datamodel.session, row, payout_recipient=PayoutRecipient(recipient))
        return "Payout routing changed. Earlier earnings stay as they were."

    @action(
        "limit",
        "Set spend limit",
        icon="gauge",
        when=lambda m: may_touch(m) and m.role == OrgRole.LEARNER and m.status == MembershipStatus.ACTIVE,
        asks=[Ask("amount", "Limit a month", "money", hint="Left empty: no limit.")],
    )
    def set_limit(self, items: list[Membership], amount: int | None) -> str:
        for row in items:
            members.set_spend_limit(self.datamodel.session, row, amount)
        return "Spend limit saved."

    @action(
        "suspend",
        "Suspend",
        icon="circle-pause",
        multiple=True,
        danger=True,
        when=lambda m: may_touch(m) and m.status in (MembershipStatus.ACTIVE, MembershipStatus.PENDING),
        confirm="Access ends at once and a learner's seat is freed. Booked sessions still take place.",
    )
    def suspend(self, items: list[Membership]) -> str:
        for row in items:
            members.change_member(self.datamodel.session, row, status=MembershipStatus.SUSPENDED)
        return "Suspended." if len(items) == 1 else f"{len(items)} members suspended."

    @action(
        "reactivate",
        "Reactivate",
        icon="circle-play",
        multiple=True,
        when=lambda m: may_touch(m) and m.status in (MembershipStatus.SUSPENDED, MembershipStatus.PENDING),
    )
    def reactivate(self, items: list[Membership]) -> str:
        for row in items:
            members.change_member(self.datamodel.session, row, status=MembershipStatus.ACTIVE)
        return "Active again." if len(items) == 1 else f"{len(items)} members are active again."

    @action(
        "readd",
        "Add again",
        icon="user-plus",
        when=lambda m: may_touch(m) and m.status == MembershipStatus.REMOVED,
        confirm="The person becomes a member with the same role as before, and is told by mail.",
    )
    def add_again(self, items: list[Membership]) -> str:
        for row in items:
            joining.add_member(self.datamodel.session, row.user, row.role)
        return f"{items[0].user.name} is a member again."

    @action(
        "export",
        "Export CSV",
        icon="download",
        verb="export",
        single=False,
        multiple=True,
    )
    def export_chosen(self, items: list[Membership]) -> Any:
        names = list(self.list_columns)
        head = [self.label(n) for n in names]
        rows = [
            [files.plain(v, self.kind(n)) for n, v in zip(names, line, strict=True)]
            for line in values(self.datamodel, items, names, self.scope)
        ]
        name = f"members-{clock.today_ist().isoformat()}.csv"
        return Response(
            "".join(files.csv_lines(head, rows)),
            mimetype="text/csv",
            headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
        )

    @action(
        "remove",
        "Remove",
        icon="user-minus",
        danger=True,
        when=lambda m: (
            may_touch(m)
            and m.status in (MembershipStatus.ACTIVE, MembershipStatus.PENDING, MembershipStatus.SUSPENDED)
        ),
        confirm="The membership ends at once and places in programs are given back. Open sessions or earnings refuse "
        "it, unless an owner insists.",
        confirm_word=lambda m: m.user.email,
        asks=[Ask("force", "Remove in spite of open obligations (owners only)", "checkbox")],
    )
    def remove(self, items: list[Membership], force: bool) -> str:
        for row in items:
            members.remove_member(self.datamodel.session, row, force=force)
        return f"{items[0].user.name} was removed."


class Invitations(TenantView):
    """Offers of a role and what became of them."""

    datamodel = Rows(Invitation)
    resource = "invitations"
    menu, icon, title, one = "People", "mail-plus", "Invitations", "invitation"
    list_columns = ["email", "role", "status", "department_label", "sent_at", "expires_at"]
    show_columns = [
        "email",
        "name",
        "role",
        "status",
        "department_label",
        "invited_by_user_id",
        "sent_at",
        "expires_at",
        "resend_count",
        "accepted_by_user_id",
        "accepted_at",
    ]
    search_columns = ["status", "role", "email", "sent_at", "expires_at"]
    labels: ClassVar[dict[str, str]] = {
        "email": "E-mail",
        "department_label": "Department",
        "sent_at": "Sent",
        "expires_at": "Works until",
        "resend_count": "Sent again",
        "invited_by_user_id": "Invited by",
        "accepted_by_user_id": "Accepted by",
        "accepted_at": "Accepted",
    }
    kinds: ClassVar[dict[str, str]] = {
        "role": "tag",
        "sent_at": "ago",
        "expires_at": "date",
        "accepted_at": "datetime",
    }
    saved = [
        ("Open", "_flt_0_status=PENDING"),
        ("Accepted", "_flt_0_status=ACCEPTED"),
        ("Expired", "_flt_0_status=EXPIRED"),
    ]
    quick_search = ("email",)
    phone = ("email", "status", "sent_at", "role")
    list_template = "people/invitations.html"
    subtitle = staticmethod(lambda row: row.name or "")
    empty = ("Nobody is invited", "Invite people one by one, or paste up to 200 addresses at once.")

    def render_template(self, template: str, **kwargs: Any) -> Any:
        if template == self.list_template:
            kwargs.update(
                roles=offered_roles(), open=may_write(), departments=departments.labels(db.session())
            )
        return super().render_template(template, **kwargs)

    @action(
        "resend",
        "Send again",
        icon="send",
        when=lambda i: i.status in (InvitationStatus.PENDING, InvitationStatus.EXPIRED) and may_answer_for(i),
        confirm="A new link is sent and the old one stops working.",
    )
    def resend(self, items: list[Invitation]) -> Any:
        limits.hit("invitation-send", str(ctx().org_id))
        sent = invitations.resend(self.datamodel.session, items[0])
        result = invitations.BulkResult(items[0].email, "refreshed", sent=sent)
        return make_response(
            self.render_template(
                "people/invited.html",
                title="Invitation sent",
                results=[result],
                base=current_app.config["SETTINGS"].base_url,
            )
        )

    @action(
        "revoke",
        "Withdraw",
        icon="x",
        danger=True,
        multiple=True,
        when=lambda i: i.status == InvitationStatus.PENDING and may_answer_for(i),
        confirm="The link stops working at once.",
    )
    def revoke(self, items: list[Invitation]) -> str:
        for row in items:
            invitations.revoke(self.datamodel.session, row)
        return "Withdrawn." if len(items) == 1 else f"{len(items)} invitations withdrawn."


def register(appbuilder: Any) -> None:
    """Register roster, invitations and the link's page."""
    register_view(appbuilder, Members, order=10)
    register_view(appbuilder, Invitations, order=11)
    from .invite_link import InvitationLinkPage
    from .member_pages import DirectoryPage, MemberEditPage, MemberRemovePage
    from .people_forms import InvitePage, MemberAddPage

    for view in (MemberAddPage, MemberEditPage, MemberRemovePage, InvitePage, InvitationLinkPage):
        appbuilder.add_view_no_menu(view())
    page_entry(
        appbuilder,
        DirectoryPage(),
        group="",  # everybody's: a billing administrator has no People (P-11)
        label="Directory",
        resource="directory",
        icon="users-round",
        order=12,
        keywords="names roles colleagues who",
    )
