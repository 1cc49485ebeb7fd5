"""What is asked of the store, in words: texts that stand where the reference keeps those of its requests."""

from __future__ import annotations

from typing import ClassVar, Final

__all__ = ["FILES", "PROJECTS", "REPORTS", "RUNS", "ApiQuestions"]

RUNS: Final = """\
List <entity>/<project>/runs/, things/edits/ and manifests/; read the parts and packs that are new.
Fold their facts into runs. Of those that match `filters`, sorted by `order`: the next `perPage` behind `cursor`.
"""
FILES: Final = """\
Of the facts of one run, listed and read as runs are: those of kind `file`, by name; with `fileNames` only these.
Contents stay where they are, in <entity>/<project>/blobs/, until they are downloaded.
"""
PROJECTS: Final = """\
List the folders of <entity>/, then look at the next `perPage` behind `cursor`, by name: those that have runs/ or
packs/, or things/project/, are projects.
"""
REPORTS: Final = """\
List <entity>/<project>/things/report/ and read its parts. Fold their facts into reports.
Of those that are no drafts (with `viewName`: of this name or title), the last changed first.
"""


class ApiQuestions:
    """The texts of an Api."""

    CREATE_PROJECT: ClassVar[str] = """\
Put one fact file below <entity>/<project>/things/project/: that the project exists, since when, and who made it.
"""
    DEFAULT_ENTITY_QUERY: ClassVar[str] = """\
Ask nothing of the store: `entity` of the overrides, of login, of TRACKER_ENTITY, of the settings file; else `main`.
"""
    USERS_QUERY: ClassVar[str] = """\
List main/_entity/things/user/ and read its parts. Fold their facts into users: those whose name or e-mail has the
text in it, and whoever runs this process where the text is in theirs.
"""
    VIEWER_QUERY: ClassVar[str] = """\
List main/_entity/things/user/ and read its parts: the user whose key the Api has, else the one whom the settings
or the operating system name. Where there is no such record, what these tell of whoever runs this process.
"""
