#!/bin/sh
# Made by Foundry. Loads the packet filter, with every port that sshd listens on let in.
set -eu
mkdir -p /etc/foundry/firewall.d
rules=$(cat /etc/foundry/firewall.nft)
for port in $(sshd -T 2>/dev/null | sed -n 's/^port //p'); do
    rules="$rules
add element inet foundry ssh { $port }"
done
printf '%s\n' "$rules" | nft -c -f -
printf '%s\n' "$rules" | nft -f -
