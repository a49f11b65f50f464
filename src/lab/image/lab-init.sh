#!/bin/sh
# The first program of a lab host: gives it kernel settings of its own, then becomes init.
# vm, fs and most of kernel are the machine's one and only; a host that is set up like any other must be able to set
# and read them without the machine being changed. Settings that a namespace has of its own (net, names, shared memory)
# stay the kernel's.
set -u

shadow() (
	real=/proc/sys/$1
	copy=/run/lab-sysctl/$1
	mkdir -p "$copy"
	cd "$real" || exit 1
	find . -type d ! -path './binfmt_misc*' -exec mkdir -p "$copy/{}" \;
	# Some settings can only be written, and answer a read with an error: those are left empty.
	find . -type f ! -path './binfmt_misc*' -exec sh -c '
		for setting; do cat "$setting" >"$0/$setting" 2>/dev/null || : ; done' "$copy" {} +
	shift
	for own; do
		[ -e "$real/$own" ] && mount --bind "$real/$own" "$copy/$own"
	done
	mount --rbind "$copy" "$real"
)

# Docker gives hosts their cgroups and kernel settings read-only; systemd and whoever sets a host up need to write.
while read -r _ at kind options _; do
	case "$kind:$at:,$options," in
	cgroup*:/sys/fs/cgroup*,ro,* | proc:/proc/sys:*,ro,*) mount -o remount,bind,rw "$at" ;;
	esac
done </proc/mounts

mountpoint -q /run || mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs /run
mkdir -p /run/lab-sysctl
shadow vm
shadow fs mqueue
shadow kernel hostname domainname random ns_last_pid sem \
	shmall shmmax shmmni shm_rmid_forced shm_next_id msgmax msgmnb msgmni msg_next_id sem_next_id

# Each boot of a host is one of its own, not the machine's.
cat /proc/sys/kernel/random/uuid >/run/lab-sysctl/boot_id
mount --bind /run/lab-sysctl/boot_id /proc/sys/kernel/random/boot_id

exec /sbin/init "$@"
