#!/usr/bin/env bash
# Runs each target of fuzz/ for SECONDS_EACH=60 seconds: every decoder of what comes from outside, on bytes that libFuzzer makes up.
# It starts from the texts in fuzz/seeds, and keeps what it finds under target/. A crash prints the file that repeats it.
#
#   scripts/fuzz-decoders.sh [target…]
set -euo pipefail
cd "$(dirname "$0")/.."

built=${CARGO_TARGET_DIR:-target}
[[ $built == /* ]] || built=$PWD/$built
seconds=${SECONDS_EACH:-60}
PATH=$built/tools/bin:$PATH
# sqlx checks queries against .sqlx/.
export SQLX_OFFLINE=true

# Address sanitizer needs a nightly compiler, and there is no unsafe code of ours for it to watch. A panic is a crash without it.
fuzz() { cargo fuzz "$1" --sanitizer none --target-dir "$built/fuzz-targets" "${@:2}"; }

targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cargo fuzz list)
fuzz build
for target in "${targets[@]}"; do
    corpus=$built/fuzz-corpus/$target crashes=$built/fuzz-crashes/$target/
    mkdir -p "$corpus" "$crashes"
    printf '\n== %s, %s s\n' "$target" "$seconds"
    fuzz run "$target" "$corpus" "fuzz/seeds/$target" -- -max_total_time="$seconds" -artifact_prefix="$crashes" \
        -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 -verbosity=0
done
