"""For .ci/run: does a server of the machine's own answer, with the rights the tests need?

python -m app.runtime.ownservers URL
"""

from __future__ import annotations

import sys

from psycopg import Error

from app.runtime import RuntimeFailure
from app.runtime.provision import connect, parse_url


def main(url: str) -> int:
    """0 when *url* is a Redis that answers, or a PostgreSQL whose role is a superuser; 1 otherwise."""
    if url.startswith(("redis:", "rediss:", "unix:")):
        from redis import Redis
        from redis.exceptions import RedisError

        try:
            return 0 if Redis.from_url(url, socket_connect_timeout=2).ping() else 1
        except RedisError:
            return 1
    try:
        with connect(parse_url(url), connect_timeout=2) as connection:
            row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
            return 0 if row is not None and row[0] else 1
    except (Error, RuntimeFailure):
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
