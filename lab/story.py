"""What a demo is told with: chapters, commands as an operator types them, and facts that are proved."""

import shlex
import time

from lab import cache
from lab.site import Site

#: Where the pages of a demo are left, by the lab's name.
PAGES = cache.CHECKOUT / "artifacts" / "demo"


class Failed(RuntimeError):
    """Something in the story was not as it should be."""


class Story:
    """Tells, runs and looks; each of the site's hosts is an attribute of its name."""

    def __init__(self, lab, site):
        self.begun = time.monotonic()
        self._pages = PAGES / lab
        self.site = Site(lab, site)
        #: How many facts were proved.
        self.proved = 0
        for host in self.site.hosts:
            setattr(self, host.name, host)

    def chapter(self, text):
        print(f"\n\033[1m=== [{time.monotonic() - self.begun:5.0f} s] {text}\033[0m", flush=True)

    def say(self, text):
        print(f"    {text}", flush=True)

    def proof(self, text, fact):
        """A fact, looked up by the caller, that must be true."""
        if not fact:
            raise Failed(f"NOT TRUE: {text}")
        self.proved += 1
        print(f"    \033[32mproved:\033[0m {text}", flush=True)

    def command(self, host, argv, expect=0, show=True, timeout=600):
        """Run a command in a host as an operator would, and show what it printed."""
        print(f"    \033[36m{host.name}#\033[0m {shlex.join(argv)}", flush=True)
        begun = time.monotonic()
        done = host.run(argv, check=False, timeout=timeout)
        # What a terminal shows: progress first, and then what it has come to.
        text = (done.stderr + done.stdout).rstrip()
        if show and text:
            print("\n".join(f"      {line}" for line in text.splitlines()))
        print(f"      (exit status {done.returncode}, {time.monotonic() - begun:.1f} s)", flush=True)
        if expect is not None and (done.returncode == 0) != (expect == 0):
            raise Failed(f"{shlex.join(argv)} on {host.name} exited with {done.returncode}.\n{text}")
        return done.stdout

    def boot(self):
        """Make the lab anew, and switch all its hosts on."""
        self.site.down()
        self.site.up()
        for host in self.site.hosts:
            self.say(f"{host.name:7} {host.address():12} boot {host.boot_id()}")

    def set_up(self, pair, show=True):
        """Have both masters know the modules, and a pair adopted and started, once and for good."""
        for host in (self.salt1, self.salt2):
            self.command(host, ["salt-run", "saltutil.sync_all"], show=False)
        self.command(self.salt1, ["salt-run", "pair.check"])
        for what in ("adopt", "boot"):
            self.orchestrate(self.salt1, what, f"{{pair: {pair}}}", show=show, timeout=1200)

    def orchestrate(self, host, what, pillar, **terms):
        """Run an orchestration on a master, and show what it says."""
        words = ["salt-run", "state.orch", f"orch.{what}", f"pillar={pillar}"]
        return self.command(host, words, **terms)

    def page(self, host, of, name):
        """
        Leave the page of a run, or of a pair, on this machine.

        host
            A master.

        of
            Id of the run, or name of the pair.

        name
            Of the file, without its end.

        Returns its path. Raises ``Failed`` when what the master printed is no page.
        """
        argv = ["salt-run", "pair.report", of]
        place = self._pages / f"{name}.html"
        print(f"    \033[36m{host.name}#\033[0m {shlex.join(argv)} > {place.name}", flush=True)
        text = host.run(argv, timeout=120).stdout
        if not (text.startswith("<!DOCTYPE html>") and text.endswith("</html>\n")):
            raise Failed(f"{shlex.join(argv)} on {host.name} printed no page:\n{text[:500]}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place


def told(lab, site, chapters):
    """
    Tell a story in a fresh lab, which is left up. Returns an exit status.

    chapters
        Function that tells the story it is given, and raises ``Failed`` when a fact is none.
    """
    story = Story(lab, site)
    first = story.site.hosts[0].name
    try:
        chapters(story)
    except Failed as problem:
        print(f"\n\033[31m{problem}\033[0m")
        print(f"The lab is left as it is: make shell LAB={lab} HOST={first}")
        return 1
    story.chapter("The end")
    story.say(f"{story.proved} facts proved in {time.monotonic() - story.begun:.0f} s. The lab is up:")
    which = "" if lab == "failback" else f" LAB={lab}"
    story.say(f"make shell{which} HOST={first}".ljust(36) + "a shell in a host")
    story.say(f"make lab-down{which}".ljust(36) + "removes all of it")
    return 0
