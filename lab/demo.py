"""
The story: a primary loses power, its secondary carries on, and one command brings it home.

Everything is real: hosts with systemd, Salt, sshd, cron, lsyncd and rsync, a client on a third host.
What is said to be proved was looked at from outside the host that it is said of.
"""

import json
import os
import time

from lab import client
from lab import load
from lab.host import until
from lab.roles import salt
from lab.story import told

ADDRESS = "10.0.0.5"
FILES = "/srv/salt/files"


def main(lab):
    """Tell the story in a fresh lab, which is left up. Returns an exit status."""
    return told(lab, "salt", _tell)


def _tell(story):
    _boot(story)
    _write(story)
    _lose_power(story)
    _return(story)
    run = _recover(story)
    _check(story, run)
    _undo(story, run)
    _show(story, run)


def _boot(story):
    story.chapter("Three hosts boot: salt1 (primary), salt2 (secondary), client")
    story.boot()
    story.chapter("The pair is set up, once and for good, and started")
    story.set_up("salt")
    story.proof(
        "the client sees salt1, and nobody else, answer for salt-gw",
        story.site.holders(ADDRESS) == ["salt1"],
    )
    story.proof("salt-master runs on salt1", _active(story.salt1, "salt-master"))
    story.proof("lsyncd runs on salt1", _active(story.salt1, "lsyncd"))
    story.proof("lsyncd does not run on salt2", not _active(story.salt2, "lsyncd"))


def _write(story):
    story.chapter("A client writes through the address, and keeps a list of what was acknowledged")
    # What a site has lying there anyway: the limits of a recovery are a share of all files.
    story.salt1.run(["/bin/sh", "-c", f"cd {FILES} && for n in $(seq 500); do echo $n > site-$n; done"])
    # Only new files at first: what salt1 alone has when it dies can then be told from all else.
    story.writer = client.start_writing(story.client, ADDRESS, create_only=True)
    story.writer.wait_acknowledged(60)
    until(lambda: _carried(story) >= 0.9, 30, "nearly all files to be on salt2", pause=0.2)
    story.proof("lsyncd carries the files to salt2 while the client writes", _carried(story) >= 0.9)
    story.proof(
        "lsyncd carries /etc/salt/pki/master",
        _same(story.salt1, story.salt2, "/etc/salt/pki/master/minions"),
    )


def _lose_power(story):
    story.chapter("salt1 loses power")
    story.salt1.power_off()
    died = time.time()
    until(lambda: story.site.holders(ADDRESS, seconds=0.3) == ["salt2"], 30, "salt2 to answer", pause=0)
    story.say(f"salt2 answers for salt-gw {time.time() - died:.1f} s later.")
    story.proof(
        "the client sees salt2, and nobody else, answer for salt-gw",
        story.site.holders(ADDRESS) == ["salt2"],
    )
    story.say("The client goes on, and changes, renames and deletes files from now on.")
    story.writer.allow_changes()
    story.writer.wait_acknowledged(120, node="salt2")
    story.salt2.run(
        [
            "/bin/sh",
            "-c",
            "cd /root && rm -rf work && git clone -q /srv/git/site.git work && cd work"
            " && git -c user.name=op -c user.email=op@salt2 commit -q --allow-empty -m 'while salt1 was down'"
            " && git push -q",
        ]
    )
    story.command(story.salt2, ["journalctl", "-t", "failback", "-n", "3", "--no-pager", "-o", "cat"])


