#!/usr/bin/env bash
# serve.sh PREFIX DATADIR PORT
# Serves Kinto on 127.0.0.1:PORT, records in memory. Prints "ready" once it answers, then serves until
# standard input is closed: whoever started it may die in any way, the server goes with it.
set -euo pipefail

[ $# -eq 3 ] || { echo "usage: serve.sh PREFIX DATADIR PORT" >&2; exit 2; }
prefix=$(cd "$1" && pwd)
mkdir -p "$2"
data=$(cd "$2" && pwd)
port=$3

cat >"$data/kinto.ini" <<INI
[server:main]
use = egg:waitress#main
host = 127.0.0.1
port = $port
threads = 4

[app:main]
use = egg:kinto
kinto.userid_hmac_secret = only-for-tests
kinto.bucket_create_principals = system.Authenticated
kinto.storage_backend = kinto.core.storage.memory
kinto.permission_backend = kinto.core.permission.memory
kinto.cache_backend = kinto.core.cache.memory
kinto.paginate_by = 100
kinto.batch_max_requests = 100
kinto.version_json_path = $data/version.json
multiauth.policies = basicauth
multiauth.policy.basicauth.use = kinto.core.authentication.BasicAuthAuthenticationPolicy

[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = WARNING
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = plain
[formatter_plain]
format = %(asctime)s %(levelname)s %(message)s
INI

"$prefix/venv/bin/kinto" start --ini "$data/kinto.ini" --port "$port" </dev/null >"$data/log" 2>&1 &
kinto=$!
trap 'kill "$kinto" 2>/dev/null || true; wait "$kinto" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM

answers() {
    "$prefix/venv/bin/python" - "$port" <<'PY'
import http.client, sys
try:
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=3)
    connection.request("GET", "/v1/")
    sys.exit(0 if connection.getresponse().status == 200 else 1)
except OSError:
    sys.exit(1)
PY
}

for _ in $(seq 1 150); do
    # Gone means that the port was taken, or that it could not start at all.
    kill -0 "$kinto" 2>/dev/null || { tail -n 20 "$data/log" >&2; exit 1; }
    if answers; then
        echo ready
        # Reads to the end of the input, then leaves by the trap.
        cat >/dev/null
        exit 0
    fi
    sleep 0.2
done
tail -n 20 "$data/log" >&2
echo "kinto did not answer within 30 s" >&2
exit 1
