#!/bin/sh
# Prints the path of a Python that can build the environment (>= 3.11, with venv and ensurepip), or says
# which were tried. Versions the project is tested on are tried first, and of those the distribution's own:
# it was built with what a profile of it had shown, which an interpreter compiled in passing was not: the same
# nodes spend a tenth less with it (docs/performance.md). PYTHON=/path overrides the search.
set -u

usable() {
    "$1" -c 'import sys, venv, ensurepip, ssl; sys.exit(sys.version_info < (3, 11))' \
        >/dev/null 2>&1
}

candidates() {
    printf '%s\n' /usr/bin/python3.11 /usr/bin/python3.12 python3.11 python3.12 python3 python
    for root in "${PYENV_ROOT:-}" "$HOME/.pyenv"; do
        [ -n "$root" ] && ls -d "$root"/versions/3.11.*/bin/python3 "$root"/versions/3.12.*/bin/python3 2>/dev/null
    done
    printf '%s\n' /usr/bin/python3 /usr/local/bin/python3 python3.13 python3.14
}

if [ -n "${PYTHON:-}" ]; then
    if usable "$PYTHON"; then
        echo "$PYTHON"
        exit 0
    fi
    echo "PYTHON=$PYTHON is no Python >= 3.11 with the venv module" >&2
    exit 1
fi

for name in $(candidates); do
    path=$(command -v "$name" 2>/dev/null) || continue
    if usable "$path"; then
        echo "$path"
        exit 0
    fi
done

{
    echo "No Python >= 3.11 with the modules venv and ensurepip was found; tried:"
    for name in $(candidates); do
        path=$(command -v "$name" 2>/dev/null) || continue
        printf '  %s (%s)\n' "$path" "$("$path" --version 2>&1 | head -n 1)"
    done
    echo "Install one (Debian and Ubuntu: apt-get install python3.11 python3.11-venv), or name it:"
    echo "  make PYTHON=/path/to/python3.11 ..."
} >&2
exit 1
