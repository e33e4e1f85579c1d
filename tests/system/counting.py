"""A next hop that counts, and a client that notes what got a 250: a plain load for tests of a server in a process of its own."""

from __future__ import annotations

import random
import re
import socket
import threading
import time

QUEUE_ID = re.compile(rb"\bid ([0-9a-z]{13})\b")


class CountingSink(threading.Thread):
    """Takes every message and notes its marker and queue id; slow enough now and then that a kill meets an open transaction."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: dict[bytes, list[str]] = {}  # the queue ids under which each marker came
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self._listening.getsockname()[1]

    def run(self) -> None:
        while True:
            client, _ = self._listening.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        rng = random.Random()
        try:
            client.sendall(b"220 sink\r\n")
            with client.makefile("rb") as lines:
                while line := lines.readline():
                    verb = line[:4].upper()
                    if verb == b"EHLO":
                        client.sendall(b"250-sink\r\n250 PIPELINING\r\n")
                    elif verb == b"DATA":
                        client.sendall(b"354 go\r\n")
                        marker = id = b""
                        while (text := lines.readline()) != b".\r\n":
                            if not text:
                                return
                            if text.startswith(b"X-Marker: "):
                                marker = text[10:].strip()
                            elif not id and (found := QUEUE_ID.search(text)):
                                id = found[1]
                        if rng.random() < 0.05:
                            time.sleep(0.02)
                        self.seen.setdefault(marker, []).append(id.decode())
                        client.sendall(b"250 taken\r\n")
                    else:
                        client.sendall(b"250 ok\r\n")
                        if verb == b"QUIT":
                            return
        except OSError:
            return
        finally:
            client.close()


def client(port: int, name: str, acknowledged: list[bytes], stop: threading.Event) -> None:
    """Send marked messages until the server is gone; remember those that got a 250."""
    number = 0
    while not stop.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as connection, connection.makefile("rb") as replies:
                replies.readline()
                connection.sendall(b"HELO c\r\n")
                replies.readline()
                while not stop.is_set():
                    number += 1
                    marker = f"{name}-{number}".encode()
                    filler = b"x" * 70 + b"\r\n"
                    body = b"X-Marker: " + marker + b"\r\n\r\n" + filler * (1200 if number % 40 == 0 else 10)
                    for command in (b"MAIL FROM:<a@example.net>\r\n", b"RCPT TO:<b@example.com>\r\n", b"DATA\r\n"):
                        connection.sendall(command)
                        replies.readline()
                    connection.sendall(body + b".\r\n")
                    reply = replies.readline()
                    if not reply:
                        break
                    if reply.startswith(b"250"):
                        acknowledged.append(marker)
        except OSError:
            time.sleep(0.01)
