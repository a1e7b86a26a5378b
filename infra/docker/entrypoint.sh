#!/bin/sh
# Hands the secrets that lie in files to `vigie`, by environment: none stands in a compose file or a command line.
set -eu
secrets=${SECRETS_FOLDER:-/run/secrets}
if [ -r "$secrets/database_password" ]; then
    PGPASSWORD=$(cat "$secrets/database_password") # libpq reads it: VIGIE_DATABASE names no password
    export PGPASSWORD
fi
if [ -r "$secrets/kafka_password" ]; then
    VIGIE_KAFKA_PASSWORD=$(cat "$secrets/kafka_password")
    export VIGIE_KAFKA_PASSWORD
fi
exec vigie "$@"
