#!/bin/sh
# Once, when the database of compose.scale.yaml is made: the role that books and reads. `ledger migrate --allow` gives it its rights.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$POSTGRES_APP_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE tollkeeper_app LOGIN PASSWORD :'password';
SQL
