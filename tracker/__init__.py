"""tracker: the experiment tracker with no server.

This file is a signboard. Names are loaded when they are first used; importing it loads nothing
heavy, reads no file and starts no thread.
"""

from __future__ import annotations

from time import time as _time

from tracker.sdk.preinit import PreInitCallable as _Call
from tracker.sdk.preinit import PreInitObject as _Object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tracker import apis as apis
    from tracker import env as env
    from tracker import errors as errors
    from tracker.apis.internal import InternalApi as InternalApi
    from tracker.apis.public import Api as Api
    from tracker.errors import CommError as CommError
    from tracker.errors import ConfigError as ConfigError
    from tracker.errors import Error as Error
    from tracker.errors import UnsupportedError as UnsupportedError
    from tracker.errors import UsageError as UsageError
    from tracker.sdk.alerts import AlertLevel as AlertLevel
    from tracker.sdk.config import Config as Config
    from tracker.sdk.graph import Graph as Graph
    from tracker.sdk.histogram import Histogram as Histogram
    from tracker.sdk.init import init as init
    from tracker.sdk.login import login as login
    from tracker.sdk.magics import load_ipython_extension as load_ipython_extension
    from tracker.sdk.require import require as require
    from tracker.sdk.restore import restore as restore
    from tracker.sdk.run import Run as Run
    from tracker.sdk.session import ensure_configured as ensure_configured
    from tracker.sdk.session import finish as finish
    from tracker.sdk.session import join as join
    from tracker.sdk.session import setup as setup
    from tracker.sdk.session import teardown as teardown
    from tracker.sdk.settings import Settings as Settings
    from tracker.sdk.termlog import termerror as termerror
    from tracker.sdk.termlog import termlog as termlog
    from tracker.sdk.termlog import termsetup as termsetup
    from tracker.sdk.termlog import termwarn as termwarn

__version__ = "0.1.0"

__all__ = [
    "Api",
    "Graph",
    "Histogram",
    "Settings",
    "__version__",
    "config",
    "define_metric",
    "finish",
    "init",
    "join",
    "log",
    "login",
    "run",
    "save",
    "setup",
    "summary",
    "unwatch",
    "watch",
]

START_TIME = _time()  # unix seconds, when tracker was first imported
patched: Any = {"tensorboard": [], "keras": [], "gym": []}  # of other libraries, by us

# bound to the active run by tracker.sdk.session
run: Any = None
alert: Any = _Call("alert")
define_metric: Any = _Call("define_metric")
log: Any = _Call("log")
mark_preempting: Any = _Call("mark_preempting")
save: Any = _Call("save")
unwatch: Any = _Call("unwatch")
watch: Any = _Call("watch")
config: Any = _Object("config")
summary: Any = _Object("summary")

_HOME = {
    "AlertLevel": "tracker.sdk.alerts",
    "Api": "tracker.apis.public",
    "CommError": "tracker.errors",
    "Config": "tracker.sdk.config",
    "ConfigError": "tracker.errors",
    "Error": "tracker.errors",
    "Graph": "tracker.sdk.graph",
    "Histogram": "tracker.sdk.histogram",
    "InternalApi": "tracker.apis.internal",
    "Run": "tracker.sdk.run",
    "Settings": "tracker.sdk.settings",
    "UnsupportedError": "tracker.errors",
    "UsageError": "tracker.errors",
    "ensure_configured": "tracker.sdk.session",
    "finish": "tracker.sdk.session",
    "load_ipython_extension": "tracker.sdk.magics",
    "init": "tracker.sdk.init",
    "join": "tracker.sdk.session",
    "login": "tracker.sdk.login",
    "require": "tracker.sdk.require",
    "restore": "tracker.sdk.restore",
    "setup": "tracker.sdk.session",
    "teardown": "tracker.sdk.session",
    "termerror": "tracker.sdk.termlog",
    "termlog": "tracker.sdk.termlog",
    "termsetup": "tracker.sdk.termlog",
    "termwarn": "tracker.sdk.termlog",
}
_MADE = {  # name: module, what is in it, and whether it is called
    "_attach": ("tracker.sdk.attach", "attach", False),
    "api": ("tracker.apis.internal", "InternalApi", True),
}
_MODULES = (
    "apis",
    "data_types",
    "env",
    "errors",
    "gym",
    "helper",
    "jupyter",
    "sdk",
    "tensorboard",
    "util",
    "wandb_run",
)
_NOT_YET = frozenset(  # names of the reference that this release does not have
    """
    Artifact ArtifactTTL Audio Classes Html Image JoinedTable Molecule Object3D Plotly
    Table Video agent box3d controller link_model log_artifact log_model plot plot_table
    sweep use_artifact use_model
    catboost docker integration keras lightgbm sacred sklearn tensorflow visualize xgboost
    """.split()  # noqa: SIM905 - a list of 33 quoted names reads worse
)


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    if name in _MADE:
        module, inside, is_called = _MADE[name]
        found = getattr(importlib.import_module(module), inside)
        globals()[name] = found() if is_called else found
        return globals()[name]
    if name in _MODULES:
        return importlib.import_module(f"tracker.{name}")
    if name in _NOT_YET:
        raise AttributeError(f"tracker {__version__} has no {name} yet. The README lists what is supported.")
    raise AttributeError(f"module 'tracker' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MADE, *_MODULES})
