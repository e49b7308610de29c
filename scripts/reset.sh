#!/usr/bin/env bash
# Stops the processes that run from .data/ (or DATA_DIR) and deletes it. The next start creates an empty database.
# It never touches a database of your own (DATABASE_URL).
set -euo pipefail
cd "$(dirname "$0")/.."

data=${DATA_DIR:-.data}
[[ -d $data ]] || { echo "Nothing to reset: there is no $data."; exit 0; }

# The folder of each private service has a file `lock`. The program that runs the service locks it and writes its process
# id into it. The folders may be links, so find follows them.
mapfile -t locks < <(find -L "$data" -maxdepth 4 -name lock -type f)
for lock in "${locks[@]}"; do
    flock --nonblock "$lock" true && continue
    owner=$(<"$lock")
    echo "Stopping process $owner, which uses $data."
    kill -TERM "$owner"
    flock --timeout 40 "$lock" true || { echo "Process $owner does not stop." >&2; exit 1; }
done

# Where the service's user cannot reach .data/, the folder is under /var/tmp and .data/ has a link to it.
find "$data" -maxdepth 2 -type l -lname '/var/tmp/articurated-*' -print0 | while IFS= read -r -d '' link; do
    rm -rf -- "$(readlink "$link")"
done
rm -rf -- "$data"
echo "Deleted $data. The next start creates an empty database."
[[ -z ${DATABASE_URL:-} ]] || echo "DATABASE_URL is set. That database is yours and stays as it is."
