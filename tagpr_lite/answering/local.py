"""The names of this machine that lead to nobody else."""
from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a name or an address, "localhost" or "127.0.0.2", leads to this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def names_this_machine(header: str) -> bool:
    """Whether a request's Host header, "LOCALHOST:8000" or "[::1]:8000", is such a name."""
    name, _, port = header.rpartition(":")
    if not name or not port.isdecimal():  # no port is named
        name = header
    return is_loopback(name.removeprefix("[").removesuffix("]"))
