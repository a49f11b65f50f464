# Puts $text into $path, root's alone, with its final mode from the start.
umask 077
all=$path
enter "${path%/*}" root
path=./${path##*/}
new=$(mktemp -- ./.foundry.XXXXXXXX)
trap 'rm -f -- "$new"' EXIT
printf '%s' "$text" >"$new" || no_room
# An end of line more or less is no other secret.
if [ -s "$path" ] && [ "$(cat -- "$path")" = "$(cat -- "$new")" ]; then
    chown -- root:root "$path"
    chmod -- "$mode" "$path"
    exit 0
fi
if [ -s "$path" ] && [ "$replace" != yes ]; then
    echo "$all has come to hold something else: not overwritten" >&2
    exit 1
fi
chown -- root:root "$new"
chmod -- "$mode" "$new"
sync -- "$new"
mv -fT -- "$new" "$path"
sync -- .
