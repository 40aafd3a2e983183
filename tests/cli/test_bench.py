from __future__ import annotations

import math
import os
import re
from pathlib import Path

import msgspec
import pytest
import typer
from support.damaged_json import DAMAGED
from support.fake_service import Answer, FakeService, Request, envelope, items, ok
from support.pictures import jpeg
from typer.testing import CliRunner

from smarty_async.account import Account
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.cli.bench import bench
from smarty_async.cli.bench_report import Machine, PhotoSet, Report, Sample, Setting, compare_lines, read_report
from smarty_async.cli.bench_run import Load, fillable, measure
from smarty_async.errors import AuthorizationError, ConfigurationError, DiskError, OptionsError
from smarty_async.options import Limits
from smarty_async.results import PRICE


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.jpg").write_bytes(jpeg(seed=number))
    (folder / "notes.txt").write_text("no photo")
    return folder


def load_for(url: str, photos: Path, *, out: Path | None = None, chunks: tuple[int, ...] = (1, 3)) -> Load:
    return Load(
        account=Account(base_url=url, token="bait-token"),
        path="/api/v1/photo/improve",
        sources=(photos,),
        photos=5,
        concurrencies=(2, 1),
        chunks=chunks,
        repeats=2,
        label="before",
        out=out,
        json=True,
    )


def setting(*rates: float, chunk: int = 8, concurrency: int = 4, failed: int = 0) -> Setting:
    samples = [
        Sample(
            seconds=1000 / max(rate, 1e-9),
            photos=1000 if rate else 0,
            failed=failed,
            requests=1,
            retries=0,
            mb=1.0,
            p50=0.1,
            p90=0.1,
            p99=0.1,
        )
        for rate in rates
    ]
    return Setting(chunk=chunk, concurrency=concurrency, samples=samples)


def report(*settings: Setting, load: float | None = 0.1, digest: str = "d", endpoint: str = "https://a") -> Report:
    return Report(
        version="1",
        endpoint=endpoint,
        photo_set=PhotoSet(photos=1, bytes=2, digest=digest),
        machine=Machine(system="s", cpu="c", cpus=2, python="3", load=load),
        settings=list(settings),
    )


class TestAdvice:
    def test_neither_of_two_that_differ_a_little_could_be_advised_in_another_measurement(self) -> None:
        measured = report(setting(100, 101, 102, concurrency=1), setting(110, 109, 108, concurrency=8))
        assert measured.advised() is None

    def test_nothing_is_advised_when_the_samples_are_spread_widely(self) -> None:
        measured = report(setting(57, 67, 87, concurrency=1), setting(55, 66, 88, concurrency=2))
        assert measured.advised() is None

    def test_a_table_fits_into_80_columns(self) -> None:
        lines = list(report(setting(98.2, 1234.5, 99_999.9, chunk=48, concurrency=128)).lines())
        assert max(map(len, lines[:2])) <= 80

    def test_the_one_that_is_clearly_the_fastest(self) -> None:
        slow, fast = setting(50, 51, 49, concurrency=1), setting(100, 98, 103, concurrency=8)
        assert report(slow, fast).advised() is fast

    def test_what_asks_less_of_the_service_and_is_as_fast(self) -> None:
        modest, hungry = setting(96, 101, 99, concurrency=2), setting(100, 98, 103, concurrency=8)
        assert report(modest, hungry).advised() is modest

    def test_there_is_none_when_the_spread_is_as_wide_as_the_difference(self) -> None:
        slow, middle, fast = (
            setting(60, 90, 75, concurrency=1),
            setting(80, 110, 95, concurrency=2),
            setting(94, 120, 110, concurrency=4),
        )
        measured = report(slow, middle, fast)
        assert measured.advised() is None
        assert any("No clear winner: the runs of one setting differ by up to 40 %" in line for line in measured.lines())

    def test_the_spread_of_few_runs_is_not_known(self) -> None:
        measured = report(setting(50, 50, concurrency=1), setting(100, 100, concurrency=2))
        assert measured.advised() is None
        assert any("--repeats 3" in line for line in measured.lines())

    def test_failing_less_goes_before_speed(self) -> None:
        slow = setting(10, 10, 10)
        assert report(slow, setting(100, 100, 100, failed=3)).advised() is slow

    def test_nothing_worked(self) -> None:
        measured = report(setting(0, 0, 0, failed=10))
        assert measured.advised() is None
        assert any("nothing to recommend" in line for line in measured.lines())

    def test_a_busy_machine_is_mentioned(self) -> None:
        assert any("busy (load 1.7 on 2 CPUs)" in line for line in report(setting(1, 1, 1), load=1.7).lines())
        assert not any("busy" in line for line in report(setting(1, 1, 1), load=0.3).lines())
        assert not any("busy" in line for line in report(setting(1, 1, 1), load=None).lines())


