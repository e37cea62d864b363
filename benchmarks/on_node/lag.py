"""
How long a file takes to the other node: lag.py write FOLDER RATE SECONDS | lag.py see FOLDER FILES SECONDS.

Both nodes share the machine's clock. ``see`` prints how long each file took until it appeared under its name,
in the order in which they were written, when so many have or the time is over.
"""

import json
import os
import select
import sys
import time

sys.path.insert(0, "/usr/local/lib/failback/current")

from failback.journal import inotify  # noqa: E402


def write(folder, rate, seconds):
    begun = time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
        with open(f"{folder}/{time.monotonic():.6f}", "w") as handle:
            handle.write("x" * 100)


def see(folder, files, seconds):
    end = time.monotonic() + seconds
    lags = {}
    with inotify.Inotify() as opened:
        opened.watch(os.fsencode(folder), inotify.MOVED_TO)
        print("ready", flush=True)
        while len(lags) < files and (left := end - time.monotonic()) > 0:
            if select.select([opened], [], [], left)[0]:
                now = time.monotonic()
                # The file that has shown that lsyncd carries may come twice.
                names = [event.name for event in opened.events() if event.name != b"first"]
                lags.update((float(name), now - float(name)) for name in names)
    print(json.dumps([lag for _, lag in sorted(lags.items())]))


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
    else:
        see(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
