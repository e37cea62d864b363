#!/opt/saltstack/salt/bin/python
"""What a Salt master publishes and what returns, one JSON object a line; runs beside the master.

{"time": 1.0, "function": "pair.handover", "event": "new", "node": null}
{"time": 2.0, "function": "pair.handover", "event": "ret", "node": "salt1"}
"""

import json
import time

import salt.config
import salt.utils.event


def main():
    opts = salt.config.client_config("/etc/salt/master")
    with salt.utils.event.get_event("master", opts=opts, listen=True) as bus:
        print(json.dumps({"time": time.time(), "function": None, "event": "listening"}), flush=True)
        for event in bus.iter_events(full=True, auto_reconnect=True):
            if not event:
                continue
            words = event["tag"].split("/")
            if words[:2] != ["salt", "job"] or len(words) < 4 or words[3] not in ("new", "ret"):
                continue
            found = {"time": time.time(), "function": event["data"].get("fun"), "event": words[3]}
            found["node"] = words[4] if words[3] == "ret" and len(words) > 4 else None
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
