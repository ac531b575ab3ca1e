#!/usr/bin/env bash
# deploy/SETTINGS.md is what `talweg settings --markdown` prints.  When it is stale:
#   build/bin/talweg settings --markdown > deploy/SETTINGS.md
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

check "talweg settings --markdown prints" \
    sh -c '"$0" settings --markdown > "$1/SETTINGS.md"' "$TALWEG" "$SCRATCH"
check "deploy/SETTINGS.md is not stale" diff -u "$ROOT/deploy/SETTINGS.md" "$SCRATCH/SETTINGS.md"
check "talweg settings prints optimizer.rate" \
    sh -c '"$0" settings | grep -q "^optimizer\.rate  *0\.01$"' "$TALWEG"

finish
