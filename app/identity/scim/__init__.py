"""SCIM 2.0 as a service provider (RFC 7643, RFC 7644; chapter 3, 3.2).

The protocol stands here: paths, media types, filters, PATCH. The rules stand in ``app/services/scim_*.py``.
"""
