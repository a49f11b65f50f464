#!/bin/sh
# Puts standard input into the file $1 with the owner $2, the mode $3 and the sha256 $4.
set -eu
umask 077
dir=$(dirname -- "$1")
tmp=""
# shellcheck disable=SC2154 # set by the fence where there is one
trap "rm -f -- \"\$tmp\"; [ -z \"\${__fence_work-}\" ] || : >\"\$__fence_work\"" EXIT
trap "exit 74" HUP INT TERM PIPE
[ ! -d "$1" ] || { echo "$1 is a directory" >&2; exit 73; }
tmp=$(mktemp -- "$dir/.foundry.XXXXXXXXXX")
cat > "$tmp"
sum=$(sha256sum < "$tmp")
sum=${sum%% *}
[ "$sum" = "$4" ] || { echo "$sum" >&2; exit 65; }
chown -- "$2" "$tmp"
chmod -- "$3" "$tmp"
sync -- "$tmp"
mv -fT -- "$tmp" "$1"
sync -- "$dir"
