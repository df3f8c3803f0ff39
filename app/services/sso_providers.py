"""Identity providers of an organisation: made, changed in place, proven, removed (chapter 3, "Providers")."""

from __future__ import annotations

import re
import secrets
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from app import clock
from app.errors import DomainError, Invalid
from app.identity import domains, oidc, saml_metadata, saml_sp
from app.identity.safe_xml import Refused
from app.models import (
    AuditCategory,
    SsoAttempt,
    SsoCertificate,
    SsoIdentity,
    SsoProtocol,
    SsoProvider,
    User,
)
from app.security import egress, keyring, x509
from app.security.context import ctx
from app.services import audit, domain_claims, sso
from app.services.member_rules import lock_organization
from config import Settings

PROVIDER_ID = re.compile(r"^[a-z0-9-]{2,50}$")
RESERVED = frozenset(
    {"credential", "credentials", "password", "email", "sso", "saml", "oidc", "scim", "google", "github"}
    | {"microsoft", "apple", "facebook", "linkedin", "twitter", "bearer", "setup", "start", "api", "admin"}
)
MOST_CERTIFICATES, MOST_SECRETS, MOST_PROVIDERS = 3, 3, 20
SAML_TEXTS = ("idp_entity_id", "sso_url", "slo_url", "name_id_format", "metadata_url")
MAP_KEYS = ("email", "first_name", "last_name", "name")


# ---- reading --------------------------------------------------------------------------------------------------------


def providers(session: Session) -> list[SsoProvider]:
    """The organisation's providers with their certificates, oldest first."""
    return list(
        session.scalars(
            select(SsoProvider).options(selectinload(SsoProvider.certificates)).order_by(SsoProvider.id)
        )
    )


def find(session: Session, provider_id: str, *, lock: bool = False) -> SsoProvider:
    """A provider of the organisation with its certificates. Raises NOT_FOUND."""
    statement = (
        select(SsoProvider)
        .where(SsoProvider.provider_id == str(provider_id)[:60])
        .options(selectinload(SsoProvider.certificates))
    )
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    row = session.scalars(statement).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    return row


def attempts(session: Session, provider: SsoProvider | None = None, limit: int = 50) -> list[SsoAttempt]:
    """The latest attempts to sign in, newest first."""
    statement = select(SsoAttempt).order_by(SsoAttempt.id.desc()).limit(limit)
    if provider is not None:
        statement = statement.where(SsoAttempt.sso_provider_id == provider.id)
    return list(session.scalars(statement))


def suggested_id(slug: str, protocol: str) -> str:
    """A provider id to begin with."""
    return re.sub(r"[^a-z0-9-]", "-", f"{slug[:44]}-{protocol.lower()}")[:50]


def level(certificate: SsoCertificate) -> str:
    """OK, WARN (30 days), CRITICAL (7 days) or EXPIRED."""
    left = certificate.not_after - clock.now()
    days = left.total_seconds() / 86_400
    return "EXPIRED" if days <= 0 else "CRITICAL" if days <= 7 else "WARN" if days <= 30 else "OK"


def sp_key(settings: Settings, provider: SsoProvider) -> str | None:
    """Our private key for *provider*, or None where it has none. Raises SSO_ENCRYPTION_KEY_MISSING."""
    if not provider.sp_key_encrypted:
        return None
    return keyring.unseal(settings, provider.sp_key_encrypted, _about(provider, "sp_key"))


def client_secrets(settings: Settings, provider: SsoProvider) -> list[str]:
    """The client secrets that work, newest first. Raises SSO_ENCRYPTION_KEY_MISSING."""
    return [
        keyring.unseal(settings, s["sealed"], _about(provider, "client_secret"))
        for s in reversed(provider.client_secrets)
    ]


def _about(provider: SsoProvider, what: str) -> str:
    return f"sso_provider:{provider.public_id}:{what}"


# ---- making ---------------------------------------------------------------------------------------------------------


