"""Settings of the web server, from the environment: gunicorn 'app:create_app()' finds this file by itself.

WEB_WORKERS processes of WEB_THREADS threads each; DATABASE_POOL_SIZE should not be smaller than WEB_THREADS.
"""

import gc
import os
import signal

bind = os.environ.get("WEB_BIND", "127.0.0.1:8080")
worker_class = "gthread"
workers = int(os.environ.get("WEB_WORKERS", "2"))
threads = int(os.environ.get("WEB_THREADS", "8"))
timeout = int(os.environ.get("WEB_TIMEOUT", "60"))  # seconds without a sign of life from a worker
graceful_timeout = int(
    os.environ.get("WEB_GRACEFUL_TIMEOUT", "30")
)  # seconds for requests under way at a stop
keepalive = int(os.environ.get("WEB_KEEPALIVE", "5"))
max_requests = int(os.environ.get("WEB_MAX_REQUESTS", "20000"))  # a slow leak never gets far
max_requests_jitter = max_requests // 10
forwarded_allow_ips = os.environ.get(
    "FORWARDED_ALLOW_IPS", "127.0.0.1"
)  # proxies whose X-Forwarded-Proto counts
accesslog = os.environ.get("WEB_ACCESS_LOG") or None  # the application logs its requests itself
errorlog = "-"
preload_app = True  # one import for all workers; post_fork gives each its own database connections
loglevel = os.environ.get("WEB_LOG_LEVEL", "info")
control_socket_disable = True  # it would be made in the home folder, which may be read-only
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108 - heartbeats off the disk


def pre_fork(server, worker):  # type: ignore[no-untyped-def]
    """What is loaded stays: the collector need not walk it (and copy its pages) in every worker, least of all at exit."""
    gc.freeze()


def post_fork(server, worker):  # type: ignore[no-untyped-def]
    """A worker ends with its master, even one that was killed: the port is free at once. It connects by itself."""
    from app.extensions import db
    from app.runtime.spawn import set_death_signal

    set_death_signal(signal.SIGKILL, server.pid)
    with server.app.wsgi().app_context():
        db.engine.dispose(close=False)
