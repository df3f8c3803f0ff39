"""Form fields of the console: rupees, shares, JSON, local times, references with remote search."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

from flask_appbuilder.forms import DynamicForm
from markupsafe import Markup
from sqlalchemy import Boolean, Date, DateTime, Enum, Integer, LargeBinary, Numeric, String, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import joinedload
from sqlalchemy.types import JSON
from wtforms import (
    BooleanField,
    DateField,
    DateTimeLocalField,
    DecimalField,
    Field,
    IntegerField,
    SelectField,
    StringField,
    TextAreaField,
    validators,
)
from wtforms.fields.choices import Choice, SelectChoice

from app.views import format as f

MAX_RUPEES = Decimal(10) ** 13


def parse_rupees(text: str) -> int:
    """Rupees as people type them (1,18,000.50 or ₹ 500) as paise. Raises ValueError with a sentence."""
    raw = text.replace(",", "").replace("₹", "").replace("\u2212", "-").replace(" ", "").strip()
    try:
        value = Decimal(raw)
    except InvalidOperation:
        raise ValueError("enter an amount in rupees, such as 1,18,000.00") from None
    if not value.is_finite() or abs(value) > MAX_RUPEES:
        raise ValueError("this amount is too large")
    paise = value * 100
    if paise != paise.to_integral_value():
        raise ValueError("an amount has at most two decimals")
    return int(paise)


def parse_bps(text: str) -> int:
    """A per cent value (12.5) as basis points. Raises ValueError."""
    try:
        value = Decimal(text.replace("%", "").strip()) * 100
    except InvalidOperation:
        raise ValueError("enter a percentage, such as 12.5") from None
    if not value.is_finite() or value != value.to_integral_value() or abs(value) > 10**6:
        raise ValueError("a percentage has at most two decimals")
    return int(value)


def parse_date(text: str) -> dt.date:
    """An ISO date. Raises ValueError with a sentence."""
    try:
        return dt.date.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("enter a date, such as 2026-11-23") from None


def confirmed(form: Any, word: str) -> bool:
    """Whether the typed confirmation of a dialog matches *word*."""
    return str(form.get("confirm_word", "")).strip() == word


class PlainWidget:
    """Renders nothing: our templates draw every control from the field's type."""

    def __call__(self, field: Field, **kwargs: Any) -> Markup:
        return Markup("")


class _Parsed(StringField):
    """A text input whose value is parsed and formatted by two functions."""

    @staticmethod
    def parse(text: str) -> Any:
        raise NotImplementedError

    @staticmethod
    def show(value: Any) -> str:
        raise NotImplementedError

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return "" if self.data is None else self.show(self.data)

    def process_formdata(self, valuelist: list[Any]) -> None:
        if not valuelist or not str(valuelist[0]).strip():
            self.data = None
            return
        try:
            self.data = self.parse(str(valuelist[0]))
        except ValueError as error:
            self.data = None
            raise ValueError(str(error)[:1].upper() + str(error)[1:] + ".") from error


class MoneyField(_Parsed):
    """Rupees on the page, paise (int) in ``data``."""

    parse = staticmethod(parse_rupees)
    show = staticmethod(lambda value: f.rupees(value))


class BpsField(_Parsed):
    """Per cent on the page, basis points (int) in ``data``."""

    parse = staticmethod(parse_bps)
    show = staticmethod(lambda value: f.bps(value).removesuffix(" %"))


class JSONField(TextAreaField):
    """JSON text on the page, the parsed value in ``data`` (Flask-AppBuilder would store the string)."""

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return json.dumps(self.data, indent=2, ensure_ascii=False) if self.data is not None else ""

    def process_formdata(self, valuelist: list[Any]) -> None:
        if not valuelist or not valuelist[0].strip():
            self.data = None
            return
        try:
            self.data = json.loads(valuelist[0])
        except ValueError as error:
            raise ValueError(f"Not valid JSON: {error}") from error


