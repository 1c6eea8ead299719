#!/usr/bin/env bash
# install.sh PREFIX
# Installs Kinto (Apache-2.0) from PyPI into a virtual environment of its own, once; needs python3.
# Several may call it at a time: the first installs, the others wait for it.
set -euo pipefail
version=26.5.0

[ $# -eq 1 ] || { echo "usage: install.sh PREFIX" >&2; exit 2; }
mkdir -p "$1"
prefix=$(cd "$1" && pwd)

exec 9>"$prefix/lock"
flock 9
[ "$(cat "$prefix/installed" 2>/dev/null)" = "$version" ] && exit 0
# A half-made environment of an interrupted install is of no use.
rm -rf "$prefix/venv" "$prefix/installed"
python3 -m venv "$prefix/venv"
"$prefix/venv/bin/pip" install --quiet --disable-pip-version-check "kinto==$version" waitress
echo "$version" >"$prefix/installed"
