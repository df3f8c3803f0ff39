"""The routes of /scim/v2 (RFC 7644, 3) and the token endpoint of OAuth clients (RFC 6749, 4.4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify, request

from app.api import http
from app.errors import DomainError
from app.extensions import db
from app.security import limits, uploads
from app.services import scim_directory, scim_groups, scim_people
from app.services import scim_tokens as tokens

from . import filters, rendering, resources, writing
from .auth import about, caller, endpoint, log_refusal
from .errors import JSON, SCIM_JSON, Refused, reply
from .rendering import Projection

bp = Blueprint("scim", __name__, url_prefix="/scim/v2")
bounded = uploads.limited(resources.MOST_BODY, "PAYLOAD_TOO_LARGE")
Wants = dict[str, Any]
ANCHOR_SECONDS, MOST_ANCHORS = 900, 20_000


def base() -> str:
    """The service's address, as it stands in locations."""
    return f"{current_app.config['SETTINGS'].base_url}/scim/v2"


# ---- reading a request ----------------------------------------------------------------------------------------------


def body() -> dict[str, Any]:
    """The JSON object that was sent. Raises Refused (415, invalidSyntax)."""
    if request.mimetype and request.mimetype not in (SCIM_JSON, JSON):
        raise Refused(415, f"Send {SCIM_JSON} or {JSON}.")
    raw = request.get_data(cache=False)
    try:
        data = json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not JSON.", "invalidSyntax") from None
    if not isinstance(data, dict):
        raise Refused(400, "Send a JSON object.", "invalidSyntax")
    problem = http._unusable(data)
    if problem:
        raise Refused(400, problem, "invalidSyntax")
    return data


def arguments() -> Wants:
    """The query's arguments by lower-case name; one that is given twice is refused."""
    out: Wants = {}
    for name, values in request.args.lists():
        if len(values) > 1 or name.lower() in out:
            raise Refused(400, f"{name[:40]} is given twice.", "invalidValue")
        out[name.lower()] = values[0]
    return out


def _number(wants: Wants, name: str, default: int, least: int, most: int) -> int:
    raw = wants.get(name.lower())
    if raw is None or raw == "":
        return default
    try:
        value = int(str(raw))
    except ValueError:
        raise Refused(400, f"{name} is a number.", "invalidValue") from None
    return max(least, min(value, most))


def projection(wants: Wants) -> Projection:
    """``attributes`` and ``excludedAttributes`` of a query or a search."""

    def text(name: str) -> str | None:
        value = wants.get(name)
        return ",".join(str(v) for v in value) if isinstance(value, list) else value

    return Projection(text("attributes"), text("excludedattributes"))


def _tags(header: str) -> list[str]:
    return [t.strip() for t in header.split(",") if t.strip()]


def matches(header: str, version: str) -> bool:
    """Whether an If-Match or If-None-Match *header* names *version*; weak and strong spellings are alike."""
    return any(t == "*" or t.removeprefix("W/") == version.removeprefix("W/") for t in _tags(header))


def check_version(version: str) -> None:
    """Raises Refused (412) when the request was meant for another version (RFC 7644, 3.14)."""
    header = request.headers.get("If-Match")
    if header is not None and not matches(header, version):
        raise Refused(412, "This was changed in the meantime: the version is another one.")


def shown(resource: dict[str, Any], wants: Projection, status: int = 200) -> Response:
    """A resource with its version and address."""
    meta = resource["meta"]
    headers = {"ETag": meta["version"], "Location": meta["location"]}
    if request.method == "GET":
        header = request.headers.get("If-None-Match")
        if header is not None and matches(header, meta["version"]):
            return reply(None, 304, {"ETag": meta["version"]})
    return reply(wants.apply(resource), status, headers)


class RedisAnchors:
    """Where pages of one query began, for a quarter of an hour."""

    def __init__(self, *query: str) -> None:
        text = "\x00".join([str(caller().organization_id), str(caller().token_id), *query])
        self.key = f"scim:page:{hashlib.sha256(text.encode()).hexdigest()[:32]}"
        self.redis = current_app.extensions["limits"].redis

    def nearest(self, start: int) -> tuple[int, int] | None:
        """(position, inner key before it) of the nearest position up to *start* that was read lately."""
        try:
            found = self.redis.zrevrangebyscore(self.key, start, 2, start=0, num=1, withscores=True)
        except Exception:  # paging works without, only slower
            return None
        return (int(found[0][1]), int(found[0][0].partition(b":")[2])) if found else None

    def put(self, start: int, before_id: int) -> None:
        """The row at *start* is the first after *before_id*."""
        try:
            with self.redis.pipeline() as pipe:
                pipe.zremrangebyscore(self.key, start, start)
                pipe.zadd(self.key, {f"{start}:{before_id}": start})
                pipe.zremrangebyrank(self.key, 0, -MOST_ANCHORS - 1)
                pipe.expire(self.key, ANCHOR_SECONDS)
                pipe.execute()
        except Exception:  # as above
            return