class LocalDateTimeField(DateTimeLocalField):
    """The reader's local time on the page, an aware UTC moment in ``data``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("format", ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
        super().__init__(*args, **kwargs)

    def _zone(self) -> dt.tzinfo:
        from app.views.base.core import zone

        return zone()

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return f.local(self.data, self._zone()).strftime("%Y-%m-%dT%H:%M") if self.data else ""

    def process_formdata(self, valuelist: list[Any]) -> None:
        if not valuelist or not valuelist[0]:
            self.data = None
            return
        super().process_formdata(valuelist)
        if self.data is not None:
            self.data = self.data.replace(tzinfo=self._zone()).astimezone(dt.UTC)


class ChoiceField(SelectField):
    """An enumeration column: words on the page, the member in ``data``."""

    def __init__(self, label: str = "", kind: Any = None, optional: bool = False, **kwargs: Any) -> None:
        self.kind = kind
        choices = [SelectChoice(m.value, f.words(m)) for m in kind]
        super().__init__(label, choices=[SelectChoice("", "—"), *choices] if optional else choices, **kwargs)

    def process_data(self, value: Any) -> None:
        self.data = getattr(value, "value", value)

    def process_formdata(self, valuelist: list[Any]) -> None:
        self.data = valuelist[0] if valuelist else None

    def iter_choices(self) -> Any:
        for choice in self.choices or ():
            yield Choice(choice.value, choice.label, choice.value == (self.data or ""), {})

    def pre_validate(self, form: Any) -> None:
        if self.data in (None, ""):
            self.data = None
        elif self.data not in {m.value for m in self.kind}:
            raise ValueError("Choose one of the list.")

    def populate_obj(self, obj: Any, name: str) -> None:
        setattr(obj, name, self.kind(self.data) if self.data else None)


class RemoteSelectField(Field):
    """A reference: the public id on the page, looked up in the reader's scope, the inner key in ``data``."""

    widget = PlainWidget()

    def __init__(
        self, label: str = "", view: Any = None, column: str = "", model: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(label, **kwargs)
        self.view, self.column, self.model = view, column, model

    def url(self) -> str:
        return str(self.view.options_url(self.column))

    def _row(self, clause: Any, scoped: bool) -> Any:
        from app.views.base.related import scoped_choice

        session = self.view.datamodel.session
        query = scoped_choice(self.view, self.column, self.model) if scoped else session.query(self.model)
        if query is None:
            return None
        if "user" in self.model.__mapper__.relationships:
            query = query.options(joinedload(self.model.user))
        return query.filter(clause).one_or_none()

    def chosen(self) -> list[tuple[str, str]]:
        """The current choice for the template: [(public id, name)]."""
        from app.views.base.refs import label_of

        row = None if self.data is None else self._row(self.model.id == self.data, scoped=False)
        return [(str(row.public_id), label_of(row))] if row is not None else []

    def process_formdata(self, valuelist: list[Any]) -> None:
        raw = str(valuelist[0]).strip() if valuelist else ""
        self.data = None
        if not raw:
            return
        row = None
        with suppress(ValueError):
            clause = self.model.public_id == uuid.UUID(raw)
            row = self._row(clause, scoped=True)
            if (
                row is None and self.object_data is not None
            ):  # what stands there may stay, even if it left the scope
                row = self._row(clause & (self.model.id == self.object_data), scoped=False)
        if row is None:
            raise ValueError("Choose one of the list.")
        self.data = row.id


def build_form(view: Any, names: list[str]) -> type[DynamicForm]:
    """A form over *names* of the view's table, each column with the field its type and name ask for."""
    fields: dict[str, Any] = {}
    for name in names:
        extra = (view.add_form_extra_fields or {}).get(name)
        fields[name] = extra if extra is not None else field_for(view, name)
    return type(f"{type(view).__name__}Form", (DynamicForm,), fields)


def field_for(view: Any, name: str) -> Field:
    """The unbound field of one column. Raises TypeError for a type no form can hold."""
    column = view.datamodel.list_columns[name]
    required = not column.nullable and column.default is None and column.server_default is None
    checks: list[Any] = [
        validators.InputRequired(message="Please fill this in.") if required else validators.Optional()
    ]
    checks += (view.validators_columns or {}).get(name, [])
    common: dict[str, Any] = {
        "label": view.label(name),
        "description": view.hints.get(name, ""),
        "validators": checks,
    }
    default = column.default.arg if column.default is not None and column.default.is_scalar else None
    spec = view.datamodel.filter_for(name)
    if spec is not None and spec[2] is not None:
        return RemoteSelectField(view=view, column=name, model=spec[2], **common)
    if name.endswith("_paise"):
        return MoneyField(default=default, **common)
    if name.endswith("_bps"):
        return BpsField(default=default, **common)
    kind = column.type
    if isinstance(kind, Enum):
        return ChoiceField(kind=kind.enum_class, optional=column.nullable, default=default, **common)
    if isinstance(kind, Boolean):
        common["validators"] = []
        return BooleanField(default=bool(default), **common)
    if isinstance(kind, (JSON, JSONB)):
        return JSONField(**common)
    if isinstance(kind, DateTime):
        return LocalDateTimeField(**common)
    if isinstance(kind, Date):
        return DateField(**common)
    if isinstance(kind, Integer):
        limit = 2**63 - 1 if "BIG" in str(kind) else 2**15 - 1 if "SMALL" in str(kind) else 2**31 - 1
        common["validators"].append(validators.NumberRange(-limit, limit, "This number is out of range."))
        return IntegerField(default=default, **common)
    if isinstance(kind, Numeric):
        return DecimalField(default=default, **common)
    if isinstance(kind, (ARRAY, LargeBinary)):
        raise TypeError(f"{name}: no generated control for {kind}")
    if isinstance(kind, String) and kind.length:
        common["validators"].append(validators.Length(max=kind.length, message="At most %(max)d characters."))
        common["render_kw"] = {"maxlength": kind.length}
    return (TextAreaField if isinstance(kind, Text) else StringField)(
        default=default, filters=[_strip], **common
    )


def _strip(value: Any) -> Any:
    return value.strip() or None if isinstance(value, str) else value
