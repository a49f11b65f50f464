# An empty database by the package's own schema, put in place whole.
new=/var/lib/powerdns/foundry.sqlite3.new
rm -f -- "$new"
schema=/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql
[ -e "$schema" ] || schema=/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql
sqlite3 "$new" <"$schema"
chown pdns:pdns "$new"
chmod 0640 "$new"
mv -f -- "$new" /var/lib/powerdns/foundry.sqlite3
