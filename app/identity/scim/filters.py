"""Filters and orders compiled to SQLAlchemy by a whitelist (RFC 7644, 3.4.2.2; chapter 3, 3.2 "Filters").

scim2-models reads the grammar. An attribute, operator or value that is not named here is invalidFilter: there is no way
to drop a term, so no filter ever answers everybody. Values are bound parameters. Length, depth and terms are bounded.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable
from typing import Any

from scim2_models import SCIMException, ScimFilter
from scim2_models.path import (
    AttrPath,
    CompareOperator,
    Comparison,
    FilterNode,
    FilterVisitor,
    LogicalExpr,
    LogicalOperator,
    Not,
    Present,
    ValuePath,
)
from sqlalchemy import (
    ColumnElement,
    and_,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    union_all,
)

from app.models import (
    Membership,
    MembershipStatus,
    ScimEmail,
    ScimGroup,
    ScimGroupMember,
    ScimProfile,
    User,
)

from .errors import Refused
from .resources import GROUP, USER

MOST_LENGTH, MOST_DEPTH, MOST_TERMS = 4000, 12, 60
Op = CompareOperator
_EQUAL = {Op.eq, Op.ne}
_BARE = re.compile(r'"(?:[^"\\]|\\.)*"|\b(eq|ne|co|sw|ew|gt|ge|lt|le)(\s+)([^\s"()\[\]]+)', re.IGNORECASE)
_LITERAL = re.compile(r"(?:true|false|null|-?\d+(?:\.\d+)?)\Z", re.IGNORECASE)


def invalid(detail: str) -> Refused:
    """400 invalidFilter."""
    return Refused(400, detail, "invalidFilter")


def parse(text: str) -> FilterNode:
    """The tree of a filter. Raises Refused (invalidFilter) for what is none, and for what is too long or too deep."""
    if not text.strip():
        raise invalid("The filter is empty.")
    if len(text) > MOST_LENGTH or "\x00" in text:
        raise invalid(f"A filter has at most {MOST_LENGTH} characters.")
    _check_nesting(text)
    try:
        tree = ScimFilter(_quoted(text)).ast
    except (SCIMException, ValueError, RecursionError):
        raise invalid("The filter could not be read.") from None
    _measure(tree)
    return tree


def _check_nesting(text: str) -> None:
    """Brackets are counted before anything recurses into them."""
    depth = 0
    for part in re.split(r'("(?:[^"\\]|\\.)*")', text):
        if part.startswith('"'):
            continue
        for char in part:
            depth += (char in "([") - (char in ")]")
            if depth > MOST_DEPTH:
                raise invalid(f"A filter nests at most {MOST_DEPTH} levels.")


def _quoted(text: str) -> str:
    """Values without quotes, as some clients send them, get theirs; what stands in quotes is left alone."""

    def mend(match: re.Match[str]) -> str:
        operator, gap, value = match.group(1), match.group(2), match.group(3)
        if operator is None or _LITERAL.match(value):
            return match.group(0)
        return f"{operator}{gap}{ScimFilter.quote(value)}"

    return _BARE.sub(mend, text)


def _measure(node: FilterNode) -> None:
    todo, terms = [(node, 1)], 0
    while todo:
        current, depth = todo.pop()
        terms += 1
        if depth > MOST_DEPTH or terms > MOST_TERMS:
            raise invalid(f"A filter has at most {MOST_TERMS} terms, nested at most {MOST_DEPTH} levels.")
        if isinstance(current, Not):
            todo.append((current.expr, depth + 1))
        elif isinstance(current, LogicalExpr):
            todo += [(t, depth + 1) for t in current.terms]
        elif isinstance(current, ValuePath):
            todo.append((current.val_filter, depth + 1))


# ---- comparing ------------------------------------------------------------------------------------------------------


def text_compare(column: Any, op: Op, value: Any, *, exact: bool = False) -> ColumnElement[bool]:
    """A string comparison. *column* is in lower case already unless *exact*."""
    if value is None:
        return _null(column, op)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise invalid("A text is compared with a text.")
    text = str(value) if exact else str(value).lower()
    if "\x00" in text:
        raise invalid("A value must not contain NUL characters.")
    if any("\ud800" <= c <= "\udfff" for c in text):  # half of a pair, by an escape
        raise invalid("A value must be valid Unicode.")
    if op == Op.eq:
        return column == text  # type: ignore[no-any-return]
    if op == Op.ne:
        return column.is_distinct_from(text)  # type: ignore[no-any-return]
    if op == Op.co:
        return column.contains(text, autoescape=True)  # type: ignore[no-any-return]
    if op == Op.sw:
        return column.startswith(text, autoescape=True)  # type: ignore[no-any-return]
    if op == Op.ew:
        return column.endswith(text, autoescape=True)  # type: ignore[no-any-return]
    return _ordered(column, op, text)


def _ordered(column: Any, op: Op, value: Any) -> ColumnElement[bool]:
    made: dict[Op, Callable[[], Any]] = {
        Op.gt: lambda: column > value,
        Op.ge: lambda: column >= value,
        Op.lt: lambda: column < value,
        Op.le: lambda: column <= value,
    }
    return made[op]()  # type: ignore[no-any-return]


def _null(column: Any, op: Op) -> ColumnElement[bool]:
    if op == Op.eq:
        return column.is_(None)  # type: ignore[no-any-return]
    if op == Op.ne:
        return column.is_not(None)  # type: ignore[no-any-return]
    raise invalid("null is compared with eq or ne.")


def id_compare(column: Any, op: Op, value: Any) -> ColumnElement[bool]:
    """An id: eq and ne; a text that is no id equals none."""
    if op not in _EQUAL:
        raise invalid("An id is compared with eq or ne.")
    if value is None:
        return _null(column, op)
    try:
        wanted = uuid.UUID(str(value))
    except ValueError:
        return false() if op == Op.eq else true()
    return column == wanted if op == Op.eq else column != wanted  # type: ignore[no-any-return]


def moment_compare(column: Any, op: Op, value: Any) -> ColumnElement[bool]:
    """A moment, with a zone or in UTC."""
    if op in (Op.co, Op.sw, Op.ew) or not isinstance(value, str):
        raise invalid("A moment is compared with a moment, by eq, ne, gt, ge, lt or le.")
    try:
        at = dt.datetime.fromisoformat(value.strip())
        at = at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at
        at = at if at.year < 2 or at.year > 9998 else at.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise invalid("A moment is written like 2026-11-26T05:00:00Z.") from None
    if op == Op.eq:
        return column == at  # type: ignore[no-any-return]
    if op == Op.ne:
        return column != at  # type: ignore[no-any-return]
    return _ordered(column, op, at)


def truth(value: Any) -> bool:
    """true or false, also as the strings "True" and "False"."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise invalid("true or false is expected.")


