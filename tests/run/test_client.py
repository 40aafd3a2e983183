"""The front door: what may be passed in, what comes back, and an archive from end to end."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.clients import TOKEN, client_of, hasty, photos, retries
from support.fake_service import FakeService, drop, envelope, expected, expected_bw, hold, http, items, late, until
from support.pictures import cut, encoded, jpeg, png, scene, webp

from smarty_async import inputs
from smarty_async.archive.photos.probe import probe
from smarty_async.client import SmartyClient
from smarty_async.errors import (
    ConfigurationError,
    DiskError,
    OptionsError,
    OutputInUse,
    PhotoRejected,
    RequestRefused,
    ServiceUnavailable,
    SmartyError,
)
from smarty_async.options import ArchiveOptions, Limits, OAuthCredentials
from smarty_async.results import Result
from smarty_async.run import ArchiveRun
from smarty_async.testing import FakeService as EchoService


async def all_of(run: ArchiveRun) -> dict[str, Result]:
    return {result.photo: result async for result in run}


def temporaries(out: Path) -> list[Path]:
    return [*(out / ".smarty-async").glob("tmp/*")]


class _PathOfBytes:
    def __init__(self, path: bytes) -> None:
        self._path = path

    def __fspath__(self) -> bytes:
        return self._path


class _FileOfBuffers:
    def __init__(self, image: bytes) -> None:
        self._image = image

    def read(self) -> bytearray:
        return bytearray(self._image)


os.PathLike.register(_PathOfBytes)


class TestImprove:
    @pytest.mark.parametrize("given", ["path", "text", "path of bytes", "bytes", "file", "memory", "buffers"])
    async def test_a_path_bytes_or_a_file_object(self, tmp_path: Path, given: str) -> None:
        image, path = jpeg(), tmp_path / "фото.jpg"
        path.write_bytes(image)
        with path.open("rb") as file:
            photo: Any = {
                "path": path,
                "text": str(path),
                "path of bytes": _PathOfBytes(os.fsencode(path)),
                "bytes": image,
                "file": file,
                "memory": io.BytesIO(image),
                "buffers": _FileOfBuffers(image),
            }[given]
            async with FakeService() as service, client_of(service) as client:
                result = await client.improve(photo)
        assert result.improved == expected("improved", image)
        assert result.colorized_improved == expected("colorized_improved", image)
        assert result.colorized == expected("colorized", image)
        assert (result.outcome, result.bw, result.attempts) == ("restored", expected_bw(image), 1)

    @pytest.mark.parametrize("as_file", [False, True])
    async def test_what_the_service_does_not_take_is_converted(self, tmp_path: Path, *, as_file: bool) -> None:
        path = tmp_path / "a.webp"
        path.write_bytes(webp())
        async with FakeService() as service, client_of(service) as client:
            assert (await client.improve(path if as_file else webp())).improved
            assert service.requests[0].images["file_0"].startswith(b"\x89PNG")

    @pytest.mark.parametrize("data", [jpeg(400, 300), webp(400, 300)], ids=["as it is", "converted"])
    async def test_a_large_photo_gets_no_advice_that_a_call_cannot_follow(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "a.jpg"
        path.write_bytes(data)
        for limits in (Limits(max_image_bytes=100), Limits(max_pixels=100)):
            async with FakeService() as service, client_of(service, limits=limits) as client:
                for photo in (data, path):
                    with pytest.raises(PhotoRejected, match="over the limit of 100") as caught:
                        await client.improve(photo)
                    assert caught.value.type == "too_large"
                    assert "fit" not in str(caught.value)

    async def test_no_more_photos_are_converted_than_will_soon_be_sent(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.webp"
        path.write_bytes(webp())
        read = answered = most = 0

        def probing(photo: Any, **options: Any) -> Any:
            nonlocal read, most
            read += 1
            most = max(most, read - answered)
            return probe(photo, **options)

        monkeypatch.setattr(inputs, "probe", probing)
        size = probe(webp(), limits=Limits()).size
        limits = Limits(max_image_bytes=size, max_request_bytes=4 * size)
        async with FakeService() as service, client_of(service, concurrency=1, limits=limits) as client:
            service.script(late(0.5))

            async def improved() -> None:
                nonlocal answered
                assert (await client.improve(path)).improved
                answered += 1

            await asyncio.gather(*[improved() for _ in range(60)])
        assert most <= 8
        assert read == 60

    async def test_a_jpeg_xl_in_memory_is_unpacked_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        imagecodecs = pytest.importorskip("imagecodecs")
        unpack, unpacked = imagecodecs.jpegxl_decode_jpeg, list[int]()

        def counted(data: bytes, **options: Any) -> Any:
            unpacked.append(len(data))
            return unpack(data, **options)

        note = b"a note of the camera " * 1000
        photo = tmp_path / "a.jxl"
        photo.write_bytes(imagecodecs.jpegxl_encode_jpeg(encoded(scene(), comment=note), usecontainer=True))
        monkeypatch.setattr(imagecodecs, "jpegxl_decode_jpeg", counted)
        async with EchoService() as service, SmartyClient(base_url=service.url) as client:
            assert note in ((await client.improve(photo)).improved or b"")
            assert len(unpacked) == 1
            await all_of(client.improve_archive(photo, out=tmp_path / "out"))
        assert note in (tmp_path / "out" / "improved" / "a.jxl.jpg").read_bytes()

    async def test_files_that_stall_hold_up_no_other_call(self) -> None:
        class Stalled:
            async def read(self) -> bytes:
                await ended.wait()
                return png()

        ended = asyncio.Event()
        async with FakeService() as service, client_of(service, concurrency=1) as client:
            stalled = [asyncio.create_task(client.improve(Stalled())) for _ in range(40)]
            assert (await client.improve(png())).improved
            ended.set()
            assert all(photo.improved for photo in await asyncio.gather(*stalled))

    async def test_what_it_takes_goes_as_it_is(self) -> None:
        async with FakeService() as service, client_of(service) as client:
            await client.improve(png())
            (part, meta) = service.requests[0].parts
            assert (part.data, part.content_type, meta.name) == (png(), "image/png", "meta")

    @pytest.mark.parametrize(
        ("data", "reason"),
        [(b"", "empty"), (b"no image", "not_an_image"), (cut(jpeg()), "truncated"), (None, "unreadable")],
    )
    @pytest.mark.parametrize("as_file", [False, True])
    async def test_what_cannot_be_sent_is_rejected_by_name(
        self, tmp_path: Path, data: bytes | None, reason: str, *, as_file: bool
    ) -> None:
        path = tmp_path / "a.jpg"
        if data is not None:
            path.write_bytes(data)
        photo: Any = path if as_file or data is None else data
        async with FakeService() as service, client_of(service) as client:
            with pytest.raises(PhotoRejected) as caught:
                await client.improve(photo)
            assert not service.requests
        assert caught.value.type == reason
        assert caught.value.photo == (str(path).replace(os.sep, "/") if photo is path else "")

    async def test_a_path_with_a_nul_in_it(self) -> None:
        async with FakeService() as service, client_of(service) as client:
            with pytest.raises(PhotoRejected):
                await client.improve("a\0b.jpg")

    async def test_choices_that_do_not_go_together(self) -> None:
        async with FakeService() as service, client_of(service) as client:
            with pytest.raises(OptionsError):
                await client.improve(jpeg(), modes=("resolution",))

    async def test_both_modes(self) -> None:
        image = jpeg()
        async with FakeService() as service, client_of(service, provider="mr", path="/api/v1/photo/improve/") as client:
            result = await client.improve(image, modes=("improve", "resolution"), rfactor=4, rtype="art")
            request = service.requests[0]
            assert request.meta == {
                "mode": ["improve", "resolution"],
                "images": [{"name": "file_0"}],
                "rfactor": 4,
                "rtype": "art",
                "ftype": "art",
            }
            assert request.query["oauth_provider"] == "mr"
            assert request.raw_path.startswith("/api/v1/photo/improve/?")
        assert result.resolved == expected("resolved", image)

    async def test_a_client_that_is_not_open(self) -> None:
        client = client_of(FakeService(url="http://127.0.0.1:9"))
        with pytest.raises(SmartyError, match="async with"):
            await client.improve(jpeg())
        with pytest.raises(SmartyError, match="async with"):
            client.improve_archive(".", out="out")

    async def test_a_client_may_be_opened_again(self) -> None:
        async with FakeService() as service:
            client = client_of(service)
            for seed in range(2):
                async with client:
                    assert (await client.improve(jpeg(seed=seed))).improved
            with pytest.raises(SmartyError, match="async with"):
                await client.improve(jpeg())

    async def test_a_client_that_cannot_be_opened_leaves_nothing_open(self) -> None:
        """An unclosed session warns, and warnings are errors."""
        credentials = OAuthCredentials(client_id="me", client_secret=TOKEN, auth_url="http://127.0.0.1:9")
        async with FakeService() as service:
            client = client_of(
                service, base_url="https://h.example", credentials=credentials, proxy="http://p.example:1"
            )
            with pytest.raises(ConfigurationError, match="proxy"):
                await client.__aenter__()
            gc.collect()

    async def test_another_event_loop_is_refused_and_harms_nothing(self, tmp_path: Path) -> None:
        async with FakeService() as service, client_of(service) as client:
            run = client.improve_archive(photos(tmp_path / "in", 1), out=tmp_path / "out")

            def in_another_loop() -> None:
                for call in (client.improve(jpeg()), all_of(run), client.aclose()):
                    with pytest.raises(SmartyError, match="belongs to the event loop"):
                        asyncio.run(call)

            await asyncio.to_thread(in_another_loop)
            assert not service.requests
            assert (await client.improve(jpeg())).improved
            assert await all_of(run)


class TestChoices:
    @pytest.mark.parametrize(
        "choice",
        [
            {"concurrency": 0},
            {"provider": ""},
            {"rate": 0},
            {"rate": float("nan")},
            {"token": "a", "credentials": OAuthCredentials(client_id="me", client_secret="x")},
            {"base_url": "ftp://smarty.mail.ru"},
            {"base_url": "smarty.mail.ru"},
            {"base_url": "https://"},
            {"base_url": "http://[::1"},
        ],
    )
    def test_what_cannot_be_done(self, choice: dict[str, Any]) -> None:
        with pytest.raises(OptionsError):
            SmartyClient(**{"token": "t"} | choice)

    @pytest.mark.parametrize(
        ("choice", "message"),
        [
            ({"token": b"s3cret"}, "token must be str or None, not bytes"),
            ({"token": "s3cret\n"}, "token holds more than printable text: a line end, for example"),
            ({"provider": "mcs\n"}, "provider holds more than printable text: a line end, for example"),
            ({"base_url": None}, "base_url must be str, not NoneType"),
            ({"proxy": 5}, "proxy must be str or None, not int"),
            ({"ssl": "cert.pem"}, "ssl must be SSLContext or None, not str"),
            ({"concurrency": "8"}, "concurrency must be int, not str"),
            ({"concurrency": 10**400}, f"concurrency must be at most {sys.maxsize}"),
            ({"rate": 10**400}, f"rate must be at most {sys.maxsize}"),
            ({"rate": "8"}, "rate must be int or float or None, not str"),
            ({"limits": 5}, "limits must be Limits or None, not int"),
            ({"retries": 3}, "retries must be Retries or None, not int"),
            ({"timeouts": 30}, "timeouts must be Timeouts or None, not int"),
            ({"judge": None}, "judge must be Callable, not NoneType"),
            ({"hooks": object()}, "hooks must be Iterable, not object"),
        ],
    )
    def test_an_argument_of_a_wrong_type(self, choice: dict[str, Any], message: str) -> None:
        with pytest.raises(OptionsError, match=f"^{message}$"):
            SmartyClient(**{"token": "t"} | choice)

    async def test_a_timeout_that_is_no_number(self) -> None:
        async with FakeService() as service, client_of(service) as client:
            with pytest.raises(OptionsError, match=r"^timeout must be int or float or None, not str$"):
                await client.improve(jpeg(), timeout="5")  # type: ignore[arg-type] # on purpose
            with pytest.raises(OptionsError, match=r"^timeout must be a number of seconds, not nan$"):
                await client.improve(jpeg(), timeout=float("nan"))

    async def test_a_cluster_that_is_an_address(self, tmp_path: Path) -> None:
        pytest.importorskip("distributed")
        async with FakeService() as service, client_of(service) as client:
            with pytest.raises(OptionsError, match="asynchronous client"):
                client.improve_archive(tmp_path, out=tmp_path / "out", cluster="tls://h.example")  # type: ignore[arg-type]

    @pytest.mark.parametrize("url", ["http://smarty.mail.ru", "http://127.0.0.1.evil.example", "http://10.0.0.1:80"])
    def test_the_token_does_not_travel_in_the_open(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="plain http"):
            SmartyClient(token="t", base_url=url)
        with pytest.raises(ConfigurationError, match="plain http"):
            SmartyClient(credentials=OAuthCredentials(client_id="me", client_secret="x", auth_url=url))

    @pytest.mark.parametrize("url", ["http://localhost:1", "http://127.8.8.8", "http://[::1]:80", "https://any.where"])
    def test_where_it_may_travel(self, url: str) -> None:
        assert SmartyClient(token="t", base_url=url)

    def test_a_token_is_needed_elsewhere_than_here(self) -> None:
        assert SmartyClient(base_url="http://127.0.0.1:1")
        with pytest.raises(ConfigurationError, match="authorize"):
            SmartyClient()
        with pytest.raises(ConfigurationError, match="set SMARTY_TOKEN"):
            SmartyClient.from_env({})

    @pytest.mark.parametrize("choice", [{"max_photos": -1}, {"max_cost": -0.1}, {"max_cost": float("nan")}])
    async def test_a_spend_guard_below_nothing(self, choice: dict[str, Any], tmp_path: Path) -> None:
        async with FakeService() as service, client_of(service) as client:
            with pytest.raises(OptionsError):
                client.improve_archive(tmp_path, out=tmp_path / "out", **choice)

    def test_sources_are_one_or_several(self) -> None:
        assert ArchiveOptions.of("a", out="b").sources == ("a",)
        assert ArchiveOptions.of([Path("a"), "b"], out="c").sources == ("a", "b")

    def test_its_repr_holds_the_address_and_no_secret(self) -> None:
        client = SmartyClient(token=TOKEN, base_url="https://host.example/x")
        assert repr(client) == "SmartyClient(base_url='https://host.example', concurrency=8)"


class TestArchive:
    async def test_every_photo_comes_to_its_place(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 20), tmp_path / "out"
        (source / "deep").mkdir()
        (source / "deep" / "b.png").write_bytes(png(16, 12))
        (source / "bad.jpg").write_bytes(b"no image")
        async with FakeService() as service, client_of(service, limits=Limits(max_images=5)) as client:
            run = client.improve_archive(source, out=out)
            results = await all_of(run)
        assert len(results) == 22
        assert run.progress.outcomes == {"restored": 21, "rejected": 1}
        assert (run.progress.found, run.progress.scanning, run.progress.images) == (22, False, 21)
        for result in results.values():
            for kind, place in result.outputs.items():
                assert (out / place).read_bytes() == expected(kind, (source / result.photo).read_bytes())
        assert results["deep/b.png"].outputs["improved"] == "improved/deep/b.png.jpg"
        assert not temporaries(out)
        lines = [msgspec.json.decode(line) for line in (out / "results.jsonl").read_bytes().splitlines()]
        assert {line["photo"] for line in lines} == set(results)

    async def test_the_next_run_sends_only_what_is_missing(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 3), tmp_path / "out"
        async with FakeService() as service, client_of(service) as client:
            await all_of(client.improve_archive(source, out=out))
            photos(tmp_path / "in", 4)
            sent = len(service.requests)
            results = await all_of(client.improve_archive(source, out=out))
            assert sorted(result.outcome for result in results.values()) == ["restored", *["skipped"] * 3]
            assert sum(len(request.images) for request in service.requests[sent:]) == 1
            both = await all_of(client.improve_archive(source, out=out, modes=("improve", "resolution"), rfactor=2))
            assert service.requests[-1].meta["mode"] == ["resolution"]
            assert {*both["a000.jpg"].outputs} == {"improved", "colorized_improved", "colorized", "resolved"}

    async def test_a_photo_of_a_list_that_is_not_there_is_rejected(self, tmp_path: Path) -> None:
        async with FakeService() as service, client_of(service) as client:
            run = client.improve_archive(listed=[str(tmp_path / "nowhere.jpg")], out=tmp_path / "out")
            (result,) = (await all_of(run)).values()
        assert result.outcome == "rejected"
        assert result.error is not None
        assert result.error.type == "unreadable"

    async def test_a_photo_that_changes_while_it_is_sent_fails_with_its_attempts(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 3), tmp_path / "out"
        changed = source / "a001.jpg"

        async def sleep(_: float) -> None:
            changed.write_bytes(jpeg(seed=99))

        async with FakeService() as service, client_of(service, concurrency=1, sleep=sleep) as client:
            service.script(http(503))
            results = await all_of(client.improve_archive(source, out=out))
        assert {name: result.outcome for name, result in results.items()} == {
            "a000.jpg": "restored",
            "a001.jpg": "failed",
            "a002.jpg": "restored",
        }
        assert results["a001.jpg"].attempts == 1  # the second request was broken off, and carried nothing

    async def test_failures_are_reported_and_retried_on_demand(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 2), tmp_path / "out"
        async with FakeService() as service, client_of(service, concurrency=1) as client:
            service.script(items({"file_0": {"status": 1, "error": "no face"}}))
            first = await all_of(client.improve_archive(source, out=out))
            (failed,) = (result for result in first.values() if result.outcome == "failed")
            assert failed.error is not None
            assert (failed.error.type, failed.error.message, failed.attempts) == ("permanent", "no face", 1)
            again = await all_of(client.improve_archive(source, out=out))
            assert again[failed.photo].outcome == "failed"
            assert len(service.requests) == 1
            third = await all_of(client.improve_archive(source, out=out, retry_failed=True))
            assert third[failed.photo].outcome == "restored"
            assert third[failed.photo].attempts == 2

    async def test_temporary_failures_are_bounded_and_half_a_success_is_kept(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 1), tmp_path / "out"
        async with FakeService() as service, client_of(service) as client:
            service.default = lambda _: items({"file_0": {"resolution": {"status": 2, "error": "busy"}}})
            run = client.improve_archive(source, out=out, modes=("improve", "resolution"), rfactor=2)
            (result,) = (await all_of(run)).values()
        assert (result.outcome, result.attempts) == ("failed", 4)
        assert result.error is not None
        assert result.error.message == "busy"
        assert set(result.outputs) == {"improved", "colorized_improved", "colorized"}
        assert run.progress.retries == 3

    async def test_photos_that_are_already_good(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 1), tmp_path / "out"
        async with FakeService() as service, client_of(service) as client:
            service.default = lambda _: items(
                {"file_0": {"improved": None, "colorized_improved": "", "colorized": None}}
            )
            (result,) = (await all_of(client.improve_archive(source, out=out))).values()
        assert (result.outcome, result.outputs) == ("already_good", {})

    async def test_converted_photos_leave_no_temporary(self, tmp_path: Path) -> None:
        source, out = tmp_path / "in", tmp_path / "out"
        source.mkdir()
        (source / "a.webp").write_bytes(webp())
        async with FakeService() as service, client_of(service) as client:
            (result,) = (await all_of(client.improve_archive(source, out=out))).values()
        assert result.outcome == "restored"
        assert not temporaries(out)

    @pytest.mark.parametrize("bound", [{"max_photos": 3}, {"max_cost": 0.18}])
    async def test_no_more_is_spent_than_allowed(self, tmp_path: Path, bound: dict[str, Any]) -> None:
        source, out = photos(tmp_path / "in", 8), tmp_path / "out"
        async with FakeService() as service, client_of(service) as client:
            results = await all_of(client.improve_archive(source, out=out, **bound))
            assert len(results) == 3
            assert sum(len(request.images) for request in service.requests) == 3
            assert len(await all_of(client.improve_archive(source, out=out))) == 8

    async def test_an_authorization_server_that_is_down_spends_nothing(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 2), tmp_path / "out"
        async with FakeService() as service:
            credentials = OAuthCredentials(client_id="me", client_secret="x", auth_url=service.auth_url)
            async with client_of(service, credentials=credentials, concurrency=1) as client:
                service.script_grants(http(503), http(503), http(503))
                results = await all_of(client.improve_archive(source, out=out, max_cost=0.12))
        assert {result.outcome for result in results.values()} == {"restored"}

    async def test_options_that_are_refused_end_the_run_at_once(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 30), tmp_path / "out"
        async with FakeService() as service:
            async with client_of(service, concurrency=1, limits=Limits(max_images=3)) as client:
                service.default = lambda _: envelope(400, "rfactor must be 2 or 4")
                with pytest.raises(RequestRefused):
                    await all_of(client.improve_archive(source, out=out))
            assert len(service.requests) == 1
        assert not temporaries(out)

    async def test_an_outage_ends_the_run_and_fails_no_photo(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 6), tmp_path / "out"
        async with (
            FakeService() as service,
            client_of(service, retries=hasty(), limits=Limits(max_images=2)) as client,
        ):
            service.default = lambda _: drop()
            with pytest.raises(ServiceUnavailable):
                await all_of(client.improve_archive(source, out=out))
            service.default = service.answer_rightly
            results = await all_of(client.improve_archive(source, out=out))
        assert {result.outcome for result in results.values()} == {"restored"}

    async def test_a_second_run_on_the_same_folder_is_refused_and_harms_nothing(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 2), tmp_path / "out"
        gate = asyncio.Event()
        async with FakeService() as service, client_of(service) as client:
            service.default = lambda _: hold(gate)
            first = asyncio.create_task(all_of(client.improve_archive(source, out=out)))
            await until(lambda: service.open_now > 0)
            with pytest.raises(OutputInUse):
                await all_of(client.improve_archive(source, out=out))
            service.default = service.answer_rightly
            gate.set()
            assert {result.outcome for result in (await first).values()} == {"restored"}

    async def test_a_run_is_iterated_over_once(self, tmp_path: Path) -> None:
        async with FakeService() as service, client_of(service) as client:
            run = client.improve_archive(photos(tmp_path / "in", 1), out=tmp_path / "out")
            assert run.active
            await all_of(run)
            assert not run.active
            with pytest.raises(SmartyError, match="once"):
                await all_of(run)

    async def test_a_source_that_is_not_there(self, tmp_path: Path) -> None:
        async with FakeService() as service, client_of(service) as client:
            with pytest.raises(OptionsError, match="there is no"):
                await all_of(client.improve_archive(tmp_path / "nowhere", out=tmp_path / "out"))

    async def test_an_output_folder_that_is_a_file_ends_the_run_before_anything_is_sent(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 3), tmp_path / "out"
        out.mkdir()
        (out / "improved").write_text("in the way")
        async with FakeService() as service, client_of(service) as client:
            with pytest.raises(DiskError):
                await all_of(client.improve_archive(source, out=out))

    @pytest.mark.slow
    async def test_without_a_consumer_only_a_few_results_are_held(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The run waits for the consumer of its results."""
        monkeypatch.setattr("smarty_async.run._UNREAD_RESULTS", 2)  # groups: of all photos that end together
        source, out = photos(tmp_path / "in", 300), tmp_path / "out"
        async with FakeService() as service, client_of(service) as client:
            run = client.improve_archive(source, out=out)
            results = aiter(run)
            await anext(results)
            await until(lambda: run._results.qsize() == 2)
            assert len([one async for one in results]) == 299


