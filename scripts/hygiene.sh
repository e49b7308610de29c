#!/usr/bin/env bash
# Checks spelling, shell scripts, unused dependencies, and the licences, bans and sources of the dependencies.
# scripts/setup.sh check installs the tools.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")/tools/bin:$PATH

typos
shellcheck scripts/*.sh .ci/run
cargo machete --skip-target-dir
cargo deny --log-level error check licenses bans sources
