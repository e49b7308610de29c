#!/usr/bin/env bash
# Generates a Python and a TypeScript client out of API-SPECIFICATION.yml, as a user would, and plays an order to its refund with each
# of them against the whole system. The descriptions must be valid OpenAPI and AsyncAPI, each client must compile without a patch, and every webhook
# must pass the library of the Standard Webhooks specification.
set -euo pipefail
cd "$(dirname "$0")/.."

built=${CARGO_TARGET_DIR:-target}
[[ $built == /* ]] || built=$PWD/$built
python=$built/clients/python/bin modules=$built/clients/typescript/node_modules
cargo build --quiet --locked --bin standalone

folder=$(mktemp --directory)
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
GATEWAY_WEBHOOK_SECRET=whsec_$(head -c 24 /dev/urandom | base64)
export GATEWAY_WEBHOOK_SECRET
export DATA_DIR=$folder/data PORT=$port GATEWAY_PORT=$gateway LOG=warn WEBHOOK_ALLOW_PRIVATE=true PYTHONDONTWRITEBYTECODE=1
setpriv --pdeathsig TERM "$built/debug/standalone" run >"$folder/log.jsonl" 2>&1 &
service=$!

"$python/openapi-spec-validator" API-SPECIFICATION.yml
"$python/python" tests/clients/asyncapi.py "$modules/@asyncapi/specs/schemas/3.0.0-without-\$id.json" docs/asyncapi.yml
"$python/openapi-python-client" generate --path API-SPECIFICATION.yml --config tests/clients/config.yml --meta none \
    --output-path "$folder/python/shop_client" --fail-on-warning >"$folder/python.txt" 2>&1 || { cat "$folder/python.txt"; exit 1; }
mkdir "$folder/typescript"
cp tests/clients/play.ts "$folder/typescript"
echo '{"type": "module"}' >"$folder/typescript/package.json"
ln -s "$modules" "$folder/typescript/node_modules"
"$modules/.bin/openapi-typescript" API-SPECIFICATION.yml --output "$folder/typescript/schema.d.ts" >/dev/null
(cd "$folder/typescript" && node_modules/.bin/tsc --strict --target es2022 --module nodenext --skipLibCheck play.ts)

export API=http://127.0.0.1:$port CLIENT=$folder/python
for _ in $(seq 300); do
    curl --silent --fail --output /dev/null "$API/health/ready" && break
    kill -0 "$service" 2>/dev/null || { cat "$folder/log.jsonl"; exit 1; }
    sleep 0.1
done
"$python/python" tests/clients/play.py
node "$folder/typescript/play.js"