def create(session: Session, settings: Settings, values: dict[str, Any]) -> SsoProvider:
    """A new provider. Raises Invalid, PROVIDERID_RESERVED, PROVIDERID_TAKEN, PUBLIC_DOMAIN, DOMAIN_NOT_OWNED,
    DOMAIN_NOT_VERIFIED, DOMAIN_ALREADY_REGISTERED, INVALID_X509_CERT, SAML_METADATA_INVALID, OIDC_DISCOVERY_FAILED,
    SSO_ENCRYPTION_KEY_MISSING; nothing is written then."""
    provider_id = str(values.get("provider_id") or "").strip()
    if not PROVIDER_ID.match(provider_id):
        raise Invalid({"provider_id": ["2 to 50 small letters, digits and hyphens."]})
    if provider_id in RESERVED:
        raise DomainError("PROVIDERID_RESERVED")
    try:
        protocol = SsoProtocol(str(values.get("protocol") or ""))
    except ValueError:
        raise Invalid({"protocol": ["SAML or OIDC."]}) from None
    domain = domains.normalise(values.get("domain"))
    sso.check_domain(session, domain)
    from app.schema.base import new_public_id

    row = SsoProvider(
        public_id=new_public_id(),
        provider_id=provider_id,
        protocol=protocol,
        name=_text(values.get("name"), 100) or "",
        domain=domain,
        extra_domains=[],
        attribute_map={},
        client_secrets=[],
        certificates=[],
        scopes="openid email profile",
        token_auth_method="client_secret_basic",  # noqa: S106
        sign_requests=False,
        enabled=True,
        version=1,
        created_by_user_id=ctx().user_id,
    )
    if protocol == SsoProtocol.SAML:
        _fill_saml(settings, row, values, new=True)
    else:
        _fill_oidc(settings, row, values, new=True)
    _common(session, row, values)
    lock_organization(session)
    if (session.scalar(select(func.count(SsoProvider.id))) or 0) >= MOST_PROVIDERS:
        raise DomainError(
            "CONFLICT", message=f"An organisation may have {MOST_PROVIDERS} identity providers."
        )
    _check_free(session, row)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        name = getattr(getattr(error.orig, "diag", None), "constraint_name", "") or ""
        code = "DOMAIN_ALREADY_REGISTERED" if "domain" in name else "PROVIDERID_TAKEN"
        raise DomainError(code) from None
    _record(
        session, row, "SSO_PROVIDER_CREATED", f"The identity provider {row} was added.", {"domain": domain}
    )
    session.flush()
    return row


def update(
    session: Session,
    settings: Settings,
    provider_id: str,
    values: dict[str, Any],
    expected_version: int | None = None,
) -> SsoProvider:
    """Change a provider in place; a certificate or secret that is added works beside the old until that is removed.

    Raises what ``create`` raises, NOT_FOUND, VERSION_CONFLICT, LAST_PROVIDER_GUARD.
    """
    values = _prefetched(settings, find(session, provider_id), values)
    lock_organization(session)
    row = find(session, provider_id, lock=True)
    if expected_version is not None and expected_version != row.version:
        raise DomainError("VERSION_CONFLICT", version=row.version)
    before = _summary(row)
    identity = (row.idp_entity_id, row.issuer, row.client_id)
    if row.protocol == SsoProtocol.SAML:
        _fill_saml(settings, row, values, new=False)
    else:
        _fill_oidc(settings, row, values, new=False)
    _common(session, row, values)
    _check_free(session, row)
    after = _summary(row)
    if before == after:
        return row
    if identity != (row.idp_entity_id, row.issuer, row.client_id):
        # another provider: what the former proved, and whom its subjects meant, says nothing about this one
        row.proven_at = None
        session.execute(
            delete(SsoIdentity)
            .where(SsoIdentity.sso_provider_id == row.id)
            .execution_options(synchronize_session=False)
        )
    row.version += 1
    session.flush()
    sso.guard_last_provider(session)
    changed = {k for k in after if before[k] != after[k]}
    _record(
        session,
        row,
        "SSO_PROVIDER_UPDATED",
        f"The identity provider {row} changed.",
        {"before": {k: before[k] for k in changed}, "after": {k: after[k] for k in changed}},
    )
    session.flush()
    return row


