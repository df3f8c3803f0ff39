"""Bodies of POST, PUT and PATCH, in the dialects directories speak, as what the services want (RFC 7644, 3.3 and 3.5).

scim2-models applies PATCH. Before it sees one, three habits are met: Entra ID's dotted extension paths, standard
attributes that are not kept here (read past), and paths that name nothing at all (invalidPath).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from scim2_models import Context, Error, PatchOp, Path, SCIMException
from scim2_models import EnterpriseUser as FullEnterpriseUser
from scim2_models import User as FullUser
from scim2_models.path import (
    AttrPath,
    CompareOperator,
    Comparison,
    FilterNode,
    LogicalExpr,
    LogicalOperator,
    ValuePath,
)

from app.services.scim_directory import Mail, Person
from app.services.scim_people import UNSET, Wanted

from .errors import Refused, invalid_value
from .filters import truth
from .resources import (
    ENTERPRISE,
    ENTERPRISE_KNOWN,
    GROUP,
    KEPT,
    KNOWN,
    MOST_OPERATIONS,
    MOST_PATH,
    PATCH,
    TOLERANT,
    USER,
    DirectoryUser,
)

Body = dict[str, Any]
_Full: Any = FullUser[FullEnterpriseUser]
_DOTTED = ENTERPRISE.lower() + "."
READ_ONLY = frozenset({"id", "meta", "groups", "schemas"})
SINGLE = frozenset(
    {
        "active",
        "username",
        "displayname",
        "externalid",
        "name.givenname",
        "name.familyname",
        "name.formatted",
        f"{ENTERPRISE.lower()}:department",
    }
)


def refused(error: Exception) -> Refused:
    """What scim2-models refuses, as this service says it."""
    if isinstance(error, ValidationError):
        first = Error.from_validation_errors(error)[0]
        said = first.detail or "The request could not be read."
        return Refused(first.status or 400, _sentence(said), first.scim_type)
    if isinstance(error, SCIMException):
        return Refused(error.status, _sentence(error.detail), error.scim_type or None)
    raise error


def _sentence(detail: str) -> str:
    """*detail* in one line: a report of pydantic's says where and what, and then much about itself."""
    lines = detail.splitlines()
    if len(lines) > 2 and "validation error" in lines[0]:
        detail = f"{lines[1]}: {lines[2].partition(' [type=')[0].strip()}"
    return " ".join(detail.split())[:400]


def key_of(body: Body, name: str, default: Any = UNSET) -> Any:
    """The value of *name* in *body*, whatever its case."""
    if name in body:
        return body[name]
    low = name.lower()
    return next((v for k, v in body.items() if isinstance(k, str) and k.lower() == low), default)


# ---- POST and PUT of a user -----------------------------------------------------------------------------------------


def user_body(body: Body, *, replacing: bool) -> Wanted:
    """What a POST or PUT wants. Attributes that are not kept are read past.

    PUT states everything: an absent displayName, name.formatted or list of addresses is cleared. Name parts, the
    department, externalId and active stay when they are absent, because clients leave out what they do not manage.
    """
    schemas = key_of(body, "schemas", None)
    if schemas is not None and (
        not isinstance(schemas, list) or USER.lower() not in {str(s).lower() for s in schemas}
    ):
        raise Refused(400, f"schemas must name {USER}.", "invalidSyntax")
    wanted = Wanted(
        user_name=_scalar(key_of(body, "userName"), "userName"),
        display_name=_scalar(key_of(body, "displayName"), "displayName"),
        external_id=_scalar(key_of(body, "externalId"), "externalId"),
    )
    name = key_of(body, "name")
    if isinstance(name, dict):
        wanted.given = _scalar(key_of(name, "givenName"), "name.givenName")
        wanted.family = _scalar(key_of(name, "familyName"), "name.familyName")
        wanted.formatted = _scalar(key_of(name, "formatted"), "name.formatted")
    elif name is not UNSET and name is not None:
        raise invalid_value("name is an object.")
    active = key_of(body, "active")
    if active is not UNSET and active is not None:
        wanted.active = _truth(active)
    emails = key_of(body, "emails")
    if emails is not UNSET:
        wanted.emails = _mails(emails)
    extension = key_of(body, ENTERPRISE)
    if isinstance(extension, dict):
        wanted.department = _scalar(key_of(extension, "department", None), "department")
    elif extension is not UNSET and extension is not None:
        raise invalid_value("The enterprise extension is an object.")
    if replacing:
        if wanted.user_name is UNSET or wanted.user_name is None:
            raise invalid_value("userName is required.")
        wanted.display_name = None if wanted.display_name is UNSET else wanted.display_name
        wanted.emails = None if wanted.emails is UNSET else wanted.emails
        wanted.formatted = None if wanted.formatted is UNSET else wanted.formatted
    else:
        wanted.groups = _group_names(key_of(body, "groups"))
    return wanted


