# pyinfra's hosts, from the environment.
import os

hosts = [
    (
        name,
        dict(
            ssh_user="root",
            ssh_port=int(os.environ["PORT"]),
            ssh_key=os.environ["KEY"],
            ssh_allow_agent=False,
            ssh_look_for_keys=False,
            ssh_strict_host_key_checking="no",
            ssh_known_hosts_file="/dev/null",
            ssh_config_file="/dev/null",
            p=f"{os.environ['ROOT']}/{name}",
        ),
    )
    for name in open(os.environ["HOSTS"]).read().split()
]