class TestMeasuring:
    @pytest.mark.slow
    async def test_every_setting_sends_the_same_photos_in_turn(
        self, photos: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        async with FakeService() as service:
            assert await measure(load_for(service.url, photos, out=tmp_path / "report")) == 0
            sizes = [len(request.names) for request in service.requests]
        assert sum(sizes) == (1 + 2 * 4) * 5  # one run to warm up
        assert max(sizes) == 3
        *settings, end = map(msgspec.json.decode, capfdbinary.readouterr().out.splitlines())
        assert [(one["chunk"], one["concurrency"]) for one in settings] == [(1, 1), (1, 2), (3, 1), (3, 2)]
        samples = [sample for one in settings for sample in one["samples"]]
        assert len(samples) == 8
        assert all(sample["photos"] == 5 and sample["p50"] > 0 and sample["cost"] > 0 for sample in samples)
        assert end["advised"] is None  # two runs are too few
        assert end["cost"] == pytest.approx((1 + 2 * 4) * 5 * PRICE)

    @pytest.mark.slow
    async def test_the_report_says_what_was_measured_where(
        self, photos: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        async with FakeService() as service:
            await measure(load_for(service.url, photos, out=tmp_path))
        written = read_report(tmp_path / "bench.json")
        assert (written.label, written.endpoint) == ("before", service.url)
        assert (written.photo_set.photos, len(written.photo_set.digest)) == (5, 64)
        assert written.machine.cpus == os.cpu_count()
        printed = capfdbinary.readouterr()
        assert b"bait-token" not in printed.out + printed.err + (tmp_path / "bench.json").read_bytes()

    @pytest.mark.slow
    async def test_what_fails_is_counted(self, photos: Path) -> None:
        async with FakeService() as service:
            service.default = lambda _: items({"file_0": {"status": 1, "error": "no"}})
            load = msgspec.structs.replace(load_for(service.url, photos, chunks=(5,)), concurrencies=(1,), repeats=1)
            assert await measure(load) == 1

    @pytest.mark.slow
    async def test_chunks_that_the_photos_cannot_fill_are_left_out(
        self, photos: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        async with FakeService() as service:
            load = msgspec.structs.replace(load_for(service.url, photos, chunks=(48, 100)), repeats=1)
            await measure(load)
            assert max(len(request.names) for request in service.requests) == 5
        assert b"Left out: 48 and 100 photos in a request. These photos fill requests of up to 5." in (
            capfdbinary.readouterr().err
        )

    def test_a_request_is_filled_by_number_or_by_bytes(self) -> None:
        small = [PhotoFile("/s", f"{number}", "", 1000, "0") for number in range(7)]
        large = [PhotoFile("/s", f"{number}", "", 7_000_000, "0") for number in range(7)]
        assert fillable(small, Limits()) == 7
        assert fillable(large, Limits()) == 4

    @pytest.mark.parametrize("in_the_way", ["report", "report/bench.json/"])
    async def test_a_report_that_cannot_be_written_is_refused_before_anything_is_sent(
        self, photos: Path, tmp_path: Path, in_the_way: str
    ) -> None:
        out, obstacle = tmp_path / "report", tmp_path / in_the_way
        if in_the_way.endswith("/"):
            obstacle.mkdir(parents=True)
        else:
            obstacle.touch()
        async with FakeService() as service:
            with pytest.raises(DiskError, match=f"cannot write {re.escape(repr(str(obstacle)))}: "):
                await measure(load_for(service.url, photos, out=out))
            assert service.requests == []

    async def test_to_try_whether_a_report_can_be_written_leaves_an_earlier_one(
        self, photos: Path, tmp_path: Path
    ) -> None:
        for earlier in (None, b"earlier"):
            if earlier:
                (tmp_path / "bench.json").write_bytes(earlier)
            with pytest.raises(ConfigurationError):
                await measure(load_for("http://service.example", photos, out=tmp_path))
            assert (tmp_path / "bench.json").exists() is (earlier is not None)
        assert (tmp_path / "bench.json").read_bytes() == b"earlier"

    @pytest.mark.slow
    async def test_the_table_is_printed_when_the_report_can_no_longer_be_written(
        self, photos: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        def obstructed(_: Request) -> Answer:
            (tmp_path / "bench.json").mkdir(exist_ok=True)
            return ok()

        async with FakeService() as service:
            service.default = obstructed
            load = msgspec.structs.replace(load_for(service.url, photos, chunks=(5,)), concurrencies=(1,), repeats=1)
            with pytest.raises(DiskError, match=r"bench\.json"):
                await measure(msgspec.structs.replace(load, out=tmp_path))
        assert b'"samples"' in capfdbinary.readouterr().out

    @pytest.mark.slow
    async def test_what_was_measured_is_kept_when_the_service_goes(
        self, photos: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        async with FakeService() as service:
            service.script(*[ok()] * 7)  # warming up with 2 requests, the first setting with 5
            service.default = lambda _: envelope(403, "no")
            with pytest.raises(AuthorizationError):
                await measure(load_for(service.url, photos, out=tmp_path))
        printed = capfdbinary.readouterr()
        assert b"Stopped early" in printed.err
        first, end = map(msgspec.json.decode, printed.out.splitlines())
        assert (first["chunk"], first["concurrency"], len(first["samples"])) == (1, 1, 1)
        assert end["advised"] is None
        assert [len(one.samples) for one in read_report(tmp_path / "bench.json").settings] == [1]

    async def test_no_photos(self, tmp_path: Path) -> None:
        with pytest.raises(OptionsError, match="no photos"):
            await measure(load_for("http://127.0.0.1:1", tmp_path))


class TestCompare:
    def test_only_a_difference_beyond_the_spread_counts(self) -> None:
        before = report(setting(50, 51, 52, chunk=1), setting(50, 60, 70, chunk=2), setting(90, 90, 90, chunk=3))
        after = report(setting(80, 81, 82, chunk=1), setting(55, 65, 75, chunk=2), setting(45, 45, 45, chunk=3))
        lines = list(compare_lines(before, after))
        assert [line.rpartition("×  ")[2] for line in lines[1:]] == ["faster", "no clear difference", "slower"]
        assert "1.59×" in lines[1]

    def test_other_conditions_are_mentioned(self) -> None:
        lines = list(compare_lines(report(load=2.0), report(digest="e", endpoint="https://b")))
        assert lines[:3] == [
            "Different photos: the numbers can hardly be compared.",
            "Different endpoints: the numbers can hardly be compared.",
            "A machine was busy.",
        ]

    def test_as_a_command(self, tmp_path: Path, app: typer.Typer) -> None:
        for name, rate in (("a.json", 10.0), ("b.json", 20.0)):
            (tmp_path / name).write_bytes(msgspec.json.encode(report(setting(rate, rate, rate))))
        files = [str(tmp_path / name) for name in ("a.json", "b.json")]
        compared = CliRunner().invoke(app, ["compare", *files[:2]])
        assert compared.exit_code == 0
        assert "2.00×  faster" in compared.output
        assert CliRunner().invoke(app, ["compare", files[0]]).exit_code == 2

    @pytest.mark.parametrize("data", DAMAGED, ids=len)
    def test_what_is_no_report_is_refused(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "a.json").write_bytes(data)
        with pytest.raises(OptionsError, match="is not a report of bench"):
            read_report(tmp_path / "a.json")

    @pytest.mark.parametrize(
        ("wrong", "where"),
        [(setting(), r"\$\.settings\[0\]\.samples"), (setting(math.inf), r"\$\.settings\[0\]\.samples\[0\]\.seconds")],
    )
    def test_what_no_rate_can_be_taken_of_is_refused(self, tmp_path: Path, wrong: Setting, where: str) -> None:
        (tmp_path / "a.json").write_bytes(msgspec.json.encode(report(wrong)))
        with pytest.raises(OptionsError, match=rf"is not a report of bench \(.*{where}"):
            read_report(tmp_path / "a.json")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setenv("SMARTY_TOKEN", "bait-token")
    app = typer.Typer()
    app.command()(bench)
    return app


class TestCommand:
    def test_it_asks_before_anything_is_paid_for(self, app: typer.Typer, photos: Path) -> None:
        asked = CliRunner().invoke(app, [str(photos), "--base-url", "https://service.invalid"], input="n\n")
        assert asked.exit_code == 130
        assert "12 settings, 3 runs with each and one to warm up, up to 96 photos in each run: about 213.12 ₽" in (
            " ".join(asked.output.split())
        )
        assert "Nothing was sent." in asked.output

    def test_without_a_terminal_to_ask_nothing_is_sent(self, app: typer.Typer, photos: Path) -> None:
        asked = CliRunner().invoke(app, [str(photos), "--base-url", "https://service.invalid"], input="")
        assert asked.exit_code == 2
        assert "add --yes" in asked.output

    def test_it_does_not_say_that_it_continues(self, app: typer.Typer, photos: Path, tmp_path: Path) -> None:
        (tmp_path / "report").touch()
        ended = CliRunner().invoke(app, [str(photos), "--out", str(tmp_path / "report" / "in")])
        assert ended.exit_code == 5
        assert ended.output.endswith("choose another one, or remove what is in the way.\n")

    def test_a_comparison_has_no_json(self, app: typer.Typer) -> None:
        ended = CliRunner().invoke(app, ["compare", "a.json", "b.json", "--json"])
        assert ended.exit_code == 2
        assert "leave out --json" in ended.output

    def test_a_setting_that_cannot_be(self, app: typer.Typer, photos: Path) -> None:
        assert CliRunner().invoke(app, [str(photos), "--chunk", "0"]).exit_code == 2
