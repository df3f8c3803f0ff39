"""The export routes of a generated view: the rows of the current filters, streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flask import Response, abort, current_app, request, stream_with_context
from flask_appbuilder import expose, has_access
from flask_appbuilder.security.decorators import permission_name

from app import clock
from app.security.context import ctx, reset, use

from . import export as files
from . import listing
from .refs import values


def keeping_identity(lines: Iterator[str]) -> Iterator[str]:
    """*lines*, produced under the identity of this request.

    A streamed body is made after the request's teardown has forgotten who asks; without this it would be empty.
    """
    identity = ctx()

    def run() -> Iterator[str]:
        session = current_app.appbuilder.session()  # type: ignore[attr-defined]
        use(session, identity)
        try:
            yield from lines
        finally:
            session.rollback()
            reset()

    return run()


class ExportMixin:
    """CSV and XLSX, filtered and ordered as the list is."""

    export_limit = 1_000_000
    export_columns: Sequence[str] = ()

    @expose("/export/<fmt>")
    @has_access
    @permission_name("export")
    def export(self, fmt: str) -> Any:
        view: Any = self
        if fmt not in ("csv", "xlsx"):
            abort(404)
        names = list(view.export_columns or view.list_columns)
        head = [view.label(n) + (" (₹)" if view.kind(n) == "money" else "") for n in names]
        rows = view.export_rows(names)
        stamp = clock.today_ist().isoformat()
        disposition = {
            "Content-Disposition": f'attachment; filename="{view.resource or "rows"}-{stamp}.{fmt}"',
            "Cache-Control": "no-store",
        }
        if fmt == "csv":
            return Response(
                stream_with_context(keeping_identity(files.csv_lines(head, rows))),
                mimetype="text/csv",
                headers=disposition,
            )
        book = files.xlsx_file(head, rows)
        return Response(iter(lambda: book.read(65536), b""), mimetype=files.XLSX_TYPE, headers=disposition)

    def export_rows(self, names: list[str]) -> Iterator[list[Any]]:
        """Rows of the current filters in batches, by key, so that neither side holds the whole list."""
        from app.views.shell.context import zone as reader_zone

        view: Any = self
        model = view.datamodel
        query, _ = listing.narrowed(view, view.base_query(), reader_zone())
        text = request.args.get("q", "").strip()[:200]
        if text and view.quick_search:
            query = model.searched(
                query, text, view.quick_search, model.order_by(*(view.base_order or ("", "desc")))
            )
        sort, direction, _ = listing.order_of(view)
        query = (
            query.options(*model.loads(names))
            .order_by(*model.order_by(sort, direction))
            .limit(view.export_limit)
        )
        kinds = [view.kind(n) for n in names]
        batch: list[Any] = []

        def flush() -> Iterator[list[Any]]:
            for line in values(model, batch, names, view.scope):
                yield [files.plain(v, k) for v, k in zip(line, kinds, strict=True)]
            for item in batch:
                model.session.expunge(item)
            batch.clear()

        for item in query.yield_per(500):
            batch.append(item)
            if len(batch) == 500:
                yield from flush()
        yield from flush()
