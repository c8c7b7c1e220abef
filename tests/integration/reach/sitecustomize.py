"""Resolves fal's host names to 127.0.0.1 and REACH_PORT, as DNS and a port-forward would.

Python loads this file at its start, from PYTHONPATH. Names and certificates are checked as usual, and the
program itself is unchanged.
"""

import os
import re
import socket

resolve = socket.getaddrinfo


def resolve_fals(host, port, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if name and re.search(r"(^|\.)(fal\.run|falrun\.com|fal\.ai|fal\.media)$", name):
        return resolve("127.0.0.1", int(os.environ["REACH_PORT"]), *args, **kwargs)
    return resolve(host, port, *args, **kwargs)


socket.getaddrinfo = resolve_fals
