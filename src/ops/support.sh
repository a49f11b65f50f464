# What a host says of itself. `$units`: systemd units, one a line. Nothing here may fail the whole, or change anything.
set +e
show() {
    printf '\n# %s\n' "$*"
    "$@" 2>&1 </dev/null
}
show cat /etc/os-release
show uname -a
show uptime
show date --iso-8601=seconds
show df -h
show free -m
show ip -brief address
show ip route
show ss -lntup
show systemctl is-system-running
show systemctl --failed --no-pager --plain
show ls -lR /var/lib/foundry
printf '%s\n' "$units" | while IFS= read -r unit; do
    [ -n "$unit" ] || continue
    show systemctl status --no-pager --lines=0 -- "$unit"
    show journalctl --no-pager --quiet --output=short-iso --lines=200 --unit "$unit"
done
show dmesg --level=err,warn
exit 0
