#!/bin/sh
# Builds the pinned CometBFT from its published module and puts it beside the environment's Python.
# The module is checked against its hash in requirements/cometbft.sum, all that it is built from
# against its own go.sum; neither a flag nor a toolchain of the machine changes what is built.
# Usage: tools/install_cometbft.sh .venv
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
venv=$(cd "$1" && pwd)
MODULE=github.com/cometbft/cometbft
go=$("$root/tools/find_go.sh" "$venv")
version=$(awk -v module=$MODULE '$1 == module { print $2 }' "$root/requirements/cometbft.sum")
sum=$(awk -v module=$MODULE '$1 == module { print $3 }' "$root/requirements/cometbft.sum")

GOTOOLCHAIN=local
GOFLAGS=
GOWORK=off
CGO_ENABLED=0
export GOTOOLCHAIN GOFLAGS GOWORK CGO_ENABLED

echo "building CometBFT $version with $("$go" env GOVERSION)"
# Outside of any module, so that nothing but the named one is looked at.
cd /
fetched=$("$go" mod download -json "$MODULE@$version") || {
    echo "$fetched" >&2
    echo "CometBFT $version cannot be fetched: is the Go module proxy, or a mirror, in reach?" >&2
    exit 1
}
field() {
    printf '%s\n' "$fetched" | sed -n "s/^[[:space:]]*\"$1\": \"\(.*\)\",\{0,1\}\$/\1/p"
}
if [ "$(field Sum)" != "$sum" ]; then
    echo "CometBFT $version has the hash $(field Sum), not $sum: what was fetched is another" >&2
    exit 1
fi
# In the module's own folder, so that its go.sum pins what it needs.
cd "$(field Dir)"
"$go" build -mod=readonly -trimpath -buildvcs=false -ldflags "-s -w" \
    -o "$venv/bin/cometbft.new" ./cmd/cometbft
mv -f "$venv/bin/cometbft.new" "$venv/bin/cometbft"
