"""One row of any tenant table in any organisation, made from its columns: new tables are attacked without being named."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Enum,
    Integer,
    LargeBinary,
    String,
    Text,
    Time,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, INET, JSONB
from sqlalchemy.orm import Session

from app import clock
from app.schema.base import Model
from tests.factories import unique

# columns whose CHECK constraints want more than their type says
HELP: dict[str, dict[str, Any]] = {
    "payment": {
        "price_paise": 10_000,
        "tax_paise": 0,
        "tax_bps": 0,
        "amount_paise": 10_000,
        "method": "WALLET",
    },
    "consultant_earnings": {"platform_bps": 2000, "org_bps": 0, "consultant_bps": 8000},
    "rate_card": {"platform_bps": 1000, "org_bps": 1000, "consultant_bps": 8000},
    "discount_code": {"code": lambda: unique("CODE").upper()[-32:].strip("-")},
    "ledger_account": {"scope": "org", "normal_side": "C", "kind": "WALLET"},
    "ledger_entry": {"side": "C"},
    "contract": {"payment_terms_days": 30},
    "program": {"credits_per_cycle": 100, "type": "CREDIT_POOL"},
    "member_request": {"kind": "SEATS", "seats": 5},
    "invoice_line": {
        "kind": "MANUAL",
        "unit_paise": 10_000,
        "taxable_paise": 10_000,
        "total_paise": 10_000,
        "rate_bps": 1800,
    },
    "invoice_receipt": {
        "number": lambda: _number("RC"),
        "method": "BANK",
        "utr": lambda: unique("UTR"),
        "amount_paise": 10_000,
    },
    "credit_note": {"number": lambda: _number("CN"), "subtotal_paise": 10_000, "total_paise": 10_000},
    "credit_note_line": {"rate_bps": 1800},
    "tax_voucher": {
        "kind": "RECEIPT",
        "receipt_voucher_id": None,
        "number": lambda: _number("RV"),
        "place_of_supply": "29",
    },
    "einvoice": {"invoice_id": Ellipsis},
}


def _number(series: str) -> str:
    """A document's number no other row has."""
    return f"{series}-{unique('n').upper()[-12:]}"


def model_of(table: str) -> Any:
    return next(m.class_ for m in Model.registry.mappers if m.local_table.name == table)


class World:
    """Remembers the row of each table for one organisation, so that rows refer to each other."""

    def __init__(self, session: Session, org: Any, user: Any) -> None:
        self.session, self.rows = session, {"organization": org, "ab_user": user}

    def row(self, table: str) -> Any:
        """The organisation's row of *table*, made if it is not there yet."""
        if table not in self.rows:
            model = model_of(table)
            given = self.session.query(model)
            if "organization_id" in model.__table__.c and table in ("billing_account", "membership"):
                found = given.filter(model.organization_id == self.rows["organization"].id).first()
                if found is not None:
                    self.rows[table] = found
                    return found
            self.rows[table] = row = model(**self._values(model))
            self.session.add(row)
            self.session.flush()
        return self.rows[table]

    def _values(self, model: Any) -> dict[str, Any]:
        table = model.__table__
        targets = {}
        for constraint in table.foreign_key_constraints:
            for column, element in zip(constraint.columns, constraint.elements, strict=True):
                targets.setdefault(column.name, element.column)
        values: dict[str, Any] = {}
        for prop in model.__mapper__.column_attrs:
            column = prop.columns[0]
            help_ = HELP.get(table.name, {}).get(column.name)
            if help_ is Ellipsis:  # a nullable reference that has to be there
                values[prop.key] = getattr(
                    self.row(targets[column.name].table.name), targets[column.name].name
                )
            elif column.name in HELP.get(table.name, {}):
                values[prop.key] = help_() if callable(help_) else help_
            elif column.name == "organization_id":
                values[prop.key] = self.rows["organization"].id
            elif (
                (column.primary_key and column.name not in targets)
                or column.nullable
                or column.default is not None
                or column.server_default is not None
            ):
                continue
            elif column.name in targets:
                target = targets[column.name]
                values[prop.key] = getattr(self.row(target.table.name), target.name)
            else:
                values[prop.key] = self._value(column, table.name)
        return values

    @staticmethod
    def _value(column: Any, table: str) -> Any:
        kind, now = column.type, clock.now()
        if isinstance(kind, Enum):
            return kind.enums[0]
        if isinstance(kind, Boolean):
            return False
        if isinstance(kind, BigInteger | Integer):
            return 10_000
        if isinstance(kind, DateTime):
            return now + dt.timedelta(hours=1) if column.name.startswith(("ends", "expires")) else now
        if isinstance(kind, Date):
            return now.date()
        if isinstance(kind, Time):
            return now.time()
        if isinstance(kind, Uuid):
            return uuid.uuid4()
        if isinstance(kind, JSONB):
            return {}
        if isinstance(kind, ARRAY):
            return []
        if isinstance(kind, INET):
            return "10.0.0.1"
        if isinstance(kind, LargeBinary):
            return b"x"
        if isinstance(kind, String | Text):
            return unique(table.replace("_", "-"))[-(kind.length or 60) :].strip("-")
        raise TypeError(f"{table}.{column.name}: say in HELP what fits")
