#!/usr/bin/env python3
"""What can be seen on a node from outside Failback, one JSON object a line. Standard library only.

    observer.py --address 10.0.0.5 --ledger /var/lib/failback/salt/ledger.json --log /var/log/observer.jsonl

Each line has ``time`` (CLOCK_REALTIME, of the machine under all hosts: one clock) and ``what``:

``begun``     the observer runs, in boot ``boot``
``holds``     whether the kernel has the address, told by the kernel the moment it changes
``lsyncd``    the processes of that name: a list of [pid, start in clock ticks since boot]
``ledger``    generation and active node as the file says, or null
``alive``     once a second, so that an end by loss of power has a time
"""

import argparse
import json
import os
import select
import socket
import struct
import time

RTM_NEWADDR, RTM_DELADDR = 20, 21
RTMGRP_IPV4_IFADDR = 0x10
IFA_LOCAL = 2
LOOK_EVERY = 0.1


def address_changes(message, wanted):
    """The changes of one address in a netlink datagram: a list of True (added) and False."""
    found = []
    while len(message) >= 16:
        length, kind = struct.unpack("=IH", message[:6])
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            attributes = message[24:length]
            while len(attributes) >= 4:
                size, name = struct.unpack("=HH", attributes[:4])
                if name == IFA_LOCAL and attributes[4:size] == wanted:
                    found.append(kind == RTM_NEWADDR)
                attributes = attributes[max(4, (size + 3) & ~3) :]
        message = message[max(16, (length + 3) & ~3) :]
    return found


def held(wanted):
    """Whether the kernel has the address now: it can be bound to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((socket.inet_ntoa(wanted), 0))
        except OSError:
            return False
    return True


def processes(name):
    """
    The processes of a name as a list of [pid, start time], by the kernel's word.

    Not their children: between fork and exec each program that lsyncd starts bears its name.
    """
    found, parents = [], {}
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            with open(f"/proc/{pid}/stat") as handle:
                text = handle.read()
        except OSError:
            continue
        start = text.index("(") + 1
        end = text.rindex(")")
        if text[start:end] == name:
            fields = text[end + 2 :].split()
            if fields[0] not in "ZX":
                found.append([int(pid), int(fields[19])])
                parents[int(pid)] = int(fields[1])
    return sorted(one for one in found if parents[one[0]] not in parents)


def ledger(path):
    """Generation and active node, or None when there is nothing to read."""
    try:
        with open(path) as handle:
            content = json.load(handle)
        return [content["generation"], content["active"]]
    except (OSError, ValueError, KeyError):
        return None


def main():
    parser = argparse.ArgumentParser()
    for option in ("--address", "--ledger", "--log"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    wanted = socket.inet_aton(options.address)
    with open("/proc/sys/kernel/random/boot_id") as handle:
        boot = handle.read().strip()
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    link.bind((0, RTMGRP_IPV4_IFADDR))
    with open(options.log, "a", buffering=1) as log:

        def say(what, **more):
            log.write(json.dumps({"time": time.time(), "what": what, **more}) + "\n")

        say("begun", boot=boot)
        say("holds", holds=held(wanted))
        last, next_look, next_alive = {}, 0.0, 0.0
        while True:
            now = time.monotonic()
            if select.select([link], [], [], max(0.0, next_look - now))[0]:
                for holds in address_changes(link.recv(65536), wanted):
                    say("holds", holds=holds)
            if time.monotonic() < next_look:
                continue
            next_look = time.monotonic() + LOOK_EVERY
            for what, value in (("lsyncd", processes("lsyncd")), ("ledger", ledger(options.ledger))):
                if last.get(what, ...) != value:
                    last[what] = value
                    say(what, **{what: value})
            if time.monotonic() >= next_alive:
                next_alive = time.monotonic() + 1
                say("alive")


if __name__ == "__main__":
    main()