# ---- users ----------------------------------------------------------------------------------------------------------


def list_users(wants: Wants) -> Response:
    """A page of members."""
    start = _number(wants, "startIndex", 1, 1, 2**31 - 1)
    count = _number(wants, "count", resources.DEFAULT_RESULTS, 0, resources.MOST_RESULTS)
    text = wants.get("filter")
    where = filters.People().visit(filters.parse(str(text))) if text is not None else None
    order = filters.order(filters.PEOPLE_ORDER, wants.get("sortby"), wants.get("sortorder"), resources.USER)
    if text is not None:
        about(subject=str(text)[:320])
    page = scim_directory.people(
        db.session(), where, order, start, count, RedisAnchors("users", str(text or ""))
    )
    parts = projection(wants)
    rows = [parts.apply(rendering.user(p, base())) for p in page.rows]
    return reply(rendering.listing(page.total, start, rows))


@bp.get("/Users", strict_slashes=False)
@endpoint
def users_list() -> Response:
    return list_users(arguments())


@bp.post("/Users/.search", strict_slashes=False)
@bounded
@endpoint
def users_search() -> Response:
    return list_users(_search(body()))


@bp.post("/Users", strict_slashes=False)
@bounded
@endpoint
def users_create() -> Response:
    data = body()
    about(subject=_said(writing.key_of(data, "userName", None)))
    done = scim_people.provision(
        db.session(), writing.user_body(data, replacing=False), upsert=caller().upsert
    )
    return _user(done.membership_id, 201 if done.created else 200)


@bp.get("/Users/<key>", strict_slashes=False)
@endpoint
def users_get(key: str) -> Response:
    person = scim_directory.find(db.session(), key)
    about(subject=person.email)
    return shown(rendering.user(person, base()), projection(arguments()))


@bp.put("/Users/<key>", strict_slashes=False)
@bounded
@endpoint
def users_replace(key: str) -> Response:
    data = body()
    said = writing.key_of(data, "id", None)
    if said is not None and str(said).lower() != key.lower():
        raise Refused(400, "The body's id is another one.", "mutability")
    return _changed(key, lambda person: writing.user_body(data, replacing=True))


@bp.patch("/Users/<key>", strict_slashes=False)
@bounded
@endpoint
def users_patch(key: str) -> Response:
    data = body()
    return _changed(key, lambda person: writing.patched(person, data))


@bp.delete("/Users/<key>", strict_slashes=False)
@endpoint
def users_delete(key: str) -> Response:
    scim_groups.lock(db.session())
    person = scim_directory.find(db.session(), key)
    about(subject=person.email)
    check_version(rendering.user(person, base())["meta"]["version"])
    scim_people.remove(db.session(), person.id)
    return reply(None, 204)


def _changed(key: str, wanted: Callable[[scim_directory.Person], scim_people.Wanted]) -> Response:
    """Lock, read, compare the version, change, answer the result."""
    session = db.session()
    scim_directory.key_of(session, key)  # 404 and 410 before 409 of a suspended organisation
    scim_groups.lock(session)
    person = scim_directory.find(session, key)
    about(subject=person.email)
    check_version(rendering.user(person, base())["meta"]["version"])
    scim_people.change(session, person.id, wanted(person))
    return _user(person.id, 200)


def _user(membership_id: int, status: int) -> Response:
    session = db.session()
    session.flush()
    person = scim_directory.load(session, [membership_id])[0]
    about(resource_id=str(person.public_id), subject=person.email)
    return shown(rendering.user(person, base()), projection(arguments()), status)


def _said(value: Any) -> str | None:
    return str(value)[:320] if isinstance(value, str) else None


# ---- groups ---------------------------------------------------------------------------------------------------------


def list_groups(wants: Wants) -> Response:
    """A page of groups; members are read only when they are shown."""
    start = _number(wants, "startIndex", 1, 1, 2**31 - 1)
    count = _number(wants, "count", resources.DEFAULT_RESULTS, 0, resources.MOST_RESULTS)
    text = wants.get("filter")
    where = filters.Groups().visit(filters.parse(str(text))) if text is not None else None
    order = filters.order(filters.GROUP_ORDER, wants.get("sortby"), wants.get("sortorder"), resources.GROUP)
    if text is not None:
        about(subject=str(text)[:320])
    parts = projection(wants)
    page = scim_directory.groups(db.session(), where, order, start, count, members=parts.wants("members"))
    rows = [
        parts.apply(rendering.group(v, base(), names=parts.names("members", "display"))) for v in page.rows
    ]
    return reply(rendering.listing(page.total, start, rows))


