#!/usr/bin/env bash
# Writes API-SPECIFICATION.yml from the code; with --check, fails when the file and the code disagree.
set -euo pipefail
cd "$(dirname "$0")/.."

fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
cargo run --quiet --bin standalone -- openapi >"$fresh"

if [[ ${1:-} == --check ]]; then
    diff -u API-SPECIFICATION.yml "$fresh" || { echo "API-SPECIFICATION.yml differs from the code. Run: make openapi" >&2; exit 1; }
else
    cp "$fresh" API-SPECIFICATION.yml
    echo "API-SPECIFICATION.yml is up to date."
fi
