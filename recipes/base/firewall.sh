#!/bin/sh
# Made by Foundry. Loads the packet filter, with every port let in that somebody who looks after the host comes by: those that
# sshd is configured for, those that it or its socket listens on, and those of the last time that one listened.
set -eu
mkdir -p /etc/foundry/firewall.d
known=/etc/foundry/firewall.ssh
ports=$({
    sshd -T 2>/dev/null | sed -n 's/^port //p'
    systemctl show --property=Listen --value -- ssh.socket 2>/dev/null | sed -n 's/.*:\([0-9]*\) (Stream).*/\1/p'
    ss -Hltnp 2>/dev/null | sed -n '/"sshd\|"dropbear"/s/^[^ ]* *[^ ]* *[^ ]* *[^ ]*:\([0-9]*\) .*/\1/p'
} | sort -nu | tr '\n' ' ')
# While the host starts, nothing listens yet.
case $ports in *[0-9]*) ;; *) ports=$(cat "$known" 2>/dev/null || :) ;; esac
# Without an sshd there is nobody to lock out.
if [ -z "$ports" ] && ! command -v sshd >/dev/null && ! command -v dropbear >/dev/null; then ports=22; fi
case $ports in
    *[0-9]*) ;;
    *)
        echo "no port of sshd was found: loading a filter would lock everybody out" >&2
        exit 1
        ;;
esac
rules=$(cat /etc/foundry/firewall.nft)
for port in $ports; do
    rules="$rules
add element inet foundry ssh { $port }"
done
printf '%s\n' "$rules" | nft -c -f -
printf '%s\n' "$rules" | nft -f -
printf '%s\n' "$ports" >"$known"
