#!/usr/bin/env bash
# Writes the bill of materials of each program (CycloneDX 1.5, JSON) to target/sbom/.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.5.9
built=${CARGO_TARGET_DIR:-target}
[[ -x $built/sbom-tool/bin/cargo-cyclonedx ]] || {
    echo "Installing for make sbom, into $built/sbom-tool: cargo-cyclonedx@$version" >&2
    cargo install --quiet --locked --root "$built/sbom-tool" "cargo-cyclonedx@$version"
}

rm -rf "$built/sbom"
mkdir -p "$built/sbom"
# It writes each file beside the manifest of its crate.
trap 'find . -name "*_bin.cdx.json" -not -path "./target/*" -delete' EXIT
PATH="$built/sbom-tool/bin:$PATH" cargo cyclonedx --quiet --format json --spec-version 1.5 --describe binaries --target x86_64-unknown-linux-gnu
find . -name '*_bin.cdx.json' -not -path './target/*' -exec mv --target-directory "$built/sbom" {} +
rm -f "$built"/sbom/{bench,tests,faults,upgrade,ordered}_bin.cdx.json
printf '%s\n' "$built"/sbom/*
