# Puts a certificate and its key in place, each with its final mode from the start. Empty texts: only owner and modes.
put() {
    directory=$(dirname -- "$1")
    mkdir -p -- "$directory"
    if [ -n "$3" ]; then
        new=$(mktemp -- "$directory/.foundry.XXXXXXXX")
        printf '%s' "$3" >"$new"
        chown -- "$owner" "$new"
        chmod -- "$2" "$new"
        sync -- "$new"
        mv -fT -- "$new" "$1"
    else
        chown -- "$owner" "$1"
        chmod -- "$2" "$1"
    fi
}
# The key first: a service that reads in between finds a pair that doesn't match and keeps the one it has.
put "$key" "$mode" "$key_text"
put "$cert" 0644 "$cert_text"
