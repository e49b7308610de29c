#!/usr/bin/env bash
# Plants one bug after the other and checks that a test catches it. Each patch in tests/mutants names the promise that it
# breaks and the tests that must catch it.
#
#   scripts/mutants.sh [name…]    part of a patch's name; without one, all patches
#
# It works on a copy of this tree in target/mutants, uncommitted changes included, and never touches the tree itself.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} != --with-database ]]; then
    exec cargo run --quiet --example with-postgres -- .data/mutants "$0" --with-database "$@"
fi
shift
. scripts/shared-build.sh

# The queries of a planted bug are checked against a database, so that no patch needs a cached result. The tests have their own.
url=$DATABASE_URL
unset DATABASE_URL
ours=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR=$PWD/target/mutants/build
cargo=${CARGO:-cargo}
tree=target/mutants/tree
logs=target/mutants/logs
# Tests have their own deadlines. A run that takes longer than this hangs and proves nothing.
limit=600

copy_tree() {
    mkdir -p target/mutants
    git worktree prune
    [[ -e $tree/.git ]] || git worktree add --quiet --detach "$tree" HEAD
    git -C "$tree" reset --quiet --hard
    git -C "$tree" clean --quiet --force -d
    git -C "$tree" checkout --quiet --detach "$(git rev-parse HEAD)"
    git diff --binary HEAD | git -C "$tree" apply --allow-empty
    git ls-files --others --exclude-standard -z | xargs --null --no-run-if-empty cp --parents --target-directory "$tree"
}

# The names of the tests behind "Caught by:", one a line.
tests_of() { sed -nE 's/^Caught by: cargo test --workspace --test system //p' "$@" | tr ' ' '\n' | sort -u; }

build() { (cd "$tree" && DATABASE_URL=$url SQLX_OFFLINE=false "$cargo" test --quiet --workspace --test system --no-run); }
run() { (cd "$tree" && timeout "$limit" "$cargo" test --quiet --workspace --test system -- --exact "$@"); }

# Prints the outcome of one mutant: "caught", or a reason to read its log.
verdict() {
    local patch=$1 log=$2 status=0
    git -C "$tree" apply "$PWD/$patch" >"$log" 2>&1 || { echo 'DOES NOT APPLY'; return; }
    if ! build >>"$log" 2>&1; then
        echo 'DOES NOT COMPILE'
    else
        # shellcheck disable=SC2046
        run $(tests_of "$patch") >>"$log" 2>&1 || status=$?
        case $status in
            0) echo SURVIVED ;;
            124) echo HANGS ;;
            *) grep -q '^test result: FAILED' "$log" && echo caught || echo 'TESTS DID NOT RUN' ;;
        esac
    fi
    git -C "$tree" apply --reverse "$PWD/$patch"
}

patches=()
for patch in tests/mutants/*.patch; do
    for name in "${@:-}"; do [[ $patch != *"$name"* ]] || patches+=("$patch"); done
done
((${#patches[@]})) || { echo "no patch in tests/mutants has that name" >&2; exit 1; }

scripts/apply-migrations.sh "$url"
copy_tree
share_dependencies "$ours" "$CARGO_TARGET_DIR"
mkdir -p "$logs"
echo "Running the tests without a bug: all must pass ..."
# shellcheck disable=SC2046
if ! { build && run $(tests_of "${patches[@]}"); } >"$logs/none.log" 2>&1; then
    tail -n 40 "$logs/none.log" >&2
    exit 1
fi

caught=0
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    started=$SECONDS
    outcome=$(verdict "$patch" "$logs/$name.log")
    [[ $outcome != caught ]] || caught=$((caught + 1))
    printf '%-34s %-18s %4d s   %s\n' "$name" "$outcome" $((SECONDS - started)) "$(sed -n 's/^Breaks: //p' "$patch")"
done
echo "$caught of ${#patches[@]} caught; the output of the tests is in $logs"
((caught == ${#patches[@]}))
