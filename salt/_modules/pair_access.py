"""
How the two nodes of a pair reach each other: keys, and what highstate writes of them for SSH.

Functions of the module ``pair``, by its virtual name; highstate and ``orch.adopt`` call them.

.. code-block:: bash

    salt 'salt1' pair.reaches_peer salt
"""

import salt_errors
from failback.decisions import roles
from failback.host import login_shell
from failback.pair import Member
from failback.peer import key_file as key_files
from failback.peer import ssh
from failback.peer import trust as trusts
from failback.pillar import pairs
from salt_node import member as _member
from salt_node import paths as _paths

__virtualname__ = "pair"


def __virtual__():
    return __virtualname__


@salt_errors.translated
def _own_pairs():
    """This node's pairs as the pillar has them, normalised, by name. Raises ``CommandExecutionError``."""
    return pairs.of_node(__pillar__.get("pairs") or {}, __opts__["id"])


@salt_errors.translated
def identity():
    """
    Show how the other node of a pair can recognise this one.

    Returns ``{"public_key": str, "host_keys": [str, …], "addresses": [str, …]}``: the pair's own public key
    (made by highstate), sshd's host keys, and the addresses from which this node may connect. Raises
    ``CommandExecutionError`` when one of the keys is missing.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.identity
    """
    return trusts.identity(_paths())


@salt_errors.translated
def trust(pair, public_key, host_keys, addresses=None):
    """
    Remember how to recognise the other node of a pair; highstate lets it in from then on.

    pair
        Name of the pair.

    public_key, host_keys, addresses
        What ``pair.identity`` said on the other node.

    Returns True when this was news, False when it was known.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.trust salt 'ssh-ed25519 AAAA…' '[ssh-ed25519 AAAA…]'
    """
    return trusts.remember(Member(pair, _paths()), public_key, host_keys, addresses)


@salt_errors.translated
def trusted():
    """
    List what this node knows of its peers.

    Returns ``{pair: {"public_key": …, "host_keys": […]}}``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.trusted
    """
    return trusts.known(_paths())


@salt_errors.translated
def reaches_peer(pair):
    """
    Prove that this node reaches the other one with the pair's key.

    pair
        Name of the pair.

    Returns the id of the node that answered. Raises ``CommandExecutionError``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.reaches_peer salt
    """
    return ssh.report(_member(pair))["node"]


@salt_errors.translated
def has_key():
    """
    Say whether this node has its key for pairs.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.has_key
    """
    return trusts.has_key(_paths())


@salt_errors.translated
def make_key():
    """
    Make this node's key for pairs. Returns its public half; an existing key is never replaced.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.make_key
    """
    return trusts.make_key(_paths(), __opts__["id"])


@salt_errors.translated
def known_hosts():
    """
    Render known_hosts for the peers that this node was told of.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.known_hosts
    """
    return trusts.known_hosts(_peers(), trusted())


@salt_errors.translated
def authorized_keys():
    """
    Render the lines of authorized_keys that let each peer ask for the verbs of ``failback.peer_requests``,
    and for nothing else.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.authorized_keys
    """
    floating = {name: [each["address"] for each in one["floating_ips"]] for name, one in _own_pairs().items()}
    return trusts.authorized_keys(_peers(), trusted(), trusts.program(_paths(), ssh_user()), floating)


@salt_errors.translated
def ssh_user():
    """
    Name the account of this node with which the other node of its pair logs in.

    Returns ``root``, unless the pillar has an ``ssh_user``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.ssh_user
    """
    return next((roles.ssh_user(roles.own(one)) for one in _own_pairs().values()), roles.ROOT)


@salt_errors.translated
def sudo_rules():
    """
    Render the rules of sudo that let ``ssh_user`` become root for the verbs of a peer, and for nothing else.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.sudo_rules
    """
    return trusts.sudo_rules(_own_pairs(), trusts.program(_paths()), ssh_user())


@salt_errors.translated
def former_key_files(of_root, now=None):
    """
    List the files of authorized keys that let the other node in and need not any more.

    of_root
        Root's, as the distribution has it.

    now
        The one in use.

    Returns a list of ``{"file": path, "account": name}``: of ``of_root``, and of the file of the account that
    the rules of sudo name, those that have Failback's block and are not ``now``. One that root does not read,
    such as a link in the home of an account, is listed too.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.former_key_files /root/.ssh/authorized_keys
    """
    rules = _paths().sudo_rules
    account = trusts.sudo_user(rules.read_text()) if rules.exists() else None
    found = {of_root: roles.ROOT, **({key_files.of_account(account): account} if account else {})}
    return [
        {"file": file, "account": account}
        for file, account in found.items()
        if file != now and key_files.has_block(file, account)
    ]


@salt_errors.translated
def key_file(account):
    """
    Name the file in which sshd looks up the keys of an account other than root, as it is by default.

    account
        Its name. One that is not there yet will have its home in ``/home``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.key_file failback
    """
    return key_files.of_account(account)


@salt_errors.translated
def write_keys(file, account, lines, test=False):
    """
    Keep some lines between Failback's marks in a file of authorized keys; all else in it stays.

    The file is made if it is not there, and gets the mode that sshd needs. In the home of an account no link
    is followed.

    file
        Its path.

    account
        Whose keys they are: ``root``, or the account in whose home the file is.

    lines
        Text, one key a line, as ``pair.authorized_keys`` renders them.

    test
        Say what would change, and change nothing.

    Returns what changed, ``{"keys": {"old": …, "new": …}, "mode": {"old": …, "new": …}}``; empty where all is
    well. Raises ``CommandExecutionError``, naming what is in the way.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.write_keys /root/.ssh/authorized_keys root 'restrict ssh-ed25519 AAAA…' test=True
    """
    return key_files.write(file, account, lines, test)


@salt_errors.translated
def remove_keys(file, account, test=False):
    """
    Let no key be between Failback's marks in a file of authorized keys; all else in it stays.

    file
        Its path.

    account
        Whose keys they are: ``root``, or the account in whose home the file is.

    test
        Say what would change, and change nothing.

    Returns what changed, ``{"keys": {"old": …, "new": ""}}``; empty where there is none. Raises
    ``CommandExecutionError``, naming what is in the way.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.remove_keys /root/.ssh/authorized_keys root test=True
    """
    return key_files.remove(file, account, test)


@salt_errors.translated
def shell_noise():
    """
    Find out whether the shell of ``ssh_user`` prints something when sshd starts it for a command.

    Returns a sentence with the line and the file likely to blame; None for a shell that keeps silent. Raises
    ``CommandExecutionError`` for one that cannot be started or does not end.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.shell_noise
    """
    user = ssh_user()
    found = login_shell.noise(user)
    return login_shell.sentence(found, __opts__["id"], user) if found else None


@salt_errors.translated
def ssh_config():
    """
    Render the SSH client's configuration for this node's peers.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.ssh_config
    """
    return ssh.client_config(list(_peers().values()), _paths())


def _peers():
    """The other node of each of this node's pairs, from pillar."""
    return {name: roles.peer(one) for name, one in _own_pairs().items()}
