"""The files of the networks that find, judge and fill damage: their size, and the tables that their weights are in."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import numpy as np
else:
    extra = 'the extra `local` is not installed: pip install "smarty_async[local]"'
    np = pytest.importorskip("numpy", reason=extra)

ncnn: Any = pytest.importorskip("ncnn", reason='the extra `local` is not installed: pip install "smarty_async[local]"')

TABLES = Path(__file__).parents[2] / "training" / "scratches" / "tables.py"
HALF = 0x01306B47
LARGEST = 2_000_000

INPUTS, OUTPUTS, KERNEL = 8, 64, 3
COUNT = INPUTS * OUTPUTS * KERNEL**2
PARAM = f"""7767517
3 3
Input in 0 1 in0
Convolution first 1 1 in0 1 0={OUTPUTS} 1={KERNEL} 4=1 5=1 6={COUNT}
Convolution second 1 1 1 out0 0=1 1=1 5=1 6={OUTPUTS}
"""


@pytest.fixture
def param(tmp_path: Path) -> Path:
    """A network with weights in 16 bits: one layer with many, and one with too few for a table."""
    dice, parts = np.random.default_rng(3), list[bytes]()
    for count, biases in ((COUNT, OUTPUTS), (OUTPUTS, 1)):
        parts.append(HALF.to_bytes(4, "little") + dice.normal(0, 0.1, count).astype(np.float16).tobytes())
        parts.append(dice.normal(0, 0.1, biases).astype(np.float32).tobytes())
    file = tmp_path / "net.param"
    file.write_text(PARAM, encoding="utf-8")
    file.with_suffix(".bin").write_bytes(b"".join(parts))
    return file


def output(param: Path) -> Any:
    net = ncnn.Net()
    assert net.load_param(str(param)) == 0
    assert net.load_model(str(param.with_suffix(".bin"))) == 0
    planes = np.random.default_rng(4).random((INPUTS, 16, 24), np.float32)
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(planes).clone())
    return np.array(extractor.extract("out0")[1])


def in_tables(param: Path) -> subprocess.CompletedProcess[str]:
    if not TABLES.exists():
        pytest.skip("the training is in the repository only")
    return subprocess.run(  # noqa: S603 - ours
        [sys.executable, TABLES, param], capture_output=True, text=True, check=False
    )


def test_weights_in_tables_take_half_the_space_and_give_nearly_the_same(param: Path) -> None:
    before, size = output(param), param.with_suffix(".bin").stat().st_size
    made = in_tables(param)
    assert made.returncode == 0, made.stderr
    assert param.with_suffix(".bin").stat().st_size < 0.7 * size
    after = output(param)
    assert after.shape == before.shape
    assert np.abs(after - before).max() < 0.02 * before.std()


def test_weights_that_are_in_tables_already_are_refused(param: Path) -> None:
    in_tables(param)
    data = param.with_suffix(".bin").read_bytes()
    again = in_tables(param)
    assert again.returncode != 0
    assert "the weights of first are not in 16 bits" in again.stderr
    assert param.with_suffix(".bin").read_bytes() == data


def test_the_networks_for_damage_are_small() -> None:
    weights = files("smarty_async.local.engine.weights")
    sizes = [len((weights / f"{name}.bin").read_bytes()) for name in ("scratches", "fill", "pieces")]
    assert sum(sizes) <= LARGEST
