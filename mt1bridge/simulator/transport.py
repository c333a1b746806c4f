"""Ends of a connection that no library offers."""

import asyncio
import socket
import struct


def reset(transport: asyncio.Transport) -> None:
    """RST instead of FIN: the client sees "connection reset by peer"."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
