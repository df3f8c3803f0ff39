"""A SAML response, judged: what must hold before anybody is signed in (chapter 3, "Sign-in"; SAML core and profiles 4.1).

``read`` gives the facts of the one assertion that is truly signed, or raises ``Refused``. It knows neither database nor
request: whether the assertion was seen before, and whose request it answers, is the caller's to check with what it
returns.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from . import saml_signature as sig
from .safe_xml import Refused, all_of, children, has_markup, only_child, parse, tag, words

SKEW = dt.timedelta(seconds=120)
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
MAX_VALUES = 500


@dataclass(frozen=True)
class Expected:
    """What our side demands of an answer."""

    acs_url: str
    audience: str
    idp_entity_id: str
    certificates: Sequence[str]
    key_pem: str | None  # decrypts assertions meant for us
    now: dt.datetime


@dataclass(frozen=True)
class Assertion:
    """The facts of an accepted assertion."""

    assertion_id: str
    in_response_to: str | None
    name_id: str
    name_id_format: str
    session_index: str | None
    expires_at: dt.datetime  # when it may be forgotten
    authenticated_at: dt.datetime | None
    encrypted: bool
    attributes: dict[str, list[str]] = field(default_factory=dict)


class NotSuccessful(Refused):
    """The provider answered, and said no."""


def decode(text: str) -> bytes:
    """The document of a form field. Raises Refused."""
    if len(text) > sig.MAX_BYTES * 2:
        raise Refused(f"It is larger than {sig.MAX_BYTES // 1024} KB.")
    try:
        return base64.b64decode(re.sub(r"\s+", "", text), validate=True)
    except (binascii.Error, ValueError):
        raise Refused("It is not base64.") from None


def read(text: str, expected: Expected) -> Assertion:
    """The assertion that *text* (base64) carries for us. Raises Refused, NotSuccessful."""
    root = parse(decode(text), sig.MAX_BYTES)
    if root.tag != tag("samlp", "Response") or root.get("Version") != "2.0":
        raise Refused("It is no SAML 2.0 response.")
    sig.check_ids(root)
    if root.get("Destination") != expected.acs_url:
        raise Refused("Its Destination is not our assertion consumer URL.")
    issuer = only_child(root, "saml", "Issuer")
    if issuer is not None and words(issuer) != expected.idp_entity_id:
        raise Refused("Another identity provider issued it.")
    _check_status(root)
    assertion, encrypted = _trusted(root, expected)
    return _facts(assertion, root.get("InResponseTo"), encrypted, expected)


def _check_status(root: Any) -> None:
    code = only_child(only_child(root, "samlp", "Status"), "samlp", "StatusCode")
    if code is None:
        raise Refused("It carries no status.")
    if code.get("Value") != SUCCESS:
        inner = only_child(code, "samlp", "StatusCode")
        value = str((inner if inner is not None else code).get("Value") or "")[-80:]
        raise NotSuccessful(f"The identity provider answered {value.rpartition(':')[2] or 'an error'}.")


def _trusted(root: Any, expected: Expected) -> tuple[Any, bool]:
    """The one assertion, out of signed text only, and whether it came encrypted."""
    plain, hidden = all_of(root, "saml", "Assertion"), all_of(root, "saml", "EncryptedAssertion")
    if len(plain) + len(hidden) != 1:
        raise Refused("It must hold exactly one assertion.")
    carrier = (plain or hidden)[0]
    if carrier.getparent() is not root:
        raise Refused("Its assertion stands where none belongs.")
    signed_at = [root, *plain]
    for signature in all_of(root, "ds", "Signature"):
        if not any(signature.getparent() is place for place in signed_at):
            raise Refused("A signature stands where none belongs.")
    whole = sig.signature_of(root) is not None
    if plain and has_markup(plain[0]):
        raise Refused("The assertion holds comments or processing instructions.")
    trusted_root = sig.verified(root, expected.certificates) if whole else None
    if hidden:
        if expected.key_pem is None:
            raise Refused("It is encrypted, and this provider has no key of ours. Save the provider again.")
        source = (
            only_child(trusted_root, "saml", "EncryptedAssertion") if trusted_root is not None else hidden[0]
        )
        assertion = sig.decrypt(source, expected.key_pem)
        sig.check_ids(assertion)
        if has_markup(assertion) or len(all_of(assertion, "saml", "Assertion")) != 1:
            raise Refused("The assertion holds comments, or another assertion.")
        signatures = all_of(assertion, "ds", "Signature")
        if any(s.getparent() is not assertion for s in signatures):
            raise Refused("A signature stands where none belongs.")
        if signatures:
            return sig.verified(assertion, expected.certificates), True
        if trusted_root is None:
            raise Refused("Neither the response nor the assertion is signed.")
        return assertion, True
    if sig.signature_of(carrier) is not None:
        return sig.verified(carrier, expected.certificates), False
    if trusted_root is None:
        raise Refused("Neither the response nor the assertion is signed.")
    return only_child(trusted_root, "saml", "Assertion"), False


def _facts(assertion: Any, answers: str | None, encrypted: bool, expected: Expected) -> Assertion:
    identifier = assertion.get("ID") or ""
    if assertion.get("Version") != "2.0" or not 1 <= len(identifier) <= 400:
        raise Refused("It is no SAML 2.0 assertion.")
    if words(only_child(assertion, "saml", "Issuer")) != expected.idp_entity_id:
        raise Refused("Another identity provider issued the assertion.")
    until = _check_conditions(only_child(assertion, "saml", "Conditions"), expected)
    subject = only_child(assertion, "saml", "Subject")
    name = only_child(subject, "saml", "NameID")
    name_id = words(name)
    if name is None or not 1 <= len(name_id) <= 400:
        raise Refused("It names nobody (NameID).")
    confirmed_until = _check_confirmation(subject, answers, expected)
    index, at = _check_statements(assertion, expected)
    return Assertion(
        identifier,
        answers,
        name_id,
        name.get("Format") or "",
        index,
        max(until, confirmed_until) + SKEW,
        at,
        encrypted,
        _attributes(assertion),
    )


def _check_conditions(conditions: Any, expected: Expected) -> dt.datetime:
    if conditions is None:
        raise Refused("It has no Conditions.")
    _check_window(conditions, expected.now)
    restrictions = children(conditions, "saml", "AudienceRestriction")
    if not restrictions:
        raise Refused("It has no AudienceRestriction, so it could be meant for anybody.")
    for restriction in restrictions:
        if expected.audience not in [words(a) for a in children(restriction, "saml", "Audience")]:
            raise Refused("It is meant for another audience than our entity id.")
    end = conditions.get("NotOnOrAfter")
    return moment(end) if end else expected.now + dt.timedelta(hours=1)


def _check_confirmation(subject: Any, answers: str | None, expected: Expected) -> dt.datetime:
    """One bearer confirmation must be for us, now, and for the request the response answers."""
    reason = "It has no bearer confirmation."
    for confirmation in children(subject, "saml", "SubjectConfirmation"):
        data = only_child(confirmation, "saml", "SubjectConfirmationData")
        if confirmation.get("Method") != BEARER or data is None:
            continue
        if data.get("Recipient") != expected.acs_url:
            reason = "Its Recipient is not our assertion consumer URL."
        elif not data.get("NotOnOrAfter"):
            reason = "Its confirmation has no end (NotOnOrAfter)."
        elif data.get("InResponseTo") != answers:
            reason = "Its confirmation answers another request than the response."
        else:
            _check_window(data, expected.now)
            return moment(data.get("NotOnOrAfter"))
    raise Refused(reason)


def _check_statements(assertion: Any, expected: Expected) -> tuple[str | None, dt.datetime | None]:
    statements = children(assertion, "saml", "AuthnStatement")
    if not statements:
        raise Refused("It does not say that anybody signed in (AuthnStatement).")
    for one in statements:
        end = one.get("SessionNotOnOrAfter")
        if end and moment(end) + SKEW <= expected.now:
            raise Refused("The session at the provider has ended.")
    statement = statements[0]
    at = statement.get("AuthnInstant")
    index = statement.get("SessionIndex")
    return (str(index)[:400] if index else None), (moment(at) if at else None)


def _check_window(node: Any, now: dt.datetime) -> None:
    begin, end = node.get("NotBefore"), node.get("NotOnOrAfter")
    if begin and moment(begin) - SKEW > now:
        raise Refused("It is not valid yet. Do the clocks agree?")
    if end and moment(end) + SKEW <= now:
        raise Refused("It is not valid any more. Do the clocks agree?")


def _attributes(assertion: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    count = 0
    for statement in children(assertion, "saml", "AttributeStatement"):
        for attribute in children(statement, "saml", "Attribute"):
            values = [words(v)[:1000] for v in children(attribute, "saml", "AttributeValue")]
            count += len(values)
            if count > MAX_VALUES:
                raise Refused("It carries too many attributes.")
            name = str(attribute.get("Name") or "")[:300]
            found.setdefault(name, []).extend(values)
            friendly = str(attribute.get("FriendlyName") or "")[:300]
            if friendly and friendly != name:
                found.setdefault(friendly, []).extend(values)
    return found


def moment(text: str) -> dt.datetime:
    """A SAML time. Raises Refused."""
    try:
        found = dt.datetime.fromisoformat(str(text).strip().replace("Z", "+00:00"))
    except ValueError:
        raise Refused("It carries a time that cannot be read.") from None
    if not 1970 <= found.year <= 2900:
        raise Refused("It carries a time that cannot be read.")
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
