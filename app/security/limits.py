"""Rate limits: sliding windows in Redis under ``rl:`` (chapter 3, 3.7).

When Redis is down, authentication and SCIM fall back to windows in this process; everything else stays open.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass

import redis
from flask import Flask, current_app, g, has_request_context, request

from app.errors import DomainError
from app.logs import log


@dataclass(frozen=True)
class Limit:
    """*count* events in *seconds*; ``guard`` keeps counting in the process while Redis is away."""

    count: int
    seconds: int
    guard: bool = False


LIMITS: dict[str, Limit] = {
    "auth": Limit(10, 900, guard=True),  # sign-in, sign-up, forgot and reset password, recovery code, per IP
    "sso": Limit(30, 60, guard=True),
    "domain-check": Limit(60, 3600),
    "sso-logout": Limit(600, 60, guard=True),  # providers sign many people out at once, from one address
    "domain-verify": Limit(10, 60),  # per organisation
    "provider-test": Limit(10, 60),  # per organisation
    "sso-setup": Limit(60, 600, guard=True),  # steps with a set-up link, per address
    "invitation-accept": Limit(30, 3600),
    "invitation-send": Limit(20, 3600),
    "top-up": Limit(20, 3600),
    "csp-report": Limit(120, 60),
    "scim": Limit(60, 60, guard=True),  # per token, whose own limit replaces this one
    "scim-wrong": Limit(120, 60, guard=True),  # tokens that are none, per address
    "scim-oauth": Limit(60, 60, guard=True),  # client credentials, per address
    "image-upload": Limit(60, 3600),  # per person
    "search": Limit(240, 60),
    "directory": Limit(120, 60),  # per address: nobody need be signed in
    "chat-message": Limit(30, 60),  # per person
    "chat-open": Limit(60, 3600),
    "confirm": Limit(5, 900, guard=True),  # passwords asked for again, per person
    "api-key": Limit(300, 60, guard=True),  # requests of one key
    "api-key-wrong": Limit(60, 60, guard=True),  # keys that are none, per address
}

_SLIDE = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, ARGV[1] - ARGV[2])
local n = redis.call('ZCARD', KEYS[1])
if n >= tonumber(ARGV[3]) then
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return {0, tonumber(oldest[2]) + tonumber(ARGV[2]) - tonumber(ARGV[1])}
end
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {1, tonumber(ARGV[3]) - n - 1}
"""


class Limiter:
    """Counts events of a name and key; one instance an application."""

    def __init__(self, url: str, enabled: bool) -> None:
        self.enabled = enabled
        self.redis = redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)
        self._slide = self.redis.register_script(_SLIDE)
        self._local: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def hit(self, name: str, key: str, limit: Limit | None = None) -> int:
        """Count one event; returns how many remain. Raises RATE_LIMITED with ``retry_after`` seconds."""
        rule = limit or LIMITS[name]
        if not self.enabled:
            return rule.count
        now_ms = int(time.time() * 1000)
        try:
            ok, rest = self._slide(
                keys=[f"rl:{name}:{key}"],
                args=[now_ms, rule.seconds * 1000, rule.count, f"{now_ms}-{uuid.uuid4().hex[:8]}"],
            )
        except redis.RedisError as error:
            log.warning("rate_limit_store_down", limit=name, error=type(error).__name__)
            if not rule.guard:
                return rule.count
            ok, rest = self._hit_locally(f"{name}:{key}", rule, now_ms)
        if not ok:
            retry = max(1, -(-int(rest) // 1000))
            if has_request_context():
                g.retry_after = retry
            raise DomainError("RATE_LIMITED", retry_after=retry)
        return int(rest)

    def _hit_locally(self, key: str, rule: Limit, now_ms: int) -> tuple[bool, int]:
        with self._lock:
            if len(self._local) > 10_000:
                self._local.clear()
            window = self._local.setdefault(key, deque())
            while window and window[0] <= now_ms - rule.seconds * 1000:
                window.popleft()
            if len(window) >= rule.count:
                return False, int(window[0] + rule.seconds * 1000 - now_ms)
            window.append(now_ms)
            return True, rule.count - len(window)


def install(app: Flask) -> None:
    """Give *app* its limiter."""
    s = app.config["SETTINGS"]
    app.extensions["limits"] = Limiter(s.redis_url, s.rate_limits)


def hit(name: str, key: str, limit: Limit | None = None) -> int:
    """Count one event of the current application. Raises RATE_LIMITED."""
    limiter: Limiter = current_app.extensions["limits"]
    remaining = limiter.hit(name, key, limit)
    if has_request_context():
        g.rate_remaining = remaining
    return remaining


def client_ip() -> str:
    """The client's address; X-Forwarded-For counts only behind configured proxies."""
    return request.remote_addr or "unknown"
