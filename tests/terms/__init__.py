"""Contracts, programs, places, metering, overage and licences (chapter 2, 2.5, 2.6)."""
