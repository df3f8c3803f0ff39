"""SCIM 2.0: the protocol, the dialects of directories, provisioning, tokens, mappings (chapter 3, 3.2)."""