@bp.get("/Groups", strict_slashes=False)
@endpoint
def groups_list() -> Response:
    return list_groups(arguments())


@bp.post("/Groups/.search", strict_slashes=False)
@bounded
@endpoint
def groups_search() -> Response:
    return list_groups(_search(body()))


@bp.post("/Groups", strict_slashes=False)
@bounded
@endpoint
def groups_create() -> Response:
    data = body()
    about(subject=_said(writing.key_of(data, "displayName", None)))
    wanted = writing.group_body(data)
    members = [] if wanted.members is writing.UNSET else wanted.members
    external = None if wanted.external_id is writing.UNSET else wanted.external_id
    row = scim_groups.create(db.session(), wanted.name, external, members)
    return _group(row, 201)


@bp.get("/Groups/<key>", strict_slashes=False)
@endpoint
def groups_get(key: str) -> Response:
    return _group(scim_directory.find_group(db.session(), key), 200)


@bp.put("/Groups/<key>", strict_slashes=False)
@bounded
@endpoint
def groups_replace(key: str) -> Response:
    data, session = body(), db.session()
    wanted = writing.group_body(data)
    organization, row = _locked_group(key)
    members = [] if wanted.members is writing.UNSET else wanted.members
    scim_groups.change(
        session,
        organization,
        row,
        name=wanted.name,
        external_id=wanted.external_id if wanted.external_id is not writing.UNSET else scim_groups.UNSET,
        members=set(scim_groups.resolve(session, members)),
    )
    return _group(row, 200)


@bp.patch("/Groups/<key>", strict_slashes=False)
@bounded
@endpoint
def groups_patch(key: str) -> Response:
    edit, session = writing.group_patch(body()), db.session()
    organization, row = _locked_group(key)
    name, external, members = scim_groups.UNSET, scim_groups.UNSET, None
    add: set[int] = set()
    take: set[int] = set()
    for step, value in edit.steps:
        if step == "name":
            name = value
        elif step == "external":
            external = value
        elif step == "set":
            members, add, take = set(scim_groups.resolve(session, value)), set(), set()
        elif step == "add":
            ids = set(scim_groups.resolve(session, value))
            add, take = add | ids, take - ids
        elif step == "take":
            ids = set(scim_groups.known(session, value))
            add, take = add - ids, take | ids
        elif not scim_groups.holds(session, row, value):
            raise Refused(400, "No member of the group matches the path.", "noTarget")
    scim_groups.change(
        session, organization, row, name=name, external_id=external, members=members, add=add, take=take
    )
    wants = arguments()
    if "attributes" in wants or "excludedattributes" in wants:
        return _group(row, 200)
    view = scim_directory.view_group(session, row, members=False)
    about(resource_id=str(row.public_id), subject=row.display_name)
    return reply(None, 204, {"ETag": rendering.group(view, base())["meta"]["version"]})


@bp.delete("/Groups/<key>", strict_slashes=False)
@endpoint
def groups_delete(key: str) -> Response:
    organization, row = _locked_group(key)
    about(subject=row.display_name)
    scim_groups.remove(db.session(), organization, row)
    return reply(None, 204)


def _locked_group(key: str) -> tuple[Any, Any]:
    """The organisation and the group, both locked, the version compared."""
    session = db.session()
    scim_directory.find_group(session, key)
    organization = scim_groups.lock(session)
    row = scim_directory.find_group(session, key, lock=True)
    check_version(f'W/"{row.version}"')
    return organization, row


def _group(row: Any, status: int) -> Response:
    session = db.session()
    session.flush()
    parts = projection(arguments())
    about(resource_id=str(row.public_id), subject=row.display_name)
    view = scim_directory.view_group(session, row, members=parts.wants("members"))
    names = parts.names("members", "display")
    return shown(rendering.group(view, base(), names=names), parts, status)


# ---- searching everything -------------------------------------------------------------------------------------------


def _search(data: dict[str, Any]) -> Wants:
    """The arguments of a SearchRequest (RFC 7644, 3.4.3)."""
    schemas = writing.key_of(data, "schemas", None)
    if not isinstance(schemas, list) or resources.SEARCH.lower() not in {str(s).lower() for s in schemas}:
        raise Refused(400, f"schemas must name {resources.SEARCH}.", "invalidSyntax")
    wants = {str(k).lower(): v for k, v in data.items() if v is not None}
    for name in ("filter", "sortby", "sortorder"):
        if not isinstance(wants.get(name, ""), str):
            raise Refused(400, f"{name} is a text.", "invalidFilter" if name == "filter" else "invalidValue")
    for name in ("attributes", "excludedattributes"):
        listed = wants.get(name, "")
        if not isinstance(listed, str | list) or any(not isinstance(v, str) for v in listed):
            raise Refused(400, f"{name} is a list of names.", "invalidValue")
    return wants


