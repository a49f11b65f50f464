#!/bin/sh
# The journal of a host, as functions of a program: $__jd is its folder, $__jb the clock of the host when it booted (empty:
# asked of `date`). One line is one write at the end of a file, so that programs need not wait for each other. The arithmetic
# on days saves a process that would tell the date.
# shellcheck shell=dash disable=SC2034,SC2154
# Reads the clock: seconds in $__jt, the date in $__jy, $__jm and $__jday.
__j_now() {
IFS=' .' read -r __ju __jw </proc/uptime || return
[ "$__jb" ] || __jb=$(($(date +%s) - __ju))
__jt=$((__jb + __ju))
__jw=$((__jt / 86400 + 719468))
__jera=$((__jw / 146097))
__jw=$((__jw % 146097))
__jy=$(((__jw - __jw / 1460 + __jw / 36524 - __jw / 146096) / 365))
__jw=$((__jw - (365 * __jy + __jy / 4 - __jy / 100)))
__jm=$(((5 * __jw + 2) / 153))
__jday=$((__jw - (153 * __jm + 2) / 5 + 1))
__jm=$((__jm < 10 ? __jm + 3 : __jm - 9))
__jy=$((__jy + __jera * 400 + (__jm <= 2)))
}

# Finds the newest file, whose name is the last: $__jf. The first there was, if there is none.
__j_find() {
set -- "$__jd"/[0-9][0-9][0-9][0-9][0-9][0-9].jsonl
shift $(($# - 1))
__jf=$1
[ -e "$__jf" ] || __jf=$__jd/000001.jsonl
}

# Opens the journal. A line that an earlier program was cut off in ends here.
__j_open() {
umask 077
{ [ -d "$__jd" ] || mkdir -p -- "$__jd"; } && __j_find && printf '\n' >>"$__jf"
set -- "$?"
umask 022
[ "$1" -eq 0 ] && __jopen=1
}

# Adds the line of EVENT with these FIELDS, whose number is CHECK, and a STATUS.
__j_line() {
[ "${__jopen-}" ] || __j_open || return
__j_now || return
printf '{"event":"%s","time":"%04d-%02d-%02dT%02d:%02d:%02dZ",%s%s,"check":%d}\n' "$1" \
"$__jy" "$__jm" "$__jday" $((__jt / 3600 % 24)) $((__jt / 60 % 60)) $((__jt % 60)) "$2" "${4:+,\"status\":$4}" \
$((($3 + __jt * 48271 + (${4:-0} + 1000) * 16807) % 2147483647)) >>"$__jf"
}

# Adds the line that says that something begins. If that can't be written it says why, on standard error.
__j_begin() {
__j_line began "$1" "$2" 2>/dev/null && return
__j_line began "$1" "$2" && return
# The shell's own printf says only `I/O error`.
[ -z "${__jf-}" ] || env printf '\n' >>"$__jf"
return 1
}

# Seals all that the newest file has by now, in that file or, if it is full, in the first line of the next. How much was
# read is where the reading stopped: $__jp. What others add meanwhile is sealed by them.
__j_seal() {
[ "${__jf-}" ] || __j_find
[ -e "$__jf" ] || return 0
{ __jh=$(sha256sum <&8) && read -r __jw __jp </proc/self/fdinfo/8; } 8<"$__jf" && __j_now || return
__jh=${__jh%% *}
__jn=${__jf##*/}
__jn=${__jn%.jsonl}
if [ "$__jp" -ge "$__jfull" ]; then
__jf=$((1$__jn + 1))
__jf=$__jd/${__jf#1}.jsonl
if [ ! -e "$__jf" ]; then
set -- "$__jd"/[0-9][0-9][0-9][0-9][0-9][0-9].jsonl
[ "$#" -lt "$__jkeep" ] || rm -f -- "$1"
fi
fi
umask 077
printf '{"event":"seal","time":"%04d-%02d-%02dT%02d:%02d:%02dZ","file":"%s","bytes":%d,"sha256":"%s"}\n' \
"$__jy" "$__jm" "$__jday" $((__jt / 3600 % 24)) $((__jt / 60 % 60)) $((__jt % 60)) "$__jn" "$__jp" "$__jh" >>"$__jf"
set -- "$?"
umask 022
return "$1"
}
