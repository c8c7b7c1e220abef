"""Limits the threaded WebSocket client of Python to TLS 1.2. Import it before a socket is opened.

That client reads in one thread and writes in another, which OpenSSL does not allow on one connection. In
TLS 1.3 a server sends session tickets after the handshake; the thread that reads them may lose the request
that the other thread writes at that moment, and the client waits for 90 seconds. TLS 1.2 sends nothing then.
"""

import ssl

from websockets.sync import client

connect = client.connect


def connect_by_tls_1_2(uri, **options):
    if uri.startswith("wss:"):
        context = ssl.create_default_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        options["ssl"] = context
    return connect(uri, **options)


client.connect = connect_by_tls_1_2
