"""RQ jobs and their schedule: each is a plain function over a session, wrapped by the runner.

``registry.py`` lists them, ``runner.py`` locks, records and isolates, ``queue.py`` reaches Redis, ``cron.py`` is what
``rq cron`` loads.
"""
