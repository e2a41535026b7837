"""SIGTERM, as a cluster sends it before it takes a machine: noted, and acted on where it does no harm."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def sigterm() -> Iterator[Callable[[], bool]]:
    """While open, SIGTERM does nothing but make the yielded function return True.

    Outside the main thread, where Python allows no handler, the signal keeps its effect.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: noted.set())
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