def _prefetched(settings: Settings, row: SsoProvider, values: dict[str, Any]) -> dict[str, Any]:
    """*values* with what must be asked of others: calls take seconds, so they are made before anything is locked."""
    if row.protocol == SsoProtocol.SAML:
        url = _address(settings, "metadata_url", values.get("metadata_url"))
        if url and not values.get("metadata_xml"):
            return {**values, "_metadata": fetch_metadata(settings, url)}
        return values
    issuer = _address(settings, "issuer", values.get("issuer", row.issuer))
    where = _address(settings, "discovery_url", values.get("discovery_url", row.discovery_url))
    if issuer and (issuer, where) != (row.issuer, row.discovery_url):
        return {**values, "_discovery": oidc.discover(settings, issuer, where)}
    return values


def remove(session: Session, provider_id: str) -> None:
    """Remove a provider; its linked identities go with it. Raises NOT_FOUND, LAST_PROVIDER_GUARD."""
    lock_organization(session)
    row = find(session, provider_id, lock=True)
    if row.enabled and sso.is_usable(row, row.certificates):
        sso.guard_last_provider(session, leaving=row)
    name = str(row)
    _record(
        session,
        row,
        "SSO_PROVIDER_DELETED",
        f"The identity provider {name} was removed.",
        {"domain": row.domain},
    )
    session.delete(row)
    session.flush()
    who = session.get(User, ctx().user_id) if ctx().user_id else None
    domain_claims.tell_owners(
        session,
        "sso_provider_deleted",
        f"The identity provider {name} was removed",
        "People who signed in through it need another way in.",
        provider=name,
        who=who.name if who is not None else "The platform team",
    )


def _common(session: Session, row: SsoProvider, values: dict[str, Any]) -> None:
    for name in ("enabled", "allow_idp_initiated"):
        if values.get(name) is not None:
            setattr(row, name, bool(values[name]))
    if values.get("name") is not None:
        row.name = _text(values["name"], 100) or ""
    if values.get("extra_domains") is not None:
        found: list[str] = []
        if len(values["extra_domains"]) > domain_claims.MOST:
            raise Invalid({"extra_domains": [f"At most {domain_claims.MOST}."]})
        for given in values["extra_domains"]:
            domain = domains.normalise(given)
            sso.check_domain(session, domain)
            if domain != row.domain and domain not in found:
                found.append(domain)
        row.extra_domains = sorted(found)


def _check_free(session: Session, row: SsoProvider) -> None:
    """Each domain has one provider. Raises DOMAIN_ALREADY_REGISTERED."""
    with session.no_autoflush:
        for other in session.scalars(select(SsoProvider)):
            if (
                other is not row
                and other.public_id != row.public_id
                and set(other.domains) & set(row.domains)
            ):
                raise DomainError("DOMAIN_ALREADY_REGISTERED", provider_id=other.provider_id)


def _summary(row: SsoProvider) -> dict[str, Any]:
    """What of a provider may be told and audited: no key, no secret."""
    return {
        **{
            n: getattr(row, n)
            for n in ("name", "enabled", "allow_idp_initiated", *SAML_TEXTS, "sign_requests", "issuer")
        },
        **{
            n: getattr(row, n)
            for n in ("discovery_url", "client_id", "scopes", "token_auth_method", "trust_email")
        },
        "extra_domains": list(row.extra_domains),
        "attribute_map": dict(row.attribute_map),
        "certificates": sorted(c.fingerprint for c in row.certificates),
        "client_secrets": [s["id"] for s in row.client_secrets],
        "endpoints": (row.discovery or {}).get("authorization_endpoint"),
    }


# ---- SAML -----------------------------------------------------------------------------------------------------------


