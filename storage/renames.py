"""A rename that takes no name away from another file, in one step of the kernel."""

from __future__ import annotations

import errno
import functools
import os
from typing import Any, Final

__all__ = ["rename_no_replace"]

_HERE: Final = -100  # AT_FDCWD
_NO_REPLACE: Final = 1


def rename_no_replace(temporary: str, path: str) -> bool:
    """Rename unless `path` exists, in one step of the kernel. False: it exists.

    Raises:
        OSError: EINVAL or ENOSYS where neither kernel nor file system know how.
    """
    import ctypes  # 2 ms that most programs have no use for

    rename = _renameat2()
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), path)
    if rename(_HERE, os.fsencode(temporary), _HERE, os.fsencode(path), _NO_REPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    raise OSError(number, os.strerror(number), path)


@functools.cache
def _renameat2() -> Any:
    import ctypes

    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
