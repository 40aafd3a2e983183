from __future__ import annotations

import errno
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from smarty_async.archive.outputs import sync as output_sync
from smarty_async.archive.outputs.sync import GroupSync, has_reliable_syncfs, sync_file_system

linux = pytest.mark.skipif(sys.platform != "linux", reason="syncfs is Linux'")
MOUNT = "36 35 {device} / / rw,relatime shared:1 - {kind} /dev/vda rw\n"


@contextmanager
def group(folder: Path) -> Generator[GroupSync]:
    made = GroupSync(str(folder))
    made.open()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced, in order; `output_sync` takes the disk for one with a reliable syncfs."""
    calls: list[str] = []
    monkeypatch.setattr(output_sync, "has_reliable_syncfs", lambda _: True)
    monkeypatch.setattr(output_sync, "sync_file_system", lambda _: calls.append("all"))
    monkeypatch.setattr(output_sync, "sync_file", lambda path: calls.append(Path(path).name))
    monkeypatch.setattr(output_sync, "sync_folder", lambda path: calls.append(f"folder {path.name}"))
    monkeypatch.setattr(output_sync, "_kernel", lambda: (6, 1))
    return calls


def test_many_files_and_folders_share_one_call(tmp_path: Path, synced: list[str]) -> None:
    with group(tmp_path) as files:
        assert files.sync(["a", "b", "c"], []) == ([None] * 3, [])
        assert files.sync(["a"], [str(tmp_path)]) == ([None], [None])
        assert files.sync([], [str(tmp_path), str(tmp_path)]) == ([], [None] * 2)
    assert synced == ["all"] * 3


def test_one_file_or_folder_is_synced_by_itself(tmp_path: Path, synced: list[str]) -> None:
    with group(tmp_path) as files:
        assert files.sync(["a"], []) == ([None], [])
        assert files.sync([], [str(tmp_path)]) == ([], [None])
    assert synced == ["a", f"folder {tmp_path.name}"]


def test_a_folder_on_another_disk_is_synced_by_itself(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, own, gone = (str(tmp_path / name) for name in ("other", "own", "gone"))
    (tmp_path / "own").mkdir()
    (tmp_path / "other").mkdir()
    stat = os.stat

    def status(path: Any, **options: Any) -> Any:
        found = stat(path, **options)
        return os.stat_result((*found[:2], found.st_dev + 1, *found[3:])) if path == other else found

    monkeypatch.setattr(os, "stat", status)
    with group(tmp_path) as files:
        assert files.sync(["a", "b"], [other, own, gone]) == ([None] * 2, [None] * 3)
        assert files.sync([], [other, gone]) == ([], [None] * 2)
    assert synced == ["all", *["folder other", "folder gone"] * 2]


def test_an_older_kernel_tells_of_files_and_not_of_names(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_sync, "_kernel", lambda: (5, 16))
    with group(tmp_path) as files:
        assert files.sync(["a", "b"], [str(tmp_path)]) == ([None] * 2, [None])
    assert synced == ["all", f"folder {tmp_path.name}"]


def test_other_file_systems_are_not_relied_on(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_sync, "has_reliable_syncfs", lambda _: False)
    with group(tmp_path) as files:
        files.sync(["a", "b", "c", "d"], [str(tmp_path)])
    assert synced == ["a", "b", "c", "d", f"folder {tmp_path.name}"]


@pytest.mark.usefixtures("synced")
def test_after_a_write_error_each_file_is_asked_for_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def sync_file(path: str) -> None:
        if path.endswith("b"):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(output_sync, "sync_file_system", broken)
    monkeypatch.setattr(output_sync, "sync_file", sync_file)
    with group(tmp_path) as files:
        refused, folders = files.sync(["a", "b", "c"], [str(tmp_path)])
    assert [error and error.errno for error in refused] == [None, errno.EIO, None]
    assert folders == [None]


@linux
def test_the_system_call(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        sync_file_system(descriptor)
    finally:
        os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync_file_system(descriptor)


@linux
@pytest.mark.parametrize(
    ("release", "kind", "reliable"),
    [
        ("6.1.0-generic", "ext4", True),
        ("5.8", "btrfs", True),
        ("5.7.19", "ext4", False),
        ("4.19.0", "xfs", False),
        ("odd", "ext4", False),
        ("6.1.0", "nfs4", False),
        ("6.1.0", "fuse.sshfs", False),
        ("6.1.0", "overlay", False),
    ],
)
def test_where_it_is_reliable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str, kind: str, *, reliable: bool
) -> None:
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mounts"
    text = MOUNT.format(device="0:1", kind="tmpfs") + MOUNT.format(
        device=f"{os.major(device)}:{os.minor(device)}", kind=kind
    )
    mounts.write_text(text)
    real = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((real[0], real[1], release, real[3], real[4])))
    assert has_reliable_syncfs(str(tmp_path), mounts=mounts) is reliable


def test_it_is_not_where_nothing_can_be_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_reliable_syncfs(str(tmp_path), mounts=tmp_path / "gone")
    (tmp_path / "mounts").write_text("36 35\n")
    assert not has_reliable_syncfs(str(tmp_path), mounts=tmp_path / "mounts")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not has_reliable_syncfs(str(tmp_path))
