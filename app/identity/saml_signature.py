"""XML signatures and encryption as SAML uses them, by xmlsec, with allow-lists instead of trust.

A signature counts only for the element that it is a direct child of, by that element's own ID, with one Reference,
enveloped and exclusive canonicalisation and nothing else, and SHA-2. What is read afterwards is not the document that came
but the canonical text that was signed, parsed anew: nothing that was moved, wrapped or hidden in comments survives.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import xmlsec
from cryptography import x509 as cx509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from lxml import etree

from .safe_xml import Refused, children, only_child, parse, tag

_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
SIGNATURES = frozenset(_MORE + a for a in ("rsa-sha256", "rsa-sha384", "rsa-sha512")) | frozenset(
    _MORE + a for a in ("ecdsa-sha256", "ecdsa-sha384", "ecdsa-sha512")
)
DIGESTS = frozenset(
    {
        "http://www.w3.org/2001/04/xmlenc#sha256",
        "http://www.w3.org/2001/04/xmldsig-more#sha384",
        "http://www.w3.org/2001/04/xmlenc#sha512",
    }
)
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_X11 = "http://www.w3.org/2009/xmlenc11#"
CIPHERS = frozenset(
    {
        _X11 + "aes128-gcm",
        _X11 + "aes192-gcm",
        _X11 + "aes256-gcm",
        "http://www.w3.org/2001/04/xmlenc#aes128-cbc",
        "http://www.w3.org/2001/04/xmlenc#aes192-cbc",
        "http://www.w3.org/2001/04/xmlenc#aes256-cbc",
    }
)
KEY_TRANSPORTS = frozenset({"http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p", _X11 + "rsa-oaep"})
MAX_BYTES = 256 * 1024


def check_ids(root: Any) -> None:
    """Every ID names one element, whichever way it is spelt. Raises Refused."""
    seen: set[str] = set()
    for node in root.iter(etree.Element):
        for name, value in node.attrib.items():
            if etree.QName(name).localname.lower() != "id":
                continue
            if value in seen:
                raise Refused("Two elements carry the same ID.")
            seen.add(value)


def signature_of(element: Any) -> Any:
    """The signature that is a direct child of *element*, or None. Raises Refused for two."""
    return only_child(element, "ds", "Signature")


def verified(element: Any, certificates: Sequence[str]) -> Any:
    """The signed content of *element*, parsed anew from the very text its signature covers.

    *certificates* are PEMs; any may have signed. Raises Refused.
    """
    signature = signature_of(element)
    if signature is None:
        raise Refused("It is not signed.")
    _check_shape(signature, element)
    xmlsec.tree.add_ids(element.getroottree().getroot(), ["ID"])
    for pem in certificates:
        try:
            context = xmlsec.SignatureContext()
            context.key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatCertPem)
            context.verify(signature)
            break
        except (xmlsec.Error, xmlsec.VerificationError):
            continue
    else:
        raise Refused("Its signature does not match any certificate of the provider.")
    copy = parse(_canonical(element), MAX_BYTES * 2)
    copy.remove(signature_of(copy))
    return copy


def _canonical(element: Any) -> bytes:
    text: bytes = etree.tostring(element, method="c14n", exclusive=True, with_comments=False)
    return text


def _check_shape(signature: Any, element: Any) -> None:
    """Algorithms, transforms and the one reference of a signature. Raises Refused."""
    parts = [etree.QName(c).localname for c in signature if isinstance(c.tag, str)]
    if parts not in (["SignedInfo", "SignatureValue"], ["SignedInfo", "SignatureValue", "KeyInfo"]):
        raise Refused("Its signature carries more than a signature.")
    info = children(signature, "ds", "SignedInfo")[0]
    method = only_child(info, "ds", "CanonicalizationMethod")
    if method is None or method.get("Algorithm") != EXCLUSIVE:
        raise Refused("Its signature uses a canonicalisation that is not accepted.")
    algorithm = only_child(info, "ds", "SignatureMethod")
    if algorithm is None or algorithm.get("Algorithm") not in SIGNATURES:
        raise Refused("Its signature uses an algorithm that is not accepted. Use RSA or ECDSA with SHA-256.")
    references = children(info, "ds", "Reference")
    own = element.get("ID")
    if len(references) != 1 or not own or references[0].get("URI") != f"#{own}":
        raise Refused("Its signature covers something else than the element it stands in.")
    digest = only_child(references[0], "ds", "DigestMethod")
    if digest is None or digest.get("Algorithm") not in DIGESTS:
        raise Refused("Its signature uses a digest that is not accepted. Use SHA-256.")
    transforms = only_child(references[0], "ds", "Transforms")
    used = [t.get("Algorithm") for t in children(transforms, "ds", "Transform")]
    if sorted(filter(None, used)) != sorted([ENVELOPED, EXCLUSIVE]) or used[0] != ENVELOPED:
        raise Refused("Its signature uses transforms that are not accepted.")
    for transform in children(transforms, "ds", "Transform"):
        for inner in transform:
            if not (isinstance(inner.tag, str) and inner.tag == f"{{{EXCLUSIVE}}}InclusiveNamespaces"):
                raise Refused("Its signature uses transforms that are not accepted.")


def decrypt(encrypted: Any, key_pem: str) -> Any:
    """The assertion inside an ``EncryptedAssertion``, as a document of its own. Raises Refused, always in the same words."""
    refused = Refused("The encrypted assertion could not be decrypted with our key.")
    data = only_child(encrypted, "xenc", "EncryptedData")
    if data is None:
        raise refused
    method = only_child(data, "xenc", "EncryptionMethod")
    if method is None or method.get("Algorithm") not in CIPHERS:
        raise Refused("The assertion is encrypted by an algorithm that is not accepted. Use AES-GCM.")
    keys = list(encrypted.iter(tag("xenc", "EncryptedKey")))
    if not 1 <= len(keys) <= 4:
        raise refused
    for key in keys:
        wrapped = only_child(key, "xenc", "EncryptionMethod")
        if wrapped is None or wrapped.get("Algorithm") not in KEY_TRANSPORTS:
            raise Refused(
                "The assertion's key is wrapped by an algorithm that is not accepted. Use RSA-OAEP."
            )
    for key in keys:
        # a document of its own for each: peers that put the key beside the data, and several recipients
        alone = parse(etree.tostring(data), MAX_BYTES * 2)
        info = only_child(alone, "ds", "KeyInfo")
        if info is not None:
            alone.remove(info)
        info = etree.Element(tag("ds", "KeyInfo"))
        info.append(parse(etree.tostring(key), MAX_BYTES))
        alone.insert(1, info)
        # plaintext may lean on prefixes that only its surroundings declared
        holder = etree.Element(encrypted.tag, nsmap=encrypted.nsmap)
        holder.append(alone)
        try:
            manager = xmlsec.KeysManager()
            manager.add_key(xmlsec.Key.from_memory(key_pem, xmlsec.constants.KeyDataFormatPem))
            xmlsec.EncryptionContext(manager).decrypt(alone)
        except (xmlsec.Error, ValueError, TypeError):
            continue
        inner = [c for c in holder if isinstance(c.tag, str)]
        if len(inner) == 1 and inner[0].tag == tag("saml", "Assertion"):
            return parse(etree.tostring(inner[0]), MAX_BYTES)
        raise refused
    raise refused


def sign_query(query: str, algorithm: str, key_pem: str) -> str:
    """Base64 of the RSA-SHA256 signature over *query*, the HTTP-Redirect binding's way."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(key_pem.encode(), None)
    if not isinstance(key, rsa.RSAPrivateKey) or algorithm != _MORE + "rsa-sha256":
        raise Refused("Our own key cannot sign that way.")
    return base64.b64encode(key.sign(query.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()


def check_query(query: str, algorithm: str, signature: str, certificates: Sequence[str]) -> None:
    """Check a signature of the HTTP-Redirect binding over the raw *query*. Raises Refused."""
    if algorithm not in SIGNATURES:
        raise Refused("It is signed by an algorithm that is not accepted.")
    try:
        raw = base64.b64decode(signature, validate=True)
    except ValueError:
        raise Refused("Its signature cannot be read.") from None
    bits = algorithm.rpartition("sha")[2]
    digest: hashes.HashAlgorithm = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[
        bits
    ]
    for pem in certificates:
        key = cx509.load_pem_x509_certificate(pem.encode()).public_key()
        try:
            if isinstance(key, rsa.RSAPublicKey) and "rsa" in algorithm:
                key.verify(raw, query.encode(), padding.PKCS1v15(), digest)
                return
            if isinstance(key, ec.EllipticCurvePublicKey) and "ecdsa" in algorithm:
                key.verify(_der(raw), query.encode(), ec.ECDSA(digest))
                return
        except InvalidSignature:
            continue
    raise Refused("Its signature does not match any certificate of the provider.")


def _der(raw: bytes) -> bytes:
    """An ECDSA signature as r‖s of XML signatures, in the DER form that the library takes."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    if raw[:1] == b"\x30" and len(raw) % 2 == 0 and raw[1] == len(raw) - 2:
        return raw
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
