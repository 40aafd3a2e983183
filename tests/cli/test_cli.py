from __future__ import annotations

import asyncio
import errno
import inspect
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.fake_service import FakeService, drop, hold, http, items, until
from support.permissions import without_privileges
from support.pictures import faded, jpeg
from support.program import QUOTED, TOKEN, end_of, files_of, invoke, out, photos, posix, run, service, started

from smarty_async import errors
from smarty_async.__main__ import main
from smarty_async.account import Account, read_account
from smarty_async.cli.errors import Exit, error_boundary, sentences, status_of
from smarty_async.cli.improve import improve
from smarty_async.cli.improve_options import kinds, limits_for
from smarty_async.cli.output import Output
from smarty_async.cli.signals import Interrupts, _install_without_loop
from smarty_async.local.engine import best_engine
from smarty_async.local.memory import usable_memory
from smarty_async.options import BASE_URL, Limits, Retries, Timeouts

__all__ = ["out", "photos", "service"]  # fixtures

# ── help ─────────────────────────────────────────────────────────────────────────────────────────────────────────

OPTIONS = """--out --mode --rfactor --rtype --base-url --provider --path --local --concurrency --rate --max-images
--max-image-bytes --max-request-bytes --max-attempts --max-photos --max-cost --fit --include --exclude --from-file
--dry-run --retry-failed --json --quiet --verbose --no-progress --connect-timeout --silence-timeout --give-up-after"""


def test_help_names_every_option_and_none_takes_a_secret() -> None:
    ended = invoke("improve", "--help")
    assert ended.status == 0
    words = set(ended.out.split())
    assert set(OPTIONS.split()) <= words
    assert not {"--token", "--oauth-token", "--client-secret"} & words


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize("command", ["improve", "serve", "view"])
async def test_help_is_as_wide_as_the_terminal(command: str, columns: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "smarty_async", command, "--help"),
        env=os.environ | {"COLUMNS": str(columns)},
        cwd=Path(sys.executable).parent,
        stdout=subprocess.PIPE,
    )
    text = (await process.communicate())[0].decode()
    assert process.returncode == 0
    assert max(map(len, text.splitlines())) <= min(columns, 80)


def test_help_says_what_a_number_may_be_in_words() -> None:
    help_of = " ".join(invoke("serve", "--help").out.split())
    assert "[default: 8080; from 0 to 65535]" in help_of
    assert "[default: 0; from 0 to 1]" in help_of
    assert "[default: 1; at least 0]" in help_of
    assert "<=" not in help_of
    assert ">=" not in help_of
    assert "Address to listen on. [default: 127.0.0.1]" in help_of


