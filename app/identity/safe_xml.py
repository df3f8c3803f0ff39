"""XML from strangers: no document type, no entities, no network, bounded size; and what every SAML part needs of it."""

from __future__ import annotations

from typing import Any

from lxml import etree

NS = {
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "samlp": "urn:oasis:names:tc:SAML:2.0:protocol",
    "md": "urn:oasis:names:tc:SAML:2.0:metadata",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "xenc": "http://www.w3.org/2001/04/xmlenc#",
}


class Refused(ValueError):
    """What came cannot be used; the message says why, to an administrator, without quoting it."""


def parse(data: bytes, limit: int) -> Any:
    """The root element of *data*, at most *limit* bytes. Raises Refused."""
    if not data or len(data) > limit:
        raise Refused("It is empty." if not data else f"It is larger than {limit // 1024} KB.")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise Refused("It is not well-formed XML.") from None
    info: Any = root.getroottree().docinfo
    if info.doctype or info.internalDTD is not None or info.externalDTD is not None:
        raise Refused("It carries a document type, which is never accepted.")
    return root


def tag(prefix: str, name: str) -> str:
    """A name in Clark notation: ``tag("saml", "Assertion")``."""
    return f"{{{NS[prefix]}}}{name}"


def all_of(root: Any, prefix: str, name: str) -> list[Any]:
    """Every element of that name, the root included."""
    return list(root.iter(tag(prefix, name)))


def children(parent: Any, prefix: str, name: str) -> list[Any]:
    """Direct children of that name."""
    return parent.findall(tag(prefix, name)) if parent is not None else []


def only_child(parent: Any, prefix: str, name: str) -> Any:
    """The one child of that name, or None without any. Raises Refused for more."""
    found = children(parent, prefix, name)
    if len(found) > 1:
        raise Refused(f"It holds more than one {name}.")
    return found[0] if found else None


def words(element: Any) -> str:
    """The whole text of *element*, comments and processing instructions left out, trimmed."""
    return "".join(element.itertext(with_tail=False)).strip() if element is not None else ""


def has_markup(root: Any) -> bool:
    """Whether comments or processing instructions stand inside *root*: nobody who signs in honestly sends them there."""
    return any(not isinstance(node.tag, str) for node in root.iter())
