# The twenty checks for pyinfra.
import os
from io import StringIO

from pyinfra import host
from pyinfra.facts.files import File
from pyinfra.operations import apt, files, server

p = host.data.p
here = os.path.dirname(os.path.abspath(__file__))
apt.packages(packages=["tar"], present=True)
apt.packages(packages=["gzip", "openssh-client", "ca-certificates"], present=True)
server.group(group="www-data")
server.user(user="www-data", group="www-data", shell="/usr/sbin/nologin", home="/var/www", ensure_home=False)
files.directory(path=f"{p}/etc/app", mode="755", user="root", group="root")
files.directory(path=f"{p}/etc/cron.d", mode="755", user="root", group="root")
files.directory(path=f"{p}/var/lib/app", mode="750", user="root", group="root")
files.directory(path=f"{p}/var/log/app", mode="755", user="root", group="root")
files.put(src=f"{here}/app.conf", dest=f"{p}/etc/app/app.conf", mode="644")
files.put(src=f"{here}/limits.conf", dest=f"{p}/etc/app/limits.conf", mode="644")
files.put(src=StringIO("*/5 * * * * root /usr/bin/true\n"), dest=f"{p}/etc/cron.d/app", mode="644")
files.template(src=f"{here}/app.ini.j2", dest=f"{p}/etc/app/app.ini", mode="644", inventory_hostname=host.name)
files.template(src=f"{here}/motd.j2", dest=f"{p}/etc/motd", mode="644", inventory_hostname=host.name)
files.line(path=f"{p}/etc/sysctl.conf", line="vm.swappiness = 10")
files.line(path=f"{p}/etc/environment", line="LANG=C.UTF-8")
files.line(path=f"{p}/etc/hosts", line="10.0.0.1 db.internal")
files.link(path=f"{p}/etc/app/current", target="app.conf")
if not host.get_fact(File, path=f"{p}/var/lib/app/initialized"):
    server.shell(commands=[f"touch {p}/var/lib/app/initialized"])
host.get_fact(File, path="/usr/lib/os-release")
host.get_fact(File, path=f"{p}/etc/app/app.ini")
