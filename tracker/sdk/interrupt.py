"""Interrupting the training from another thread, as Ctrl-C does."""

from __future__ import annotations

import signal
import threading

__all__ = ["interrupt_main_thread"]


def interrupt_main_thread() -> None:
    """KeyboardInterrupt is raised in the main thread soon, or what handles SIGINT there is called.

    Where SIGINT is ignored (a shell's background job), the exception is raised all the same, at the main thread's next
    step in Python: a call that waits in C ends first.
    """
    main = threading.main_thread().ident
    if main is None:
        return
    if callable(signal.getsignal(signal.SIGINT)):
        signal.pthread_kill(main, signal.SIGINT)  # a true signal also ends a sleep
    else:
        import ctypes

        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(KeyboardInterrupt))
