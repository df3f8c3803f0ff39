#!/bin/sh
# Makes Consilium's roles in a new cluster: groups consilium_owner and consilium_web, logins consilium_admin (migrations)
# and consilium_app (web, worker, cron). Run as a superuser; OWNER_PASSWORD and WEB_PASSWORD come from the environment.
set -eu
psql -v ON_ERROR_STOP=1 -v owner="$OWNER_PASSWORD" -v web="$WEB_PASSWORD" --username "${POSTGRES_USER:-postgres}" \
    --dbname "${POSTGRES_DB:-consilium}" <<'SQL'
CREATE ROLE consilium_owner NOLOGIN;
CREATE ROLE consilium_web NOLOGIN;
CREATE ROLE consilium_admin LOGIN PASSWORD :'owner' IN ROLE consilium_owner;
CREATE ROLE consilium_app LOGIN PASSWORD :'web' IN ROLE consilium_web;
GRANT USAGE, CREATE ON SCHEMA public TO consilium_owner;
GRANT USAGE ON SCHEMA public TO consilium_web;
SELECT format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO consilium_owner', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO consilium_web', current_database()) \gexec
SQL