def _fill_saml(settings: Settings, row: SsoProvider, values: dict[str, Any], *, new: bool) -> None:
    if values.get("metadata_url") is not None:
        row.metadata_url = _address(settings, "metadata_url", values["metadata_url"])
    if values.get("metadata_xml"):
        _apply(row, read_metadata(str(values["metadata_xml"]).encode()))
    elif values.get("metadata_url") and row.metadata_url:
        _apply(row, values.get("_metadata") or fetch_metadata(settings, row.metadata_url))
        row.metadata_read_at, row.metadata_problem = clock.now(), None
    if values.get("idp_entity_id") is not None:
        row.idp_entity_id = _text(values["idp_entity_id"], 1024)
    for name in ("sso_url", "slo_url"):
        if values.get(name) is not None:
            setattr(row, name, _address(settings, name, values[name]))
    if values.get("name_id_format") is not None:
        wanted = _text(values["name_id_format"], 200)
        if wanted and wanted not in saml_sp.NAME_ID_FORMATS:
            raise Invalid({"name_id_format": ["Choose one of the known formats."]})
        row.name_id_format = wanted
    if values.get("attribute_map") is not None:
        given = {str(k): _text(v, 300) for k, v in dict(values["attribute_map"]).items()}
        if set(given) - set(MAP_KEYS):
            raise Invalid({"attribute_map": [f"Only {', '.join(MAP_KEYS)}."]})
        row.attribute_map = {k: v for k, v in given.items() if v}
    if values.get("certificates") is not None:
        set_certificates(row, [read_certificate(c) for c in values["certificates"]])
    if values.get("add_certificate"):
        set_certificates(
            row, [x509.read(c.pem) for c in row.certificates] + [read_certificate(values["add_certificate"])]
        )
    if values.get("remove_certificate"):
        _remove_certificate(row, str(values["remove_certificate"]))
    if values.get("sign_requests") is not None:
        row.sign_requests = bool(values["sign_requests"])
    if row.sp_key_encrypted is None and (row.sign_requests or (new and keyring.available(settings))):
        key, row.sp_certificate = saml_sp.new_key_pair(row.provider_id, clock.now())
        row.sp_key_encrypted = keyring.seal(settings, key, _about(row, "sp_key"))
    missing = {
        name: ["Import the metadata of your identity provider, or enter it."]
        for name in ("idp_entity_id", "sso_url")
        if not getattr(row, name)
    }
    if missing:
        raise Invalid(missing)
    if new and not row.certificates:
        raise DomainError("INVALID_X509_CERT")


def read_certificate(text: Any) -> x509.Facts:
    """A certificate that may be added. Raises INVALID_X509_CERT with the reason."""
    try:
        facts = x509.read(str(text or ""))
    except x509.Unusable as error:
        raise DomainError("INVALID_X509_CERT", message=f"This certificate cannot be used. {error}") from None
    if facts.not_after <= clock.now():
        raise DomainError("INVALID_X509_CERT", message="This certificate has expired.")
    return facts


def set_certificates(row: SsoProvider, wanted: list[x509.Facts]) -> None:
    """Make *wanted* the certificates of *row*; those that stay keep their rows. Raises Invalid for none or more than three."""
    unique = {f.fingerprint: f for f in wanted}
    if not 1 <= len(unique) <= MOST_CERTIFICATES:
        raise Invalid({"certificates": [f"From one to {MOST_CERTIFICATES}. Remove an old one first."]})
    row.certificates = [c for c in row.certificates if c.fingerprint in unique]
    have = {c.fingerprint for c in row.certificates}
    for facts in unique.values():
        if facts.fingerprint not in have:
            row.certificates.append(
                SsoCertificate(
                    organization_id=ctx().org_id,
                    pem=facts.pem,
                    fingerprint=facts.fingerprint,
                    subject=facts.subject,
                    not_after=facts.not_after,
                )
            )


def _remove_certificate(row: SsoProvider, fingerprint: str) -> None:
    if fingerprint not in {c.fingerprint for c in row.certificates}:
        raise DomainError("NOT_FOUND")
    row.certificates = [c for c in row.certificates if c.fingerprint != fingerprint]


def read_metadata(data: bytes) -> saml_metadata.IdpMetadata:
    """Metadata as pasted. Raises SAML_METADATA_INVALID with the reason."""
    try:
        return saml_metadata.read(data, clock.now())
    except Refused as error:
        raise DomainError("SAML_METADATA_INVALID", message=f"This metadata cannot be used. {error}") from None


def fetch_metadata(settings: Settings, url: str) -> saml_metadata.IdpMetadata:
    """Metadata by its address. Raises SAML_METADATA_INVALID with the reason."""
    try:
        answer = egress.fetch(settings, url, max_bytes=saml_metadata.MAX_BYTES)
    except egress.Unreachable:
        raise _unread("Its address did not answer.") from None
    except DomainError as error:
        raise _unread(f"Its address cannot be called. {error.details.get('reason', '')}".strip()) from None
    if answer.status != 200:
        raise _unread(f"Its address answered with status {answer.status}.")
    return read_metadata(answer.body)


def _unread(reason: str) -> DomainError:
    return DomainError("SAML_METADATA_INVALID", message=f"This metadata cannot be used. {reason}")


