# enter DIRECTORY OWNER [VARIABLE...]: goes into the directory, making what is missing of it, for work that root does by path.
# Whoever owns a part of the way could replace it and so lead root elsewhere: from there on, the work is done as that user.
# OWNER (user or user:group; empty: whoever that is) is who gets what is made; VARIABLEs are those that the work uses. Once it
# returns, the shell is in the directory itself, whatever becomes of its name: go on with relative names.
#
# Links that root made are followed. Costs no process where all of the way is made and owned by root. Holds no single quote.
enter() {
    __for=${2%%:*} __rest=${1#/} __all=$1 __links=0 __here=
    shift 2
    cd /
    while [ -n "$__rest" ]; do
        __name=${__rest%%/*}
        case $__rest in */*) __rest=${__rest#*/} ;; *) __rest= ;; esac
        case $__name in
            "" | .) continue ;;
            ..)
                cd -P .. || exit 1
                __here=${PWD%/}
                continue
                ;;
        esac
        __at=$__here/$__name
        if [ -L "./$__name" ]; then
            __whose "./$__name" "$@"
            __links=$((__links + 1))
            if [ "$__links" -gt 40 ]; then
                echo "$__all: too many symbolic links" >&2
                exit 1
            fi
            __name=$(readlink -- "./$__name")
            case $__name in
                /*)
                    cd /
                    __here=
                    ;;
            esac
            __rest=${__name#/}${__rest:+/$__rest}
            continue
        fi
        [ -e "./$__name" ] || mkdir -p -- "./$__name${__rest:+/$__rest}" || exit 1
        cd -P -- "./$__name" || exit 1
        if [ "$PWD" != "$__at" ]; then
            echo "$__at was replaced while it was entered" >&2
            exit 1
        fi
        __here=$__at
        if [ -n "${__as-}" ] || [ ! -O . ]; then __whose . "$@"; fi
    done
}
# Lets root pass what is root own, and a user what is root or their own; else: the rest as who owns it.
__whose() {
    __uid=$(stat -c %u -- "$1")
    shift
    if [ "$__uid" = 0 ] || [ "$__uid" = "${__as-}" ]; then return 0; fi
    __user=$(getent passwd "$__uid") || __user=
    __user=${__user%%:*}
    __what="$__at belongs to ${__user:-user $__uid}"
    if [ -n "${__as-}" ] || [ -z "$__user" ] || [ -z "${__body-}" ]; then
        echo "$__what, who could lead ${__as:+user }${__as:-root} elsewhere on the way to $__all: give it to ${__as:+user }${__as:-root}, or take another path" >&2
        exit 1
    elif [ -n "$__for" ] && [ "$__for" != "$__user" ]; then
        echo "$__what, who could lead root elsewhere: what is put into $__all can be owned by $__user only, not by $__for" >&2
        exit 1
    fi
    cd /
    __status=0
    {
        printf "__as=%s\n%s\nset -eu\n" "$__uid" "$__enter"
        printf "__enter="
        __quoted __enter
        printf "__body="
        __quoted __body
        for __one in "$@"; do
            printf "%s=" "$__one"
            __quoted "$__one"
        done
        printf "umask %s\neval \"\$__body\"\n__f\n" "$(umask)"
    } | setpriv --reuid "$__user" --regid "$(id -g -- "$__user")" --init-groups --no-new-privs -- \
        env -i LC_ALL=C PATH=/usr/local/bin:/usr/bin:/bin sh -c "eval \"\$(cat)\"" || __status=$?
    if [ "$__status" -ne 0 ]; then echo "$__what: what is below it is done as that user, which failed" >&2; fi
    exit "$__status"
}
# Prints what the variable $1 holds as a word of sh.
__quoted() {
    eval "__left=\${$1-}"
    __mark=$(printf "\\047")
    printf "%s" "$__mark"
    while :; do
        case $__left in
            *"$__mark"*)
                printf "%s%s\\\\%s%s" "${__left%%"$__mark"*}" "$__mark" "$__mark" "$__mark"
                __left=${__left#*"$__mark"}
                ;;
            *) break ;;
        esac
    done
    printf "%s%s\n" "$__left" "$__mark"
}
# no_room: says why nothing can be written into the working directory, and fails. The shell itself says of every reason only
# that there was an error.
no_room() {
    # shellcheck disable=SC2046 # Words are meant.
    set -- $(df -P -- . | tail -n 1) $(df -P -i -- . | tail -n 1)
    # A program of its own names a quota, or a file system that may only be read.
    if env printf "\\n" >".foundry.room.$$"; then rm -f -- ".foundry.room.$$"; fi
    if [ "${4:-1024}" -lt 1024 ] || [ "${10:-1}" = 0 ]; then printf "disk full: " >&2; fi
    echo "$PWD could not be written: ${1-} has ${4-} of ${2-} KiB left, and ${10-} of ${8-} inodes" >&2
    exit 1
}