def _bool_compare(expression: Any, op: Op, value: Any) -> ColumnElement[bool]:
    if op not in _EQUAL:
        raise invalid("A boolean is compared with eq or ne.")
    return expression if truth(value) == (op == Op.eq) else not_(expression)  # type: ignore[no-any-return]


class _Compiler(FilterVisitor[Any]):
    """What people and groups have in common: logic, presence, attribute names without case."""

    schema = ""

    def name(self, path: AttrPath) -> str:
        """``name.familyname``: lower case, without the schema's own URN."""
        if path.uri is not None and path.uri.lower() != self.schema.lower():
            raise invalid(f"{path} is not an attribute that can be filtered.")
        return f"{path.attr}.{path.sub_attr}".lower() if path.sub_attr else path.attr.lower()

    def visit_logical_expr(self, node: LogicalExpr) -> Any:
        terms = [self.visit(t) for t in node.terms]
        return and_(*terms) if node.op == LogicalOperator.and_ else or_(*terms)

    def visit_not(self, node: Not) -> Any:
        return not_(func.coalesce(self.visit(node.expr), false()))

    def unknown(self, path: AttrPath) -> Refused:
        return invalid(f"{path} is not an attribute that can be filtered.")


# ---- people ---------------------------------------------------------------------------------------------------------

