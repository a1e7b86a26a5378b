#!/bin/sh
# On PostgreSQL's first start: the three roles (worklist/sql/roles.sql), and their passwords from the secrets' files.
set -eu
secrets=${SECRETS_FOLDER:-/run/secrets}
ask() {
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" "$@"
}
ask --file "${ROLES:-/vigie/roles.sql}"
for role in owner app sealer; do
    password=$(cat "$secrets/database_$role")
    export password # psql quotes it: it stands in no command line
    ask <<SQL
\\getenv password password
ALTER ROLE vigie_$role PASSWORD :'password';
SQL
done
