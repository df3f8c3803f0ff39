"""The resources as directories see them, and what the service says about itself (RFC 7643, 4 to 8).

The schemas name what is kept and nothing else: a directory that asks learns the truth. Standard attributes that are not
kept (a manager, a telephone) are read past, never refused.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from scim2_models import (
    AnyExtension,
    CaseExact,
    ComplexAttribute,
    Extension,
    Mutability,
    Reference,
    Required,
    Resource,
    Returned,
    ScimPolicy,
    Uniqueness,
)
from scim2_models import EnterpriseUser as FullEnterpriseUser
from scim2_models import User as FullUser

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
MOST_RESULTS, DEFAULT_RESULTS = 200, 100
MOST_OPERATIONS, MOST_PATH = 1000, 8000
MOST_BODY = 4 * 1024 * 1024  # bytes

TOLERANT = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)


class Name(ComplexAttribute):
    formatted: str | None = None
    """The full name, formatted for display."""

    family_name: str | None = None
    """The family name, or last name."""

    given_name: str | None = None
    """The given name, or first name."""


class Email(ComplexAttribute):
    value: str | None = None
    """The address."""

    display: str | None = None
    """A human-readable form of the address."""

    type: str | None = Field(None, examples=["work", "home", "other"])
    """What the address is for."""

    primary: bool | None = None
    """Whether it is the preferred address."""


class GroupOfUser(ComplexAttribute):
    value: Annotated[str | None, Mutability.read_only, CaseExact.true] = None
    """The group's id."""

    ref: Annotated[Reference[Group] | None, Mutability.read_only] = Field(
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    """The group's address."""

    display: Annotated[str | None, Mutability.read_only] = None
    """The group's name."""

    type: Annotated[str | None, Mutability.read_only] = None
    """Always direct."""


class User(Resource[AnyExtension]):
    """User Account"""

    __schema__ = USER  # type: ignore[assignment]

    user_name: Annotated[str | None, Uniqueness.server, Required.true] = None
    """The member's e-mail address, on a verified domain of the organisation."""

    name: Name | None = None
    """The components of the name."""

    display_name: str | None = None
    """The name as it is displayed."""

    active: Annotated[bool | None, Required.true] = None
    """Whether the membership is active; an inactive one holds no seat and cannot sign in here."""

    emails: list[Email] | None = None
    """The addresses the directory listed; without any, userName as the work address."""

    groups: Annotated[list[GroupOfUser] | None, Mutability.read_only] = None
    """The groups the member belongs to."""


class EnterpriseUser(Extension):
    """Enterprise User"""

    __schema__ = ENTERPRISE  # type: ignore[assignment]

    department: str | None = None
    """The member's department."""


class Member(ComplexAttribute):
    value: Annotated[str | None, Mutability.immutable, CaseExact.true] = None
    """The member's id."""

    ref: Annotated[Reference[User] | None, Mutability.immutable] = Field(  # type: ignore[type-arg]
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    """The member's address."""

    type: Annotated[str | None, Mutability.immutable] = Field(None, examples=["User"])
    """Always User."""

    display: Annotated[str | None, Mutability.read_only, Returned.request] = None
    """The member's name; answered to who asks for members.display."""


class Group(Resource[Any]):
    """Group"""

    __schema__ = GROUP  # type: ignore[assignment]

    display_name: Annotated[str | None, Uniqueness.server, Required.true] = None
    """The group's name; it may be mapped to a role."""

    members: list[Member] | None = None
    """The members of the group."""


DirectoryUser: Any = User[EnterpriseUser]  # type: ignore[type-arg]


def _names(model: Any) -> frozenset[str]:
    return frozenset(model._scim_name(field).lower() for field in model.model_fields)


KEPT = frozenset({"schemas", "id", "externalid", "meta"} | _names(User))
KNOWN = KEPT | _names(FullUser)  # standard, so tolerated
ENTERPRISE_KNOWN = _names(FullEnterpriseUser)


def _attribute(**values: Any) -> dict[str, Any]:
    return {
        "multiValued": False,
        "required": False,
        "caseExact": False,
        "mutability": "readWrite",
        "returned": "default",
        "uniqueness": "none",
        **values,
    }


def schemas(base: str) -> list[dict[str, Any]]:
    """The three schemas, as /Schemas answers them."""
    out = []
    for model, name, text in (
        (User, "User", "User Account"),
        (Group, "Group", "Group"),
        (EnterpriseUser, "EnterpriseUser", "Enterprise User"),
    ):
        body = model.to_schema().model_dump(mode="json")
        body = {k: v for k, v in body.items() if k not in ("meta",)}
        body.update(
            {
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
                "id": str(model.__schema__),
                "name": name,
                "description": text,
                "meta": {
                    "resourceType": "Schema",
                    "location": f"{base}/Schemas/{model.__schema__}",
                },
            }
        )
        out.append(body)
    return out


def resource_types(base: str) -> list[dict[str, Any]]:
    """/ResourceTypes: people with the enterprise extension, and groups."""
    kinds: tuple[tuple[str, str, str, str, list[dict[str, Any]]], ...] = (
        ("User", "/Users", "A member of the organisation", USER, [{"schema": ENTERPRISE, "required": False}]),
        ("Group", "/Groups", "A group of members", GROUP, []),
    )
    return [
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": name,
            "name": name,
            "endpoint": endpoint,
            "description": text,
            "schema": schema,
            **({"schemaExtensions": extensions} if extensions else {}),
            "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/{name}"},
        }
        for name, endpoint, text, schema, extensions in kinds
    ]


def service_provider_config(base: str, documentation: str) -> dict[str, Any]:
    """/ServiceProviderConfig: what is offered, and no more (RFC 7643, 5)."""
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "documentationUri": documentation,
        "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MOST_RESULTS},
        "changePassword": {"supported": False},
        "sort": {"supported": True},
        "etag": {"supported": True},
        "pagination": {
            "cursor": False,
            "index": True,
            "defaultPaginationMethod": "index",
            "defaultPageSize": DEFAULT_RESULTS,
            "maxPageSize": MOST_RESULTS,
        },
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "OAuth Bearer Token",
                "description": "A token of the organisation's provisioning page, sent as a bearer token.",
                "specUri": "https://www.rfc-editor.org/info/rfc6750",
                "primary": True,
            },
            {
                "type": "oauth2",
                "name": "OAuth 2.0 client credentials",
                "description": "The token's id and the token as client credentials at /scim/oauth/token.",
                "specUri": "https://www.rfc-editor.org/info/rfc6749",
                "primary": False,
            },
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}/ServiceProviderConfig"},
    }
