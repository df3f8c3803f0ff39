"""Who people are, as others say it: DNS that proves a domain, identity providers by SAML and OIDC, directories by SCIM.

Rules of organisations stand in ``app/services``; here are the protocols (chapter 3, 3.1 and 3.2).
"""