FULL_NAME = func.lower(func.btrim(func.concat(User.first_name, " ", User.last_name)))
FORMATTED = func.coalesce(func.lower(ScimProfile.formatted_name), FULL_NAME)
SHOWN = func.coalesce(ScimProfile.display_key, func.nullif(Membership.name_key, ""), Membership.email_key)
ACTIVE = Membership.status == MembershipStatus.ACTIVE
_PEOPLE_TEXT: dict[str, tuple[Any, bool]] = {
    "username": (Membership.email_key, False),
    "externalid": (Membership.external_scim_id, True),
    "name.givenname": (func.lower(User.first_name), False),
    "name.familyname": (func.lower(User.last_name), False),
    "name.formatted": (FORMATTED, False),
    "displayname": (SHOWN, False),
}
_MOMENTS = {"meta.created": "created_at", "meta.lastmodified": "updated_at"}


def _addresses() -> Any:
    """Every address a directory may ask for: those listed, and userName as the work address where none is."""
    listed = select(
        ScimEmail.membership_id.label("membership_id"),
        ScimEmail.value_key.label("value"),
        func.lower(ScimEmail.type).label("type"),
        ScimEmail.is_primary.label("primary"),
    )
    own = select(Membership.id, Membership.email_key, literal("work"), true()).where(
        ~exists().where(ScimEmail.membership_id == Membership.id),
        ~exists().where(ScimProfile.membership_id == Membership.id, ScimProfile.no_emails),
    )
    return union_all(listed, own).subquery("addresses")


