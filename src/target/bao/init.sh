# Initialises OpenBAO here. The answer goes straight into a root-only file: first beside its place, which also marks that an
# init began; whoever is killed in between leaves one of the two behind.
umask 077
mkdir -p -- "$(dirname -- "$answer")"
if [ -s "$answer" ]; then exit 0; fi
if [ "$(tail -n 1 -- "$answer.part" 2>/dev/null)" = '}' ]; then
    sync -- "$answer.part"
    mv -f -- "$answer.part" "$answer"
    exit 0
fi
keys=$(mktemp -d)
trap 'rm -rf -- "$keys"' EXIT
set -- operator init -format=json -address="$api" -ca-cert="$ca"
case $seal in
    static) kind=recovery- pgp=recovery-pgp-keys ;;
    *) kind='' pgp=pgp-keys ;;
esac
if [ "$kind" = recovery- ]; then
    set -- "$@" -recovery-shares="$shares" -recovery-threshold="$threshold"
else
    set -- "$@" -key-shares="$shares" -key-threshold="$threshold"
fi
if [ -n "$pgp_keys" ]; then
    # Keys come separated by lines with one dot.
    printf '%s\n' "$pgp_keys" | awk -v folder="$keys" 'BEGIN { n = 1 } $0 == "." { n++; next } { print > (folder "/" n ".asc") }'
    files=
    n=1
    while [ -e "$keys/$n.asc" ]; do
        # One line is base64 of the binary key, more are ASCII armour: bao wants either without an end of line.
        files="$files${files:+,}$keys/$n.asc"
        n=$((n + 1))
    done
    set -- "$@" -"$pgp=$files"
fi
: >"$answer.part"
sync -- "$answer.part" "$(dirname -- "$answer")"
# From here on, a lost connection or a terminated shell must not take the answer with it.
trap '' HUP INT PIPE TERM
if ! "$program" "$@" >"$answer.part" 2>"$keys/error"; then
    cat -- "$keys/error" >&2
    case $(curl --silent --max-time 10 --cacert "$ca" "$api/v1/sys/init") in
        # Certainly nothing happened: no mark is left.
        *'"initialized":false'*) rm -f -- "$answer.part" ;;
    esac
    exit 1
fi
sync -- "$answer.part"
mv -f -- "$answer.part" "$answer"
sync -- "$(dirname -- "$answer")"