def _scalar(value: Any, name: str) -> Any:
    if value is UNSET or value is None:
        return value
    if isinstance(value, dict | list):
        raise invalid_value(f"{name} is a single value.")
    return str(value)


def _truth(value: Any) -> bool:
    try:
        return truth(value)
    except Refused:
        raise invalid_value("active is true or false.") from None


def _mails(value: Any) -> list[Mail] | None:
    if value is None:
        return None
    out = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            out.append(Mail(item, None, False))
            continue
        if not isinstance(item, dict):
            raise invalid_value("emails is a list of objects.")
        address = _scalar(key_of(item, "value", None), "emails.value")
        kind = _scalar(key_of(item, "type", None), "emails.type")
        primary = key_of(item, "primary", None)
        display = _scalar(key_of(item, "display", None), "emails.display")
        if address:
            out.append(Mail(address, kind, primary is not None and _truth(primary), display))
    if sum(m.primary for m in out) > 1:
        raise invalid_value("Only one address is primary.")
    return out


def _group_names(value: Any) -> Any:
    """Names of groups, plain or as objects with ``display``; at creation a directory may say where somebody belongs."""
    if value is UNSET or value is None:
        return UNSET
    if not isinstance(value, list) or len(value) > 100:
        raise invalid_value("groups is a list of at most 100 names.")
    names = []
    for item in value:
        name = key_of(item, "display", key_of(item, "value", None)) if isinstance(item, dict) else item
        if not isinstance(name, str) or not name.strip() or len(name) > 255:
            raise invalid_value("A group is named by its display name.")
        names.append(name.strip())
    return names


# ---- PATCH of a user ------------------------------------------------------------------------------------------------


def operations(body: Body) -> list[Body]:
    """The operations of a PATCH, well-formed, their keys in lower case. Raises Refused (invalidSyntax, invalidValue)."""
    schemas = key_of(body, "schemas", None)
    if not isinstance(schemas, list) or PATCH.lower() not in {str(s).lower() for s in schemas}:
        raise Refused(400, f"schemas must name {PATCH}.", "invalidSyntax")
    listed = key_of(body, "Operations", None)
    if not isinstance(listed, list) or not listed:
        raise Refused(400, "Operations holds one or more operations.", "invalidSyntax")
    if len(listed) > MOST_OPERATIONS:
        raise Refused(413, f"At most {MOST_OPERATIONS} operations in one request.", "tooMany")
    out = []
    for item in listed:
        if not isinstance(item, dict):
            raise Refused(400, "An operation is an object.", "invalidSyntax")
        op = {str(k).lower(): v for k, v in item.items() if str(k).lower() in ("op", "path", "value")}
        kind = op.get("op")
        if not isinstance(kind, str) or kind.lower() not in ("add", "replace", "remove"):
            raise Refused(400, "op is add, replace or remove.", "invalidSyntax")
        if op.get("path") is not None and not isinstance(op["path"], str):
            raise Refused(400, "path is a text.", "invalidPath")
        op["op"] = kind.lower()
        if len(op.get("path") or "") > MOST_PATH:
            raise Refused(400, f"A path has at most {MOST_PATH} characters.", "invalidPath")
        if op.get("path") in (None, ""):
            op.pop("path", None)
        out.append(op)
    return out