def _return(story):
    story.chapter("salt1 has power again, and boots")
    story.salt1.power_on()
    until(lambda: salt.had_highstate(story.salt1), 120, "the highstate at boot to have run", pause=0.5)
    until(lambda: _idle(story.salt2, "salt1"), 120, "salt1's minion to be idle", pause=0.5)
    story.proof("highstate at boot has run on salt1", salt.had_highstate(story.salt1))
    story.proof("nothing has started lsyncd on salt1", not _active(story.salt1, "lsyncd"))
    story.proof("nothing has started salt-master on salt1", not _active(story.salt1, "salt-master"))
    story.proof("salt2 alone answers for salt-gw", story.site.holders(ADDRESS) == ["salt2"])
    story.say("An operator, half awake, starts lsyncd by hand. It would overwrite the newer data:")
    story.command(story.salt1, ["systemctl", "start", "lsyncd"], expect=1)
    said = story.command(story.salt1, ["journalctl", "-u", "lsyncd", "-n", "5", "--no-pager", "-o", "cat"])
    story.proof(
        "the journal says why, and which command to run instead",
        "orch.recover" in said or "pair.status" in said,
    )
    story.proof("lsyncd does not run on salt1", not _active(story.salt1, "lsyncd"))

    story.chapter("What is known of the pair, and what a recovery will do")
    story.command(story.salt2, ["salt-run", "pair.status"], expect=1)
    story.command(story.salt2, ["salt-run", "pair.plan", "salt"])
    plan = json.loads(story.salt2.run(["salt-run", "pair.plan", "salt", "--out=json"]).stdout)
    story.listed = {
        os.path.basename(path)
        for what in ("overwritten", "deleted")
        for path in plan["files"]["/srv/salt"].get(what, [])
    }


def _recover(story):
    story.chapter("One command brings salt1 home, while the client goes on writing")
    story.command(story.salt2, ["salt-run", "state.orch", "orch.recover", "pillar={pair: salt}"], timeout=900)
    run = next(one for one in reversed(_runs(story.salt2)) if one["operation"] == "recover")
    story.proof(f"run {run['run']} succeeded by its own record", run["result"] == "succeeded")
    return run


def _check(story, run):
    story.chapter("Afterwards")
    story.proof(
        "the client sees salt1, and nobody else, answer for salt-gw",
        story.site.holders(ADDRESS) == ["salt1"],
    )
    story.writer.wait_acknowledged(
        len([1 for one in story.writer.entries() if one.get("node") == "salt1"]) + 20, node="salt1"
    )
    story.writer.stop()
    entries = story.writer.entries()
    counts = load.summary(entries)
    story.say(
        f"{counts['acknowledged']} operations acknowledged ({counts['nodes']}), {counts['unknown']} with an "
        f"unknown outcome, {counts['refused']} not done; longest time between two acknowledgements "
        f"{counts['longest_gap']:.1f} s."
    )
    story.proof("lsyncd runs on salt1", _active(story.salt1, "lsyncd"))
    story.proof("lsyncd does not run on salt2", not _active(story.salt2, "lsyncd"))
    story.salt2.run(["salt", "salt1", "lsyncd.drain", "salt"], timeout=120)

    _bring_back(story, entries, run)
    for host in (story.salt1, story.salt2):
        wrong = load.compare(entries, client.files(host))
        story.proof(
            f"every acknowledged write is on {host.name}" + "".join(f"\n      {line}" for line in wrong),
            not wrong,
        )
    story.proof("both nodes have the same files", client.files(story.salt1) == client.files(story.salt2))
    story.proof(
        "the commit that was made on salt2 is on salt1",
        "while salt1 was down"
        in story.salt1.run(
            ["git", "-c", "safe.directory=*", "--git-dir=/srv/git/site.git", "log", "--format=%s"]
        ).stdout,
    )
    story.say("Running it again is the repair, and here is nothing to repair:")
    before = len(_runs(story.salt1))
    story.orchestrate(story.salt1, "recover", "{pair: salt}")
    story.proof("it changed nothing: no new run in the history", len(_runs(story.salt1)) == before)


