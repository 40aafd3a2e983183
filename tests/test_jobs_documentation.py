"""What `docs/how-to/jobs.md` shows is what the program reads: its config file, options and exit statuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from smarty_async.cli import app
from smarty_async.cli.command import read_config
from smarty_async.cli.errors import Exit

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "jobs.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="needs the documentation beside the tests")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def commands() -> Any:
    return get_command(app).commands  # type: ignore[attr-defined] # the program is a group


def test_the_config_file_is_read(tmp_path: Path) -> None:
    [text] = blocks("toml")
    path = tmp_path / "smarty-async.toml"
    path.write_text(text)
    settings = read_config(path, commands())["improve"]
    assert settings["max_cost_total"] == 5000
    assert not settings.get("as_json"), "cron would send a mail every night"


def test_every_option_exists() -> None:
    named = {option for block in blocks("(?:console|ini)") for option in re.findall(r"(--[a-z-]+)", block)}
    known = {option for command in commands().values() for parameter in command.params for option in parameter.opts}
    assert named - known <= {"--rm", "--user", "--stop-timeout", "--now", "--config", "--out"}


def test_every_exit_status_is_listed() -> None:
    listed = {int(status) for status in re.findall(r"^\| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)}
    assert listed == {int(status) for status in Exit}


def test_the_image_runs_as_nobody_and_holds_no_secret() -> None:
    lines = (PAGE.parent.parent.parent / "Dockerfile").read_text(encoding="utf-8").splitlines()
    [user] = [line for line in lines if line.startswith("USER ")]
    assert "root" not in user
    assert user != "USER 0"
    assert not [line for line in lines if "SMARTY_" in line]
