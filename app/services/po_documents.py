"""The document behind a purchase order: a PDF or a picture, kept in the storage under a random key (chapter 3, 3.7).

What it is, its first bytes say; pictures are decoded and written anew. It is only ever served as an attachment, to those
who may read purchase orders.
"""

from __future__ import annotations

import io
import re
import uuid
import warnings

from PIL import Image, ImageOps
from sqlalchemy.orm import Session

from app.errors import DomainError
from app.models import Organization, PurchaseOrder
from app.security.context import ctx
from app.services import purchase_orders, storage
from app.services.storage import Storage

MAX_BYTES = 10 * 1024 * 1024
MAX_SIDE = 4_000  # pixels of a picture as it is kept
MAX_PIXELS = 40_000_000
PDF, JPEG = "application/pdf", "image/jpeg"
_SAFE = re.compile(r"[^\w. ()-]+")


def _kind(data: bytes) -> str | None:
    if data.startswith(b"%PDF-"):
        return PDF
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return JPEG
    return None


def checked(data: bytes) -> tuple[bytes, str]:
    """(the bytes as they are kept, their media type). Raises UPLOAD_TOO_LARGE, UPLOAD_TYPE_NOT_ALLOWED."""
    if len(data) > MAX_BYTES:
        raise DomainError("UPLOAD_TOO_LARGE", max_bytes=MAX_BYTES)
    kind = _kind(data)
    if kind is None:
        raise DomainError("UPLOAD_TYPE_NOT_ALLOWED", allowed=["PDF", "JPEG", "PNG"])
    return (data, PDF) if kind == PDF else (_anew(data), JPEG)


def _anew(data: bytes) -> bytes:
    """A picture without whatever else its file held."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
            if picture.width * picture.height > MAX_PIXELS:
                raise DomainError("UPLOAD_TOO_LARGE", max_pixels=MAX_PIXELS)
            upright = ImageOps.exif_transpose(picture).convert("RGB")
            upright.thumbnail((MAX_SIDE, MAX_SIDE))
            out = io.BytesIO()
            upright.save(out, "JPEG", quality=88)
            return out.getvalue()
    except DomainError:
        raise
    except Exception:  # a decoder of hostile bytes fails in many ways; they all mean the same
        raise DomainError("UPLOAD_TYPE_NOT_ALLOWED", allowed=["PDF", "JPEG", "PNG"]) from None


def file_name(raw: str, media_type: str) -> str:
    """A name that is safe in a header and says what the file is."""
    stem = _SAFE.sub("_", raw.rsplit("/", 1)[-1].rsplit("\\", 1)[-1]).rsplit(".", 1)[0].strip(" .")[:120]
    return f"{stem or 'purchase-order'}.{'pdf' if media_type == PDF else 'jpg'}"


def attach(session: Session, store: Storage, row: PurchaseOrder, data: bytes, name: str) -> PurchaseOrder:
    """Keep *data* as the order's document; the one before is removed after the commit.

    Raises UPLOAD_TOO_LARGE, UPLOAD_TYPE_NOT_ALLOWED, STORAGE_UNAVAILABLE.
    """
    kept, media_type = checked(data)
    owner = session.get_one(Organization, ctx().org_id).public_id
    key = f"{owner}/po-{uuid.uuid4()}"
    before = row.document
    storage.write_with(session, store, key, kept, media_type)
    row.document, row.document_name, row.document_size = key, file_name(name, media_type), len(kept)
    session.flush()
    storage.delete_later(session, before)
    purchase_orders.record(
        session,
        row,
        "PURCHASE_ORDER_UPDATED",
        f"A document was attached to purchase order {row.po_number}.",
        document=row.document_name,
        bytes=len(kept),
    )
    return row


def detach(session: Session, row: PurchaseOrder) -> PurchaseOrder:
    """Remove the order's document. Raises NOT_FOUND."""
    if row.document is None:
        raise DomainError("NOT_FOUND")
    storage.delete_later(session, row.document)
    row.document = row.document_name = row.document_size = None
    session.flush()
    purchase_orders.record(
        session,
        row,
        "PURCHASE_ORDER_UPDATED",
        f"The document of purchase order {row.po_number} was removed.",
    )
    return row


def read(store: Storage, row: PurchaseOrder) -> tuple[bytes, str, str]:
    """(bytes, media type, file name) of the order's document. Raises NOT_FOUND, STORAGE_UNAVAILABLE."""
    data = store.read(row.document) if row.document else None
    if data is None or row.document_name is None:
        raise DomainError("NOT_FOUND")
    return data, PDF if row.document_name.endswith(".pdf") else JPEG, row.document_name
