#!/usr/bin/env python3
"""Who answers for an address, asked ten times a second from a third host, one JSON object a line.

    {"time": 1.0, "macs": ["02:…", …]}

All answers to one question are in one line: two nodes that hold the address show as two MACs.
"""

import argparse
import json
import select
import socket
import struct
import time

ETH_ARP = 0x0806
ASK_EVERY = 0.1


def main():
    parser = argparse.ArgumentParser()
    for option in ("--address", "--interface", "--log"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ARP))
    link.bind((options.interface, ETH_ARP))
    mine, wanted = link.getsockname()[4], socket.inet_aton(options.address)
    # As a probe (RFC 5227): without a sender address it changes nobody's tables.
    request = b"\xff" * 6 + mine + struct.pack("!HHHBBH", ETH_ARP, 1, 0x0800, 6, 4, 1)
    request += mine + bytes(4) + bytes(6) + wanted
    with open(options.log, "a", buffering=1) as log:
        while True:
            asked, clock = time.monotonic(), time.time()
            try:
                link.send(request)
            except OSError:
                time.sleep(ASK_EVERY)
                continue
            macs = set()
            while (left := asked + ASK_EVERY - time.monotonic()) > 0:
                if select.select([link], [], [], left)[0]:
                    frame = link.recv(2048)
                    if frame[20:22] == b"\0\2" and frame[28:32] == wanted and frame[32:38] == mine:
                        macs.add(":".join(f"{byte:02x}" for byte in frame[22:28]))
            log.write(json.dumps({"time": clock, "macs": sorted(macs)}) + "\n")


if __name__ == "__main__":
    main()
