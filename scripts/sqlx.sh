#!/usr/bin/env bash
# Compiles every query against a freshly migrated database and writes the results to .sqlx/, as `cargo sqlx prepare` does,
# but without installing it.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} != --with-database ]]; then
    exec cargo run --quiet --example with-postgres -- .data/sqlx "$0" --with-database
fi

scripts/apply-migrations.sh "$DATABASE_URL"

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
# A macro writes its result when the compiler expands it, and cargo recompiles only changed files. So touch them all.
grep -rlE 'sqlx::query(_as|_scalar)?!|\bquery(_as|_scalar)?!' --include='*.rs' --exclude-dir=target . | xargs -r touch
SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$fresh cargo check --workspace --all-targets

# A result that is as before keeps its time, so that crates whose queries are unchanged are not compiled again.
mkdir -p .sqlx
for old in .sqlx/query-*.json; do [[ -e $fresh/${old##*/} ]] || rm -f "$old"; done
for new in "$fresh"/query-*.json; do cmp --silent "$new" ".sqlx/${new##*/}" || cp "$new" .sqlx/; done
echo "$(find .sqlx -name 'query-*.json' | wc -l) queries in .sqlx/"
