#!/usr/bin/env bash
# Applies all migrations of this tree to an empty database.
#
#   scripts/apply-migrations.sh URL
set -euo pipefail
cd "$(dirname "$0")/.."

for migration in migrations/*.sql; do
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --single-transaction --file "$migration" "$1" >/dev/null
done
