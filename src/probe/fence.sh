#!/bin/sh
# The fence of a host: keeps programs of older runs off it, and never lets programs of two runs be at work at once. No single
# quotes; words split on purpose. A program notes itself in work/ before it reads the fence, and a newer run raises the fence
# before it reads work/: so one of them always sees the other.
# shellcheck disable=SC2034,SC2086,SC2154
# Reads what the host's fence says: a number of at most 15 digits, a token, whose it is, a line break. Anything else is none.
__fence_read() {
  __fence_n="" __fence_t="" __fence_r="" __fence_w=""
  { IFS=" " read -r __fence_n __fence_t __fence_r __fence_w; } 2>/dev/null <"$fence_dir/fence" || __fence_n=""
  case $__fence_n in "" | 0* | *[!0-9]* | ????????????????*) __fence_n="" ;; esac
  case $__fence_t in "" | *[!0-9A-Za-z]*) __fence_n="" ;; esac
  [ -n "$__fence_n" ] || __fence_n=0 __fence_t="" __fence_r="" __fence_w=""
}
__fence_ours() { [ "$__fence_n" = "$fence_number" ] && [ "$__fence_t" = "$fence_token" ]; }
# Whether nothing older is at work any more.
__fence_clear() {
  __fence_c="" __fence_o=""
  { IFS=" " read -r __fence_c __fence_o; } 2>/dev/null <"$fence_dir/fence.clear"
  [ "$__fence_c" = "$fence_number" ] && [ "$__fence_o" = "$fence_token" ]
}
__fence_folder() { [ -d "$fence_dir/work" ] || (umask 077 && mkdir -p -- "$fence_dir/work"); }
# Notes this process: its number, when it began, the boot, the run.
__fence_note() {
  __fence_work=$fence_dir/work/$fence_id
  IFS= read -r __fence_l <"/proc/$$/stat"
  set -- ${__fence_l##*) }
  IFS= read -r __fence_l </proc/sys/kernel/random/boot_id
  __fence_folder && printf "%s %s %s %s\n" "$$" "${20}" "$__fence_l" "$fence_number" >"$__fence_work"
}
# Lets this program in. Else the fence read last says whose the host is, or $__fence_why what went wrong.
__fence_enter() {
  __fence_why=
  [ -z "$fence_id" ] || __fence_note || { __fence_why="$fence_dir/work can not be written"; return 1; }
  __fence_read
  if __fence_ours && __fence_clear && [ -z "$fence_lost" ]; then
    [ -z "$fence_id" ] || [ -s "$__fence_work" ] && return 0
  fi
  [ "$__fence_n" -le "$fence_number" ] || return 1
  __fence_folder || { __fence_why="$fence_dir can not be made"; return 1; }
  __fence_why="$fence_dir/fence.guard can not be opened"
  __fence_raise 9>"$fence_dir/fence.guard"
}
__fence_raise() {
  __fence_why=
  flock -w 30 9 || { __fence_why="another program keeps the fence busy"; return 1; }
  [ -z "$fence_id" ] || [ -s "$__fence_work" ] || __fence_note || { __fence_why="$fence_dir/work can not be written"; return 1; }
  __fence_read
  [ "$__fence_n" -le "$fence_number" ] || return 1
  if [ "$__fence_n" -eq "$fence_number" ]; then
    [ "$__fence_t" = "$fence_token" ] || return 1
  else
    if [ -n "$fence_seen" ] && [ "$fence_seen" != "$__fence_n" ] && [ "$__fence_t" != "$fence_token" ]; then
      __fence_why="since it was probed, run $__fence_r of $__fence_w has changed it"
      return 1
    fi
    {
      printf "%s %s %s %s\n" "$fence_number" "$fence_token" "$fence_run" "$fence_who" >"$fence_dir/fence.new" &&
        mv -f -- "$fence_dir/fence.new" "$fence_dir/fence" && sync -- "$fence_dir/fence" "$fence_dir"
    } || { __fence_why="$fence_dir/fence can not be written"; return 1; }
  fi
  IFS= read -r __fence_b </proc/sys/kernel/random/boot_id
  for __fence_i in $fence_lost; do
    __fence_stop "$fence_dir/work/$__fence_i" || return 1
  done
  __fence_clear && return 0
  set --
  for __fence_i in "$fence_dir"/work/*; do
    __fence_k=0
    { IFS=" " read -r __fence_l __fence_l __fence_l __fence_k; } 2>/dev/null <"$__fence_i"
    case $__fence_k in "" | *[!0-9]* | ????????????????*) __fence_k=0 ;; esac
    [ "$__fence_k" -lt "$fence_number" ] || continue
    __fence_stop "$__fence_i" || return 1
    set -- "$@" "$__fence_i"
  done
  [ "$#" -eq 0 ] || rm -f -- "$@"
  [ -z "$fence_id" ] || [ -s "$__fence_work" ] || __fence_note || { __fence_why="$fence_dir/work can not be written"; return 1; }
  printf "%s %s\n" "$fence_number" "$fence_token" >"$fence_dir/fence.clear" || __fence_why="$fence_dir/fence.clear can not be written"
  [ -z "$__fence_why" ]
} </dev/null >/dev/null
# Ends the program that a file of work/ notes: waits for it, asks it to end, kills it.
__fence_stop() {
  __fence_p="" __fence_s="" __fence_l=""
  { IFS=" " read -r __fence_p __fence_s __fence_l __fence_k; } 2>/dev/null <"$1"
  [ -n "$__fence_p" ] && [ "$__fence_l" = "$__fence_b" ] || return 0
  __fence_z=0
  while __fence_those "$__fence_p" "$__fence_s"; [ -n "$__fence_a" ]; do
    [ "$__fence_z" -ne 50 ] || kill -s TERM $__fence_a 2>/dev/null
    [ "$__fence_z" -lt 75 ] || kill -s KILL $__fence_a 2>/dev/null
    [ "$__fence_z" -lt 100 ] || { __fence_why="process $__fence_p of an earlier program can not be stopped"; return 1; }
    __fence_z=$((__fence_z + 1))
    sleep 0.2
  done
  : >"$1"
}
# Finds what is left of a program that began as process $1 at $2: itself, its session, all that descend from them.
__fence_those() {
  __fence_a="" __fence_x=$1
  if { IFS= read -r __fence_l; } 2>/dev/null <"/proc/$1/stat"; then
    set -- "$1" "$2" ${__fence_l##*) }
    # No process gets a number that a session still has.
    [ "${22}" = "$2" ] || return 0
    [ "$3" = Z ] || __fence_a=$1
  fi
  __fence_x=" $1 " __fence_m=1
  while [ -n "$__fence_m" ]; do
    __fence_m=""
    for __fence_l in /proc/[0-9]*; do
      __fence_d=${__fence_l#/proc/}
      case $__fence_x in *" $__fence_d "*) continue ;; esac
      { IFS= read -r __fence_l; } 2>/dev/null <"/proc/$__fence_d/stat" || continue
      set -- "$1" ${__fence_l##*) }
      [ "$5" = "$1" ] || case $__fence_x in *" $3 "*) ;; *) continue ;; esac
      __fence_x="$__fence_x$__fence_d " __fence_m=1
      [ "$2" = Z ] || __fence_a="$__fence_a $__fence_d"
    done
  done
}
