"""The rules, by domain: plain functions over a database session. No Flask, no commit.

A function takes the session and typed arguments, reads the acting identity from ``app.security.context``, flushes, and
returns rows or raises ``DomainError``.
"""
