#!/usr/bin/env bash
# Measures line coverage of all tests, including the programs that they start, by crate. Fails below 85 % overall, and below
# 95 % for state machines and money. target/coverage/uncovered.txt lists the lines that no test reaches.
set -euo pipefail
cd "$(dirname "$0")/.."
built=${CARGO_TARGET_DIR:-target}
PATH=$PWD/$built/tools/bin:$PATH
llvm=$(rustc -vV | sed -nE 's/^LLVM version: ([0-9]+).*/\1/p')
LLVM_COV=$(command -v "llvm-cov-$llvm")
LLVM_PROFDATA=$(command -v "llvm-profdata-$llvm")
export LLVM_COV LLVM_PROFDATA SQLX_OFFLINE=true

mkdir -p "$built/coverage" "$built/llvm-cov-target"
# The tests look for the servers for S3 and SMTP beside their own target folder.
ln -sfn ../servers "$built/llvm-cov-target/servers"
# Tests, benchmark and examples are not measured themselves.
ours='(/tests/|/bench/|/tests\.rs$|/examples/)'
cargo llvm-cov --no-report --workspace --ignore-run-fail
cargo llvm-cov report --json --ignore-filename-regex "$ours" --output-path "$built/coverage/lines.json"
cargo llvm-cov report --show-missing-lines --ignore-filename-regex "$ours" >"$built/coverage/uncovered.txt"
python3 scripts/coverage.py "$built/coverage/lines.json"
