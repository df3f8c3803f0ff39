"""Generated add, edit and delete forms, for tables that carry no rule; a subclass may hand them to a service."""

from __future__ import annotations

from typing import Any

from flask import abort, flash, redirect, request
from flask_appbuilder import expose, has_access
from flask_appbuilder.security.decorators import permission_name
from sqlalchemy.exc import DataError, IntegrityError

from app.errors import DomainError, Invalid

from .refs import label_of


class WriteMixin:
    """Routes exist only where the view says ``writes = True``. Errors keep what was typed."""

    def create(self, form: Any) -> Any:
        """Make and return the new row from a valid form. Override to call a service."""
        view: Any = self
        item = view.datamodel.obj()
        form.populate_obj(item)
        self.prepare(item)
        view.datamodel.session.add(item)
        return item

    def update(self, item: Any, form: Any) -> None:
        """Apply a valid form to *item*. Override to call a service."""
        form.populate_obj(item)

    def remove(self, item: Any) -> None:
        """Delete *item*. Override to call a service."""
        view: Any = self
        view.datamodel.session.delete(item)

    def prepare(self, item: Any) -> None:
        """Set what never comes from the client; TenantView sets the organisation."""

    @expose("/add", methods=["GET", "POST"])
    @has_access
    @permission_name("add")
    def add(self) -> Any:
        view: Any = self
        form = view.add_form(formdata=request.form if request.method == "POST" else None)
        for name, value in view.prefill().items():
            if request.method == "GET" and name in form:
                form[name].data = value
        return self._form(form, None, view.add_title, f"Create {view.one}")

    def prefill(self) -> dict[str, Any]:
        """Values a new form starts with."""
        return {}

    @expose("/edit/<pk>", methods=["GET", "POST"])
    @has_access
    @permission_name("edit")
    def edit(self, pk: str) -> Any:
        view: Any = self
        item = view.get(pk)
        if not view.can_edit(item):
            flash(f"This {view.one} can't be changed in its current state.", "warning")
            return redirect(view.item_url(item))
        form = view.edit_form(formdata=request.form if request.method == "POST" else None, obj=item)
        return self._form(form, item, f"{view.edit_title}", "Save changes")

    def _form(self, form: Any, item: Any, title: str, submit: str) -> Any:
        view: Any = self
        problems: list[str] = []
        if request.method == "POST" and form.validate():
            session = view.datamodel.session
            try:
                saved = item
                if item is None:
                    saved = self.create(form)
                else:
                    self.update(item, form)
                session.flush()
                name = label_of(saved)
                target = view.item_url(saved)
                session.commit()
            except Invalid as error:
                session.rollback()
                for field, texts in error.fields.items():
                    if field in form:
                        form[field].errors = [*form[field].errors, *texts]
                    else:
                        problems += texts
            except DomainError as error:
                session.rollback()
                field = str(error.details.get("field", ""))
                if field in form:
                    form[field].errors = [*form[field].errors, error.message]
                else:
                    problems.append(error.message)
            except IntegrityError:
                session.rollback()
                problems.append(
                    "This conflicts with something that already exists, or breaks a rule of the table."
                )
            except DataError:
                session.rollback()
                problems.append("A value is too long or out of range.")
            else:
                flash(f"{name} {'created' if item is None else 'saved'}.", "success")
                return redirect(target or view.list_url())
            if item is not None:
                item = view.get((request.view_args or {})["pk"])
        sections = (view.add_fieldsets if item is None else view.edit_fieldsets) or [
            ("", {"fields": view.add_columns if item is None else view.edit_columns})
        ]
        back = view.item_url(item) if item is not None else view.list_url()
        status = 422 if form.errors or problems else 200
        return view.render_template(
            view.form_template,
            title=title,
            view=view,
            form=form,
            sections=sections,
            item=item,
            problems=problems,
            submit=submit,
            back=back,
        ), status

    @expose("/delete/<pk>", methods=["POST"])
    @has_access
    @permission_name("delete")
    def delete(self, pk: str) -> Any:
        view: Any = self
        item = view.get(pk)
        if not view.can_edit(item):
            abort(409)
        name = label_of(item)
        session = view.datamodel.session
        try:
            self.remove(item)
            session.flush()
            session.commit()
        except DomainError as error:
            session.rollback()
            flash(error.message, "danger")
        except IntegrityError:
            session.rollback()
            flash(f"{name} is in use elsewhere and can't be deleted.", "danger")
        else:
            flash(f"{name} deleted.", "success")
        return redirect(view.list_url())
