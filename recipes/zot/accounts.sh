# Reads the password of `admin` on standard input. Cost 10 is Zot's own example: every request pays it.
umask 027
htpasswd -iBC 10 -c /etc/zot/htpasswd.new admin
chown root:zot /etc/zot/htpasswd.new
mv -f /etc/zot/htpasswd.new /etc/zot/htpasswd
