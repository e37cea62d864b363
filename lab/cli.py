"""python3 -m lab: what ``make`` calls.

The lab's name comes from ``--lab``, else from the environment variable LAB, else it is
``failback``.
"""

import argparse
import os
import sys
import time

from lab import cache
from lab import doctor
from lab import machine
from lab import sites
from lab.host import ENVIRONMENT
from lab.site import Site
from lab.site import only_root


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python3 -m lab", description=__doc__.split("\n")[0])
    name = os.environ.get("LAB") or "failback"
    parser.add_argument("--lab", default=name, help="the lab's name")
    commands = parser.add_subparsers(dest="command", required=True)
    image = commands.add_parser("image", help="make the image of a site, if it is not in the cache")
    image.add_argument("--site", default="salt", choices=sorted(sites.SITES))
    up = commands.add_parser("up", help="make and boot the hosts")
    up.add_argument("--site", default="salt", choices=sorted(sites.SITES))
    up.add_argument("--pairs", default="", help="only these pairs, and the masters' own; or add them")
    up.add_argument("--no-masters", action="store_true", help="do not start salt-master by hand")
    up.add_argument("hosts", nargs="*", help="only these")
    commands.add_parser("doctor", help="what this machine lacks for a lab, and what to do about it")
    commands.add_parser("down", help="remove the lab")
    commands.add_parser("status", help="which hosts are on")
    commands.add_parser("push", help="copy salt/ and pillar/ of the checkout to the running masters")
    for name, text in (
        ("shell", "a shell in a host"),
        ("power-on", "switch a host on"),
        ("power-off", "cut a host's power"),
        ("reboot", "reboot a host from inside"),
    ):
        commands.add_parser(name, help=text).add_argument("host")
    for name, text in (("cut", "pull a host's cable"), ("mend", "plug it in again")):
        command = commands.add_parser(name, help=text)
        command.add_argument("host")
        command.add_argument("interface", nargs="?", default="eth0")
        if name == "cut":
            command.add_argument("--silent", action="store_true", help="the host still sees a link")
    run = commands.add_parser("run", help="run a program in a host")
    run.add_argument("host")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    demo = commands.add_parser("demo", help="tell the story of a site")
    demo.add_argument("--site", default="salt", choices=("salt", "vm"))
    options = parser.parse_args(arguments)
    try:
        if options.command in ("up", "image", "demo"):
            doctor.require(options.site)
        elif options.command != "doctor":
            only_root()
        sys.exit(COMMANDS[options.command](options))
    except machine.Lacks as problem:
        sys.exit(str(problem))
    except (LookupError, RuntimeError, TimeoutError, OSError, ValueError) as problem:
        sys.exit(f"lab: {problem}")


def _up(options):
    started = time.monotonic()
    site = Site(options.lab, options.site, options.pairs.replace(",", " ").split() or None)
    site.up(options.hosts or None, masters=not options.no_masters)
    cache.say(f"lab {options.lab} is up after {time.monotonic() - started:.1f} s")
    return _status(options)


def _status(options):
    site = Site(options.lab)
    if not site.exists:
        print(f"lab {options.lab} is not there")
        return 0
    for each in site.status():
        cuts = ", ".join(f"{name} {how}" for name, how in each["cuts"].items())
        print(f"{each['name']:12} {each['address']:15} {each['power']:4} init {each['init']} {cuts}")
    return 0


def _image(options):
    from lab import image

    print(image.ready(sites.SITES[options.site].image))


def _down(options):
    started = time.monotonic()
    Site(options.lab).down()
    cache.say(f"lab {options.lab} is gone after {time.monotonic() - started:.1f} s")


def _host(options):
    return Site(options.lab).host(options.host)


def _shell(options):
    shell = ["/bin/bash", "--login"]
    if sys.stdin.isatty():
        # A terminal of the host's own: this one's device is not to be seen in there.
        shell = ["/usr/bin/script", "--quiet", "--command", " ".join(shell), "/dev/null"]
    terminal = f"TERM={os.environ.get('TERM', 'dumb')}"
    command = _host(options).entering(["/usr/bin/env", terminal, *shell])
    os.execve(command[0], command, ENVIRONMENT)


def _run(options):
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    process = _host(options).spawn(argv, stdin=None, stdout=None, stderr=None, start_new_session=False)
    return process.wait()


def _demo(options):
    if options.site == "vm":
        from lab import demo_vm as demo
    else:
        from lab import demo  # standard library only, like the rest

    return demo.main(options.lab)


COMMANDS = {
    "doctor": lambda options: doctor.main(),
    "image": _image,
    "up": _up,
    "down": _down,
    "status": _status,
    "push": lambda options: Site(options.lab).push_tree(),
    "shell": _shell,
    "run": _run,
    "demo": _demo,
    "power-on": lambda options: _host(options).power_on(),
    "power-off": lambda options: _host(options).power_off(),
    "reboot": lambda options: _host(options).reboot(),
    "cut": lambda options: _host(options).cut(options.interface, options.silent),
    "mend": lambda options: _host(options).mend(options.interface),
}
