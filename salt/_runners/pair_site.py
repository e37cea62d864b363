"""
Whether the pillar is right and fits the site, and the file of a first pair; functions of the runner
``pair``, by its virtual name.

.. code-block:: bash

    salt-run pair.check
    salt-run pair.new web web1 web2
"""

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

from failback.errors import FailbackError
from failback.pillar import check as pillar_check
from failback.pillar import draft
from failback.pillar import validate
from failback_master import minions
from failback_master import pillar_files
from failback_master import served
from failback_master import site
from failback_master.surface.command import bad
from failback_master.surface.command import command

__virtualname__ = "pair"


def __virtual__():
    return __virtualname__


@command
def check(*, ask=True):
    """
    Check the pillar of all pairs: the files by themselves, whether the site has what they name, and whether
    this master serves the files of this release and no others.

    Minions are asked for their interfaces, units and paths; one that has never had the modules of this tree
    gets them, and nothing else is changed.

    ask
        False: only the files, for a hook that must not wait for nodes.

    Returns a dict: ``problems``, each a sentence that names file, line, key, the value found and the value
    wanted; ``warnings``, the same of what does not fit the site; ``comment`` when the files are right. The
    exit status is not 0 when there are problems. A warning alone is not a failure: a node may be off.

    CLI Example:

    .. code-block:: bash

        salt-run pair.check
        salt-run pair.check ask=False
    """
    if not isinstance(ask, bool):
        raise SaltInvocationError(
            f"ask must be True or False, not {ask!r}. Usage: salt-run pair.check [ask=False]"
        )
    files = pillar_files.read(__opts__)
    slips = pillar_files.slips_of(files)
    pillar = __salt__["pillar.show_pillar"](__opts__["id"])
    wrong = pillar.get("_errors") if isinstance(pillar, dict) else [str(pillar)]
    if wrong:
        said = f"The pillar of {__opts__['id']} cannot be rendered: {' '.join(str(one) for one in wrong)}"
        return bad({"problems": [*slips, *pillar_files.broken(files), said]})
    pairs = pillar.get("pairs")
    if pairs is None and not slips:
        raise SaltInvocationError(_NO_PAIRS)
    problems = [*slips, *_sentences(pillar_check.problems(pairs), files), *served.problems(__opts__)]
    warnings = []
    if ask and isinstance(pairs, dict):
        try:
            found = site.warnings(__opts__, pairs, files, __salt__["pillar.show_pillar"])
            warnings = _sentences(found, files)
        except minions.NoMaster as error:
            warnings = [f"The site was not asked. {error}"]
    found = {"warnings": warnings} if warnings else {}
    if problems:
        return bad({"problems": problems, **found})
    right = f"{len(pairs)} pair{'' if len(pairs) == 1 else 's'}: the pillar is right."
    return {**found, "checked": right} if warnings else {"comment": right}


_NO_PAIRS = (
    "The pillar of this master has no pairs: pillar/top.sls must match '*_master', and its list must name a "
    "pair. The file of a first one: salt-run pair.new <pair> <primary> <secondary>"
)


def _sentences(found, files):
    """Problems or warnings as sentences, with the file and the line where these are known."""
    said = []
    for one in found:
        where = next((each for each in files if one["pair"] and one["pair"] in each.pairs), None)
        place = one.get("file") or f"pillar/pairs/{one['pair']}.sls"
        if where:
            line = where.line(one["pair"], one["key"])
            place = f"{where.name}, line {line}" if line else where.name
        said.append(pillar_check.sentence({**one, "file": place}))
    return said


@command
def new(pair=None, primary=None, secondary=None, address=None):
    """
    Print the pillar file of a new pair, from what its two nodes say of themselves. Nothing is written.

    pair
        Name of the pair.

    primary, secondary
        Minion ids. A new pair begins with the data of its primary.

    address
        The floating address, if it is to have one.

    Returns ``{"file": text}``, with the next steps as comments. Raises when a node does not answer, or when
    the two have no network in common.

    CLI Example:

    .. code-block:: bash

        salt-run pair.new web web1 web2
        salt-run pair.new web web1 web2 address=10.0.0.9
    """
    usage = "Usage: salt-run pair.new <pair> <primary> <secondary> [address=<address>]"
    if not all(isinstance(one, str) and one for one in (pair, primary, secondary)) or primary == secondary:
        raise SaltInvocationError(f"A name for the pair and the ids of two minions are needed. {usage}")
    config = {"primary": primary, "secondary": secondary}
    for path, found, wanted, _ in validate.violations(config):
        raise SaltInvocationError(f"{path[-1]}: found {found!r}, wanted {wanted}. {usage}")
    known = site.look(__opts__, [], more=(primary, secondary))
    for node in (primary, secondary):
        if node in known["errors"]:
            raise CommandExecutionError(known["errors"][node])
        if node not in known["facts"]:
            waits = (
                f"its key waits: salt-key --accept={node}"
                if node in known["waiting"]
                else "see salt-key --list=all"
            )
            raise CommandExecutionError(f"{node} is no minion whose key this master has accepted; {waits}")
    try:
        text = draft.draft(pair, [known["facts"][node] for node in (primary, secondary)], address)
    except FailbackError as error:
        raise CommandExecutionError(f"{error} Nothing was written. {usage}") from error
    return {"file": text}
