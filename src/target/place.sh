# Puts $text into $path, root's alone, with its final mode from the start.
directory=$(dirname -- "$path")
umask 077
mkdir -p -- "$directory"
new=$(mktemp -- "$directory/.foundry.XXXXXXXX")
trap 'rm -f -- "$new"' EXIT
printf '%s' "$text" >"$new"
# An end of line more or less is no other secret.
if [ -s "$path" ] && [ "$(cat -- "$path")" = "$(cat -- "$new")" ]; then
    chown -- root:root "$path"
    chmod -- "$mode" "$path"
    exit 0
fi
if [ -s "$path" ] && [ "$replace" != yes ]; then
    echo "$path has come to hold something else: not overwritten" >&2
    exit 1
fi
chown -- root:root "$new"
chmod -- "$mode" "$new"
sync -- "$new"
mv -fT -- "$new" "$path"
sync -- "$directory"
