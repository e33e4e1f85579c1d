"""A listening socket, and a thread that answers what connects: for what is tested without an event loop, or under several."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def accepting(answer: Callable[[socket.socket], None], path: Path | None = None) -> Iterator[int]:
    """The port of a server that gives the first connection to `answer`; or it listens at `path`."""
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as listening:
        listening.bind(str(path) if path else ("127.0.0.1", 0))
        listening.listen()

        def serve() -> None:
            with suppress(OSError), listening.accept()[0] as accepted:
                accepted.settimeout(5)
                answer(accepted)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield 0 if path else listening.getsockname()[1]
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join()
