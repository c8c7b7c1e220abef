"""Read by Python at its start: fal's host names lead to SERVED_AT, as DNS and a port-forward would make them. Names and
certificates are checked as ever; the client knows nothing of it.
"""

import os
import re
import socket

resolve = socket.getaddrinfo


def resolve_fals(host, port, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if name and re.search(r"(^|\.)(fal\.run|fal\.ai|fal\.media)$", name):
        served, at = os.environ["SERVED_AT"].rsplit(":", 1)
        return resolve(served, int(at), *args, **kwargs)
    return resolve(host, port, *args, **kwargs)


socket.getaddrinfo = resolve_fals