def _bring_back(story, entries, run):
    """
    What salt1 acknowledged and lsyncd had not carried when the power went is in the run's backup.

    lsyncd runs behind the writes, so the secondary never saw these. They were deleted on salt1, as the plan
    had said; now they are put back, and lsyncd carries them.
    """
    there = client.files(story.salt1)
    wanted = load.model_of(entries).certain()
    missing = sorted(name for name in wanted if name not in there)
    story.say(
        f"{len(missing)} new files that salt1 acknowledged in its last seconds had not been carried to salt2 "
        f"when the power went. salt2 never had them, so the recovery deleted them on salt1."
    )
    story.proof("the plan named each of them as to be deleted", set(missing) <= story.listed)
    if missing:
        story.say("An operator puts back what salt1 alone had; nothing else is touched:")
        paths = json.dumps([f"{FILES}/{name}" for name in missing])
        story.command(story.salt1, ["salt-run", "pair.undo", run["run"], f"paths={paths}"])
        story.salt1.run(["salt", "salt1", "lsyncd.drain", "salt"], timeout=120)


def _undo(story, run):
    story.chapter("A way back: what the recovery overwrote or deleted can be put back, and that as well")
    before = client.files(story.salt1)
    story.command(story.salt1, ["salt-run", "pair.undo", run["run"], "test=True"])
    said = story.salt1.run(["salt-run", "pair.undo", run["run"], "--out=json"], timeout=300).stdout
    undone = client.files(story.salt1)
    backup = f"/var/lib/failback/salt/runs/{run['run']}/backup"
    kept = _kept(story.salt1, backup)
    story.proof(
        f"{len(kept)} files that the run overwrote or deleted are back, byte for byte",
        kept and all(undone.get(name) == content for name, content in kept.items()),
    )
    again = json.loads(said)["undo this with"].split()[-1]
    story.command(story.salt1, ["salt-run", "pair.undo", again], show=False)
    story.proof("the undo is undone: the files are as they were", client.files(story.salt1) == before)
    story.command(story.salt1, ["salt-run", "pair.history", "salt"])
    story.command(story.salt1, ["salt-run", "pair.status"])


def _show(story, run):
    story.chapter("Two pages to look at, each one file that needs nothing else")
    pages = [story.page(story.salt1, run["run"], "run"), story.page(story.salt1, "salt", "pair")]
    said = [page.read_text() for page in pages]
    story.proof("that of the run has its window in milliseconds", "No node had the addresses for" in said[0])
    story.proof("that of the pair has the takeover and the recovery", _happened(story, said[1]))
    for page in pages:
        story.say(f"Open it in a browser: {page}")


def _happened(story, page):
    """Whether a page has the newest takeover and the newest recovery of the pair."""
    runs = _runs(story.salt1)
    newest = [max(one["run"] for one in runs if one["operation"] == what) for what in ("takeover", "recover")]
    return all(run in page for run in newest)


# --- looking -----------------------------------------------------------------------------------


def _active(host, unit):
    return host.run(["systemctl", "is-active", unit], check=False).stdout.strip() == "active"


def _kept(host, backup):
    """The first kept copy of each of the client's files in a run's backup, as {name: bytes}."""
    found = {}
    listed = host.run(["find", backup, "-type", "f", "-path", "*/files/*", "-print0"]).stdout
    for path in sorted(one for one in listed.split("\0") if one):
        name = os.path.basename(path)
        if name not in found:
            found[name] = host.read_bytes(path)
    return found


def _carried(story):
    """Which part of salt1's files salt2 has, 0 to 1."""
    here, there = (set(host.run(["ls", FILES]).stdout.splitlines()) for host in (story.salt1, story.salt2))
    return len(here & there) / max(1, len(here))


def _same(one, other, folder):
    listing = ["/bin/sh", "-c", f"cd {folder} && sha256sum -- *"]
    return one.run(listing).stdout == other.run(listing).stdout


def _idle(master, node):
    """Does a minion answer, with no state running on it?"""
    said = master.run(
        ["salt", node, "saltutil.is_running", "state.*", "--timeout=2", "--out=json"], check=False
    ).stdout
    try:
        return json.loads(said) == {node: []}
    except ValueError:
        return False


def _runs(host):
    return json.loads(host.run(["salt-run", "pair.history", "salt", "--out=json"]).stdout)["runs"]
