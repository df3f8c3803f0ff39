"""How each directory is connected, step by step: what to click there and what to paste (docs/scim.md says the same)."""

from __future__ import annotations

from typing import NamedTuple


class Guide(NamedTuple):
    """A directory: its name, a line about it, and its steps. ``{base}`` stands for the service's address."""

    key: str
    name: str
    note: str
    per_minute: int
    steps: list[str]
    unique: str
    address_label: str
    secret_label: str


GUIDES = (
    Guide(
        "okta",
        "Okta",
        "A custom app integration with SCIM provisioning.",
        600,
        [
            "In the Okta admin console open your app, or create one under Applications, Create App Integration.",
            "Under General, edit App Settings, choose SCIM as the provisioning and save.",
            "Open the Provisioning tab and edit the SCIM connection. Paste the base URL below as SCIM connector base URL.",
            "Enter userName as Unique identifier field for users. Tick Push New Users, Push Profile Updates and Push Groups.",
            "Choose HTTP Header as Authentication Mode and paste the token. Press Test Connector Configuration, then Save.",
            "Under Provisioning, To App, switch on Create Users, Update User Attributes and Deactivate Users.",
            "Assign people under Assignments. Push groups under Push Groups, and map them to roles here.",
        ],
        "userName",
        "SCIM connector base URL",
        "Authorization (token)",
    ),
    Guide(
        "entra",
        "Microsoft Entra ID",
        "A non-gallery enterprise application.",
        1500,
        [
            "In the Entra admin center open Enterprise applications, New application, Create your own application, non-gallery.",
            "Open Provisioning, choose Automatic, and paste the base URL as Tenant URL and the token as Secret Token.",
            "Press Test Connection, then Save.",
            "Under Mappings, Users: keep userPrincipalName or mail mapped to userName, so that it is an address on your verified "
            "domain. Keep Switch([IsSoftDeleted]…) mapped to active.",
            "Under Mappings, Groups: keep displayName, externalId and members.",
            "Assign people and groups under Users and groups, then set Provisioning Status to On.",
            "The first cycle is fast: give the token 1,500 requests a minute for it. Later cycles run every 40 minutes.",
        ],
        "userName",
        "Tenant URL",
        "Secret Token",
    ),
    Guide(
        "onelogin",
        "OneLogin",
        "The SCIM Provisioner with SAML (SCIM v2 Enterprise) connector.",
        300,
        [
            "In OneLogin open Applications, Add App, and choose SCIM Provisioner with SAML (SCIM v2 Enterprise).",
            "Under Configuration paste the base URL as SCIM Base URL and the token as SCIM Bearer Token.",
            "Under Parameters map scimusername to Email.",
            "Switch API Status on: Enable.",
            "Under Provisioning, switch on Enable provisioning and choose what needs an approval.",
            "Choose Suspend for users who are deleted in OneLogin, so that nobody loses history here.",
            "Add roles under Access; rules may set Groups, which you map to roles here.",
        ],
        "userName",
        "SCIM Base URL",
        "SCIM Bearer Token",
    ),
    Guide(
        "jumpcloud",
        "JumpCloud",
        "A custom SSO application with SCIM identity management.",
        300,
        [
            "In the JumpCloud admin portal open SSO Applications and your custom application.",
            "Open Identity Management and choose SCIM 2.0 as API type.",
            "Paste the base URL as Base URL and the token as Token Key. Enter the address of a test user on your verified domain.",
            "Switch on Enable management of User Groups and Group Membership if groups give roles here.",
            "Press Test Connection, then Activate, then Save.",
            "Connect user groups under User Groups; their members are provisioned at once.",
        ],
        "userName",
        "Base URL",
        "Token Key",
    ),
    Guide(
        "other",
        "Another directory",
        "Anything that speaks SCIM 2.0.",
        300,
        [
            "Give it the base URL and the token as a bearer token. It must send application/scim+json or application/json.",
            "Or use OAuth client credentials: the token's id is the client id, the token is the client secret, and access tokens "
            "come from the token address below and live an hour.",
            "userName is the member's e-mail address, on a verified domain of your organisation.",
            "Groups are read and written in full; PATCH and PUT both work; Bulk is not offered.",
        ],
        "userName",
        "Base URL",
        "Bearer token",
    ),
)
BY_KEY = {g.key: g for g in GUIDES}
