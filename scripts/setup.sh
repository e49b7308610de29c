#!/usr/bin/env bash
# Installs what a target of the Makefile needs and this machine lacks. Prints nothing if nothing is missing.
#
#   scripts/setup.sh demo|run|faults|upgrade [postgres|rabbitmq]
#   scripts/setup.sh test|bench|sqlx|check|coverage|fuzz|fuzz-api|clients
#
# It installs Debian packages as root or with sudo. Without either it prints the command to run.
set -euo pipefail

target=${1:?which target?}
transport=${2:-postgres}

has() { command -v "$1" >/dev/null 2>&1; }

# 15 or later. Debian keeps the server's programs off the PATH.
has_postgres() {
    local server version
    for server in "$(command -v postgres)" /usr/lib/postgresql/*/bin/postgres; do
        [[ -x $server ]] || continue
        version=$("$server" --version) # postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)
        version=${version#*) }
        ((${version%%[!0-9]*} >= 15)) && return
    done
    return 1
}

has_chromium() {
    [[ -n ${CHROMIUM_PATH:-} ]] || has chromium || has chromium-browser || has google-chrome || has google-chrome-stable
}

# ₹ and the scripts of all Indian languages. One Noto package has them all.
has_fonts() {
    has fc-list || return 1
    local language
    for language in hi ta bn; do
        [[ -n $(fc-list ":lang=$language" family | head -c 1) ]] || return 1
    done
}

has_rabbitmq() { compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server' >/dev/null; }

# For `docker-compose config`, which needs no engine. Optional: without it, the test of docker-compose.yml skips that check
# and says so.
has_compose() { has docker-compose || ((EUID != 0)) || ! apt-cache show docker-compose >/dev/null 2>&1; }

# Programs from PyPI: servers for S3 and SMTP, and tools that check the sources. Each set has a folder under target/. The
# copy of its list is written last, so the next run repeats an interrupted installation.
has_python_venv() { has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }
root=$(dirname "$0")/..
built=${CARGO_TARGET_DIR:-target}
machete=0.9.2
cargo_fuzz=0.13.1
needs_servers() { [[ $target == test || $target == faults || $target == upgrade || $target == coverage ]] && ! cmp --silent "$root/tests/servers/requirements.txt" "$built/servers/list"; }
needs_tools() { [[ $target == check || $target == coverage ]] && ! cmp --silent "$root/scripts/tools.txt" "$built/tools/list"; }

needs_schemathesis() { [[ $target == fuzz || $target == fuzz-api ]] && ! cmp --silent "$root/fuzz/api/requirements.txt" "$built/schemathesis/list"; }
needs_clients() {
    [[ $target == clients ]] && ! { cmp --silent "$root/tests/clients/requirements.txt" "$built/clients/python/list" \
        && cmp --silent "$root/tests/clients/package-lock.json" "$built/clients/typescript/list"; }
}
needs_cargo_fuzz() { [[ $target == fuzz && ! -x $built/tools/bin/cargo-fuzz ]]; }

install_python() { # folder, list
    echo "Installing for make $target, into $1: $(grep -oE '^[^# ]+==[^ ]+' "$2" | paste -sd ' ')" >&2
    rm -rf "$1"
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$2"
}

install_programs() {
    if needs_servers; then
        install_python "$built/servers" "$root/tests/servers/requirements.txt"
        cp "$root/tests/servers/requirements.txt" "$built/servers/list"
    fi
    if needs_tools; then
        install_python "$built/tools" "$root/scripts/tools.txt"
        cargo install --quiet --locked --root "$built/tools" "cargo-machete@$machete"
        cp "$root/scripts/tools.txt" "$built/tools/list"
    fi
    if needs_schemathesis; then
        install_python "$built/schemathesis" "$root/fuzz/api/requirements.txt"
        cp "$root/fuzz/api/requirements.txt" "$built/schemathesis/list"
    fi
    if needs_clients; then
        install_python "$built/clients/python" "$root/tests/clients/requirements.txt"
        mkdir -p "$built/clients/typescript"
        cp "$root"/tests/clients/package*.json "$built/clients/typescript"
        npm ci --silent --no-audit --no-fund --prefix "$built/clients/typescript"
        cp "$root/tests/clients/package-lock.json" "$built/clients/typescript/list"
        cp "$root/tests/clients/requirements.txt" "$built/clients/python/list"
    fi
    if needs_cargo_fuzz; then
        cargo install --quiet --locked --root "$built/tools" "cargo-fuzz@$cargo_fuzz"
    fi
}

has cargo || {
    echo "Rust is missing. Install it from https://rustup.rs" >&2
    exit 1
}

packages=()
services=()
need() { # check, packages…
    local check=$1
    shift
    $check || packages+=("$@")
}

need 'has cc' build-essential
[[ $target != fuzz ]] || need 'has c++' build-essential
need 'has setpriv' util-linux

# With a database of your own, `make run` needs no Postgres on this machine.
if [[ $target == check ]]; then
    need 'has shellcheck' shellcheck
elif [[ -z ${DATABASE_URL:-} || $target != run ]]; then
    has_postgres || { packages+=(postgresql); services+=(postgresql); }
fi
if [[ $target != sqlx && $target != check ]]; then
    need has_chromium chromium chromium-sandbox
    need has_fonts fonts-noto-core fontconfig
fi
if [[ $target == test || $target == coverage ]]; then
    need 'has pdftotext' poppler-utils
    need 'has openssl' openssl
    # The alerts of deploy/prometheus.
    has promtool || { packages+=(prometheus); services+=(prometheus prometheus-node-exporter); }
    need has_compose docker-compose
    # The recipes of docs/api.md.
    need 'has curl' curl
    need 'has jq' jq
fi
if [[ $target == clients ]]; then
    need 'has curl' curl
    has npm || packages+=(nodejs npm)
fi
if [[ $target == coverage ]]; then
    # llvm-profdata reads this compiler's profiles only if both have the same version of LLVM.
    llvm=$(rustc -vV | sed -nE 's/^LLVM version: ([0-9]+).*/\1/p')
    need "has llvm-cov-$llvm" "llvm-$llvm"
fi
if needs_servers || needs_tools || needs_schemathesis || needs_clients; then
    need has_python_venv python3 python3-venv
fi
# make demo, make faults and make upgrade always start their own node.
if [[ $target == test || $target == coverage || $target == bench || ($transport == rabbitmq && ($target != run || -z ${RABBITMQ_URL:-})) ]]; then
    has_rabbitmq || { packages+=(rabbitmq-server); services+=(rabbitmq-server epmd); }
fi

((${#packages[@]})) || {
    install_programs
    exit 0
}

install=(apt-get install -y --no-install-recommends "${packages[@]}")
as_root=()
if ((EUID != 0)); then
    # Without a terminal, sudo cannot ask for a password.
    if has sudo && { sudo -n true 2>/dev/null || [[ -t 0 && -t 2 ]]; }; then
        as_root=(sudo)
    else
        printf 'make %s needs packages that this machine lacks. Install them, then try again:\n\n    sudo apt-get update && sudo %s\n\n' "$target" "${install[*]}" >&2
        exit 1
    fi
fi
has apt-get || {
    printf 'make %s needs these Debian packages: %s\nThis machine has no apt-get. Install them with its own package manager.\n' "$target" "${packages[*]}" >&2
    exit 1
}

echo "Installing for make $target: ${packages[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -q && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    printf '\nThe installation failed. Run as root: apt-get update && %s\n' "${install[*]}" >&2
    exit 1
fi

# Debian starts the services it installs. We run private ones, so Debian's would only take ports and memory.
for service in "${services[@]}"; do
    if [[ -d /run/systemd/system ]]; then
        "${as_root[@]}" systemctl disable --now --quiet "$service" >/dev/null 2>&1 || true
    else
        "${as_root[@]}" service "$service" stop >/dev/null 2>&1 || true
    fi
done

if [[ " ${packages[*]} " == *' postgresql '* ]] && ! has_postgres; then
    cat >&2 <<'END'
The PostgreSQL of this Debian release is older than 15. Run once as root:
    apt-get install -y postgresql-common && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y && apt-get install -y postgresql-15
END
    exit 1
fi

install_programs
