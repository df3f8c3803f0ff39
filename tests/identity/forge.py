"""SAML responses as an attacker, or a careless provider, would make them: signed with the provider's own key where wanted."""

from __future__ import annotations

import base64
import copy
import datetime as dt
import secrets
from typing import Any

import xmlsec
from lxml import etree

from app import clock

S = "urn:oasis:names:tc:SAML:2.0:assertion"
P = "urn:oasis:names:tc:SAML:2.0:protocol"
D = "http://www.w3.org/2000/09/xmldsig#"
NS = {"saml": S, "samlp": P, "ds": D}

TEMPLATE = """<samlp:Response xmlns:samlp="{p}" xmlns:saml="{s}" ID="{rid}" Version="2.0" IssueInstant="{now}" {destination} {irt}>
<saml:Issuer>{issuer}</saml:Issuer><samlp:Status><samlp:StatusCode Value="{status}"/></samlp:Status>
<saml:Assertion ID="{aid}" Version="2.0" IssueInstant="{now}"><saml:Issuer>{a_issuer}</saml:Issuer>
<saml:Subject><saml:NameID Format="{format}">{name_id}</saml:NameID>
<saml:SubjectConfirmation Method="{method}"><saml:SubjectConfirmationData {recipient} {scd_end} {scd_irt}/></saml:SubjectConfirmation></saml:Subject>
{conditions}
{statement}
<saml:AttributeStatement><saml:Attribute Name="email">{values}</saml:Attribute></saml:AttributeStatement>
</saml:Assertion></samlp:Response>"""


