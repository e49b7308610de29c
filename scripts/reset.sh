#!/usr/bin/env bash
# Stops what runs from .data/ (or DATA_DIR) and empties it: the next start makes a new, empty database.
# A database of your own (DATABASE_URL) is never touched.
set -euo pipefail
cd "$(dirname "$0")/.."

data=${DATA_DIR:-.data}
[[ -d $data ]] || { echo "Nothing to reset: there is no $data."; exit 0; }

# Every private service's folder holds a file `lock` that its program locks, with the program's process id in it.
# find follows the links that the folders may be.
mapfile -t locks < <(find -L "$data" -maxdepth 4 -name lock -type f)
for lock in "${locks[@]}"; do
    flock --nonblock "$lock" true && continue
    owner=$(<"$lock")
    echo "Stopping process $owner, which runs from $data."
    kill -TERM "$owner"
    flock --timeout 40 "$lock" true || { echo "Process $owner does not stop." >&2; exit 1; }
done

# A folder that the service's user could not reach lies under /var/tmp, and here is a link to it.
find "$data" -maxdepth 2 -type l -lname '/var/tmp/articurated-*' -print0 | while IFS= read -r -d '' link; do
    rm -rf -- "$(readlink "$link")"
done
rm -rf -- "$data"
echo "Emptied $data: the next start begins with an empty database."
[[ -z ${DATABASE_URL:-} ]] || echo "DATABASE_URL is set; that database is yours and was not touched."
