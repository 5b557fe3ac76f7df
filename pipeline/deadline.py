"""An end to a conversation over a socket, however slowly the other side goes on talking."""

import contextlib
import socket
import threading


class Deadline:
    """Ends a conversation after so many seconds; a socket's time-out begins anew at each octet.

    Used as a context manager, around the conversation; `sock` is what is cut, as soon as there is
    one. `over` says that it was.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.sock: socket.socket | None = None
        self.over = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()

    def named(self, error: Exception, *, told: bool = True) -> str:
        """Why a conversation ended, as the end of a sentence.

        Without `told` an error's own words are left out, as they may repeat what was being sent;
        those of the operating system never do.
        """
        if self.over or isinstance(error, TimeoutError):
            return f"no whole answer within {self.seconds:g} seconds."
        own = str(error) if told else ""
        words = getattr(error, "strerror", None) or own or type(error).__name__
        return f"{words.rstrip('.')}."

    def _end(self) -> None:
        self.over = True
        if self.sock is not None:
            with contextlib.suppress(OSError):
                # Not SSL's own shutdown, which is no business of another thread.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
