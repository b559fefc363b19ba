#!/usr/bin/env bash
# How exposed systemd thinks that our services are: at most 2.0 each. Units that the supervisor starts
# exist only while they run, so a whole unit is made of their drop-ins here.
#
# usage: image/check-security.sh [FOLDER OF UNITS]
set -euo pipefail
cd "$(dirname "$0")"

units=${1:-mkosi.extra/usr/lib/systemd/system}
# Tenths, as systemd-analyze counts.
exposure_max=20
whole=$(mktemp -d)
trap 'rm -rf "$whole"' EXIT

for unit in nabi-gateway nabi-engine@ nabi-import@ nabi-probe@; do
    {
        printf '[Service]\nExecStart=/bin/true\n'
        cat "$units/$unit.service.d/10-sandbox.conf"
    } >"$whole/${unit/@/@model}.service"
done
cp "$units/nabi-supervisor.service" "$whole"

failed=0
for unit in "$whole"/*.service; do
    echo "$(basename "$unit"):"
    if ! systemd-analyze security --no-pager --offline=true --threshold=$exposure_max "$unit" | tail -1; then
        failed=1
    fi
done
exit $failed