class TestDraining:
    async def test_what_is_open_is_waited_for_and_nothing_new_is_sent(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 9), tmp_path / "out"
        gate = asyncio.Event()
        async with FakeService() as service:
            async with client_of(service, concurrency=1, limits=Limits(max_images=3)) as client:
                service.default = lambda _: hold(gate, items({"file_0": {"status": 2}}))
                run = client.improve_archive(source, out=out)
                running = asyncio.create_task(all_of(run))
                await until(lambda: service.open_now == 1)
                run.drain()
                gate.set()
                results = await running
            assert len(service.requests) == 1
        assert [result.outcome for result in results.values()] == ["restored"] * 2
        assert not temporaries(out)

    async def test_a_request_that_fails_meanwhile_is_not_sent_again(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 3), tmp_path / "out"
        gate = asyncio.Event()
        async with FakeService() as service, client_of(service, concurrency=1) as client:
            service.default = lambda _: hold(gate, http(503))
            run = client.improve_archive(source, out=out)
            running = asyncio.create_task(all_of(run))
            await until(lambda: service.open_now == 1)
            run.drain()
            gate.set()
            assert not await running
            assert len(service.requests) == 1

    async def test_backoffs_end_at_once(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 1), tmp_path / "out"
        sleeping = asyncio.Event()

        async def sleep(_: float) -> None:
            sleeping.set()
            await asyncio.Event().wait()

        for answer in (items({"file_0": {"status": 2}}), http(503)):
            sleeping.clear()
            async with FakeService() as service, client_of(service, sleep=sleep) as client:
                service.script(answer)
                run = client.improve_archive(source, out=out)
                running = asyncio.create_task(all_of(run))
                await sleeping.wait()
                run.drain()
                assert not await running
                assert len(service.requests) == 1

    async def test_a_run_drained_before_it_began_sends_nothing(self, tmp_path: Path) -> None:
        async with FakeService() as service, client_of(service) as client:
            run = client.improve_archive(photos(tmp_path / "in", 3), out=tmp_path / "out")
            run.drain()
            assert not await all_of(run)
            assert not service.requests


class TestOutage:
    async def test_a_caller_who_waits_gets_an_answer_before_an_archive_would_give_up(self, tmp_path: Path) -> None:
        limits = retries(give_up_after=3600, give_up_single_after=0.05, give_up_before_first=3600)
        async with FakeService() as service, client_of(service, retries=limits) as client:
            service.default = lambda _: http(503, "busy")
            with pytest.raises(ServiceUnavailable, match="gave up on the service"):
                await client.improve(jpeg())
            service.default = service.answer_rightly
            results = await all_of(client.improve_archive(photos(tmp_path / "in", 2), out=tmp_path / "out"))
            assert {result.outcome for result in results.values()} == {"restored"}
            assert (await client.improve(jpeg())).outcome == "restored"
