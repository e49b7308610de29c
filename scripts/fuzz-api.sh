#!/usr/bin/env bash
# Sends requests that schemathesis makes out of API-SPECIFICATION.yml to the whole system, on ports and in a folder of its own, and
# fails where an answer is not as described. fuzz/api/schemathesis.toml says what is checked.
#
#   scripts/fuzz-api.sh short    # in .ci/run: some seconds
#   scripts/fuzz-api.sh long     # make fuzz: at least REQUESTS=50000 requests; EXAMPLES=n per operation for more
#
# SEED=n repeats a run, as far as a system with a clock can repeat one.
set -euo pipefail
cd "$(dirname "$0")/.."

length=${1:?short or long}
seed=${SEED:-1}
built=${CARGO_TARGET_DIR:-target}
[[ $built == /* ]] || built=$PWD/$built
report=$built/fuzz-api
schemathesis=$built/schemathesis/bin/schemathesis
cargo build --quiet --locked --bin standalone

folder=$(mktemp --directory)
export HYPOTHESIS_STORAGE_DIRECTORY=$folder/hypothesis PYTHONDONTWRITEBYTECODE=1
# The shop of the demo, registered for GST, so that there is tax to reckon.
export SUPPLIER_GSTIN=29AAACA0000A1ZU DEFAULT_GST_RATE=12 SUPPLIER_NAME='ArtiCurated Private Limited'
mkdir -p "$report"
service=
stop() {
    [[ -z $service ]] || { kill "$service" 2>/dev/null && wait "$service"; } || true
    rm -rf "$folder"
}
trap stop EXIT

# Two ports that are free now.
read -r port gateway < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(one.getsockname()[1] for one in sockets))')

# The demo leaves orders, returns and refunds in every state, with their documents.
"$built/debug/standalone" demo examples/orders.json --data-dir "$folder" >"$folder/demo.txt" || { cat "$folder/demo.txt"; exit 1; }
export DATA_DIR=$folder/demo INVOICE_STORE_URL=$folder/demo/invoices PORT=$port GATEWAY_PORT=$gateway LOG=warn
GATEWAY_WEBHOOK_SECRET=whsec_$(head -c 24 /dev/urandom | base64)
export GATEWAY_WEBHOOK_SECRET
setpriv --pdeathsig TERM "$built/debug/standalone" run >"$report/log.jsonl" 2>&1 &
service=$!
export FUZZ_URL=http://127.0.0.1:$port

fuzz() { # name, address, arguments…
    local name=$1 url=$2
    shift 2
    PYTHONPATH=fuzz/api "$schemathesis" --config-file fuzz/api/schemathesis.toml run API-SPECIFICATION.yml --url "$url" \
        --wait-for-schema 30 --header 'X-Actor: fuzz' --seed "$seed" --continue-on-failure --no-color \
        "$@" | tee "$report/$name.txt"
}

# The gateway is a program of its own, with a port of its own.
GATEWAY='Payment gateway (mock)'
case $length in
    short) examples=1 scenarios=15 ;;
    long) examples=${EXAMPLES:-800} scenarios=${EXAMPLES:-800} ;;
esac
# First the borders of every schema, then examples per operation, then scenarios of several steps, which use ids out of answers.
fuzz system "$FUZZ_URL" --exclude-tag "$GATEWAY" --phases coverage,fuzzing --max-examples "$examples"
fuzz stateful "$FUZZ_URL" --exclude-tag "$GATEWAY" --phases stateful --max-examples "$scenarios"
fuzz gateway "http://127.0.0.1:$gateway" --include-tag "$GATEWAY" --phases coverage,fuzzing --max-examples "$examples"

requests=$(sed -nE 's/^ +([0-9]+) generated, .*/\1/p' "$report"/{system,stateful,gateway}.txt | paste -sd +)
requests=$((requests))
echo "$requests requests, seed $seed. What was found is in $report"
if [[ $length == long ]] && ((requests < ${REQUESTS:-50000})); then
    echo "Fewer than ${REQUESTS:-50000}: raise EXAMPLES." >&2
    exit 1
fi
# A panic behind an answer that looks right is a fault as well.
if grep --max-count 5 '"level":"ERROR"' "$report/log.jsonl"; then
    echo "The log has errors: $report/log.jsonl" >&2
    exit 1
fi
