"""The Compose file of `docs/how-to/cluster.md`: its command lines exist, and Dask knows its settings."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import dask.config
import distributed  # noqa: F401 - its settings
import pytest
from typer.main import get_command

from smarty_async.cli import app

PAGE = Path(__file__).parent.parent.parent / "docs" / "how-to" / "cluster.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="needs the documentation beside the tests")


@pytest.fixture
def compose() -> Any:
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return import_module("yaml").safe_load(text)  # without types


def parsed(command: Any, arguments: list[str]) -> dict[str, Any]:
    """What a command of click makes of its arguments; unknown ones are refused."""
    return dict(command.make_context(arguments[0], list(arguments[1:])).params)


def test_the_scheduler_and_the_workers_start(compose: Any) -> None:
    for service, words in (("scheduler", {"protocol": "tls"}), ("worker", {"nthreads": 16, "nanny": False})):
        program, *arguments = compose["services"][service]["entrypoint"]
        assert program == "dask"
        main = import_module(f"distributed.cli.dask_{arguments[0]}").main
        assert parsed(main, arguments).items() >= words.items()


def test_the_run_finds_the_scheduler_and_the_bucket(compose: Any) -> None:
    services = compose["services"]
    assert services["improve"]["entrypoint"] == ["smarty-async"]
    improve = get_command(app).commands["improve"]  # type: ignore[attr-defined] # the program is a group
    given = parsed(improve, services["improve"]["command"])
    assert given["scheduler"] == services["worker"]["entrypoint"][2] == "tls://scheduler:8786"
    assert (given["sources"], given["out"]) == (("s3://archive/scans",), "s3://archive/restored")
    mounted = {volume.split(":")[1] for volume in services["improve"]["volumes"]}
    assert str(given["state"]) in mounted
    assert services["improve"]["secrets"] == list(compose["secrets"])


def test_every_node_has_the_settings_that_dask_reads(compose: Any) -> None:
    for service in ("scheduler", "worker", "improve"):
        environment = compose["services"][service]["environment"]
        assert environment["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "true"
        for name in (key for key in environment if key.startswith("DASK_")):
            setting = name.removeprefix("DASK_").lower().replace("__", ".").replace("_", "-")
            dask.config.get(setting)  # raises KeyError where there is no such setting
        assert {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= environment.keys()
        assert "./certificates:/certificates:ro" in compose["services"][service]["volumes"]


def test_a_worker_has_the_time_that_the_page_promises(compose: Any) -> None:
    assert compose["services"]["worker"]["stop_grace_period"] == "5m"
    assert "terminationGracePeriodSeconds` of 300" in PAGE.read_text(encoding="utf-8")