def patched(person: Person, body: Body) -> Wanted:
    """*person* as the PATCH of *body* leaves them, as what differs. Raises Refused; nothing is written before all is read."""
    todo = [op for op in (_tolerable(op, str(person.public_id)) for op in operations(body)) if op is not None]
    if not todo:
        return Wanted()
    current = _resource(person, any(_only_adds_emails(op) for op in todo))
    before = _state(current)
    try:
        with TOLERANT:
            patch = PatchOp[DirectoryUser].model_validate(  # type: ignore[call-arg]
                {"schemas": [PATCH], "Operations": todo}, scim_ctx=Context.RESOURCE_PATCH_REQUEST
            )
            patch.patch(current)
    except (ValidationError, SCIMException) as error:
        raise refused(error) from None
    after = _state(current)
    wanted = Wanted()
    for name, value in after.items():
        if value != before[name]:
            setattr(wanted, name, value)
    if wanted.display_name is None:
        wanted.display_name = ""  # taken away, and not merely never given
    return wanted


def _only_adds_emails(op: Body) -> bool:
    """An add to the list as a whole: it begins a list of the directory's own instead of joining the one that is assumed."""
    if op["op"] != "add":
        return False
    if "path" not in op:
        return any(str(k).lower() == "emails" for k in (op.get("value") or {}))
    return op["path"].lower().removeprefix(USER.lower() + ":") == "emails"


def _resource(person: Person, own_list: bool) -> Any:
    mails = person.emails if own_list else person.addresses
    values: Body = {
        "userName": person.email,
        "displayName": person.display_name,
        "externalId": person.external_id,
        "active": person.active,
        "name": {"givenName": person.given, "familyName": person.family, "formatted": person.formatted},
        "emails": [
            {"value": m.value, "type": m.type, "primary": m.primary, "display": m.display} for m in mails
        ],
        "schemas": [USER, ENTERPRISE],
        ENTERPRISE: {"department": person.department},
    }
    with TOLERANT:
        return DirectoryUser.model_validate(values)


def _state(resource: Any) -> Body:
    name = resource.name
    extension = getattr(resource, "EnterpriseUser", None)
    return {
        "user_name": resource.user_name,
        "display_name": resource.display_name,
        "external_id": resource.external_id,
        "active": resource.active,
        "given": (name.given_name if name else None) or None,
        "family": (name.family_name if name else None) or None,
        "formatted": (name.formatted if name else None) or None,
        "department": extension.department if extension else None,
        "emails": [
            Mail(e.value, e.type, bool(e.primary), e.display) for e in (resource.emails or []) if e.value
        ],
    }


def _tolerable(op: Body, own_id: str) -> Body | None:
    """*op* as scim2-models should see it; None for one about a standard attribute that is not kept."""
    path = op.get("path")
    if path is None:
        if op["op"] == "remove":
            raise Refused(400, "A remove names its path.", "noTarget")
        if not isinstance(op.get("value"), dict):
            raise invalid_value("Without a path the value is an object.")
        value = {_undotted(str(k)): v for k, v in op["value"].items()}
        if (
            str(key_of(value, "id", "")).lower() == own_id
        ):  # the resource as it was read: what is ours is read past
            value = {k: v for k, v in value.items() if k.lower() not in READ_ONLY}
        if any(len(k) > MOST_PATH for k in value):
            raise Refused(400, f"A path has at most {MOST_PATH} characters.", "invalidPath")
        value = {k: _plain(k, v) for k, v in value.items() if _kept_key(k)}
        return {**op, "value": value} if value else None
    path = _undotted(path.strip())
    try:
        parsed = Path[_Full](path)
    except SCIMException as error:
        raise Refused(400, f"{path[:100]} is not a path: {error.detail}"[:300], "invalidPath") from None
    if parsed.model is None and parsed.resolve() is None:
        raise Refused(400, f"{path[:100]} names no attribute of a User.", "invalidPath")
    if not _kept_path(parsed):
        return None
    out = {**op, "path": path}
    if "value" in op:
        out["value"] = _plain(path, op["value"])
    return out


