"""Ownership, support access, API keys, confirmation, onboarding, accounts."""