def stamp(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def document(
    *,
    acs: str,
    audience: str,
    issuer: str,
    email: str,
    in_response_to: str | None,
    name_id: str | None = None,
    format: str = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress",
    **change: Any,
) -> Any:
    """An honest response, unsigned; *change* replaces parts of it by their template name."""
    now = clock.now()
    later = stamp(now + dt.timedelta(minutes=5))
    irt = f'InResponseTo="{in_response_to}"' if in_response_to else ""
    parts = {
        "p": P,
        "s": S,
        "rid": f"_{secrets.token_hex(8)}",
        "aid": f"_{secrets.token_hex(8)}",
        "now": stamp(now),
        "destination": f'Destination="{acs}"',
        "irt": irt,
        "issuer": issuer,
        "a_issuer": issuer,
        "status": "urn:oasis:names:tc:SAML:2.0:status:Success",
        "format": format,
        "name_id": name_id or email,
        "method": "urn:oasis:names:tc:SAML:2.0:cm:bearer",
        "recipient": f'Recipient="{acs}"',
        "scd_end": f'NotOnOrAfter="{later}"',
        "scd_irt": irt,
        "conditions": f'<saml:Conditions NotBefore="{stamp(now)}" NotOnOrAfter="{later}"><saml:AudienceRestriction>'
        f"<saml:Audience>{audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions>",
        "statement": f'<saml:AuthnStatement AuthnInstant="{stamp(now)}" SessionIndex="_s"><saml:AuthnContext>'
        "<saml:AuthnContextClassRef>x</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>",
        "values": f"<saml:AttributeValue>{email}</saml:AttributeValue>",
    }
    assert set(change) <= set(parts), set(change) - set(parts)
    return etree.fromstring(TEMPLATE.format(**{**parts, **change}).encode())


def sign(
    root: Any,
    key_pem: str,
    *,
    what: str = "saml:Assertion",
    signature: Any = xmlsec.constants.TransformRsaSha256,
    digest: Any = xmlsec.constants.TransformSha256,
    c14n: Any = xmlsec.constants.TransformExclC14N,
    transforms: Any = (xmlsec.constants.TransformEnveloped, xmlsec.constants.TransformExclC14N),
    uri: str | None = None,
) -> Any:
    """Sign an element in place, the way providers do; returns the signature."""
    node = root if what == "." else root.find(what, NS)
    template = xmlsec.template.create(node, c14n, signature)
    node.insert(1, template)
    reference = xmlsec.template.add_reference(
        template, digest, uri=uri if uri is not None else f"#{node.get('ID')}"
    )
    for transform in transforms:
        xmlsec.template.add_transform(reference, transform)
    xmlsec.template.add_x509_data(xmlsec.template.ensure_key_info(template))
    xmlsec.tree.add_ids(root, ["ID"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(key_pem, xmlsec.constants.KeyDataFormatPem)
    context.sign(template)
    return template


def text(root: Any) -> str:
    """As a form carries it."""
    return base64.b64encode(etree.tostring(root)).decode()


def encrypt(
    root: Any,
    certificate_pem: str,
    *,
    method: Any = xmlsec.constants.TransformAes256Gcm,
    transport: Any = xmlsec.constants.TransformRsaOaep,
    size: int = 256,
    beside: bool = False,
) -> None:
    """Encrypt the assertion in place; *beside* puts the wrapped key next to the data, as Shibboleth does."""
    assertion = root.find("saml:Assertion", NS)
    holder = etree.SubElement(root, f"{{{S}}}EncryptedAssertion")
    holder.append(assertion)
    manager = xmlsec.KeysManager()
    manager.add_key(xmlsec.Key.from_memory(certificate_pem, xmlsec.constants.KeyDataFormatCertPem))
    template = xmlsec.template.encrypted_data_create(
        holder, method, type=xmlsec.constants.TypeEncElement, ns="xenc"
    )
    xmlsec.template.encrypted_data_ensure_cipher_value(template)
    info = xmlsec.template.encrypted_data_ensure_key_info(template, ns="ds")
    key = xmlsec.template.add_encrypted_key(info, transport)
    xmlsec.template.encrypted_data_ensure_cipher_value(key)
    context = xmlsec.EncryptionContext(manager)
    context.key = xmlsec.Key.generate(xmlsec.constants.KeyDataAes, size, xmlsec.constants.KeyDataTypeSession)
    done = context.encrypt_xml(template, assertion)
    if beside:
        found = done.find(".//{http://www.w3.org/2001/04/xmlenc#}EncryptedKey")
        found.getparent().getparent().remove(found.getparent())
        holder.append(found)


# ---- wrapping (Somorovsky et al., "On Breaking SAML", XSW1 to XSW8) --------------------------------------------------


def wrap(kind: int, root: Any, evil_email: str) -> Any:
    """*root*, honestly signed (the response for 1 and 2, the assertion from 3), with an evil twin that readers may meet first."""
    if kind in (1, 2):
        return _wrap_response(kind, root, evil_email)
    original = root.find("saml:Assertion", NS)
    evil = _twin(original, evil_email)
    if kind == 3:  # evil before the original
        root.insert(root.index(original), evil)
    elif kind == 4:  # original inside evil
        root.replace(original, evil)
        evil.append(original)
    elif kind == 5:  # the original's signature in evil, the original at the end
        signature = original.find("ds:Signature", NS)
        root.replace(original, evil)
        evil.insert(1, signature)
        root.append(original)
    elif kind == 6:  # original inside the signature inside evil
        signature = original.find("ds:Signature", NS)
        root.replace(original, evil)
        evil.insert(1, signature)
        signature.append(original)
    elif kind == 7:  # evil inside extensions
        extensions = etree.Element(f"{{{P}}}Extensions")
        extensions.append(evil)
        root.insert(1, extensions)
    elif kind == 8:  # original inside an Object of the signature, which stands in evil
        signature = original.find("ds:Signature", NS)
        root.replace(original, evil)
        evil.insert(1, signature)
        holder = etree.SubElement(signature, f"{{{D}}}Object")
        holder.append(original)
    return root


def _twin(original: Any, email: str) -> Any:
    twin = copy.deepcopy(original)
    twin.set("ID", f"_{secrets.token_hex(8)}")
    signature = twin.find("ds:Signature", NS)
    if signature is not None:
        twin.remove(signature)
    twin.find(".//saml:NameID", NS).text = email
    twin.find(".//saml:AttributeValue", NS).text = email
    return twin


def _wrap_response(kind: int, root: Any, email: str) -> Any:
    evil = copy.deepcopy(root)
    evil.set("ID", f"_{secrets.token_hex(8)}")
    old = evil.find("ds:Signature", NS)
    evil.remove(old)
    evil.find(".//saml:NameID", NS).text = email
    evil.find(".//saml:AttributeValue", NS).text = email
    signature = root.find("ds:Signature", NS)
    if kind == 1:  # the signature in evil holds the original response
        root.remove(signature)
        signature.append(root)
        evil.insert(1, signature)
    else:  # the original response stands beside, detached
        root.remove(signature)
        evil.insert(1, signature)
        evil.insert(1, root)
    return evil
