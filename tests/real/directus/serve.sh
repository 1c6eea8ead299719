#!/usr/bin/env bash
# serve.sh PREFIX DATADIR PORT
# Serves Directus on 127.0.0.1:PORT, its records in a new SQLite file in DATADIR. Prints "ready" once it answers,
# then serves until standard input is closed: whoever started it may die in any way, the server goes with it.
# DIRECTUS_TOKEN is the administrator's token; RATE=50 refuses more requests than that in a second.
set -euo pipefail

[ $# -eq 3 ] || { echo "usage: serve.sh PREFIX DATADIR PORT" >&2; exit 2; }
prefix=$(cd "$1" && pwd)
mkdir -p "$2"
data=$(cd "$2" && pwd)
port=$3

export HOST=127.0.0.1 PORT="$port" PUBLIC_URL="http://127.0.0.1:$port"
export KEY=only-for-tests SECRET=only-for-tests-only-for-tests-only
export DB_CLIENT=sqlite3 DB_FILENAME="$data/data.db" STORAGE_LOCAL_ROOT="$data/uploads" EXTENSIONS_PATH="$data/extensions"
export ADMIN_EMAIL=team@example.com ADMIN_PASSWORD=only-for-tests ADMIN_TOKEN="$DIRECTUS_TOKEN"
export TELEMETRY=false CACHE_ENABLED=false WEBSOCKETS_ENABLED=false LOG_LEVEL=warn
# Flows may call loopback, which is denied otherwise; a busy machine is no reason to answer 503.
export IMPORT_IP_DENY_LIST="" PRESSURE_LIMITER_ENABLED=false
if [ -n "${RATE:-}" ]; then
    export RATE_LIMITER_ENABLED=true RATE_LIMITER_STORE=memory RATE_LIMITER_POINTS="$RATE" RATE_LIMITER_DURATION=1
fi
mkdir -p "$data/uploads" "$data/extensions"
cd "$data"
directus=("$prefix/bin/node" "$prefix/node_modules/directus/cli.js")
"${directus[@]}" bootstrap </dev/null >"$data/log" 2>&1 || { tail -n 20 "$data/log" >&2; exit 1; }

"${directus[@]}" start </dev/null >>"$data/log" 2>&1 &
server=$!
# Its own end waits for flows that are under way; nobody waits for those here.
trap 'kill -KILL "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM

answers() {
    "$prefix/venv/bin/python" - "$port" <<'PY'
import http.client, sys
try:
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=3)
    connection.request("GET", "/server/ping")
    sys.exit(0 if connection.getresponse().status == 200 else 1)
except OSError:
    sys.exit(1)
PY
}

for _ in $(seq 1 600); do
    # Gone means that the port was taken, or that it could not start at all.
    kill -0 "$server" 2>/dev/null || { tail -n 20 "$data/log" >&2; exit 1; }
    if answers; then
        echo ready
        # Reads to the end of the input, then leaves by the trap.
        cat >/dev/null
        exit 0
    fi
    sleep 0.2
done
tail -n 20 "$data/log" >&2
echo "directus did not answer within 120 s" >&2
exit 1
