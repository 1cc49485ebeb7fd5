"""Run one function of one benchmark in this interpreter: `python child.py bench_log steady PARAMS.json RESULT.json`.

Started by `interpreters.Bench`, once for each tracker, so that no tracker's modules, threads or memory are there when
another is measured. Result and parameters travel in files, because trackers print.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    module, function, params, result = sys.argv[1:]
    answer = getattr(importlib.import_module(module), function)(**json.loads(Path(params).read_text()))
    Path(result).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
