"""The program with a bucket: killed with -9 at random moments, run ten times, and refused."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.archives import sent
from support.fake_service import FakeService
from support.program import end_of, posix, run, started
from support.s3_server import S3Server
from support.stores import StorePlace

PHOTOS = 36
IMAGES, SLOTS = 3, 2
OPEN = IMAGES * SLOTS


@pytest.fixture
async def service() -> AsyncIterator[FakeService]:
    async with FakeService() as service:
        yield service


def command(place: StorePlace, service: FakeService, state: Path | None = None) -> list[str]:
    limits = ("--max-images", str(IMAGES), "--concurrency", str(SLOTS), "--json", "--quiet")
    places = (place.scans, "--out", place.out, "--state", str(state or place.state))
    return ["improve", *places, "--base-url", service.url, *limits]


@posix
@pytest.mark.slow
@pytest.mark.parametrize("state", ["kept", "lost"])
async def test_killed_runs_lose_nothing_and_pay_for_what_was_open_alone(
    place: StorePlace, service: FakeService, tmp_path: Path, state: str
) -> None:
    photos = place.fill(*(f"{number // 10}/{number:03}.jpg" for number in range(PHOTOS)))
    dice = Random(state)  # noqa: S311 - a choice of tests
    kills = 0
    for number in range(3):
        folder = place.state if state == "kept" else tmp_path / f"state {number}"
        async with started(*command(place, service, folder), **place.s3.environment) as process:
            assert process.stdout is not None
            for _ in range(dice.randrange(3, 15)):
                await process.stdout.readline()
            process.kill()
            await process.wait()
            kills += 1
        if state == "lost":
            shutil.rmtree(folder)
    ended = await run(*command(place, service, tmp_path / "last" if state == "lost" else None), **place.s3.environment)
    assert ended.status == 0, ended.err
    place.assert_right(photos)
    assert {line["photo"]: line["outcome"] for line in place.lines()} == dict.fromkeys(photos, "restored")
    paid = sent(service)
    assert set(paid) == set(photos.values())
    # Open requests, and, where the state is lost, answers whose outputs were not stored yet.
    backlog = 0 if state == "kept" else 2 * OPEN
    assert len(paid) <= PHOTOS + kills * (OPEN + backlog)


@pytest.mark.slow
async def test_ten_short_runs_end_well(place: StorePlace, service: FakeService, tmp_path: Path) -> None:
    place.fill("a.jpg")
    states = [tmp_path / f"state {number % 5}" for number in range(10)]

    async def one(state: Path, number: int) -> int:
        places = (place.scans, "--out", f"{place.out}/{number % 5}", "--state", str(state))
        ended = await run("improve", *places, "--base-url", service.url, "--quiet", **place.s3.environment)
        assert ended.err == ""
        return ended.status

    for start in range(0, 10, 5):
        statuses = await asyncio.gather(*(one(states[start + n], start + n) for n in range(5)))
        assert statuses == [0] * 5
    assert len(sent(service)) == 5


@pytest.mark.slow
async def test_status_of_a_bucket(place: StorePlace, service: FakeService, tmp_path: Path) -> None:
    place.fill("a.jpg", "b.jpg")
    assert (await run(*command(place, service), **place.s3.environment)).status == 0
    for state in (place.state, tmp_path / "on another machine"):
        ended = await run("status", place.out, "--state", state, "--json", **place.s3.environment)
        assert json.loads(ended.out)["outcomes"] == {"restored": 2}
    ended = await run("status", f"{place.out}/elsewhere", "--state", tmp_path / "x", **place.s3.environment)
    assert ended.status == 3
    assert "holds no log" in ended.err


@pytest.mark.slow
async def test_a_dry_run_changes_nothing(place: StorePlace, service: FakeService) -> None:
    place.fill("a.jpg", "b.jpg")
    ended = await run(*command(place, service), "--dry-run", **place.s3.environment)
    assert ended.status == 0
    assert json.loads(ended.out)["plan"]["photos"] == 2
    assert not place.state.exists()
    assert place.tree() == {}
    assert place.segments() == []


# what is wrong


async def refused(*args: str | Path, **env: Any) -> str:
    """What a run that cannot start says, in one line."""
    ended = await run("improve", *args, "--base-url", "http://127.0.0.1:9", **env)
    assert ended.status == 3
    [line] = ended.err.splitlines()
    return line


@pytest.mark.slow
async def test_a_store_that_cannot_be_used_is_said_at_the_start(
    s3: S3Server, place: StorePlace, tmp_path: Path
) -> None:
    place.fill("a.jpg")
    good, out = s3.environment, ("--out", place.out, "--state", tmp_path / "state")
    wrong = good | {"AWS_SECRET_ACCESS_KEY": "bait-secret"}
    said = await refused(place.scans, *out, **wrong)
    assert "403 SignatureDoesNotMatch: check the keys" in said
    assert "bait-secret" not in said
    unknown = good | {"AWS_ACCESS_KEY_ID": "AKIABAIT"}
    assert "403 InvalidAccessKeyId" in await refused(place.scans, *out, **unknown)
    reader = good | dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), s3.readers, strict=True))
    assert "403 AccessDenied: these credentials do not allow it" in await refused(place.scans, *out, **reader)
    assert "there is no bucket 'nowhere' (404 NoSuchBucket)" in await refused("s3://nowhere/x", *out, **good)
    nobody = good | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    assert "cannot be reached" in await refused(place.scans, *out, **nobody)


async def test_without_credentials_it_is_said_what_to_set(s3: S3Server, place: StorePlace, tmp_path: Path) -> None:
    home: dict[str, Any] = {
        "HOME": str(tmp_path),
        "USERPROFILE": str(tmp_path),
        "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9",
    }
    said = await refused(place.scans, "--out", tmp_path / "out", AWS_ENDPOINT_URL=s3.url, **home)
    assert "there are no credentials for" in said
    assert "AWS_ACCESS_KEY_ID" in said


@pytest.mark.slow
@posix  # elsewhere nothing can be reached at this address
@pytest.mark.slow
async def test_plain_http_is_refused_unless_the_environment_allows_it(place: StorePlace, service: FakeService) -> None:
    photos = place.fill("a.jpg")
    elsewhere = place.s3.environment | {"AWS_ENDPOINT_URL": place.s3.url.replace("127.0.0.1", "0.0.0.0")}  # noqa: S104 - the same place, by a name that is not loopback
    ended = await run(*command(place, service), **elsewhere)
    assert (ended.status, "AWS_ALLOW_HTTP=true allows plain http" in ended.err) == (3, True)
    ended = await run(*command(place, service), **elsewhere, AWS_ALLOW_HTTP="true")
    assert ended.status == 0, ended.err
    place.assert_right(photos)


async def test_the_keys_of_a_profile_are_read(place: StorePlace, service: FakeService, tmp_path: Path) -> None:
    place.fill("a.jpg")
    (tmp_path / "credentials").write_text(
        f"[archive]\naws_access_key_id = {place.s3.key}\naws_secret_access_key = {place.s3.secret}\n", "utf-8"
    )
    profile: dict[str, Any] = {
        "AWS_PROFILE": "archive",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_ENDPOINT_URL": place.s3.url,
        "AWS_REGION": "us-east-1",
    }
    assert (await run(*command(place, service), **profile)).status == 0


@pytest.mark.slow
async def test_a_store_that_fails_later_ends_with_5_and_the_same_command_goes_on(
    place: StorePlace, service: FakeService
) -> None:
    photos = place.fill("a.jpg", "b.jpg")
    place.s3.failing = [("PUT", "/restored/improved/", 403)]
    try:
        ended = await run(*command(place, service), **place.s3.environment)
    finally:
        place.s3.failing = []
    assert ended.status == 5
    assert "403" in ended.err
    assert (await run(*command(place, service), **place.s3.environment)).status == 0
    assert len(sent(service)) == 2
    place.assert_right(photos)


@pytest.mark.slow
async def test_no_secret_is_in_what_is_left_behind(place: StorePlace, service: FakeService, tmp_path: Path) -> None:
    place.fill("a.jpg")
    log = tmp_path / "log"
    await run(*command(place, service), "--log-file", log, **place.s3.environment)
    left = [path.read_bytes() for path in (log, *place.state.rglob("*")) if path.is_file()]
    left += place.s3.objects(place.out.removeprefix("s3://photos/")).values()
    assert left
    assert not [data for data in left if place.s3.secret.encode() in data or place.s3.key.encode() in data]


@pytest.mark.slow
async def test_interrupted_runs_go_on(place: StorePlace, service: FakeService) -> None:
    photos = place.fill(*(f"{number:03}.jpg" for number in range(30)))
    async with started(*command(place, service), **place.s3.environment) as process:
        assert process.stdout is not None
        await process.stdout.readline()
        if os.name != "nt":
            process.send_signal(2)
        ended = await end_of(process)
    assert ended.status in (0, 130)
    assert (await run(*command(place, service), **place.s3.environment)).status == 0
    assert len(sent(service)) == len(photos)
    place.assert_right(photos)


@pytest.mark.slow
async def test_workers_of_a_cluster_read_from_the_bucket(place: StorePlace, service: FakeService) -> None:
    pytest.importorskip("distributed")
    photos = place.fill(*(f"{number:03}.jpg" for number in range(12)))
    ended = await run(*command(place, service), "--workers", "2", **place.s3.environment)
    assert ended.status == 0, ended.err
    assert len(sent(service)) == len(photos)
    place.assert_right(photos)
