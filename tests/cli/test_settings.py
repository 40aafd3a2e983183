"""Options from the environment and the config file, help in groups, and what may be left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.archives import sent, tree
from support.fake_service import FakeService
from support.program import invoke, out, photos, run, service
from typer.main import get_command
from typer.testing import CliRunner

from smarty_async import account
from smarty_async.cli import app
from smarty_async.cli.command import read_config, unknown_variables
from smarty_async.cli.improve_options import default_out
from smarty_async.errors import ConfigurationError, OptionsError

__all__ = ["out", "photos", "service"]  # fixtures

GROUPS = ["What to restore", "Results", "Spending", "Which photos", "The service", "Limits", "Output"]


def commands() -> Any:
    return get_command(app).commands  # type: ignore[attr-defined] # the program is a group


def help_of(*args: str) -> str:
    result = CliRunner().invoke(app, [*args])
    assert result.exit_code == 0, result.output
    return result.output


def test_options_are_in_named_groups() -> None:
    text = help_of("improve", "-h")
    places = [text.index(f"\n{group}:") for group in GROUPS]
    assert places == sorted(places)


@pytest.mark.parametrize("args", [("improve", "--help"), ("help", "improve")])
def test_help_works_everywhere(args: tuple[str, ...]) -> None:
    assert help_of(*args).endswith(help_of("improve", "-h").partition("\n")[2])


@pytest.mark.parametrize("command", ["improve", "view", "album", "status", "check", "serve", "bench"])
def test_no_word_is_broken_at_80_columns(command: str) -> None:
    lines = help_of(command, "-h").splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if re.search(r"\w-$", line)] == []


async def test_a_mistyped_variable_is_named_and_its_value_not_shown() -> None:
    ended = await run("status", "nowhere", SMARTY_MAX_COSTS="s3cret")
    assert "SMARTY_MAX_COSTS is set, which is not one of this program's variables" in ended.err
    assert "did you mean 'SMARTY_MAX_COST'?" in ended.err
    assert "s3cret" not in ended.err


def test_every_variable_that_is_read_is_known() -> None:
    of_account = set(re.findall(r"SMARTY_[A-Z_]+", Path(account.__file__).read_text(encoding="utf-8")))
    assert len(of_account) == 7
    assert unknown_variables({*of_account, "SMARTY_CONFIG", "SMARTY_ENGINE", "SMARTY_MAX_COST"}, commands()) == []
    assert len(unknown_variables({"SMARTY_REFRESH_TOKEN", "SMARTY_", "OTHER"}, commands())) == 2


def test_the_list_of_commands_is_whole_sentences() -> None:
    lines = help_of("-h").partition("Commands:\n")[2].split("\n\n")[0].strip("\n").splitlines()
    lines = [line for line in lines if not line.startswith("  help ")]  # hidden, which typer 0.26.0 takes no notice of
    assert len(lines) == 7
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


def test_where_config_files_are_read_is_in_the_help() -> None:
    assert "smarty-async.toml" in " ".join(help_of("help").split())


def test_help_for_a_command_that_is_not_there() -> None:
    result = CliRunner().invoke(app, ["help", "restore"])
    assert result.exit_code == 2
    assert "there is no command 'restore'. The commands are: improve, view, album, " in result.output


class TestConfigFile:
    def test_keys_are_the_long_names(self, tmp_path: Path) -> None:
        path = tmp_path / "c.toml"
        path.write_text('max-cost = 50\nquiet = true\n[improve]\nmode = ["improve"]\n[serve]\nport = 0\n')
        defaults = read_config(path, commands())
        assert defaults["improve"] == {"max_cost": 50, "quiet": True, "mode": ["improve"]}
        assert defaults["serve"] == {"port": 0}

    def test_values_may_be_written_in_any_form_that_is_clear(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", "/home/me")
        monkeypatch.setenv("USERPROFILE", "/home/me")
        path = tmp_path / "c.toml"
        lines = ('mode = "improve"', 'exclude = "~*.jpg"', 'outputs = ["improved", "resolved"]', 'out = "~/restored"')
        path.write_text("\n".join(lines))
        assert read_config(path, commands())["improve"] == {
            "mode": ["improve"],
            "exclude": ["~*.jpg"],
            "outputs": "improved,resolved",
            "out": "/home/me/restored",
        }

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('out = ["a", "b"]', r"c.toml' sets 'out' to a list: it takes one value"),
            ("out = 5", r"c.toml' sets 'out' to 5: it takes a text"),
            ("max-cost = {a = 1}", "sets 'max-cost' to {'a': 1}: it takes a number"),
            ("fit = 1", "sets 'fit' to 1: it takes true or false"),
            ('include = [["a"]]', r"sets 'include' to \['a'\]: it takes a text"),
            ("concurrency = 2.5", "sets 'concurrency' to 2.5: it takes a whole number"),
            ("max-costs = 1", "sets 'max-costs', which is not an option: did you mean 'max-cost'"),
            ("[improve]\nport = 1", r"sets 'port' in the section \[improve\], which is not an option of improve"),
            ("[impruve]\nfit = true", r"has a section \[impruve\], which is not a command: did you mean 'improve'"),
            ('token = "s3cret"', "holds 'token': put secrets into the environment"),
            ("max-cost", "is not valid TOML"),
        ],
    )
    def test_what_cannot_be_used_is_named(self, tmp_path: Path, text: str, message: str) -> None:
        path = tmp_path / "c.toml"
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=message) as caught:
            read_config(path, commands())
        assert "s3cret" not in str(caught.value)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="cannot read the config file"):
            read_config(tmp_path / "none.toml", commands())

    def test_the_environment_may_name_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SMARTY_CONFIG", str(tmp_path / "none.toml"))
        ended = invoke("check")
        assert ended.status == 3
        assert f"cannot read the config file {str(tmp_path / 'none.toml')!r}" in ended.err

    @pytest.mark.parametrize(("file", "args"), [("c.toml", ("--config", "c.toml")), ("smarty-async.toml", ())])
    def test_a_value_that_cannot_be_used_is_named_with_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, args: tuple[str, ...]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path(file).write_text('[improve]\nmax-cost = "much"\n')
        ended = invoke(*args, "improve", "scans")
        assert ended.status == 2
        assert f"'max-cost' in the config file '{file}': 'much' is not a number." in " ".join(ended.err.split())

    @pytest.mark.slow
    async def test_it_sets_defaults_and_the_command_line_goes_first(
        self, tmp_path: Path, photos: Path, out: Path, service: FakeService
    ) -> None:
        config = tmp_path / "c.toml"
        config.write_text(f'base-url = "{service.url}"\nmax-photos = 1\njson = true\n')
        ended = await run("--config", config, "improve", photos, "--out", out)
        assert len(ended.results) == 1
        ended = await run("--config", config, "improve", photos, "--out", out, "--max-photos", "3")
        assert ended.status == 0
        assert len(ended.results) == 3


async def test_every_option_can_be_set_in_the_environment(photos: Path, out: Path, service: FakeService) -> None:
    ended = await run(
        "improve", photos, "--base-url", service.url, SMARTY_MAX_PHOTOS="1", SMARTY_JSON="1", SMARTY_OUT=str(out)
    )
    assert len(ended.results) == 1
    assert (out / "improved").is_dir()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SMARTY_MAX_COST", "much", "'much' is not a number."),
        ("SMARTY_CHAIN", "maybe", "'maybe' is neither true nor false."),
        ("SMARTY_RTYPE", "better", "'better' is not one of 'art', 'photo'."),
    ],
)
def test_a_value_of_the_environment_that_cannot_be_used_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    ended = invoke("improve", "scans")
    assert ended.status == 2
    assert f"Invalid value for the variable {name}: {message}" in " ".join(ended.err.split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--port", "web"), "'--port': 'web' is not a whole number."),
        (("--port", "99999"), "'--port': 99999 is not between 0 and 65535."),
        (("--workers", "0"), "'--workers': 0 is not at least 1."),
        (("--drop", "2"), "'--drop': 2 is not between 0 and 1."),
    ],
)
def test_why_a_value_cannot_be_used_is_said_in_words(args: tuple[str, ...], message: str) -> None:
    ended = invoke("serve", *args)
    assert ended.status == 2
    assert f"Invalid value for {message}" in " ".join(ended.err.split())


class TestDefaultOut:
    def test_it_lies_beside_the_only_source(self, tmp_path: Path) -> None:
        (tmp_path / "a.b").mkdir()
        (tmp_path / "c.jpg").touch()
        assert default_out((str(tmp_path / "a.b"),)) == str(tmp_path / "a.b-restored")
        assert default_out((str(tmp_path / "c.jpg"),)) == str(tmp_path / "c-restored")

    def test_with_several_sources_it_must_be_given(self, tmp_path: Path) -> None:
        for sources in ((str(tmp_path), str(tmp_path)), (), (str(tmp_path / "*.jpg"),)):
            with pytest.raises(OptionsError, match="--out DIR"):
                default_out(sources)
        with pytest.raises(OptionsError, match=r"--out DIR .*there is nothing beside '/'"):
            default_out(("/",))
        with pytest.raises(OptionsError, match=r"there is no '.*gone': check the path"):
            default_out((str(tmp_path / "gone"),))

    @pytest.mark.slow
    async def test_it_is_said_first(self, photos: Path, service: FakeService) -> None:
        ended = await run("improve", photos, "--base-url", service.url)
        assert ended.status == 0
        assert ended.err.splitlines()[0] == f"The results go to {photos}-restored."
        assert (photos.with_name("photos-restored") / "improved" / "0.jpg").is_file()


@pytest.mark.slow
async def test_a_spend_limit_ends_with_6_also_when_quiet(photos: Path, out: Path, service: FakeService) -> None:
    ended = await run("improve", photos, "--out", out, "--base-url", service.url, "--max-photos", "2", "--quiet")
    assert ended.status == 6
    assert "1 photo" in ended.err.splitlines()[-1]
    assert "limit" in ended.err.splitlines()[-1]


@pytest.mark.slow
async def test_only_some_kinds_are_kept(photos: Path, out: Path, service: FakeService) -> None:
    ended = await run("improve", photos, "-o", out, "--base-url", service.url, "--outputs", "improved,resolved")
    assert ended.status == 0
    assert {path.parts[0] for path in map(Path, tree(out))} == {"improved"}
    photos_sent = len(sent(service))
    for options in ((), ("--dry-run",)):
        again = await run("improve", photos, "-o", out, "--base-url", service.url, "--outputs", "colorized", *options)
        assert again.status == 0
        assert f"{photos_sent} finished photos have no colorized: an earlier run" in again.err + again.out
    assert len(sent(service)) == photos_sent
    ended = await run("improve", photos, "-o", out, "--base-url", service.url, "--outputs", "better")
    assert ended.status == 2
    assert "outputs must be some of improved" in ended.err
