"""Every raised code has copy a person can act on (chapter 3, 3.11)."""

from __future__ import annotations

import re

import pytest

from app.errors import REGISTRY, DomainError, Invalid

RAISED = re.compile(
    r"(?:DomainError|fail|refuse)\(\s*[\"']([A-Z][A-Z0-9_]+)[\"']|(?<![a-z_])code=[\"']([A-Z][A-Z0-9_]{3,})[\"']"
)


def raised_codes(repo):
    for path in sorted((repo / "app").rglob("*.py")):
        for match in RAISED.finditer(path.read_text(encoding="utf-8")):
            yield match.group(1) or match.group(2), path


def test_every_raised_code_has_copy(repo):
    codes = list(raised_codes(repo))
    assert len(codes) > 20
    assert [(c, p.name) for c, p in codes if c not in REGISTRY] == []


def test_database_refusals_have_copy(repo):
    sql = (repo / "migrations" / "sql" / "ledger.sql").read_text()
    for code in re.findall(r"RAISE EXCEPTION '([A-Z_]+)'", sql):
        assert code in REGISTRY


@pytest.mark.parametrize("code", sorted(REGISTRY))
def test_copy_is_a_sentence_for_people(code):
    status, text = REGISTRY[code]
    assert 400 <= status < 600
    assert text[0].isupper() and text.endswith(".") and code not in text and len(text) < 160


def test_details_travel():
    error = DomainError("SLUG_TAKEN", slug="acme")
    assert error.body() == {
        "code": "SLUG_TAKEN",
        "message": REGISTRY["SLUG_TAKEN"][1],
        "details": {"slug": "acme"},
    }
    assert Invalid({"name": ["x"]}).body()["details"] == {"fields": {"name": ["x"]}}
