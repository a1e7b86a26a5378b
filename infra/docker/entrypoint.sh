#!/bin/sh
# Hands the secrets that lie in files to `vigie`, by environment: none stands in a compose file or a command line.
set -eu
secrets=${SECRETS_FOLDER:-/run/secrets}
# One line a role, host:port:database:role:password, in libpq's own form: VIGIE_DATABASE… name no password. Each service gets
# the roles that it needs and no other.
if [ -r "$secrets/database_app" ] || [ -r "$secrets/database_owner" ] || [ -r "$secrets/database_sealer" ]; then
    PGPASSFILE=/tmp/pgpass
    export PGPASSFILE
    umask 077
    for role in owner app sealer; do
        if [ -r "$secrets/database_$role" ]; then
            printf '*:*:*:vigie_%s:%s\n' "$role" "$(cat "$secrets/database_$role")"
        fi
    done > "$PGPASSFILE"
fi
if [ -r "$secrets/kafka_password" ]; then
    VIGIE_KAFKA_PASSWORD=$(cat "$secrets/kafka_password")
    export VIGIE_KAFKA_PASSWORD
fi
exec vigie "$@"
