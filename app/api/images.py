"""REST: logo and banner of an organisation, the portrait of a person; and the address images are served from."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app, jsonify, request
from flask_appbuilder import expose

from app.errors import REGISTRY, DomainError, Invalid
from app.extensions import db
from app.security import limits, uploads
from app.security.context import ctx
from app.services import images
from app.services.storage import Storage

from .http import Api, gate, ok, signed_in

FOREVER = "public, max-age=31536000, immutable"  # a key never changes its bytes


def store() -> Storage:
    """The storage of this application."""
    return Storage(current_app.config["SETTINGS"].files_url)


def posted_file() -> bytes:
    """The bytes of the multipart field ``file``. Raises Invalid, IMAGE_TOO_LARGE."""
    file = request.files.get("file")
    if file is None or not file.filename:
        raise Invalid({"file": ["Choose a file."]})
    file.stream.seek(0)  # a transaction that lost a race reads it again
    data = file.stream.read(images.MAX_BYTES + 1)
    if len(data) > images.MAX_BYTES:
        raise DomainError("IMAGE_TOO_LARGE", max_bytes=images.MAX_BYTES)
    return bytes(data)


def picture_view(picture: images.Picture, kind: str) -> dict[str, Any]:
    """An image as REST shows it."""
    return {
        "type": kind,
        "key": picture.key,
        "url": images.address(picture.key),
        "content_type": picture.media_type,
        "width": picture.width,
        "height": picture.height,
    }


class ImagesApi(Api):
    """Logo and banner."""

    route_base = "/api/organizations/<org_id>/images"
    resource_name = "images"
    openapi_spec_tag = "Organisations"

    @expose("", methods=["POST"])
    @expose("/", methods=["POST"])
    @uploads.limited(images.MAX_BYTES, "IMAGE_TOO_LARGE")
    @gate("images", "write")
    def upload(self) -> Any:
        """Upload the logo or the banner
        ---
        post:
          summary: Replace the logo or the banner; JPEG, PNG or WebP of at most 5 MB, written anew without metadata
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          requestBody:
            required: true
            content:
              multipart/form-data:
                schema:
                  type: object
                  required: [file, type]
                  properties:
                    file: {type: string, format: binary}
                    type: {type: string, enum: [logo, banner]}
          responses:
            201:
              description: image with key and url
            400:
              description: IMAGE_TYPE_INVALID, VALIDATION_FAILED
            403:
              description: INSUFFICIENT_ROLE
            409:
              description: ORG_NOT_ACTIVE
            413:
              description: IMAGE_TOO_LARGE
        """
        limits.hit("image-upload", str(ctx().user_id))
        kind = request.form.get("type", "")
        if kind not in images.COLUMNS:
            raise Invalid({"type": ["Choose logo or banner."]})
        return ok(picture_view(images.set_image(db.session(), store(), kind, posted_file()), kind), 201)

    @expose("/<kind>", methods=["DELETE"])
    @gate("images", "write")
    def remove(self, kind: str) -> Any:
        """Remove the logo or the banner
        ---
        delete:
          summary: Remove the logo or the banner
          parameters:
          - {in: path, name: org_id, required: true, schema: {type: string}}
          - {in: path, name: kind, required: true, schema: {type: string, enum: [logo, banner]}}
          responses:
            204:
              description: Removed, or there was none
            404:
              description: NOT_FOUND, no such type
        """
        if kind not in images.COLUMNS:
            raise DomainError("NOT_FOUND")
        images.remove_image(db.session(), kind)
        return ok(None, 204)


class PortraitApi(Api):
    """The portrait of the signed-in person."""

    route_base = "/api/me/image"
    resource_name = "me-image"
    openapi_spec_tag = "Session"

    @expose("", methods=["POST"])
    @expose("/", methods=["POST"])
    @uploads.limited(images.MAX_BYTES, "IMAGE_TOO_LARGE")
    @signed_in
    def upload(self) -> Any:
        """Upload my portrait
        ---
        post:
          summary: Replace my portrait; JPEG, PNG or WebP of at most 5 MB
          requestBody:
            required: true
            content:
              multipart/form-data:
                schema:
                  type: object
                  required: [file]
                  properties:
                    file: {type: string, format: binary}
          responses:
            201:
              description: image with key and url
            400:
              description: IMAGE_TYPE_INVALID, VALIDATION_FAILED
            413:
              description: IMAGE_TOO_LARGE
        """
        limits.hit("image-upload", str(ctx().user_id))
        return ok(picture_view(images.set_avatar(db.session(), store(), posted_file()), "avatar"), 201)

    @expose("", methods=["DELETE"])
    @expose("/", methods=["DELETE"])
    @signed_in
    def remove(self) -> Any:
        """Remove my portrait
        ---
        delete:
          summary: Remove my portrait
          responses:
            204:
              description: Removed, or there was none
        """
        images.remove_avatar(db.session())
        return ok(None, 204)


def _gone(code: str) -> Response:
    answer = jsonify(code=code, message=REGISTRY[code][1], details={})
    answer.status_code = REGISTRY[code][0]
    return answer


def media(owner: str, name: str) -> Response:
    """One stored image, without a session: public, unchanging, inert."""
    key = f"{owner}/{name}"
    kind = images.media_type(key)
    if kind is None:
        return _gone("NOT_FOUND")
    try:
        data = store().read(key)
    except DomainError as error:
        return _gone(error.code)
    if data is None:
        return _gone("NOT_FOUND")
    answer = Response(data, content_type=kind)
    answer.headers["Cache-Control"] = FOREVER
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer.headers["Content-Disposition"] = "inline"
    answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"  # mails and public pages show it
    answer.set_etag(name)
    answer.make_conditional(request)
    return answer


media._gate = ("public", "read")  # type: ignore[attr-defined]


def register(app: Flask, appbuilder: Any) -> None:
    """Register the resources, and the plain route of the images."""
    for resource in (ImagesApi, PortraitApi):
        appbuilder.add_api(resource)
    app.add_url_rule("/media/<owner>/<name>", "media", media, methods=["GET"])
