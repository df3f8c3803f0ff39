"""Benchmarks: each prints ratios against a baseline measured in the same run, and writes JSON to results/.

``bin/bench NAME``. TEST_OWNER_DATABASE_URL and TEST_REDIS_URL name servers to use (a database of our own is made there
and dropped; the Redis database is emptied, as the tests do); without them embedded ones are started. Never timed tests: figures of a busy machine mean nothing.
"""
