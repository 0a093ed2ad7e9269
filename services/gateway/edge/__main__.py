"""The edge: `python -m services.gateway.edge` renders its configuration and becomes Envoy.

With `--render FILE` it only writes the configuration, for an Envoy that is started elsewhere:
every path in it is one of the settings, and is read there. With `--validate` Envoy says whether
it takes the configuration.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from services.chassis.settings import EXIT_CONFIGURATION
from services.gateway.edge.bootstrap import bootstrap
from services.gateway.edge.settings import EdgeSettings
from services.gateway.edge.values import read_values


def main() -> None:
    """Render, and become Envoy; exits with 78 if the settings cannot work."""
    parser = argparse.ArgumentParser(prog="python -m services.gateway.edge", description=__doc__)
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--render", type=Path, metavar="FILE")
    only.add_argument("--validate", action="store_true")
    arguments = parser.parse_args()
    settings = EdgeSettings.from_environment()
    try:
        config = bootstrap(settings, read_values(settings.values_file))
    except (OSError, ValueError) as error:
        sys.exit(_cannot_work(error))
    rendered = json.dumps(config, ensure_ascii=False, separators=(",", ":")) + "\n"
    if arguments.render:
        arguments.render.write_text(rendered, encoding="utf-8")
        return
    settings.configuration_file.parent.mkdir(parents=True, exist_ok=True)
    settings.configuration_file.write_text(rendered, encoding="utf-8")
    _become_envoy(settings, ("--mode", "validate") if arguments.validate else ())


def _become_envoy(settings: EdgeSettings, mode: tuple[str, ...]) -> None:
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join((beside, os.environ.get("PATH", os.defpath)))
    envoy = shutil.which("envoy", path=path)
    if envoy is None:
        sys.exit(_cannot_work("there is no envoy, neither beside this Python nor on the PATH"))
    command = [
        envoy,
        "--config-path",
        str(settings.configuration_file),
        "--concurrency",
        str(settings.worker_threads),
        "--log-level",
        settings.log_level,
        # Several may run on one machine.
        "--disable-hot-restart",
        "--file-flush-interval-msec",
        "500",
        *mode,
    ]
    os.execv(envoy, command)  # noqa: S606 - the program that was just looked up


def _cannot_work(problem: object) -> int:
    print(f"the edge cannot start: {problem}", file=sys.stderr)  # noqa: T201
    return EXIT_CONFIGURATION


if __name__ == "__main__":
    main()