def _apply(row: SsoProvider, found: saml_metadata.IdpMetadata) -> None:
    row.idp_entity_id, row.sso_url, row.slo_url = found.entity_id, found.sso_url, found.slo_url
    row.sign_requests = row.sign_requests or found.wants_signed_requests
    set_certificates(row, found.certificates)


def refresh_metadata(session: Session, settings: Settings, row: SsoProvider) -> bool:
    """Read a provider's metadata or discovery again; whether it was read. What changed is audited, a problem kept on the row.

    Another entity id or issuer is a problem, never a change: nobody takes a provider over by its metadata.
    """
    before = _summary(row)
    try:
        if row.protocol == SsoProtocol.OIDC:
            row.discovery = oidc.discover(settings, str(row.issuer), row.discovery_url)
        else:
            found = fetch_metadata(settings, str(row.metadata_url))
            if found.entity_id != row.idp_entity_id:
                raise _unread("It names another entity id.")
            _apply(row, found)
        row.metadata_problem = None
    except DomainError as error:
        row.metadata_problem = error.message[:300]
        session.flush()
        return False
    row.metadata_read_at = clock.now()
    after = _summary(row)
    if before != after:
        row.version += 1
        changed = {k for k in after if before[k] != after[k]}
        _record(
            session,
            row,
            "SSO_PROVIDER_UPDATED",
            f"The metadata of {row} changed.",
            {"before": {k: before[k] for k in changed}, "after": {k: after[k] for k in changed}},
        )
    session.flush()
    return True


# ---- OIDC -----------------------------------------------------------------------------------------------------------


def _fill_oidc(settings: Settings, row: SsoProvider, values: dict[str, Any], *, new: bool) -> None:
    where = (row.issuer, row.discovery_url)
    if values.get("issuer") is not None:
        row.issuer = _address(settings, "issuer", values["issuer"])
    if values.get("discovery_url") is not None:
        row.discovery_url = _address(settings, "discovery_url", values["discovery_url"])
    if values.get("client_id") is not None:
        row.client_id = _text(values["client_id"], 400)
    missing = {
        n: ["Copy it from your identity provider."] for n in ("issuer", "client_id") if not getattr(row, n)
    }
    if new and not values.get("client_secret"):
        missing["client_secret"] = ["Copy it from your identity provider."]
    if missing:
        raise Invalid(missing)
    if values.get("scopes") is not None:
        scopes = str(values["scopes"]).split()
        if "openid" not in scopes or len(" ".join(scopes)) > 400:
            raise Invalid({"scopes": ["Must contain openid."]})
        row.scopes = " ".join(scopes)
    if values.get("token_auth_method") is not None:
        if values["token_auth_method"] not in oidc.AUTH_METHODS:
            raise Invalid({"token_auth_method": [f"One of {', '.join(oidc.AUTH_METHODS)}."]})
        row.token_auth_method = values["token_auth_method"]
    if values.get("trust_email") is not None:
        row.trust_email = bool(values["trust_email"])
    if values.get("client_secret"):
        _add_secret(settings, row, str(values["client_secret"]))
    if values.get("remove_client_secret"):
        left = [s for s in row.client_secrets if s["id"] != values["remove_client_secret"]]
        if len(left) == len(row.client_secrets):
            raise DomainError("NOT_FOUND")
        if not left:
            raise DomainError("LAST_PROVIDER_GUARD", message="Add the next secret first.")
        row.client_secrets = left
    if new or where != (row.issuer, row.discovery_url):
        row.discovery = values.get("_discovery") or oidc.discover(
            settings, str(row.issuer), row.discovery_url
        )
        row.metadata_read_at, row.metadata_problem = clock.now(), None


def _add_secret(settings: Settings, row: SsoProvider, secret: str) -> None:
    if not 1 <= len(secret) <= 1000 or "\x00" in secret:
        raise Invalid({"client_secret": ["At most 1,000 characters."]})
    if len(row.client_secrets) >= MOST_SECRETS:
        raise Invalid({"client_secret": ["Remove an old secret first."]})
    row.client_secrets = [
        *row.client_secrets,
        {
            "id": secrets.token_hex(4),
            "sealed": keyring.seal(settings, secret, _about(row, "client_secret")),
            "added_at": clock.now().isoformat(),
            "ends_with": secret[-4:] if len(secret) >= 16 else "",
        },
    ]


