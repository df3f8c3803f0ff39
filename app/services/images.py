"""Logos, banners and portraits: checked, decoded, turned upright, stripped and written anew (chapter 1, "Images")."""

from __future__ import annotations

import io
import re
import uuid
import warnings
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.errors import DomainError
from app.models import AuditCategory, Organization, User
from app.security.context import ctx
from app.services import audit, org_status, storage
from app.services.storage import KEY, UUID, Storage

MAX_BYTES = 5 * 1024 * 1024
MAX_PIXELS = 40_000_000  # of the decoded picture: some kilobytes may unfold to gigabytes
MAX_SIDE = 16_000  # pixels


@dataclass(frozen=True)
class Shape:
    """What one type of image becomes: largest width and height in pixels, format, media type."""

    width: int
    height: int
    format: str
    media_type: str


SHAPES = {
    "logo": Shape(512, 512, "PNG", "image/png"),  # PNG, because mail programs show it
    "banner": Shape(2400, 800, "WEBP", "image/webp"),
    "avatar": Shape(512, 512, "WEBP", "image/webp"),
}
COLUMNS = {"logo": "logo", "banner": "banner_image"}
SERVED = re.compile(rf"(?P<owner>{UUID})/(?P<type>{'|'.join(SHAPES)})-{UUID}")


@dataclass(frozen=True)
class Picture:
    """An image as it is stored."""

    key: str
    media_type: str
    width: int
    height: int


def address(key: str | None) -> str | None:
    """The path an image is served at; None for no image, or for something that is no key of ours."""
    return f"/media/{key}" if key and KEY.fullmatch(key) else None


def media_type(key: str) -> str | None:
    """The content type of a servable *key*, None for anything else."""
    found = SERVED.fullmatch(key)
    return SHAPES[found["type"]].media_type if found else None


def sniff(data: bytes) -> str | None:
    """JPEG, PNG or WEBP by magic bytes; a name or a declared type proves nothing."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def normalise(data: bytes, kind: str) -> tuple[bytes, int, int]:
    """(*data* written anew as images of *kind* are stored, width, height): upright, fitted, without metadata.

    Raises IMAGE_TOO_LARGE, IMAGE_TYPE_INVALID.
    """
    if len(data) > MAX_BYTES:
        raise DomainError("IMAGE_TOO_LARGE", max_bytes=MAX_BYTES)
    claimed = sniff(data)
    if claimed is None:
        raise DomainError("IMAGE_TYPE_INVALID")
    shape = SHAPES[kind]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is stricter, below
            picture = Image.open(io.BytesIO(data), formats=(claimed,))
            width, height = picture.size
            if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
                raise DomainError("IMAGE_TOO_LARGE", max_pixels=MAX_PIXELS, max_side=MAX_SIDE)
            if claimed == "JPEG":
                picture.draft("RGB", (shape.width * 2, shape.height * 2))
            picture.load()
            return _encode(ImageOps.exif_transpose(picture), shape)
    except DomainError:
        raise
    except Image.DecompressionBombError:
        raise DomainError("IMAGE_TOO_LARGE", max_pixels=MAX_PIXELS, max_side=MAX_SIDE) from None
    except Exception:  # a decoder of hostile bytes fails in many ways; they all mean the same
        raise DomainError("IMAGE_TYPE_INVALID") from None


def _encode(picture: Image.Image, shape: Shape) -> tuple[bytes, int, int]:
    clear = "A" in picture.getbands() or "transparency" in picture.info
    plain = picture.convert("RGBA" if clear else "RGB")
    plain.thumbnail((shape.width, shape.height), Image.Resampling.LANCZOS)
    fresh = Image.new(plain.mode, plain.size)  # a new picture has no metadata to forget
    fresh.paste(plain)
    out = io.BytesIO()
    options: dict[str, Any] = {"optimize": True} if shape.format == "PNG" else {"quality": 86, "method": 4}
    fresh.save(out, shape.format, **options)
    return out.getvalue(), fresh.width, fresh.height


def set_image(session: Session, store: Storage, kind: str, data: bytes) -> Picture:
    """Make *data* the logo or banner (*kind*) of the organisation acted for; the one before is removed after commit.

    Raises IMAGE_TYPE_INVALID, IMAGE_TOO_LARGE, ORG_NOT_ACTIVE, STORAGE_UNAVAILABLE.
    """
    fresh, width, height = normalise(data, kind)
    row = _locked(session)
    key = f"{row.public_id}/{kind}-{uuid.uuid4()}"
    storage.write_with(session, store, key, fresh, SHAPES[kind].media_type)
    _change(session, row, kind, key)
    return Picture(key, SHAPES[kind].media_type, width, height)


def remove_image(session: Session, kind: str) -> bool:
    """Take the logo or banner (*kind*) away; False when there was none. Raises ORG_NOT_ACTIVE."""
    row = _locked(session)
    if not getattr(row, COLUMNS[kind]):
        return False
    _change(session, row, kind, None)
    return True


def _locked(session: Session) -> Organization:
    """The organisation acted for, locked: two uploads at once leave no file behind. Raises NOT_FOUND, ORG_NOT_ACTIVE."""
    row = session.scalars(
        select(Organization)
        .where(Organization.id == (ctx().org_id or -1))
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise DomainError("NOT_FOUND")
    org_status.require(row.status, "images")
    return row


def _change(session: Session, row: Organization, kind: str, key: str | None) -> None:
    column = COLUMNS[kind]
    storage.delete_later(session, getattr(row, column))
    setattr(row, column, key)
    row.version += 1
    session.flush()
    audit.record(
        session,
        AuditCategory.SETTINGS,
        "SETTINGS_CHANGED",
        f"{'Replaced' if key else 'Removed'} the {kind}.",
        target_type="organization",
        target_id=row.public_id,
        field=column,
    )


def set_avatar(session: Session, store: Storage, data: bytes) -> Picture:
    """Make *data* the portrait of the acting person. Raises UNAUTHENTICATED, IMAGE_TYPE_INVALID, IMAGE_TOO_LARGE."""
    fresh, width, height = normalise(data, "avatar")
    user = _person(session)
    key = f"{user.public_id}/avatar-{uuid.uuid4()}"
    storage.write_with(session, store, key, fresh, SHAPES["avatar"].media_type)
    storage.delete_later(session, user.image)
    _set_portrait(session, user.id, key)
    return Picture(key, SHAPES["avatar"].media_type, width, height)


def remove_avatar(session: Session) -> None:
    """Take the acting person's portrait away. Raises UNAUTHENTICATED."""
    user = _person(session)
    storage.delete_later(session, user.image)
    _set_portrait(session, user.id, None)


def _set_portrait(session: Session, user_id: int, key: str | None) -> None:
    session.execute(
        update(User).where(User.id == user_id).values(image=key).execution_options(synchronize_session=False)
    )


def _person(session: Session) -> Any:
    row = session.execute(
        select(User.id, User.public_id, User.image)
        .where(User.id == (ctx().user_id or -1))
        .with_for_update(key_share=True)
    ).one_or_none()
    if row is None:
        raise DomainError("UNAUTHENTICATED")
    return row
