#!/bin/sh
# Makes a lab image out of a freshly unpacked Debian root ($1). Run by mmdebstrap or debootstrap's caller, outside the root.
set -eu
root=$1

# Certificates that this machine's owner added: what the machine trusts, its hosts trust.
if ls /usr/local/share/ca-certificates/*.crt >/dev/null 2>&1; then
	mkdir -p "$root/usr/local/share/ca-certificates"
	cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
	chroot "$root" update-ca-certificates >/dev/null
fi

# Identity is each host's own: keys are put in place before the first boot, the machine id is made then.
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id"
: >"$root/etc/machine-id"

# The admin user logs in with a key alone. `*` is no password; `!` would lock the account.
chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 --user-group admin
chroot "$root" usermod --password '*' admin
printf 'admin ALL=(ALL:ALL) NOPASSWD: ALL\n' >"$root/etc/sudoers.d/admin"
chmod 0440 "$root/etc/sudoers.d/admin"

mkdir -p "$root/etc/ssh/sshd_config.d" "$root/etc/systemd/journald.conf.d" "$root/etc/systemd/system"
printf 'HostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin no\n' >"$root/etc/ssh/sshd_config.d/lab.conf"
# The kernel's log is the machine's, not this host's.
printf '[Journal]\nReadKMsg=no\n' >"$root/etc/systemd/journald.conf.d/lab.conf"

# No terminals, no work behind the user's back, no network management: addresses come from outside.
for unit in getty@.service console-getty.service container-getty@.service getty-static.service \
	apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service \
	dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
	systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service \
	sys-kernel-debug.mount sys-kernel-tracing.mount \
	sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

install -m 0755 "$(dirname "$0")/lab-init.sh" "$root/usr/local/sbin/lab-init"
