# The twenty checks in one script and five processes: what a batched design can come down to. The host's own address
# tells which tree is meant; whoever asked compares the output.
# shellcheck shell=dash disable=SC2086 # SSH_CONNECTION is words.
set -- $SSH_CONNECTION
cd "@ROOT@/$3" || exit 1
dpkg-query -W -f '${Package} ${db:Status-Status}\n' tar gzip openssh-client ca-certificates
getent group www-data
getent passwd www-data
stat -c '%n|%F|%a|%U|%G|%N' etc/app etc/cron.d var/lib/app var/log/app etc/app/app.conf etc/app/limits.conf \
    etc/cron.d/app etc/app/app.ini etc/motd etc/app/current var/lib/app/initialized /usr/lib/os-release
sha256sum etc/app/app.conf etc/app/limits.conf etc/cron.d/app etc/app/app.ini etc/motd
has() {
    while IFS= read -r line; do [ "$line" != "$2" ] || return 0; done <"$1"
    echo "missing in $1"
}
has etc/sysctl.conf 'vm.swappiness = 10'
has etc/environment 'LANG=C.UTF-8'
has etc/hosts '10.0.0.1 db.internal'
echo 'checked 20'
