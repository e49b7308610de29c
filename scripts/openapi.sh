#!/usr/bin/env bash
# Writes API-SPECIFICATION.yml and docs/asyncapi.yml from the code; with --check, fails when a file and the code disagree.
set -euo pipefail
cd "$(dirname "$0")/.."

fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
for file in API-SPECIFICATION.yml docs/asyncapi.yml; do
    kind=openapi
    [[ $file == docs/* ]] && kind=asyncapi
    cargo run --quiet --bin standalone -- "$kind" >"$fresh"
    if [[ ${1:-} == --check ]]; then
        diff -u "$file" "$fresh" || { echo "$file differs from the code. Run: make openapi" >&2; exit 1; }
    else
        cp "$fresh" "$file"
        echo "$file is up to date."
    fi
done