# ---- checking -------------------------------------------------------------------------------------------------------


def check(session: Session, settings: Settings, row: SsoProvider) -> dict[str, Any]:
    """{ok, checks: [{name, ok, message}]}: what can be known without a person. Kept as the last test's result."""
    checks: list[dict[str, Any]] = []

    def note(name: str, ok: bool, message: str) -> None:
        checks.append({"name": name, "ok": ok, "message": message})

    live = domain_claims.verified(session)
    for domain in row.domains:
        note(
            "Domain",
            domain in live,
            f"{domain} is {'verified' if domain in live else 'not verified any more'}.",
        )
    note("Enabled", row.enabled, "People may sign in through it." if row.enabled else "It is switched off.")
    if row.protocol == SsoProtocol.SAML:
        _check_saml(settings, row, note)
    else:
        _check_oidc(settings, row, note)
    result = {"ok": all(c["ok"] for c in checks), "checks": checks}
    row.last_test_at, row.last_test_result = clock.now(), result
    session.flush()
    return result


def _check_saml(settings: Settings, row: SsoProvider, note: Any) -> None:
    for certificate in row.certificates:
        good = x509.usable(certificate.pem, clock.now())
        note(
            "Certificate",
            good,
            f"Valid until {certificate.not_after:%d %b %Y}." if good else "Expired or unreadable.",
        )
    if not row.certificates:
        note("Certificate", False, "There is none.")
    note("Sign-in address", bool(row.sso_url), row.sso_url or "It is missing.")
    if row.metadata_url:
        try:
            found = fetch_metadata(settings, row.metadata_url)
            same = found.entity_id == row.idp_entity_id
            note("Metadata", same, "It can be read." if same else "It names another entity id.")
        except DomainError as error:
            note("Metadata", False, error.message)
    try:
        key = sp_key(settings, row)
        note(
            "Our key",
            True,
            "Requests can be signed." if key else "None: requests go unsigned, encryption is off.",
        )
    except DomainError as error:
        note("Our key", False, error.message)


def _check_oidc(settings: Settings, row: SsoProvider, note: Any) -> None:
    try:
        found = oidc.discover(settings, str(row.issuer), row.discovery_url)
        note("Discovery", True, f"{row.issuer} can be read.")
        keys = oidc.keys(settings, found["jwks_uri"])
        usable = [k for k in keys if k.get("use") in (None, "sig") and k.get("kty") in ("RSA", "EC", "OKP")]
        note("Keys", bool(usable), f"{len(usable)} usable key{'' if len(usable) == 1 else 's'}.")
        pkce = found.get("code_challenge_methods_supported")
        note("PKCE", True, "S256 is supported." if pkce else "Not announced; we use S256 all the same.")
    except DomainError as error:
        note("Discovery", False, error.message)
    except oidc.Refused as error:
        note("Keys", False, str(error))
    try:
        note("Client secret", bool(client_secrets(settings, row)), "It can be read.")
    except DomainError as error:
        note("Client secret", False, error.message)


# ---- values ---------------------------------------------------------------------------------------------------------


def _text(value: Any, most: int) -> str | None:
    clean = "".join(c for c in str(value or "") if c.isprintable()).strip()
    return clean[:most] or None


def _address(settings: Settings, name: str, value: Any) -> str | None:
    """An address that browsers are sent to, or that we call: https, no credentials; empty means none. Raises Invalid."""
    text = str(value or "").strip()
    if not text:
        return None
    try:
        parts = urlsplit(text)
        fine = bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment and len(text) <= 2048
        secure = parts.scheme == "https" or (settings.testing and parts.scheme == "http")
    except ValueError:
        fine = secure = False
    if not fine or not secure or not text.isascii() or any(c.isspace() or ord(c) < 33 for c in text):
        raise Invalid({name: ["Enter an https address."]})
    return text


def _record(session: Session, row: SsoProvider, action: str, sentence: str, details: dict[str, Any]) -> None:
    audit.record(
        session,
        AuditCategory.SETTINGS,
        action,
        sentence,
        target_type="sso_provider",
        target_id=row.public_id,
        provider_id=row.provider_id,
        **details,
    )
