"""The address of the Colab notebook that runs here (META-1).

Source: a Colab runtime sets COLAB_RELEASE_TAG and COLAB_JUPYTER_IP; its Jupyter server, on port 9000, names a notebook
of Google Drive `fileId=<id>` in the list of its sessions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["PORT", "colab_address"]

PORT: Final = 9000
_TIMEOUT_S: Final = 2.0
_BYTES_MAX: Final = 1 << 20


def colab_address(environ: Mapping[str, str], port: int = PORT) -> str | None:
    """None outside of Colab, and for a notebook that is not on a drive. Asks the local server; slow."""
    host = environ.get("COLAB_JUPYTER_IP")
    if "COLAB_RELEASE_TAG" not in environ or not host:
        return None
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://{host}:{port}/api/sessions", timeout=_TIMEOUT_S) as answer:
            return _address(json.loads(answer.read(_BYTES_MAX)))
    except (OSError, ValueError):
        return None


def _address(sessions: Any) -> str | None:
    for session in sessions if isinstance(sessions, list) else []:
        path = session.get("path") if isinstance(session, dict) else None
        if isinstance(path, str) and path.startswith("fileId="):
            return f"https://colab.research.google.com/notebook#{path}"
    return None
