#!/bin/sh
# Installs the gateways that Cuecard's speed is measured beside into .peers/, each apart from the others and from us.
# What is there already is left alone: remove a folder of .peers/ to have it again. Needs npm for Portkey.
set -u
cd "$(dirname "$0")/../.." || exit 1
mkdir -p .peers
failed=""

try() { # NAME COMMAND...: a peer that can't be had must not keep the others away
    name=$1
    shift
    if [ -e ".peers/$name.installed" ]; then
        echo "$name: there already"
    elif "$@" >".peers/$name.log" 2>&1; then
        touch ".peers/$name.installed"
        echo "$name: installed"
    else
        echo "$name: failed, see .peers/$name.log"
        failed="$failed $name"
    fi
}

from_debian() {
    command -v nginx || { apt-get update && apt-get install -y --no-install-recommends nginx-light; }
}

from_pypi() { # FOLDER REQUIREMENT...
    folder=.peers/$1
    shift
    "${PYTHON:-python3}" -m venv "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check "$@"
}

from_npm() { # FOLDER, its package.json is FOLDER.json here
    command -v npm && mkdir -p ".peers/$1" && cp "bench/peers/$1.json" ".peers/$1/package.json" &&
        npm install --prefix ".peers/$1" --no-package-lock --no-audit --no-fund
}

try nginx from_debian
try tensorzero from_pypi tensorzero 'tensorzero==2026.6.0'
try litellm from_pypi litellm 'litellm[proxy]==1.100.5'
try portkey from_npm portkey
[ -z "$failed" ]
