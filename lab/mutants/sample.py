"""Which mutants a run tries, and what its outcomes say. Pure."""

import collections
import dataclasses
import random

from lab.mutants import sites

#: Kinds of code, by what a path begins with; the first that fits. The goals are shares of killed mutants.
KINDS = (
    ("pure", 0.98, ("salt/_utils/failback/decisions/", "salt/_utils/failback/pillar/")),
    ("I/O", 0.92, ("salt/_utils/failback/",)),
    ("modules, states, runner", 0.90, ("salt/",)),
)
#: What became of one. A test failed; none ended in time; every one passed; none executes the line.
KILLED, TOO_LONG, SURVIVED, UNSEEN = "killed", "too long", "survived", "no test executes it"
#: These count as killed: a suite that never ends is seen.
DEAD = (KILLED, TOO_LONG)


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A file of the tree, and one thing in it that is wrong."""

    path: str
    site: sites.Site
    described: str

    @property
    def name(self):
        """``salt/…/lock.py:97 Lock.release: old → new``"""
        return f"{self.path}:{self.site.line} {self.site.function or 'module'}: {self.described}"

    @property
    def key(self):
        """The same without the line: what the list of equivalent mutants has."""
        return (self.path.removeprefix("salt/"), self.site.function or "module", self.described)


def draw(sources, number, seed, equivalent=()):
    """
    Draw mutants at random, each with the same chance.

    sources
        Text by path.

    number
        How many; all if there are fewer, or if it is None.

    equivalent
        Keys of mutants that change nothing: they are not drawn.

    Returns a list of :class:`Mutant`, by path and place. The same seed and the same sources give the same.
    """
    found = [(path, site) for path, text in sorted(sources.items()) for site in sites.of(text)]
    random.Random(seed).shuffle(found)
    drawn = []
    for path, site in found:
        if number is not None and len(drawn) == number:
            break
        mutant = Mutant(path, site, site.described(sources[path]))
        if mutant.key not in equivalent and site.is_valid(sources[path]):
            drawn.append(mutant)
    return sorted(drawn, key=lambda one: (one.path, one.site.start, one.site.new))


def equivalent(text):
    """
    The list of mutants that change nothing, from its file.

    Each entry is two lines: ``path | function | old → new``, and, indented, why no test can see it. Lines
    that begin with ``#`` are comments.

    Returns the reason by key. Raises ``ValueError`` for an entry without a reason.
    """
    found, key = {}, None
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace():
            if key is None:
                raise ValueError(f"a reason without a mutant: {line.strip()}")
            found[key] = f"{found[key]} {line.strip()}".strip()
            continue
        if key is not None and not found[key]:
            raise ValueError(f"no reason is given for {' | '.join(key)}")
        parts = tuple(part.strip() for part in line.split(" | ", 2))
        if len(parts) != 3:
            raise ValueError(f"not 'path | function | old → new': {line}")
        key = parts
        found[key] = ""
    if key is not None and not found[key]:
        raise ValueError(f"no reason is given for {' | '.join(key)}")
    return found


def kind(path):
    """The name of the kind of code that a path is."""
    return next(name for name, _, begins in KINDS if path.startswith(begins))


def table(outcomes):
    """
    The rates, as lines of text.

    outcomes
        List of ``(mutant, outcome)``.
    """
    by_kind, by_module = collections.defaultdict(list), collections.defaultdict(list)
    for mutant, outcome in outcomes:
        by_kind[kind(mutant.path)].append(outcome in DEAD)
        by_module[mutant.path].append(outcome in DEAD)
    lines = []
    for name, goal, _ in KINDS:
        dead = by_kind.get(name, [])
        if dead:
            lines.append(f"{name:24} {_rate(dead)}, goal {goal:.0%}")
    lines.append("")
    for path, dead in sorted(by_module.items(), key=lambda one: (sum(one[1]) / len(one[1]), one[0])):
        lines.append(f"  {_rate(dead)}  {path}")
    return lines


def _rate(dead):
    return f"{sum(dead):4} of {len(dead):4} killed ({sum(dead) / len(dead):6.1%})"


def survivors(outcomes):
    """Those that no test saw, as lines of text."""
    return [f"{outcome}: {mutant.name}" for mutant, outcome in outcomes if outcome not in DEAD]


def good_enough(outcomes):
    """Whether each kind of code that was tried reaches its goal."""
    for name, goal, _ in KINDS:
        dead = [outcome in DEAD for mutant, outcome in outcomes if kind(mutant.path) == name]
        if dead and sum(dead) / len(dead) < goal:
            return False
    return True
