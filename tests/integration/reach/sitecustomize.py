"""Read by Python at its start, from PYTHONPATH: fal's host names lead to 127.0.0.1 and REACH_PORT, as DNS and a port-forward
would make them. Names and certificates are checked as ever; the program itself knows nothing of it.
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
