"""The public query classes. Nothing is fetched before it is needed, and only calls that say so change anything."""

from tracker.apis.public.api import Api as Api
from tracker.apis.public.client import RetryingClient as RetryingClient
from tracker.apis.public.file import File as File
from tracker.apis.public.files import Files as Files
from tracker.apis.public.projects import Project as Project
from tracker.apis.public.projects import Projects as Projects
from tracker.apis.public.reports import BetaReport as BetaReport
from tracker.apis.public.reports import Reports as Reports
from tracker.apis.public.run import Run as Run
from tracker.apis.public.runs import Runs as Runs
from tracker.apis.public.teams import Member as Member
from tracker.apis.public.teams import Team as Team
from tracker.apis.public.users import User as User

__all__ = [
    "Api",
    "BetaReport",
    "File",
    "Files",
    "Member",
    "Project",
    "Projects",
    "Reports",
    "RetryingClient",
    "Run",
    "Runs",
    "Team",
    "User",
]
