# shellcheck shell=bash
# Sourced by scripts that build another copy of this tree, with a target folder of its own.

# Links the compiled registry crates of one target folder into another instead of copying them: cargo never writes to files that
# are up to date. Our own crates are compiled again.
share_dependencies() { # from, to
    local from=$1 to=$2 kept folder
    mkdir -p "$to"
    ln --symbolic --force --no-dereference "$from/servers" "$to/servers"
    [[ -d $from/debug/.fingerprint && ! -d $to/debug ]] || return 0
    mkdir -p "$to/debug"/{.fingerprint,build,deps}
    kept=$(mktemp)
    find "$from/debug/.fingerprint" -mindepth 1 -maxdepth 1 -printf '%f\n' |
        grep -vE "^($(sed -nE 's/^name = "(.*)"/\1/p' ./*/Cargo.toml crates/*/Cargo.toml | paste -sd '|'))-[0-9a-f]{16}$" |
        grep -oE '[0-9a-f]{16}$' | sed 's/^/-/' >"$kept"
    for folder in .fingerprint build deps; do
        find "$from/debug/$folder" -mindepth 1 -maxdepth 1 | grep -F -f "$kept" |
            xargs --no-run-if-empty cp --archive --link --target-directory "$to/debug/$folder"
    done
    rm "$kept"
}
