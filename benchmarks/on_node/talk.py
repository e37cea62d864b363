"""A service that answers each line, and a client that notes when: talk.py serve | ask HOST."""

import contextlib
import json
import os
import signal
import socket
import socketserver
import sys
import time

PORT = 7000


class Line(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            for line in self.rfile:
                self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def ask(host):
    """
    Ask each 5 ms over one connection, without any timeout; connect anew when it breaks.

    Prints, at SIGTERM, ``answers`` (moments on the kernel's clock, one a line answered) and ``resets``.
    """
    answers, resets = [], 0
    end = []
    signal.signal(signal.SIGTERM, lambda *_: end.append(True) or os._exit(finish()))

    def finish():
        print(json.dumps({"answers": answers, "resets": resets}), flush=True)
        return 0

    while True:
        try:
            with socket.create_connection((host, PORT)) as opened:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while True:
                    opened.sendall(b"x\n")
                    if not opened.recv(10):
                        raise OSError("closed")
                    answers.append(time.monotonic())
                    time.sleep(0.005)
        except OSError:
            resets += 1


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        Server(("0.0.0.0", PORT), Line).serve_forever()
    else:
        ask(sys.argv[2])
