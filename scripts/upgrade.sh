#!/usr/bin/env bash
# Builds the programs of an earlier revision and plays an upgrade from them to those of this tree, and back, under load
# (tests/src/faults/upgrade.rs).
#
#   scripts/upgrade.sh [revision] [postgres|rabbitmq]
#
# Without a revision it takes the last tag whose migrations this tree still has; without such a tag, HEAD. The earlier revision is
# built in target/upgrade and shares nothing with this tree but compiled registry crates.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/shared-build.sh

export SQLX_OFFLINE=true
cargo=${CARGO:-cargo}
ours=${CARGO_TARGET_DIR:-$PWD/target}
theirs=$PWD/target/upgrade/build
tree=target/upgrade/tree
transport=${2:-postgres}

# A migration that was applied must stay as it is, byte for byte.
has_migrations_of() { # revision
    local blob file
    while read -r _ _ blob file; do
        [[ -f $file && $(git hash-object "$file") == "$blob" ]] || { echo "$file is another one in $1"; return 1; }
    done < <(git ls-tree -r "$1" migrations)
}

last_release() {
    local tag
    for tag in $(git tag --merged HEAD --sort=-creatordate); do
        has_migrations_of "$tag" >/dev/null && { echo "$tag"; return; }
    done
    echo HEAD
}

is_this_tree() { git diff --quiet "$1" && [[ -z $(git ls-files --others --exclude-standard) ]]; }

build_programs() { # revision
    git worktree prune
    [[ -e $tree/.git ]] || git worktree add --quiet --detach "$tree" HEAD
    git -C "$tree" checkout --quiet --force --detach "$(git rev-parse "$1^{commit}")"
    share_dependencies "$ours" "$theirs"
    (cd "$tree" && CARGO_TARGET_DIR=$theirs "$cargo" build --quiet --locked --workspace --bins)
}

from=${1:-$(last_release)}
has_migrations_of "$from" >&2 || { echo "A database of $from cannot be upgraded to this tree" >&2; exit 1; }
started=$SECONDS
echo "Building the programs of $from ($(git describe --always "$from")) and of this tree ..."
"$cargo" build --quiet --locked --workspace --bins
if is_this_tree "$from"; then
    echo "They are the same, so the synthetic migration alone makes the difference"
    programs=$ours/debug
else
    build_programs "$from"
    programs=$theirs/debug
fi
echo "Built in $((SECONDS - started)) s"
exec "$ours/debug/upgrade" --from "$programs" --transport "$transport"