@bp.post("/.search", strict_slashes=False)
@bounded
@endpoint
def search_all() -> Response:
    """People, then groups, as one list. A filter must be about something at least one of them has."""
    wants = _search(body())
    start = _number(wants, "startIndex", 1, 1, 2**31 - 1)
    count = _number(wants, "count", resources.DEFAULT_RESULTS, 0, resources.MOST_RESULTS)
    text, parts, session = wants.get("filter"), projection(wants), db.session()
    tree = filters.parse(str(text)) if text is not None else None
    clauses: list[Any] = []
    for compiler in (filters.People(), filters.Groups()):
        try:
            clauses.append(compiler.visit(tree) if tree is not None else None)
        except Refused:
            clauses.append(False)  # this kind has no such attribute: none of it matches
    if clauses == [False, False]:
        raise filters.invalid("Nothing here has the attribute the filter names.")
    rows: list[dict[str, Any]] = []
    total = 0
    if clauses[0] is not False:
        page = scim_directory.people(session, clauses[0], [], start, count)
        total = page.total
        rows += [parts.apply(rendering.user(p, base())) for p in page.rows]
    if clauses[1] is not False:
        first, rest = max(1, start - total), count - len(rows)
        page = scim_directory.groups(session, clauses[1], [], first, rest, members=parts.wants("members"))
        total += page.total
        rows += [
            parts.apply(rendering.group(v, base(), names=parts.names("members", "display")))
            for v in page.rows
        ]
    return reply(rendering.listing(total, start, rows))


# ---- about the service ----------------------------------------------------------------------------------------------


def _not_filtered() -> None:
    if "filter" in request.args:
        raise Refused(403, "Descriptions of the service are not filtered.")  # RFC 7644, 4


@bp.get("/ServiceProviderConfig", strict_slashes=False)
@endpoint
def service_provider_config() -> Response:
    _not_filtered()
    documentation = f"{current_app.config['SETTINGS'].base_url}/dashboard/organization/{caller().slug}/integrations/scim/guide"
    return reply(resources.service_provider_config(base(), documentation))


@bp.get("/ResourceTypes", strict_slashes=False)
@bp.get("/ResourceTypes/<key>", strict_slashes=False)
@endpoint
def resource_types(key: str = "") -> Response:
    return _described(resources.resource_types(base()), key)


@bp.get("/Schemas", strict_slashes=False)
@bp.get("/Schemas/<key>", strict_slashes=False)
@endpoint
def schemas(key: str = "") -> Response:
    return _described(resources.schemas(base()), key)


def _described(found: list[dict[str, Any]], key: str) -> Response:
    _not_filtered()
    if not key:
        return reply(rendering.listing(len(found), 1, found))
    one = [d for d in found if d["id"].lower() == key.lower()]
    if not one:
        raise DomainError("NOT_FOUND")
    return reply(one[0])


@bp.route("/Bulk", strict_slashes=False, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
@bp.route("/Me", strict_slashes=False, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
@endpoint
def not_offered() -> Response:
    raise Refused(501, "This is not offered here; ServiceProviderConfig says what is.")


# ---- OAuth client credentials ---------------------------------------------------------------------------------------

oauth = Blueprint("scim_oauth", __name__, url_prefix="/scim/oauth")


@oauth.post("/token")
def token() -> Any:
    """A short-lived access token for a client (RFC 6749, 4.4); errors are OAuth's (5.2)."""
    limits.hit("scim-oauth", limits.client_ip())
    given = request.authorization
    client, secret = request.form.get("client_id", ""), request.form.get("client_secret", "")
    if given is not None and given.type == "basic":
        client, secret = given.username or "", given.password or ""
    if request.form.get("grant_type") != "client_credentials":
        return _oauth_error("unsupported_grant_type", 400)
    made = tokens.issue_access(
        db.session(), client[:64], secret[:400], current_app.config["SETTINGS"].secret_key
    )
    db.session.commit()
    if made is None:
        return _oauth_error("invalid_client", 401)
    response = jsonify(
        {"access_token": made[0], "token_type": "Bearer", "expires_in": made[1], "scope": "scim"}
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def _oauth_error(error: str, status: int) -> Any:
    response = jsonify(error=error)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="scim"'
    return response


def register(app: Flask) -> None:
    """Put the routes on *app*; errors are answered in SCIM's envelope by app/security/requests.py."""
    app.register_blueprint(bp)
    app.register_blueprint(oauth)
    app.after_request(log_refusal)
