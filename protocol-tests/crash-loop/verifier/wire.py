"""Requests to a broker written by hand, for what clients do not show: who wrote a batch, and the exact metadata of a committed
offset (librdkafka's Python hands on a byte behind its end)."""

import socket
import struct

TIMEOUT_SECONDS = 10


class Connection:
    """One request at a time; every version used here is in all brokers from 2.8 to 4.4."""

    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), TIMEOUT_SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, api_key, version, body):
        request = struct.pack(">hhi", api_key, version, 1) + text("crash-loop") + body
        self.socket.sendall(struct.pack(">i", len(request)) + request)
        answer = self.receive(struct.unpack(">i", self.receive(4))[0])
        return Answer(answer, 4)  # Behind the correlation.

    def receive(self, size):
        received = bytearray()
        while len(received) < size:
            part = self.socket.recv(size - len(received))
            if not part:
                raise ConnectionError("the broker closed the connection")
            received += part
        return bytes(received)


class Answer:
    """Reads an answer from front to back."""

    def __init__(self, data, at):
        self.data, self.at = data, at

    def take(self, format):
        values = struct.unpack_from(format, self.data, self.at)
        self.at += struct.calcsize(format)
        return values if len(values) > 1 else values[0]

    def bytes(self, size):
        self.at += max(size, 0)
        return self.data[self.at - max(size, 0) : self.at]

    def text(self):
        return self.bytes(self.take(">h")).decode()


def text(value):
    encoded = value.encode()
    return struct.pack(">h", len(encoded)) + encoded


def address(bootstrap):
    host, port = bootstrap.split(",")[0].rsplit(":", 1)
    return host, int(port)