def _undotted(path: str) -> str:
    """Entra ID also writes the extension's attributes behind a dot; the grammar wants a colon."""
    return ENTERPRISE + ":" + path[len(_DOTTED) :] if path.lower().startswith(_DOTTED) else path


def _kept_path(path: Any) -> bool:
    if path.model is not None:
        return True
    schema = (path.schema or USER).lower()
    top = path.parts[0].lower() if path.parts else ""
    return top in KEPT if schema == USER.lower() else schema == ENTERPRISE.lower() and top == "department"


def _kept_key(name: str) -> bool:
    """Whether a key of a path-less value is kept; a standard one that is not is dropped, and so is a stranger's."""
    low = name.lower()
    if low == ENTERPRISE.lower():
        return True
    if low.startswith(ENTERPRISE.lower() + ":"):
        return low.rpartition(":")[2].partition(".")[0] == "department"
    low = low.removeprefix(USER.lower() + ":")
    head = low.partition(".")[0].partition("[")[0]
    return head in KEPT or (head not in KNOWN | ENTERPRISE_KNOWN and not low.startswith("urn:"))


def _plain(path: str, value: Any) -> Any:
    """*value* as the attribute takes it: Entra ID wraps single ones (``[{"value": "False"}]``), others list addresses as
    texts, or send numbers for texts."""
    name = path.lower().removeprefix(USER.lower() + ":")
    if name == "emails":
        listed = value if isinstance(value, list) else [value]
        return [{"value": v} if isinstance(v, str) else v for v in listed] if value is not None else None
    if name in SINGLE:
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, dict) and value.keys() & {"value"}:
            value = value["value"]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


# ---- groups ---------------------------------------------------------------------------------------------------------


@dataclass
class GroupBody:
    """What a POST or PUT of a group wants; members are public ids."""

    name: Any
    external_id: Any
    members: Any


def group_body(body: Body) -> GroupBody:
    """Raises Refused (invalidSyntax, invalidValue)."""
    schemas = key_of(body, "schemas", None)
    if schemas is not None and (
        not isinstance(schemas, list) or GROUP.lower() not in {str(s).lower() for s in schemas}
    ):
        raise Refused(400, f"schemas must name {GROUP}.", "invalidSyntax")
    members = key_of(body, "members")
    return GroupBody(
        _scalar(key_of(body, "displayName", None), "displayName"),
        _scalar(key_of(body, "externalId"), "externalId"),
        UNSET if members is UNSET else member_ids(members),
    )


def member_ids(value: Any) -> list[str]:
    """Ids out of ``[{"value": …}]``, one object, or plain texts. Raises Refused (invalidValue)."""
    if value is None:
        return []
    out = []
    for item in value if isinstance(value, list) else [value]:
        found = key_of(item, "value", None) if isinstance(item, dict) else item
        kind = key_of(item, "type", None) if isinstance(item, dict) else None
        if isinstance(kind, str) and kind.lower() == "group":
            raise invalid_value("Groups within groups are not supported.")
        if not isinstance(found, str) or not found.strip():
            raise invalid_value("A member is named by its id, in value.")
        out.append(found.strip())
    return out


@dataclass
class GroupEdit:
    """What a PATCH of a group does, in order: ("name", text), ("external", text), ("set"|"add"|"take", ids)."""

    steps: list[tuple[str, Any]] = field(default_factory=list)


