"""Declarations of every table, by domain, with the constraints that hold the rules in the database.

Row-level security and triggers stand in ``policies.py`` and ``triggers.sql``; migrations apply them.
"""
