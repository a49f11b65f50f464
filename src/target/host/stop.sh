#!/bin/sh
# Stops the process $root and all that descend from it, if it still is what was started. Words split on purpose.
# shellcheck disable=SC2034,SC2086,SC2154
grep -qzxF foundry "/proc/$root/cmdline" 2>/dev/null || exit 0
tree=" $root " grown=1
while [ "$grown" = 1 ]; do
  grown=0
  for file in /proc/[0-9]*/stat; do
    { read -r stat < "$file"; } 2>/dev/null || continue
    pid=${stat%% *}
    set -- ${stat##*) }
    case $tree in *" $pid "*) continue ;; esac
    case $tree in *" $2 "*) tree="$tree$pid " grown=1 ;; esac
  done
done
kill -TERM $tree 2>/dev/null
for turn in 1 2 3 4 5 6 7 8 9 10; do
  left=
  for pid in $tree; do [ ! -d "/proc/$pid" ] || left="$left $pid"; done
  [ -n "$left" ] || exit 0
  sleep 0.2
done
kill -KILL $left 2>/dev/null