def group_patch(body: Body) -> GroupEdit:
    """The steps of a group's PATCH. Large groups are never loaded for it. Raises Refused."""
    edit = GroupEdit()
    for op in operations(body):
        edit.steps += list(_group_steps(op))
    return edit


def _group_steps(op: Body) -> Iterator[tuple[str, Any]]:
    kind, path, value = op["op"], op.get("path"), op.get("value")
    if path is None:
        if kind == "remove":
            raise Refused(400, "A remove names its path.", "noTarget")
        if not isinstance(value, dict):
            raise invalid_value("Without a path the value is an object.")
        for key, item in value.items():
            low = str(key).lower().removeprefix(GROUP.lower() + ":")
            if low in ("displayname", "externalid", "members"):
                yield from _group_attribute(kind, low, item)
        return
    try:
        parsed = Path(path)
        node = parsed.ast
    except SCIMException as error:
        raise Refused(400, f"{path[:100]} is not a path: {error.detail}"[:300], "invalidPath") from None
    schema = parsed.schema
    parts = tuple(p.lower() for p in parsed.parts)
    if (schema is not None and schema.lower() != GROUP.lower()) or not parts:
        raise Refused(400, f"{path[:100]} names no attribute of a Group.", "invalidPath")
    if parts[0] in ("id", "meta", "schemas"):
        raise Refused(400, f"{parts[0]} is read-only.", "mutability")
    if parts[0] == "members" and isinstance(node, ValuePath):
        yield from _selected(kind, node, parts, value)
    elif parts == ("members", "value") and kind == "add":
        yield "add", member_ids(value)
    elif (
        len(parts) == 1
        and parts[0] in ("displayname", "externalid", "members")
        and isinstance(node, AttrPath)
    ):
        yield from _group_attribute(kind, parts[0], value, removing=kind == "remove")
    elif parts[0] == "members" and parts[1:] in (("display",), ("$ref",), ("type",)):
        raise Refused(400, "A member's display, $ref and type follow the member.", "mutability")
    else:
        raise Refused(400, f"{path[:100]} names no attribute of a Group.", "invalidPath")


def _group_attribute(
    kind: str, name: str, value: Any, *, removing: bool = False
) -> Iterator[tuple[str, Any]]:
    if name == "displayname":
        if removing or value is None:
            raise Refused(400, "displayName is required.", "mutability")
        yield "name", _scalar(value, "displayName")
    elif name == "externalid":
        yield "external", None if removing else _scalar(value, "externalId")
    elif removing:
        ids = member_ids(value)
        yield ("take", ids) if value not in (None, []) else ("set", [])
    elif kind == "add":
        yield "add", member_ids(value)
    else:
        yield "set", member_ids(value)


def _selected(kind: str, node: ValuePath, parts: Sequence[str], value: Any) -> Iterator[tuple[str, Any]]:
    """``members[value eq "x"]``, alone or several joined by or."""
    ids = _named(node.val_filter)
    if len(parts) > 1 and parts[1] != "value":
        raise Refused(400, "A member's display, $ref and type follow the member.", "mutability")
    if kind == "remove":
        yield "take", ids
        return
    if kind == "add":
        yield "add", ids
        return
    yield "only_if_there", ids
    yield "take", ids
    yield "add", member_ids(value)


def _named(node: FilterNode) -> list[str]:
    if isinstance(node, LogicalExpr) and node.op == LogicalOperator.or_:
        return [i for term in node.terms for i in _named(term)]
    if (
        isinstance(node, Comparison)
        and node.op == CompareOperator.eq
        and node.attr_path.attr.lower() == "value"
        and isinstance(node.value, str)
    ):
        return [node.value]
    raise Refused(400, 'Members are selected by value: members[value eq "…"].', "invalidFilter")