async def test_help_loads_nothing_heavy() -> None:
    script = """
import sys
before = set(sys.modules)  # what measures coverage, say
from smarty_async.cli import app
try:
    app(["improve", "--help"])
except SystemExit:
    pass
heavy = {"aiohttp", "PIL", "sqlite3", "rich.progress", "msgspec", "tenacity"} & (set(sys.modules) - before)
assert not heavy, heavy
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_without_a_command_and_with_version() -> None:
    bare, version = await asyncio.gather(run(), run("--version"))
    assert "improve" in bare.out + bare.err
    assert version.status == 0
    assert version.out.startswith("smarty-async ")


def test_the_defaults_are_the_librarys() -> None:
    chosen = {name: parameter.default for name, parameter in inspect.signature(improve).parameters.items()}
    limits, retries, timeouts = Limits(), Retries(), Timeouts()
    for name in ("max_images", "max_image_bytes", "max_request_bytes", "concurrency"):
        assert chosen[name] is None
    assert limits_for(local=False, max_images=None) == limits
    assert limits_for(local=False, max_images=3).max_images == 3
    assert limits_for(local=True, max_images=None, max_image_bytes=9).max_image_bytes == 9
    assert limits_for(local=True).max_images <= 4
    assert limits_for(local=True).max_pixels == usable_memory() // 96
    assert limits_for(local=True, enlarged=4).max_pixels == usable_memory() // 24 // 16
    assert chosen["max_attempts"] == retries.max_attempts
    assert chosen["give_up_after"] == retries.give_up_after
    assert chosen["connect_timeout"] == timeouts.connect
    assert chosen["silence_timeout"] == timeouts.silence


# ── environment ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_account_means_the_embedded_service() -> None:
    account = read_account({"SMARTY_TOKEN": "  "})
    assert account.local
    assert account.secrets == []
    assert read_account({"SMARTY_TOKEN": TOKEN}, local=True).local
    assert read_account({"SMARTY_TOKEN": TOKEN, "SMARTY_BASE_URL": "https://x"}, local=True).local


def test_an_account_of_the_environment_is_used() -> None:
    account = read_account({"SMARTY_TOKEN": TOKEN, "SMARTY_PROVIDER": "mr"}, base_url="https://b.example")
    assert (account.base_url, account.provider, account.token) == ("https://b.example", "mr", TOKEN)
    assert (account.local, account.secrets) == (False, [TOKEN])


def test_local_and_an_address_exclude_each_other() -> None:
    with pytest.raises(errors.OptionsError, match="--local and --base-url"):
        read_account({}, base_url="http://127.0.0.1:1", local=True)


def test_an_account_shows_no_secret() -> None:
    assert TOKEN not in repr(Account(base_url=BASE_URL, token=TOKEN))


# ── exits ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.OptionsError("x"), 2),
        (errors.ConfigurationError("x"), 3),
        (errors.AuthorizationError("x"), 3),
        (errors.RequestRefused("x", status=400), 3),
        (errors.NotTheService("x"), 3),
        (errors.OutputInUse(Path("x")), 3),
        (errors.MissingExtra("x", "local"), 3),
        (errors.ServiceUnavailable("x", seconds=1), 4),
        (errors.DiskError("x"), 5),
        (PermissionError(13, "Permission denied", "x"), 5),
        (KeyboardInterrupt(), 130),
        (asyncio.CancelledError(), 130),
        (RuntimeError("x"), 1),
    ],
)
def test_exit_statuses(error: BaseException, status: int) -> None:
    assert status_of(error) == status
    assert sentences(error)[0]


def test_an_interrupt_while_it_is_loaded_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loading(ModuleType):
        def __getattr__(self, _: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "smarty_async.cli", Loading("smarty_async.cli"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status_of(KeyboardInterrupt())


@pytest.mark.skipif(os.name == "nt", reason="Windows only says that it finds no such path")
def test_an_output_path_that_leads_through_a_file_is_not_to_be_tried_again(tmp_path: Path) -> None:
    """Waiting for the disk would not help: the message says to choose another path."""
    file = tmp_path / "restored"
    file.touch()
    with pytest.raises(NotADirectoryError) as refused:
        (file / "out").mkdir()
    message, way_out = sentences(errors.DiskError.of(refused.value, file / "out", "create"))
    assert str(file / "out") in message
    assert way_out.startswith("Nothing can be stored at this path: choose another one")
    assert "Once the disk can be written to" in sentences(errors.DiskError("x", errno=errno.EIO), resumes=True)[1]


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.ENOSPC, "Make room on the disk"),
        (errno.ENOENT, "Check that the folder is there"),
        (errno.EROFS, "This disk can only be read: choose a place on another one"),
    ],
)
@pytest.mark.parametrize("resumes", [True, False])
def test_what_to_do_about_a_disk_is_said_by_every_command(number: int, way_out: str, *, resumes: bool) -> None:
    said = sentences(errors.DiskError("x", errno=number), resumes=resumes)
    assert said[1].startswith(way_out)
    assert said[1].endswith("Nothing is lost.") is resumes


@pytest.mark.parametrize(
    "error",
    [
        errors.ServiceUnavailable("x", seconds=1),
        errors.StoreError("x"),
        errors.DiskError("x", errno=errno.EIO),
        errors.DiskError("x", errno=errno.ENOSPC),
        errors.DiskError("x", errno=errno.EEXIST),
        KeyboardInterrupt(),
    ],
)
def test_only_a_command_that_keeps_what_it_has_done_is_said_to_continue(error: BaseException) -> None:
    words = re.compile("Nothing is lost|continues from here")
    assert words.search(" ".join(sentences(error, resumes=True)))
    assert not words.search(" ".join(sentences(error)))


@pytest.mark.parametrize("resumes", [True, False])
def test_answers_that_cannot_be_used_are_not_asked_for_again_without_thought(*, resumes: bool) -> None:
    said = sentences(errors.ServiceUnavailable("x", seconds=0, pays_again=True), resumes=resumes)
    assert said[1].startswith("These photos may have been paid for, and would be again")


def _fail(*, verbose: bool) -> None:
    with error_boundary(verbose=verbose) as hidden:
        hidden.append(TOKEN)
        raise RuntimeError(f"at https://x/?oauth_token={QUOTED} and {TOKEN}\x1b[2J")


def test_an_unexpected_error_is_a_sentence_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose in (False, True):
        with pytest.raises(SystemExit) as ended:
            _fail(verbose=verbose)
        assert ended.value.code == Exit.PHOTOS_FAILED
        err = capsys.readouterr().err
        assert "unexpected RuntimeError" in err
        assert ("--verbose" in err) is not verbose
        assert ("Traceback" in err) is verbose
        assert TOKEN not in err
        assert QUOTED not in err
        assert "\x1b" not in err


def test_output_goes_on_when_its_reader_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        output = Output()
        output.lines(["one", "two"])
        output.struct({"three": 3})


# ── signals ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_first_signal_drains_and_the_second_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[object] = []
    monkeypatch.setattr("smarty_async.cli.signals.os._exit", forced.append)
    interrupts, said, drained, left = Interrupts(), list[str](), list[bool](), list[bool]()
    interrupts.say = said.append
    interrupts.drain = lambda: drained.append(True)

    interrupts.open_work = lambda: (3, 19.6)

    interrupts._received(signal.SIGINT, lambda: left.append(True))
    assert (len(drained), len(left)) == (1, 0)
    waiting = "Sending nothing new; waiting for 3 answers already paid for (about 20 s)."
    assert said == [f"{waiting} Press Ctrl-C again to leave at once."]
    interrupts._received(signal.SIGINT, lambda: left.append(True))
    assert (len(said), len(drained), len(left)) == (1, 1, 1)
    assert interrupts.asked
    assert interrupts._backstop is not None
    interrupts._backstop.cancel()
    assert forced == []


async def test_a_run_ends_even_where_nothing_can_be_said_any_more() -> None:
    def unheard(_: str) -> None:
        raise OSError(errno.EIO, "the terminal is gone")

    interrupts, drained = Interrupts(), list[bool]()
    interrupts.say, interrupts.drain = unheard, lambda: drained.append(True)
    with pytest.raises(OSError, match="gone"):
        interrupts._received(signal.SIGTERM, lambda: None)
    assert drained


async def test_with_nothing_to_drain_the_first_signal_leaves() -> None:
    interrupts, left = Interrupts(), list[bool]()
    interrupts._received(signal.SIGTERM, lambda: left.append(True))
    assert interrupts._backstop is not None
    interrupts._backstop.cancel()
    assert left == [True]


@pytest.mark.parametrize(
    ("paid", "open_work", "sentence"),
    [
        (True, (1, None), "Sending nothing new; waiting for 1 answer already paid for."),
        (False, (4, 65.0), "Starting nothing new; finishing 4 photos already begun (about 1 min)."),
        (False, (0, None), "Stopping: no photo is being worked on."),
    ],
)
async def test_sigterm_does_not_ask_for_a_key_press(
    paid: bool,  # noqa: FBT001 - a parameter of the test
    open_work: tuple[int, float | None],
    sentence: str,
) -> None:
    interrupts, said = Interrupts(paid=paid), list[str]()
    interrupts.say, interrupts.drain, interrupts.open_work = said.append, lambda: None, lambda: open_work
    interrupts._received(signal.SIGTERM, lambda: None)
    assert said == [sentence]


@pytest.mark.parametrize("outputs", ["improved,", " , improved, ", "improved,,improved"])
def test_commas_around_a_kind_of_result_do_not_matter(outputs: str) -> None:
    assert set(kinds(outputs)) == {"improved"}


@pytest.mark.parametrize("outputs", [",", " , "])
def test_commas_alone_are_no_kind_of_result(photos: Path, out: Path, outputs: str) -> None:
    ended = invoke("improve", photos, "--out", out, "--local", "--outputs", outputs)
    assert (ended.status, "--outputs names no kind of result" in ended.err) == (2, True)


@pytest.mark.parametrize("named", ["secret", "secret/0.jpg"])
@pytest.mark.parametrize("more", [(), ("--out", "{out}")])
def test_a_source_that_may_not_be_read(photos: Path, out: Path, named: str, more: tuple[str, ...]) -> None:
    folder = photos.rename(photos.parent / "secret")
    folder.chmod(0)
    try:
        with without_privileges():
            ended = invoke("improve", folder.parent / named, *(part.format(out=out) for part in more), "--dry-run")
    finally:
        folder.chmod(0o700)
    assert ended.status == 2
    assert ended.err.endswith(f"smarty-async: cannot read '{folder.parent / named}': Permission denied\n")


async def test_loops_without_signal_handlers_get_them_from_python() -> None:
    before = signal.getsignal(signal.SIGINT)
    came = asyncio.Event()
    put_back = _install_without_loop(asyncio.get_running_loop(), lambda _: came.set())
    signal.raise_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        await came.wait()
    put_back()
    assert signal.getsignal(signal.SIGINT) is before


# ── improve ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_photos_are_restored_and_a_second_run_has_nothing_to_do(
    service: FakeService, photos: Path, out: Path
) -> None:
    first = await run("improve", photos, "--out", out, "--base-url", service.url, SMARTY_TOKEN=TOKEN)
    assert first.status == 0, first.err
    assert first.out == ""
    assert "3  restored" in first.err
    assert str(out) in first.err
    assert "about 0.18 ₽" in first.err
    assert (out / "improved" / "0.jpg").is_file()
    assert {request.query["oauth_token"] for request in service.requests} == {TOKEN}

    sent = len(service.requests)
    second = await run("improve", photos, "--out", out, "--verbose", SMARTY_BASE_URL=service.url, SMARTY_TOKEN=TOKEN)
    assert second.status == 0, second.err
    assert "3  finished in an earlier run" in second.err
    assert len(service.requests) == sent


@pytest.mark.slow
async def test_json_is_a_line_a_photo_and_a_summary(service: FakeService, photos: Path, out: Path) -> None:
    no_face = {"status": 1, "error": "no face"}
    service.default = lambda request: items(
        {name: no_face for name, image in request.images.items() if image == jpeg(seed=1)}
    )
    (photos / "words.jpg").write_text("no picture")
    ended = await run(
        *("improve", photos, "--out", out, "--base-url", service.url, "--json", "--quiet"),
        *("--mode", "improve", "--mode", "resolution", "--rfactor", "2"),
    )
    assert ended.status == 1, ended.err
    outcomes = {line["photo"]: line["outcome"] for line in ended.results}
    assert sorted(outcomes.values()) == ["failed", "rejected", "restored", "restored"]
    assert (outcomes["1.jpg"], outcomes["words.jpg"]) == ("failed", "rejected")
    assert ended.summary["photos"] == 4
    assert ended.summary["outcomes"] == {"restored": 2, "failed": 1, "rejected": 1}
    assert any("no face" in group["message"] for group in ended.summary["failures"])
    assert "What to do" in ended.err
    assert "3 photos" not in ended.err


@pytest.mark.slow
async def test_without_an_account_the_embedded_service_does_it(tmp_path: Path, out: Path) -> None:
    photo = tmp_path / "old.jpg"
    photo.write_bytes(faded())
    ended = await run("improve", photo, "--out", out)
    assert ended.status == 0, ended.err
    line = f"Restoring on this machine with the embedded service (engine: {best_engine()}): no account given."
    assert line in ended.err.splitlines()
    assert f"Photos of up to {usable_memory() // 96 / 1e6:,.0f} megapixels fit" in ended.err
    assert "free (restored on this machine)" in ended.err
    assert (out / "improved" / "old.jpg").is_file()


@pytest.mark.slow
async def test_local_goes_before_an_account(service: FakeService, photos: Path, out: Path) -> None:
    ended = await run(
        "improve", photos, "--out", out, "--local", "--json", SMARTY_TOKEN=TOKEN, SMARTY_BASE_URL=service.url
    )
    assert ended.status == 0, ended.err
    assert ended.summary["cost"] == 0
    assert service.requests == []


@pytest.mark.slow
async def test_a_list_of_photos_from_a_pipe(service: FakeService, photos: Path, out: Path) -> None:
    listed = "\n".join(str(photos / name) for name in ("0.jpg", "2.jpg"))
    ended = await run(
        *("improve", "--from-file", "-", "--out", out, "--base-url", service.url, "--json"),
        stdin=listed.encode(),
    )
    assert ended.status == 0, ended.err
    assert ended.summary["outcomes"] == {"restored": 2}


def files_below(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*.jpg")]


@pytest.mark.slow
async def test_a_list_of_everything_can_be_given_again(
    service: FakeService, photos: Path, out: Path, tmp_path: Path
) -> None:
    command = ("improve", "--from-file", "-", "--out", out, "--base-url", service.url, "--json")
    first = await run(*command, stdin="\0".join(files_below(tmp_path)).encode())
    assert (first.status, first.summary["outcomes"]) == (0, {"restored": 3})
    assert (await run("album", out, "--to", photos / "album")).status == 0
    listed = files_below(tmp_path)
    again = await run(*command, stdin="\0".join(listed).encode())
    assert (again.status, again.summary["outcomes"]) == (0, {"skipped": 3})
    assert again.summary["left_alone"] == len(listed) - 3 >= 6
    assert "files that are not photos or are results were left alone: " in again.err


@pytest.mark.slow
async def test_a_dry_run_sends_and_creates_nothing(service: FakeService, photos: Path, out: Path) -> None:
    (photos / "words.jpg").write_text("no picture")
    words, machine = await asyncio.gather(
        run("improve", photos, "--out", out, "--base-url", service.url, "--dry-run", "--concurrency", "1"),
        run("improve", photos, "--out", out, "--base-url", service.url, "--dry-run", "--json", "--concurrency", "1"),
    )
    assert words.status == 0, words.err
    assert "3 photos" in words.out
    assert "in 1 request" in words.out
    assert "words.jpg" in words.out
    plan = json.loads(machine.out)["plan"]
    assert (plan["photos"], plan["requests"], len(plan["rejected"])) == (3, 1, 1)
    assert service.requests == []
    assert files_of(out) == {}


@pytest.mark.slow
async def test_status(service: FakeService, photos: Path, out: Path) -> None:
    await run("improve", photos, "--out", out, "--base-url", service.url, "--quiet")
    words, machine, nothing = await asyncio.gather(
        run("status", out), run("status", out, "--json"), run("status", photos)
    )
    assert words.status == 0, words.err
    assert "3  restored" in words.out
    assert json.loads(machine.out)["outcomes"] == {"restored": 3}
    assert "(all probably paid for), or nothing where the photos were restored on this machine" in words.out
    assert nothing.status == 3
    assert nothing.out == ""
    assert str(photos) in nothing.err


@pytest.mark.slow
async def test_quiet_says_nothing_when_all_is_well(service: FakeService, photos: Path, out: Path) -> None:
    ended = await run("improve", photos, "--out", out, "--base-url", service.url, "--quiet")
    assert (ended.status, ended.out, ended.err) == (0, "", "")


@pytest.mark.slow
async def test_verbose_is_a_line_a_photo(service: FakeService, photos: Path, out: Path) -> None:
    (photos / "a\nb.jpg" if os.name != "nt" else photos / "ab.jpg").write_bytes(jpeg(seed=9))
    ended = await run("improve", photos, "--out", out, "--base-url", service.url, "--verbose")
    assert ended.status == 0, ended.err
    lines = [line for line in ended.err.splitlines() if ".jpg: restored (improved" in line]
    assert len(lines) == 4


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────

LOOPBACK = ("--base-url", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--mode", "resolution", *LOOPBACK), "--rfactor"),
        (("--mode", "resolution", "--rfactor", "3", *LOOPBACK), "--rfactor"),
        (("--rfactor", "2", *LOOPBACK), "resolution"),
        (("--mode", "colour"), "colour"),
        (("--no-such-option",), "--no-such-option"),
        (("--max-images", "0", *LOOPBACK), "max_images"),
        (("--quiet", "--verbose"), "--quiet and --verbose"),
        (("--local", *LOOPBACK), "--local and --base-url"),
        (("--from-file", "no-such-list", *LOOPBACK), "no-such-list"),
        (("no-such-folder", *LOOPBACK), "no-such-folder"),
    ],
)
def test_a_slip_in_the_options(photos: Path, out: Path, args: tuple[str, ...], says: str) -> None:
    ended = invoke("improve", photos, "--out", out, *args)
    assert ended.status == 2, ended.err
    assert says in ended.err
    assert ended.out == ""


@pytest.mark.parametrize("option", ["--concurrency", "--rate"])
@pytest.mark.parametrize("account", [LOOPBACK, ("--local",)], ids=" ".join)
def test_a_dry_run_refuses_what_a_run_does(photos: Path, out: Path, option: str, account: tuple[str, ...]) -> None:
    for more in ((), ("--dry-run",)):
        ended = invoke("improve", photos, "--out", out, option, "0", *account, *more)
        assert (ended.status, ended.out) == (2, "")
        assert f"{option.strip('-')} must be" in ended.err


def test_no_source_and_no_photos(tmp_path: Path, out: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = invoke("improve", "--out", out)
    none = invoke("improve", empty, "--out", tmp_path / "a", *LOOPBACK)
    dry = invoke("improve", empty, "--out", tmp_path / "b", "--dry-run", *LOOPBACK)
    assert (nothing.status, none.status, dry.status) == (2, 2, 2)
    assert "nothing to restore" in nothing.err
    assert "no photos found" in none.err
    assert str(empty) in none.err
    assert "no photos found" in dry.err


def test_a_dry_run_whose_limit_leaves_every_photo_says_so(photos: Path, out: Path) -> None:
    ended = invoke("improve", photos, "--out", out, "--dry-run", "--max-cost", "0", *LOOPBACK)
    assert (ended.status, ended.err) == (0, "")
    assert "for another run: the spend limit is reached" in ended.out


@pytest.mark.slow
async def test_a_bad_token_stops_the_run_and_is_shown_nowhere(photos: Path, out: Path) -> None:
    async with FakeService(valid_tokens={"another"}) as service:
        ended = await run(
            *("improve", photos, "--out", out, "--base-url", service.url, "--verbose", "--json"),
            SMARTY_TOKEN=TOKEN,
        )
    assert ended.status == 3, ended.err
    assert "SMARTY_TOKEN" in ended.err
    assert ended.summary["error"]["type"] == "AuthorizationError"
    assert "Price" not in ended.err
    kept = b"".join(files_of(out).values())
    for form in (TOKEN, QUOTED):
        assert form not in ended.out + ended.err
        assert form.encode() not in kept


@pytest.mark.slow
async def test_an_unreachable_service_is_given_up_on(photos: Path, out: Path) -> None:
    ended = await run("improve", photos, "--out", out, *LOOPBACK, "--give-up-after", "0.1")
    assert ended.status == 4, ended.err
    assert "Nothing is lost" in ended.err


@pytest.mark.slow
async def test_what_was_paid_is_said_even_if_no_photo_came_to_its_end(
    service: FakeService, photos: Path, out: Path
) -> None:
    service.default = lambda _: drop(of=http(200, ""))
    ended = await run("improve", photos, "--out", out, "--base-url", service.url, "--give-up-after", "0.1", "--json")
    assert ended.status == 4, ended.err
    assert ended.summary["images_paid"] > 0
    assert "probably paid for" in ended.err


@pytest.mark.slow
async def test_a_service_that_is_another(service: FakeService, photos: Path, out: Path) -> None:
    service.default = lambda _: http(404, "<html>not here</html>")
    ended = await run("improve", photos, "--out", out, "--base-url", service.url)
    assert ended.status == 3, ended.err
    assert "--base-url" in ended.err


@pytest.mark.slow
async def test_plain_http_is_for_loopback_only(photos: Path, out: Path) -> None:
    ended = await run("improve", photos, "--out", out, "--base-url", "http://smarty.example", SMARTY_TOKEN=TOKEN)
    assert ended.status == 3, ended.err
    assert TOKEN not in ended.err


@pytest.mark.slow
async def test_a_folder_that_cannot_be_made(service: FakeService, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    ended = await run("improve", photos, "--out", file / "restored", "--base-url", service.url)
    assert ended.status == 5, ended.err
    assert service.requests == []


@pytest.mark.slow
async def test_a_broken_connection_is_tried_again(service: FakeService, photos: Path, out: Path) -> None:
    service.script(drop(after_bytes=40))
    ended = await run("improve", photos, "--out", out, "--base-url", service.url, "--json")
    assert ended.status == 0, ended.err
    assert ended.summary["retries"] > 0


# ── stopping ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_open_answers_are_waited_for(
    service: FakeService, photos: Path, out: Path, number: signal.Signals
) -> None:
    go = asyncio.Event()
    service.default = lambda _: hold(go, items({}))
    options = ("--max-images", "1", "--concurrency", "1", "--json")
    async with started("improve", photos, "--out", out, "--base-url", service.url, *options) as process:
        await until(lambda: service.open_now == 1)
        process.send_signal(number)
        assert process.stderr is not None
        said = ""
        while "paid for" not in said:
            said = (await process.stderr.readline()).decode()
            assert said
        go.set()
        ended = await end_of(process)
    assert ended.status == 130, ended.err
    assert [line["outcome"] for line in ended.results] == ["restored"]
    assert ended.summary["interrupted"] is True
    assert "Stopped with 2 photos left. The same command continues from here." in ended.err
    assert ("Ctrl-C" in said) is (number == signal.SIGINT)
    assert len(service.requests) == 1

    rest = await run("improve", photos, "--out", out, "--base-url", service.url, "--json")
    assert rest.status == 0, rest.err
    assert rest.summary["outcomes"] == {"restored": 2, "skipped": 1}


@pytest.mark.slow
@posix
async def test_the_second_signal_leaves_at_once(service: FakeService, photos: Path, out: Path) -> None:
    service.default = lambda _: hold(asyncio.Event(), items({}))
    async with started("improve", photos, "--out", out, "--base-url", service.url) as process:
        await until(lambda: service.open_now > 0)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while b"paid for" not in await process.stderr.readline():
            assert process.returncode is None
        process.send_signal(signal.SIGINT)
        ended = await end_of(process)
    assert ended.status == 130
    assert "stopped at once" in ended.err


@pytest.mark.slow
@posix
async def test_a_reader_that_leaves_stops_no_photo(service: FakeService, photos: Path, out: Path) -> None:
    go = asyncio.Event()
    service.default = lambda _: items({}) if len(service.requests) == 1 else hold(go, items({}))
    options = ("--max-images", "1", "--concurrency", "1", "--json", "--quiet")
    async with started("improve", photos, "--out", out, "--base-url", service.url, *options) as process:
        assert process.stdout is not None
        assert await process.stdout.readline()
        transport: Any = process.stdout._transport  # type: ignore[attr-defined]
        transport.close()
        go.set()
        assert process.stderr is not None
        err = await process.stderr.read()
        assert await process.wait() == 0
    assert err == b""
    assert len(files_of(out / "improved")) == 3