class _Address(_Compiler):
    """The inside of ``emails[…]``."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def visit_comparison(self, node: Comparison) -> Any:
        name = self.name(node.attr_path)
        if name in ("value", "type"):
            return text_compare(self.table.c[name], node.op, node.value)
        if name == "primary":
            return _bool_compare(self.table.c.primary, node.op, node.value)
        raise self.unknown(node.attr_path)

    def visit_present(self, node: Present) -> Any:
        name = self.name(node.attr_path)
        if name not in ("value", "type", "primary"):
            raise self.unknown(node.attr_path)
        return self.table.c[name].is_not(None)


class People(_Compiler):
    """Compiles for memberships, joined with their accounts and profiles."""

    schema = USER

    def visit_comparison(self, node: Comparison) -> Any:
        name, op, value = self.name(node.attr_path), node.op, node.value
        if name == "id":
            return id_compare(Membership.public_id, op, value)
        if name == "displayname" and op == Op.eq and isinstance(value, str):
            return _shown_as(value.lower())
        if name in _PEOPLE_TEXT:
            column, exact = _PEOPLE_TEXT[name]
            return text_compare(column, op, value, exact=exact)
        if name == "active":
            return _bool_compare(ACTIVE, op, value)
        if name in _MOMENTS:
            return moment_compare(getattr(Membership, _MOMENTS[name]), op, value)
        if name == "meta.resourcetype":
            return text_compare(literal("User"), op, value, exact=True)
        if name in ("emails", "emails.value"):
            return self._address(Comparison(AttrPath(attr="value"), op, value))
        if name in ("emails.type", "emails.primary"):
            return self._address(Comparison(AttrPath(attr=name[7:]), op, value))
        raise self.unknown(node.attr_path)

    def visit_present(self, node: Present) -> Any:
        name = self.name(node.attr_path)
        if name in ("id", "username", "active", "displayname", "meta", "emails", "emails.value", *_MOMENTS):
            return true()
        if name == "externalid":
            return Membership.external_scim_id.is_not(None)
        if name == "name":
            return FORMATTED != ""
        if name in _PEOPLE_TEXT:
            return func.coalesce(_PEOPLE_TEXT[name][0], "") != ""
        raise self.unknown(node.attr_path)

    def visit_value_path(self, node: ValuePath) -> Any:
        if self.name(node.attr_path) != "emails":
            raise self.unknown(node.attr_path)
        return self._address(node.val_filter)

    def _address(self, inner: FilterNode) -> Any:
        if isinstance(inner, Comparison) and inner.op == Op.ne:  # none of the addresses is that one
            return not_(self._address(Comparison(inner.attr_path, Op.eq, inner.value)))
        table = _addresses()
        condition = _Address(table).visit(inner)
        return Membership.id.in_(select(table.c.membership_id).where(condition))


def _shown_as(value: str) -> Any:
    """displayName eq: two look-ups by index instead of an expression over everybody."""
    named = select(ScimProfile.membership_id).where(ScimProfile.display_key == value)
    overridden = exists().where(
        ScimProfile.membership_id == Membership.id, ScimProfile.display_key.is_not(None)
    )
    derived = select(Membership.id).where(
        or_(
            Membership.name_key == value,
            and_(Membership.name_key == "", Membership.email_key == value),
        ),
        ~overridden,
    )
    return Membership.id.in_(union_all(named, derived))


PEOPLE_ORDER: dict[str, Any] = {
    "id": Membership.public_id,
    "username": Membership.email_key,
    "externalid": Membership.external_scim_id,
    "displayname": SHOWN,
    "name.givenname": func.lower(User.first_name),
    "name.familyname": func.lower(User.last_name),
    "name.formatted": FORMATTED,
    "name": FORMATTED,
    "active": ACTIVE,
    "emails": Membership.email_key,
    "emails.value": Membership.email_key,
    "meta.created": Membership.created_at,
    "meta.lastmodified": Membership.updated_at,
}


# ---- groups ---------------------------------------------------------------------------------------------------------


class Groups(_Compiler):
    """Compiles for groups."""

    schema = GROUP

    def visit_comparison(self, node: Comparison) -> Any:
        name, op, value = self.name(node.attr_path), node.op, node.value
        if name == "id":
            return id_compare(ScimGroup.public_id, op, value)
        if name == "displayname":
            return text_compare(ScimGroup.display_key, op, value)
        if name == "externalid":
            return text_compare(ScimGroup.external_id, op, value, exact=True)
        if name in _MOMENTS:
            return moment_compare(getattr(ScimGroup, _MOMENTS[name]), op, value)
        if name == "meta.resourcetype":
            return text_compare(literal("Group"), op, value, exact=True)
        if name in ("members", "members.value"):
            return _member(op, value)
        raise self.unknown(node.attr_path)

    def visit_present(self, node: Present) -> Any:
        name = self.name(node.attr_path)
        if name in ("id", "displayname", "meta", *_MOMENTS):
            return true()
        if name == "externalid":
            return ScimGroup.external_id.is_not(None)
        if name in ("members", "members.value"):
            return exists().where(ScimGroupMember.group_id == ScimGroup.id)
        raise self.unknown(node.attr_path)

    def visit_value_path(self, node: ValuePath) -> Any:
        inner = node.val_filter
        if self.name(node.attr_path) != "members" or not isinstance(inner, Comparison):
            raise self.unknown(node.attr_path)
        if self.name(inner.attr_path) == "value":
            return _member(inner.op, inner.value)
        raise self.unknown(node.attr_path)


def _member(op: Op, value: Any) -> Any:
    holds = ScimGroup.id.in_(
        select(ScimGroupMember.group_id)
        .join(Membership, Membership.id == ScimGroupMember.membership_id)
        .where(id_compare(Membership.public_id, Op.eq, value))
    )
    if op not in _EQUAL:
        raise invalid("A member is compared with eq or ne.")
    return holds if op == Op.eq else not_(holds)


GROUP_ORDER: dict[str, Any] = {
    "id": ScimGroup.public_id,
    "displayname": ScimGroup.display_key,
    "externalid": ScimGroup.external_id,
    "meta.created": ScimGroup.created_at,
    "meta.lastmodified": ScimGroup.updated_at,
}


def order(columns: dict[str, Any], sort_by: str | None, sort_order: str | None, schema: str) -> list[Any]:
    """The order a query asks for; none when it asks for none. Raises Refused (invalidPath, invalidValue)."""
    direction = (sort_order or "ascending").lower()
    if direction not in ("ascending", "descending"):
        raise Refused(400, "sortOrder is ascending or descending.", "invalidValue")
    if not sort_by:
        return []
    name = sort_by.lower().removeprefix(schema.lower() + ":")
    if name not in columns:
        raise Refused(400, f"{sort_by[:100]} is not an attribute to sort by.", "invalidPath")
    column = columns[name]
    return [column.desc().nulls_first() if direction == "descending" else column.asc().nulls_last()]
