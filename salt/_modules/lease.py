"""
Certificates of the members of etcd that grant the leases of pairs, and of the nodes that ask them.

``orch.lease`` calls these, one after the other. What a lease is: docs/protocol.md.

.. code-block:: bash

    salt 'salt1' lease.status salt
"""

import salt_errors
from failback.host.paths import Paths
from failback.lease import certificates
from failback.lease import right
from failback.pair import Member

__virtualname__ = "lease"


def __virtual__():
    return __virtualname__


def _paths():
    return Paths(__opts__.get("failback_root", "/"))


@salt_errors.translated
def request(part, anew=False):
    """
    Make a request for a certificate of this host. Its private key stays here.

    part
        ``member`` or ``client``.

    anew
        Also when the certificate that it has is good for long enough.

    Returns the request, or None when none is needed.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' lease.request client
    """
    return certificates.request(_paths(), part, anew)


@salt_errors.translated
def install(part, certificate, authority):
    """
    Keep a certificate of this host that the master has signed.

    part
        ``member`` for a host on which highstate sets up etcd, ``client`` for a node that asks it.

    certificate, authority
        The signed certificate, and that of the authority.

    Returns True when this changed something.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' lease.install client '-----BEGIN CERTIFICATE-----…' '-----BEGIN CERTIFICATE-----…'
    """
    return certificates.install(_paths(), part, certificate, authority)


@salt_errors.translated
def answers(pair):
    """
    Ask the members of etcd for the lease of a pair, as this node's configuration names them.

    pair
        Name of the pair.

    Returns ``{"holder": …, "generation": …}``; no holder where nobody has had it yet. Raises
    ``CommandExecutionError`` when no majority answers.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' lease.answers salt
    """
    key = right.look(Member.load(pair, _paths())).key
    return {"holder": key.holder, "generation": key.generation}


@salt_errors.translated
def status(pair):
    """
    Say how things stand with the lease of a pair on this node.

    pair
        Name of the pair.

    Returns what ``lease`` is in ``pair.report``: ``serves_for``, ``source``, ``holder``, ``generation``,
    ``promised_for``, ``etcd_silent``, ``released`` and ``guard``; None where the pair has none.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' lease.status salt
    """
    return right.status(Member.load(pair, _paths()))
