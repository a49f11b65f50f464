# An empty database by the package's own schema, put in place whole. As `pdns`, whose folder it is: root could be led elsewhere
# by a link there. Where there is one, it has records in it: it is never made anew, whatever became of this script.
[ ! -s /var/lib/powerdns/foundry.sqlite3 ] || exit 0
schema=/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql
[ -e "$schema" ] || schema=/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql
setpriv --reuid pdns --regid pdns --init-groups -- sh -eu -c '
    cd /var/lib/powerdns
    umask 027
    rm -f foundry.sqlite3.new
    sqlite3 foundry.sqlite3.new
    mv -fT foundry.sqlite3.new foundry.sqlite3
' <"$schema"
