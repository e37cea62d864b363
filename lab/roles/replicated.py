"""What lies in the folders that the pairs replicate, before anything is replicated.

Both nodes have the folders, the primary alone has what is in them: the first pass of lsyncd carries it.
"""

from lab import disk

FILES = {
    "mgmt1": {
        "etc/idm/idm.conf": "realm = DALMA.TEST\n",
        "var/log/idm/access.log": "begun\n",
        "etc/hosts--warewulf": "10.0.0.100 client\n",
    },
    "home2": {f"srv/home/user{number}/notes": f"notes of user {number}\n" for number in range(1, 21)},
    "ssc1": {f"srv/ssc/tool-{number}/README": f"tool {number}\n" for number in range(1, 21)},
}
FOLDERS = {
    "mgmt": ("etc/idm", "var/log/idm"),
    "monitor": ("etc/nagiosql",),
    "home": ("srv/home",),
    "ssc": ("srv/ssc",),
    "web": ("srv/www",),
}


def provide(site, host):
    """For the hosts named above."""
    for folder in FOLDERS.get(host.machine.pair, ()):
        disk.folder(host, folder)
    for path, text in FILES.get(host.name, {}).items():
        disk.write(host, path, text)
