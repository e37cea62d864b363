#!/usr/bin/env python3
"""Who answers for an address, and for how long nobody did: seen from a third host.

Standard library only.

    probe.py who 10.0.0.5 --interface eth0 --seconds 1
    probe.py outage 10.0.0.5 --interface eth0 --stop-file /run/stop --seconds 60

``who`` sends ARP requests and collects *all* answers: two nodes that hold one address show as two
MACs. ``outage`` sends an ICMP echo request each millisecond and matches the replies by number, with
the MAC that they came from. Trust lost × interval; single gaps include milliseconds of jitter.

Both print one JSON object.
"""

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import time

ETH_IPV4 = 0x0800
ETH_ARP = 0x0806
BROADCAST = b"\xff" * 6


def who(address, interface="eth0", seconds=1.0, pause=0.1):
    """The MACs that answer ARP requests for ``address``, as a dict of MAC to number of answers.

    It asks every ``pause`` seconds and listens for ``seconds``; it needs no address of its own.
    """
    link = _socket(interface, ETH_ARP)
    mine = link.getsockname()[4]
    wanted = socket.inet_aton(address)
    request = BROADCAST + mine + struct.pack("!H", ETH_ARP)
    # As a probe (RFC 5227): without a sender address it changes nobody's tables.
    request += struct.pack("!HHBBH", 1, ETH_IPV4, 6, 4, 1) + mine + bytes(4) + bytes(6) + wanted
    found = {}
    end = time.monotonic() + seconds
    ask_at = 0.0
    while (now := time.monotonic()) < end:
        if now >= ask_at:
            link.send(request)
            ask_at = now + pause
        if select.select([link], [], [], min(end, ask_at) - now if ask_at > now else 0)[0]:
            frame = link.recv(2048)
            is_reply = frame[12:14] == struct.pack("!H", ETH_ARP) and frame[20:22] == b"\0\2"
            if is_reply and frame[28:32] == wanted:
                mac = _shown(frame[22:28])
                found[mac] = found.get(mac, 0) + 1
    link.close()
    return found


def outage(address, interface="eth0", seconds=60.0, interval=0.001, stop_file=None, grace=1.0):
    """Ping at a fixed rate until ``seconds`` are over, the stop file appears, or SIGTERM comes.

    grace
        Seconds to wait at the end for late replies.

    Returns a dict::

        sent, received, lost      packets
        outage                    lost × interval, in seconds
        largest_gap               longest time between two answered requests, in seconds
        answered_by               [{"mac", "from", "to", "replies"}]: spans in which one MAC
                                  answered, in CLOCK_REALTIME seconds of the requests
        both                      requests that were answered by more than one MAC
    """
    if not _reachable_route(address):
        raise OSError(f"no route to {address}")
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    listener = _socket(interface, ETH_IPV4)
    sender.setblocking(False)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    identity = os.getpid() & 0xFFFF
    wanted = socket.inet_aton(address)
    times, answers = [], {}
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    beginning = time.monotonic()
    offset = time.time() - beginning
    number = 0
    while not stopped:
        now = time.monotonic()
        if now > beginning + seconds:
            break
        if number % 64 == 0 and stop_file and os.path.exists(stop_file):
            break
        due = beginning + number * interval
        if now >= due:
            times.append(now)
            # No neighbour, no buffer, no link: a lost probe, and that is what is counted.
            with contextlib.suppress(OSError):
                sender.sendto(_echo(identity, number), (address, 0))
            number += 1
            due += interval
        wait = max(0, min(due - time.monotonic(), 0.05))
        _collect(listener, wait, wanted, identity, answers, number)
    end = time.monotonic() + grace
    while time.monotonic() < end and len(answers) < number:
        _collect(listener, 0.05, wanted, identity, answers, number)
    return _report(times, answers, interval, offset)


def _collect(listener, wait, wanted, identity, answers, newest):
    """Note the replies that are waiting: request number to the MACs that answered it."""
    if not select.select([listener], [], [], wait)[0]:
        return
    try:
        while True:
            frame = listener.recv(2048, socket.MSG_DONTWAIT)
            header = (frame[14] & 0x0F) * 4
            icmp = frame[14 + header :]
            if frame[23] != 1 or frame[26:30] != wanted or len(icmp) < 16 or icmp[0] != 0:
                continue
            if struct.unpack("!H", icmp[4:6])[0] == identity:
                (number,) = struct.unpack("!Q", icmp[8:16])
                if number < newest:
                    answers.setdefault(number, set()).add(_shown(frame[6:12]))
    except BlockingIOError:
        return


def _echo(identity, number):
    """An echo request; the whole number is in the payload, since ICMP's own has 16 bits."""
    payload = struct.pack("!Q", number) + bytes(8)
    header = struct.pack("!BBHHH", 8, 0, 0, identity, number & 0xFFFF)
    packed = header + payload
    total = sum(struct.unpack(f"!{len(packed) // 2}H", packed))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", 8, 0, checksum, identity, number & 0xFFFF) + payload


def _report(times, answers, interval, offset):
    spans, largest, last = [], 0.0, None
    for number in sorted(answers):
        moment = times[number]
        if last is not None:
            largest = max(largest, moment - last)
        last = moment
        for mac in sorted(answers[number]):
            span = spans[-1] if spans and spans[-1]["mac"] == mac else None
            if span is None:
                span = {"mac": mac, "from": moment + offset, "replies": 0}
                spans.append(span)
            span["to"] = moment + offset
            span["replies"] += 1
    lost = len(times) - len(answers)
    return {
        "sent": len(times),
        "received": len(answers),
        "lost": lost,
        "outage": round(lost * interval, 6),
        "largest_gap": round(largest, 6),
        "answered_by": spans,
        "both": sum(1 for macs in answers.values() if len(macs) > 1),
    }


def _reachable_route(address):
    """Whether there is a route: a probe that can never be sent would look like an outage."""
    done = subprocess.run(["ip", "route", "get", address], capture_output=True)
    return done.returncode == 0


def _socket(interface, kind):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
    link.bind((interface, kind))
    return link


def _shown(mac):
    return ":".join(f"{byte:02x}" for byte in mac)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("who", "outage"):
        command = commands.add_parser(name)
        command.add_argument("address")
        command.add_argument("--interface", default="eth0")
        command.add_argument("--seconds", type=float, default=1.0 if name == "who" else 60.0)
        if name == "outage":
            command.add_argument("--interval", type=float, default=0.001)
            command.add_argument("--stop-file")
    options = vars(parser.parse_args())
    print(json.dumps({"who": who, "outage": outage}[options.pop("command")](**options)))


if __name__ == "__main__":
    main()
