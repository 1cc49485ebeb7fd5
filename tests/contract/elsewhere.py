"""An fsspec filesystem that tracker knows nothing of. Importing this registers it as elsewhere://."""

import fsspec
from fsspec.implementations.local import LocalFileSystem


class ElsewhereFileSystem(LocalFileSystem):
    """Directories of this machine under another name; nothing is exclusive, and nothing but rename is atomic."""

    protocol = ("elsewhere", "sftp")  # as sftp, so that files are renamed into place

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(path).removeprefix("elsewhere://").rstrip("/")


fsspec.register_implementation("elsewhere", ElsewhereFileSystem, clobber=True)
