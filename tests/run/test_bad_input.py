"""What people, disks and other programs put before a run."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.archives import (
    IMPROVED,
    STATE,
    assert_right,
    client,
    fill,
    is_there,
    line_of,
    lines,
    outcomes,
    photo,
    restore,
    sent,
    tree,
)
from support.fake_service import Answer, FakeService, Request, expected, hold, ok, until
from support.pictures import cut, heavy, huge, jpeg, png, webp
from support.program import run, started

from smarty_async.archive.outputs import results_file, state_folder, temp_file
from smarty_async.archive.outputs import sync as output_sync
from smarty_async.errors import DiskError, OptionsError
from smarty_async.options import Limits
from smarty_async.plan import plan_archive
from smarty_async.results import Result

pytestmark = pytest.mark.slow

linux = pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other files")


async def program(*args: str | Path, service: FakeService) -> tuple[int, str]:
    """`improve` in a process of its own: its exit status and what it said on stderr."""
    ended = await run("improve", *args, "--base-url", service.url)
    return ended.status, ended.err


# sources


def walked(folder: Path) -> list[Path]:
    return [folder, *folder.rglob("*")]


async def test_sources_are_only_read(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "b/c.png", "b/copy.png")
    (source / "b" / "d.webp").write_bytes(webp())  # has to be converted
    everything = walked(source)
    for path in everything:
        path.chmod(path.stat().st_mode & ~0o222)
    before = {path: path.stat() for path in everything}
    try:
        async with FakeService() as service:
            assert set(outcomes(await restore(service, source, out)).values()) == {"restored"}
            assert set(outcomes(await restore(service, source, out)).values()) == {"skipped"}
        assert walked(source) == everything
        for path, look in before.items():
            now = path.stat()
            assert (now.st_mtime_ns, now.st_ctime_ns, now.st_mode) == (look.st_mtime_ns, look.st_ctime_ns, look.st_mode)
        assert {name: (source / name).read_bytes() for name in photos} == photos
    finally:
        for path in everything:
            path.chmod(path.stat().st_mode | 0o200)


@pytest.mark.parametrize("left_alone", [[], ["notes.txt"]])
async def test_a_run_without_a_photo_is_no_error_and_leaves_nothing(
    source: Path, out: Path, left_alone: list[str]
) -> None:
    fill(source)
    for name in left_alone:
        (source / name).write_bytes(b"no photo")
    async with FakeService() as service:
        assert await restore(service, source, out / "new") == []
        assert not is_there(out)
        fill(out)
        assert await restore(service, source, out) == []
    assert not is_there(out / STATE)
    assert not is_there(out / "results.jsonl")


async def test_a_run_without_a_photo_keeps_what_earlier_ones_left(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (source / "a.jpg").unlink()
        (out / "results.jsonl").unlink()
        assert await restore(service, source, out) == []
    assert_right(out, photos)
    assert [line["photo"] for line in lines(out)] == ["a.jpg"]


async def test_a_stopped_scan_without_a_photo_may_have_photos_left(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service, client(service) as open_client:
        run = open_client.improve_archive(source, out=out)
        run.drain()
        assert [result async for result in run] == []
    assert run.progress.scanning
    assert not is_there(out)


async def test_a_missing_source_stops_before_anything_is_made(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        with pytest.raises(OptionsError, match=r"there is no '.*gone'"):
            await restore(service, [source, source / "gone"], out)
        assert not service.requests
    assert not is_there(out)


async def test_bad_files_are_rejected_each_for_its_reason_and_the_others_are_restored(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "z/b.jpg")
    bad = {
        "text.jpg": (b"this is a letter, not a photo", "not_an_image"),
        "empty.jpg": (b"", "empty"),
        "cut.jpg": (cut(jpeg()), "truncated"),
        "cut.png": (cut(png()), "truncated"),
        "heavy.jpg": (heavy(8_000_001), "too_large"),
        "bomb.png": (huge(), None),
    }
    for name, (data, _) in bad.items():
        (source / name).write_bytes(data)
    async with FakeService() as service:
        reported = {result.photo: result for result in await restore(service, source, out)}
        assert len(sent(service)) == 2
    assert {name: reported[name].outcome for name in photos} == dict.fromkeys(photos, "restored")
    for name, (_, reason) in bad.items():
        error = reported[name].error
        assert (reported[name].outcome, reported[name].attempts, reported[name].outputs) == ("rejected", 0, {})
        assert error is not None
        assert error.type == (reason or error.type)
        assert line_of(out, name)["error"] == {"type": error.type, "message": error.message}
    assert_right(out, photos)
    assert len(lines(out)) == 8


@posix
async def test_what_cannot_be_read_is_rejected_and_harms_nobody(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg")
    (source / "dangling.jpg").symlink_to("nowhere")
    (source / "round.jpg").symlink_to("round.jpg")
    os.mkfifo(source / "pipe.jpg")
    async with FakeService() as service:
        reported = outcomes(await restore(service, source, out))
    assert reported == {"a.jpg": "restored", "dangling.jpg": "rejected", "round.jpg": "rejected"}
    assert line_of(out, "dangling.jpg")["error"]["message"] == "cannot be read: the link leads to nothing"
    assert_right(out, photos)


@posix
async def test_folders_that_lead_back_to_themselves_end(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "sub/b.jpg")
    (source / "sub" / "up").symlink_to(source)
    (source / "sub" / "self").symlink_to(".")
    async with FakeService() as service:
        assert set(outcomes(await restore(service, source, out))) == set(photos)
    assert_right(out, photos)


# names


@posix
async def test_odd_names_have_their_outputs_under_the_same_names(source: Path, out: Path) -> None:
    names = [
        "Бабушка и дед/Фото № 1.jpg",
        " spaces  and\ttabs .jpg",
        "new\nline\r.jpg",
        "-rf *?[a].jpg",
        "'quoted\" $(x) `y`.jpg",
        "CON.jpg",
        "back\\slash.jpg",
        "é.jpg",
        "é.jpg",
        "👵🏽.jpg",
        "%41.jpg",
        "a" * 251 + ".jpg",
        "…/x...jpg",
    ]
    photos = fill(source, *names)
    async with FakeService() as service:
        reported = await restore(service, source, out)
        assert outcomes(reported) == dict.fromkeys(names, "restored")
        assert outcomes(await restore(service, source, out)) == dict.fromkeys(names, "skipped")
    assert_right(out, photos)
    assert {line["photo"] for line in lines(out)} == set(names)
    for result in reported:
        assert (out / result.outputs["improved"]).read_bytes() == expected("improved", photos[result.photo])


@linux
async def test_names_that_are_no_text_have_their_outputs_under_the_same_bytes(source: Path, out: Path) -> None:
    folder, name = b"\xd4\xee\xf2\xee", b"\xff\xfe.jpg"  # Windows-1251, as on an old disk
    path = os.path.join(os.fsencode(source), folder, name)  # noqa: PTH118 - bytes
    os.makedirs(os.path.dirname(path))  # noqa: PTH103, PTH120 - bytes
    data = photo("bytes")
    with open(path, "wb") as file:  # noqa: ASYNC230, PTH123 - bytes
        file.write(data)
    async with FakeService() as service:
        reported = await restore(service, source, out)
        assert outcomes(reported) == {"\\xd4\\xee\\xf2\\xee/\\xff\\xfe.jpg": "restored"}
        assert outcomes(await restore(service, source, out)) == {reported[0].photo: "skipped"}
    output = os.path.join(os.fsencode(out), b"improved", folder, name)  # noqa: PTH118 - bytes
    with open(output, "rb") as file:  # noqa: ASYNC230, PTH123 - bytes
        assert file.read() == expected("improved", data)
    assert lines(out)[0]["outputs"]["improved"] == "improved/\\xd4\\xee\\xf2\\xee/\\xff\\xfe.jpg"


@linux
async def test_an_output_folder_may_have_a_name_that_is_no_text(source: Path, tmp_path: Path) -> None:
    photos = fill(source, "a.jpg")
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff #?%41\n"))
    async with FakeService() as service:
        await restore(service, source, out)
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "skipped"}
    assert_right(out, photos)


@linux
async def test_the_program_reports_an_output_folder_whose_name_is_no_text(source: Path, tmp_path: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        out = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
        status, said = await program(source, "--out", out, "--json", service=service)
    assert status == 0, said


@posix
async def test_names_as_long_as_the_disk_allows(source: Path, out: Path) -> None:
    names = ["я" * 127 + "x", "я" * 127 + "y", "j" * 251 + ".png", "d" * 255 + "/a.jpg"]
    photos = fill(source, *names)
    async with FakeService() as service:
        reported = await restore(service, source, out)
        assert outcomes(reported) == dict.fromkeys(names, "restored")
        assert outcomes(await restore(service, source, out)) == dict.fromkeys(names, "skipped")
    places = {result.outputs["improved"] for result in reported}
    assert len(places) == 4
    for result in reported:
        output = out / result.outputs["improved"]
        assert output.suffix == ".jpg"
        assert output.read_bytes() == expected("improved", photos[result.photo])


# what happens between the look and the sending


@pytest.mark.parametrize("size", [3000, 600_000])
async def test_files_that_change_or_go_before_they_are_sent_harm_nobody(source: Path, out: Path, size: int) -> None:
    fill(source)
    photos = {f"{number}.jpg": heavy(size, seed=number) for number in range(6)}
    for name, data in photos.items():
        (source / name).write_bytes(data)
    go = asyncio.Event()
    async with FakeService() as service, client(service, concurrency=1, limits=Limits(max_images=2)) as open_client:
        service.script(hold(go))
        run = open_client.improve_archive(source, out=out)

        async def all_of_it() -> list[Result]:
            return [result async for result in run]

        running = asyncio.create_task(all_of_it())
        await until(lambda: len(service.requests) == 1)
        in_flight = sent(service)
        await until(lambda: len(run._dispatcher._items) == 6)  # all have been looked at
        grown, rewritten, gone = [name for name, data in photos.items() if data not in in_flight][:3]
        (source / grown).write_bytes(photos[grown] + b"x")
        (source / rewritten).write_bytes(photos[rewritten][:30] + b"?" + photos[rewritten][31:])
        os.utime(source / rewritten, ns=(0, 0))
        (source / gone).unlink()
        go.set()
        results = {result.photo: result for result in await running}
        assert {name for name, result in results.items() if result.outcome == "restored"} == {
            name for name in photos if name not in (grown, rewritten, gone)
        }
        reasons = [error.type for name in (grown, rewritten, gone) if (error := results[name].error)]
        assert reasons == ["changed", "changed", "unreadable"]
        unsent = {(results[name].outcome, results[name].attempts) for name in (grown, rewritten, gone)}
        assert unsent == {("rejected", 0)}
        for path in tree(out):
            assert (out / path).read_bytes() == expected(*_of(path, photos))
        for name in (grown, rewritten):
            photos[name] = (source / name).read_bytes()
        del photos[gone]
        assert set(outcomes(await restore(service, source, out)).values()) == {"restored", "skipped"}
    assert_right(out, photos)


def _of(path: str, photos: dict[str, bytes]) -> tuple[str, bytes]:
    kind, _, name = path.partition("/")
    return kind, photos[name]


# output folders


@pytest.mark.parametrize("where", ["file", "file/out", "/proc/out"])
async def test_an_output_folder_that_cannot_be_written_is_the_disks_refusal(
    source: Path, tmp_path: Path, where: str
) -> None:
    if where.startswith("/proc") and not is_there(Path("/proc/self")):
        pytest.skip("no /proc here")
    fill(source, "a.jpg")
    (tmp_path / "file").touch()
    async with FakeService() as service:
        with pytest.raises(DiskError, match="cannot write to"):
            await restore(service, source, tmp_path / where)
        assert not service.requests
        if where == "file/out":
            status, said = await program(source, "--out", tmp_path / where, service=service)
            assert status == 5
            assert "cannot write to" in said


@pytest.mark.parametrize("inside", ["improved", "improved/sub", STATE])
async def test_outputs_are_not_taken_for_a_source(source: Path, out: Path, inside: str) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (out / inside).mkdir(exist_ok=True)
        with pytest.raises(OptionsError, match="lies among the outputs"):
            await restore(service, out / inside, out)


async def test_a_damaged_journal_is_reported(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (out / STATE / "journal.sqlite").write_bytes(b"garbage" * 1000)
        status, said = await program(source, "--out", out, service=service)
        assert (status, len(sent(service))) == (0, 2)
        assert "The journal was damaged, and is kept as" in said
        assert "photos recovered from results.jsonl and the outputs on the disk: 2" in said
        (out / STATE / "journal.sqlite.damaged-1").unlink()
        assert "The journal" not in (await program(source, "--out", out, service=service))[1]
    assert_right(out, photos)


# full disks


def no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["temporary file", "fsync", "results", "at the end"])
async def test_a_full_disk_stops_the_run_and_the_next_goes_on(
    source: Path, out: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(12)))
    limits = Limits(max_images=3)
    writes = 0

    def seldom(path: str, pieces: Any, **options: Any) -> None:
        nonlocal writes
        writes += 1
        if writes > 3:
            no_space()
        write(path, pieces, **options)

    def never(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        if path.name.startswith("results.jsonl") and mode in ("ab", "wb"):
            no_space()
        return whole(path, mode, *more, **options)

    whole, write = Path.open, temp_file.write_pieces
    if where == "temporary file":
        monkeypatch.setattr(state_folder, "write_pieces", seldom)
    elif where == "results":
        monkeypatch.setattr(Path, "open", never)
    elif where == "fsync":
        monkeypatch.setattr(output_sync, "sync_file", no_space)
        monkeypatch.setattr(output_sync, "sync_file_system", no_space)
    else:
        monkeypatch.setattr(results_file, "sync_file", no_space)
    async with FakeService() as service:
        with pytest.raises(DiskError, match="No space left"):
            await restore(service, source, out, limits=limits, concurrency=2)
        for path in tree(out):
            assert (out / path).read_bytes() == expected(*_of(path, photos))
        monkeypatch.undo()
        await restore(service, source, out, limits=limits, concurrency=2)
    assert_right(out, photos)
    assert {line["photo"]: line["outcome"] for line in lines(out)} == dict.fromkeys(photos, "restored")


@posix
async def test_without_a_thread_for_the_lookup_of_the_host_no_photo_is_to_blame(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = fill(source, "a.jpg", "b.jpg")

    def refused(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    async with FakeService() as service:
        service.url = service.url.replace("127.0.0.1", "localhost")
        with monkeypatch.context() as patched:
            patched.setattr(asyncio.get_running_loop(), "getaddrinfo", refused)
            with pytest.raises(DiskError, match="no more threads"):
                await restore(service, source, out)
            async with client(service) as open_client:
                with pytest.raises(DiskError, match="no more threads"):
                    await open_client.improve(source / "a.jpg")
        assert lines(out) == []
        assert sent(service) == []
        assert set(outcomes(await restore(service, source, out)).values()) == {"restored"}
    assert_right(out, photos)


async def test_one_photo_without_a_thread_to_read_it(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(source, "a.jpg")

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with FakeService() as service, client(service) as open_client:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refused)
            with pytest.raises(DiskError, match="no more threads"):
                await open_client.improve(source / "a.jpg")
            with pytest.raises(DiskError, match="no more threads"):
                await plan_archive(source, out=source.parent / "planned")
        assert (await open_client.improve(source / "a.jpg")).improved


async def test_results_that_cannot_be_added_to_are_rewritten(source: Path, out: Path) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(8)))
    named = out / "results.jsonl"
    async with FakeService() as service, client(service, concurrency=1, limits=Limits(max_images=2)) as open_client:
        async for _ in open_client.improve_archive(source, out=out):
            if not named.is_symlink() and len(service.requests) < 3:
                named.unlink()
                named.symlink_to(out / "gone" / "results.jsonl")
    assert_right(out, photos)
    assert len(lines(out)) == len(photos)


async def test_results_that_cannot_be_written_stop_the_run_and_cost_nothing(source: Path, out: Path) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(12)))
    limits, named = Limits(max_images=2), out / "results.jsonl"
    second, third = asyncio.Event(), asyncio.Event()
    async with FakeService() as service, client(service, concurrency=2, limits=limits) as open_client:
        service.script(ok(), hold(second), hold(third))
        run = open_client.improve_archive(source, out=out)

        async def all_of_it() -> None:
            async for _ in run:
                if not named.is_dir():
                    named.unlink()
                    named.mkdir()
                    second.set()

        running = asyncio.create_task(all_of_it())
        await until(lambda: run._error is not None)
        third.set()  # what is open then is waited for
        with pytest.raises(DiskError, match=r"cannot write '.*results\.jsonl'"):
            await running
        paid = len(sent(service))
        assert len(tree(out)) == paid * len(IMPROVED)
        named.rmdir()
        await restore(service, source, out, limits=limits)
        assert sorted(sent(service)) == sorted(photos.values())
    assert_right(out, photos)
    assert len(lines(out)) == len(photos)


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(os, "geteuid") or os.geteuid() != 0, reason="not root")
async def test_a_disk_that_is_really_full(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "small disk"
    out.mkdir()
    photos = fill(source, *(f"{number}.jpg" for number in range(30)))
    few = ("--max-images", "2", "--concurrency", "1")  # how large answers are is known from the first one on
    mounted = await _call("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(out))
    if mounted:
        pytest.skip("this root may not mount")
    try:
        async with FakeService() as service:
            service.default = heavy_answers
            status, said = await program(source, "--out", out, *few, service=service)
            assert status == 5
            assert "full" in said or "No space left" in said
            assert "Nothing is lost" in said
            await _call("mount", "-o", "remount,size=40m", str(out))
            assert 0 < len(sent(service)) < 30
            status, said = await program(source, "--out", out, *few, service=service)
            assert status == 0, said
            assert len(sent(service)) == 30
        assert set(tree(out)) == {f"improved/{name}" for name in photos}
        assert all((out / path).stat().st_size == 400_000 for path in tree(out))
        assert len(lines(out)) == 30
    finally:
        await _call("umount", str(out))


def heavy_answers(request: Request) -> Answer:
    import base64  # noqa: PLC0415

    from support.fake_service import envelope  # noqa: PLC0415

    data = base64.b64encode(jpeg().ljust(400_000, b"\0")).decode()
    return envelope(200, {"improve": [{"status": 0, "name": name, "improved": data} for name in request.names]})


async def _call(*command: str) -> int:
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    return await process.wait()


# the program's exit statuses


async def test_one_sentence_and_the_right_status(source: Path, out: Path, tmp_path: Path) -> None:
    fill(source, "a.jpg")
    (source / "none.jpg").write_bytes(b"no photo")
    async with FakeService() as service:
        status, said = await program(source / "gone", "--out", out, service=service)
        assert (status, "there is no" in said) == (2, True)
        (tmp_path / "empty").mkdir()
        status, said = await program(tmp_path / "empty", "--out", out, service=service)
        assert (status, "no photos found" in said, is_there(out)) == (2, True, False)
        status, said = await program(source, "--out", out, service=service)
        assert status == 1
        assert "none.jpg" in said
    assert [json.dumps(line["outcome"]) for line in lines(out) if line["photo"] == "a.jpg"] == ['"restored"']
    assert tree(out) == {f"{kind}/a.jpg" for kind in IMPROVED}


async def test_files_that_are_no_photos_are_left_alone(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "b.jpg")
    for name in ("a.jpg.supplemental-metadata.json", "a.MOV", "a.AAE", "album.pdf", "notes.txt", "README"):
        (source / name).write_bytes(b"no photo")
    async with FakeService() as service:
        async with client(service) as open_client:
            run = open_client.improve_archive(source, out=out)
            assert outcomes([result async for result in run]) == dict.fromkeys(photos, "restored")
        assert (run.progress.found, run.progress.left_alone) == (2, 6)
        assert "a.MOV" in run.progress.left_alone_names
        status, _ = await program(source, "--out", out, service=service)
        assert status == 0
    assert_right(out, photos)
    assert len(lines(out)) == 2


# lists from a pipe


async def test_a_photo_of_a_list_is_sent_although_the_list_has_not_ended(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "b.jpg")
    received: list[str] = []
    more = asyncio.Event()
    loop = asyncio.get_running_loop()

    def entries() -> Iterator[str]:
        for name in photos:
            yield str(source / name)
            asyncio.run_coroutine_threadsafe(more.wait(), loop).result()
            loop.call_soon_threadsafe(more.clear)

    async with FakeService() as service, client(service) as open_client:
        async for result in open_client.improve_archive(listed=entries(), out=out):
            received.append(Path(result.photo).name)
            assert len(service.requests) == len(received)
            more.set()
    assert received == ["a.jpg", "b.jpg"]


@posix
async def test_a_run_over_a_silent_pipe_ends_on_a_signal(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        command = ("improve", "--from-file", "-", "--out", out, "--base-url", service.url, "--no-progress")
        async with started(*command) as process:
            assert process.stdin is not None
            process.stdin.write(f"{source / 'a.jpg'}\n".encode())
            await process.stdin.drain()
            await until(lambda: any((out / "improved").rglob("a.jpg")))
            process.terminate()
            async with asyncio.timeout(30):  # the pipe stays open
                said = (await process.stderr.read()).decode() if process.stderr else ""
                assert await process.wait() == 130, said
        assert "Traceback" not in said
        assert "Fatal" not in said
