"""pysaml2 signs through the program xmlsec1; this does the same with the library of that name, so nothing need be installed."""

from __future__ import annotations

from typing import Any

import xmlsec
from lxml import etree
from saml2.sigver import CryptoBackendXmlSec1


class Backend(CryptoBackendXmlSec1):
    """The commands that pysaml2 gives xmlsec1, carried out in this process."""

    version_nums = (1, 2, 37)

    def _run_xmlsec(self, com_list: list[str], extra_args: list[str]) -> tuple[str, str, bytes]:
        words = list(com_list)
        options = {w: words[i + 1] for i, w in enumerate(words[:-1]) if w.startswith("--")}
        root = etree.parse(options.get("--xml-data", extra_args[0])).getroot()
        xmlsec.tree.add_ids(root, ["ID"])
        if "--sign" in words:
            self._sign(root, options)
        elif "--verify" in words:
            self._verify(root, options)
            return "", "OK\n", b""
        elif "--encrypt" in words:
            self._encrypt(root, options, etree.parse(extra_args[0]).getroot())
        else:
            raise NotImplementedError(words)
        return "", "", etree.tostring(root)

    def _node(self, root: Any, options: dict[str, str]) -> Any:
        wanted = options.get("--node-id")
        return next(n for n in root.iter() if wanted is None or n.get("ID") == wanted)

    def _signature(self, root: Any, options: dict[str, str]) -> Any:
        node = self._node(root, options)
        return node.find("{http://www.w3.org/2000/09/xmldsig#}Signature")

    def _sign(self, root: Any, options: dict[str, str]) -> None:
        context = xmlsec.SignatureContext()
        context.key = xmlsec.Key.from_file(options["--privkey-pem"], xmlsec.constants.KeyDataFormatPem)
        context.sign(self._signature(root, options))

    def _verify(self, root: Any, options: dict[str, str]) -> None:
        context = xmlsec.SignatureContext()
        file = next(v for k, v in options.items() if k.startswith("--pubkey-cert"))
        context.key = xmlsec.Key.from_file(file, xmlsec.constants.KeyDataFormatCertPem)
        context.verify(self._signature(root, options))

    def _encrypt(self, root: Any, options: dict[str, str], template: Any) -> None:
        manager = xmlsec.KeysManager()
        manager.add_key(
            xmlsec.Key.from_file(options["--pubkey-cert-pem"], xmlsec.constants.KeyDataFormatCertPem)
        )
        context = xmlsec.EncryptionContext(manager)
        method = template.find(".//{http://www.w3.org/2001/04/xmlenc#}EncryptionMethod").get("Algorithm")
        kind, size = {
            "http://www.w3.org/2001/04/xmlenc#tripledes-cbc": (xmlsec.constants.KeyDataDes, 192),
            "http://www.w3.org/2001/04/xmlenc#aes128-cbc": (xmlsec.constants.KeyDataAes, 128),
            "http://www.w3.org/2001/04/xmlenc#aes256-cbc": (xmlsec.constants.KeyDataAes, 256),
            "http://www.w3.org/2009/xmlenc11#aes128-gcm": (xmlsec.constants.KeyDataAes, 128),
            "http://www.w3.org/2009/xmlenc11#aes256-gcm": (xmlsec.constants.KeyDataAes, 256),
        }[method]
        context.key = xmlsec.Key.generate(kind, size, xmlsec.constants.KeyDataTypeSession)
        target = root.xpath(options["--node-xpath"])[0]
        context.encrypt_xml(template, target)
