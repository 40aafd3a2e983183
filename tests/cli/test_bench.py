from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest
import typer
from support.fake_service import FakeService, items
from support.pictures import jpeg
from typer.testing import CliRunner

from smarty_async.cli.account import Account
from smarty_async.cli.bench import bench
from smarty_async.cli.bench_run import Cell, Load, advised, sweep
from smarty_async.errors import OptionsError
from smarty_async.report.chart import chart


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.jpg").write_bytes(jpeg(seed=number))
    return folder


def load_for(url: str, photos: Path, *, out: Path | None = None, chunks: tuple[int, ...] = (1, 3)) -> Load:
    return Load(
        account=Account(base_url=url, token="bait-token"),
        path="/api/v1/photo/improve",
        sources=(photos,),
        photos=5,
        concurrencies=(2, 1),
        chunks=chunks,
        out=out,
        json=True,
    )


def cell(*, chunk: int = 8, concurrency: int = 4, speed: float = 100.0, photos: int = 10, failed: int = 0) -> Cell:
    return Cell(
        chunk=chunk,
        concurrency=concurrency,
        photos=photos,
        failed=failed,
        requests=1,
        retries=0,
        seconds=1.0,
        photos_per_second=speed,
        mb_per_second=1.0,
        p50=0.1,
        p90=0.1,
        p99=0.1,
        cost=0.0,
    )


class TestAdvice:
    def test_the_fastest(self) -> None:
        assert advised([cell(speed=50), best := cell(concurrency=8, speed=100)]) is best

    def test_what_asks_less_of_the_service_and_is_nearly_as_fast(self) -> None:
        assert advised([modest := cell(concurrency=2, speed=96), cell(concurrency=8, speed=100)]) is modest

    def test_losing_fewer_photos_goes_before_speed(self) -> None:
        assert advised([slow := cell(speed=10), cell(speed=100, failed=3)]) is slow

    def test_nothing_worked(self) -> None:
        assert advised([cell(photos=0, failed=10, speed=0)]) is None


class TestSweep:
    async def test_every_setting_sends_the_same_photos(
        self, photos: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        async with FakeService() as service:
            assert await sweep(load_for(service.url, photos, out=tmp_path / "report")) == 0
            sizes = [len(request.names) for request in service.requests]
        assert sum(sizes) == 4 * 5
        assert max(sizes) == 3
        *cells, end = map(msgspec.json.decode, capfdbinary.readouterr().out.splitlines())
        assert [(one["chunk"], one["concurrency"]) for one in cells] == [(1, 1), (1, 2), (3, 1), (3, 2)]
        assert all(one["photos"] == 5 and one["p50"] > 0 and one["cost"] > 0 for one in cells)
        assert end["advised"] in cells
        assert {path.name for path in (tmp_path / "report").iterdir()} == {"bench.json", "bench.svg"}
        report = msgspec.json.decode((tmp_path / "report" / "bench.json").read_bytes())
        assert report["cells"] == cells

    async def test_what_fails_is_counted(self, photos: Path) -> None:
        async with FakeService() as service:
            service.default = lambda _: items({"file_0": {"status": 1, "error": "no"}})
            load = msgspec.structs.replace(load_for(service.url, photos, chunks=(5,)), concurrencies=(1,))
            assert await sweep(load) == 1

    async def test_the_report_names_no_token(
        self, photos: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        async with FakeService() as service:
            await sweep(load_for(service.url, photos, out=tmp_path))
        told = capfdbinary.readouterr()
        files = b"".join((tmp_path / name).read_bytes() for name in ("bench.json", "bench.svg"))
        assert b"bait-token" not in told.out + told.err + files

    async def test_no_photos(self, tmp_path: Path) -> None:
        with pytest.raises(OptionsError, match="no photos"):
            await sweep(load_for("http://127.0.0.1:1", tmp_path))


class TestCommand:
    @pytest.fixture
    def app(self, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
        monkeypatch.setenv("SMARTY_TOKEN", "bait-token")
        app = typer.Typer()
        app.command()(bench)
        return app

    def test_it_asks_before_anything_is_paid_for(self, app: typer.Typer, photos: Path) -> None:
        asked = CliRunner().invoke(app, [str(photos), "--base-url", "https://service.invalid"], input="n\n")
        assert asked.exit_code == 130
        assert "12 settings with up to 96 photos each: about 69.12 ₽" in asked.output
        assert "Nothing was sent." in asked.output

    def test_with_nobody_to_ask_nothing_is_sent(self, app: typer.Typer, photos: Path) -> None:
        asked = CliRunner().invoke(app, [str(photos), "--base-url", "https://service.invalid"], input="")
        assert asked.exit_code == 2
        assert "give --yes" in asked.output

    def test_a_setting_that_cannot_be(self, app: typer.Typer, photos: Path) -> None:
        assert CliRunner().invoke(app, [str(photos), "--chunk", "0"]).exit_code == 2


def test_a_chart_is_well_formed_and_names_its_lines() -> None:
    picture = chart({"8 <a request>": [(1, 2.5), (4, 9.0)], "48": [(1, 3.0)]}, across="at once", up="photos a second")
    root = ET.fromstring(picture)  # noqa: S314 - our own
    texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"8 <a request>", "48", "at once", "photos a second"} <= texts
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 3


def test_a_chart_of_noughts() -> None:
    assert ET.fromstring(chart({"none": [(0, 0.0)]}, across="x", up="y")).tag.endswith("svg")  # noqa: S314 - our own
