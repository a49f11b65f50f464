# The same twenty with changes to make, in one script.
# shellcheck shell=dash disable=SC2086 # SSH_CONNECTION is words.
set -eu
set -- $SSH_CONNECTION
host=$3
p=@ROOT@/$host
here=@HERE@
dpkg-query -W -f '${Package} ${db:Status-Status}\n' tar gzip openssh-client ca-certificates
getent group www-data
getent passwd www-data
directory() {
    [ "$(stat -c '%F %a %U %G' "$1" 2>/dev/null)" = "directory $2 root root" ] || { mkdir -p "$1"; chmod "$2" "$1"; }
}
file() {
    cat >"$1.new"
    if cmp -s "$1" "$1.new" && [ "$(stat -c %a "$1")" = 644 ]; then rm "$1.new"; else
        chmod 644 "$1.new"
        mv "$1.new" "$1"
    fi
}
line() { grep -qxF "$2" "$1" 2>/dev/null || echo "$2" >>"$1"; }
directory "$p/etc/app" 755
directory "$p/etc/cron.d" 755
directory "$p/var/lib/app" 750
directory "$p/var/log/app" 755
file "$p/etc/app/app.conf" <"$here/app.conf"
file "$p/etc/app/limits.conf" <"$here/limits.conf"
echo '*/5 * * * * root /usr/bin/true' | file "$p/etc/cron.d/app"
file "$p/etc/app/app.ini" <<X
[app]
host = $host
workers = 8
backend1 = 10.0.0.1
backend2 = 10.0.0.2
backend3 = 10.0.0.3
X
echo "Welcome to $host (web)" | file "$p/etc/motd"
line "$p/etc/sysctl.conf" 'vm.swappiness = 10'
line "$p/etc/environment" 'LANG=C.UTF-8'
line "$p/etc/hosts" '10.0.0.1 db.internal'
[ "$(readlink "$p/etc/app/current")" = app.conf ] || ln -sfn app.conf "$p/etc/app/current"
[ -e "$p/var/lib/app/initialized" ] || touch "$p/var/lib/app/initialized"
[ -e /usr/lib/os-release ]
test -f "$p/etc/app/app.ini"
