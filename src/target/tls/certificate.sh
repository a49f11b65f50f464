# Puts a certificate and its key in place, each with its final mode from the start. Empty texts: only owner and modes.
put() {
    enter "${1%/*}" "$owner" key cert owner mode key_text cert_text
    set -- "./${1##*/}" "$2" "$3"
    if [ -n "$3" ]; then
        new=$(mktemp -- ./.foundry.XXXXXXXX)
        printf '%s' "$3" >"$new" || no_room
        chown -- "$owner" "$new"
        chmod -- "$2" "$new"
        sync -- "$new"
        mv -fT -- "$new" "$1"
    elif [ -L "$1" ]; then
        echo "$PWD/${1#./} is a symbolic link: whom it leads to is not for this step to change" >&2
        exit 1
    else
        chown -- "$owner" "$1"
        chmod -- "$2" "$1"
    fi
}
# The key first: a service that reads in between finds a pair that doesn't match and keeps the one it has.
put "$key" "$mode" "$key_text"
put "$cert" 0644 "$cert_text"
