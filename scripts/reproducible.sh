#!/usr/bin/env bash
# Builds a program twice from the last commit, in two folders of different length, and compares the bytes:
# scripts/reproducible.sh [package] [program]. Everything is compiled twice, so the smallest program is the default.
set -euo pipefail
cd "$(dirname "$0")/.."
package=${1:-payment-gateway}
program=${2:-$package}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
home=${CARGO_HOME:-$HOME/.cargo}

build() {
    local folder=$1
    mkdir -p "$folder/src"
    git archive HEAD | tar x -C "$folder/src"
    # The folders of the sources and of the dependencies are the only thing that differs between two machines. The names of some local
    # symbols, which LLVM makes, depend on them all the same; so the table of symbols is left out.
    (cd "$folder/src" && SQLX_OFFLINE=true CARGO_TARGET_DIR="$folder/target" CARGO_PROFILE_RELEASE_STRIP=symbols \
        RUSTFLAGS="--remap-path-prefix=$folder/src=/src --remap-path-prefix=$folder/target=/target --remap-path-prefix=$home=/cargo" \
        cargo build --release --locked -p "$package" --quiet)
    sha256sum < "$folder/target/release/$program" | cut -d' ' -f1
}

first=$(build "$work/a")
second=$(build "$work/another-folder")
if [ "$first" != "$second" ]; then
    echo "$program differs: $first and $second" >&2
    exit 1
fi
echo "$program is the same both times: $first"
