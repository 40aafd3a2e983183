"""Colour for black-and-white photos: toning, none, or a network of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import ImageStat
from support import pictures

if TYPE_CHECKING:
    import numpy as np

    from smarty_async.local.engine.colouring import OnnxColourist
else:
    extra = 'the extras `local` and `onnx` are not installed: pip install "smarty_async[local,onnx]"'
    np = pytest.importorskip("numpy", reason=extra)
    pytest.importorskip("cv2", reason=extra)
    pytest.importorskip("ncnn", reason=extra)
    pytest.importorskip("onnxruntime", reason=extra)
    from smarty_async.local.engine.colouring import OnnxColourist

from smarty_async.errors import ConfigurationError, OptionsError
from smarty_async.local.engine import Engine, EngineOptions, engine_named, in_process_engine

onnx: Any = pytest.importorskip("onnx", reason="makes the networks that are tried")

Model = Callable[..., Path]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """Makes an ONNX file of one 1×1 convolution with a bias only: it gives the same colour everywhere."""

    def make(
        colour: tuple[float, ...],
        *,
        channels: int = 1,
        size: tuple[Any, Any] = ("h", "w"),
        outputs: int = 1,
        scale: float = 0.0,
    ) -> Path:
        helper, kind = onnx.helper, onnx.TensorProto.FLOAT
        weight = np.full((len(colour), channels, 1, 1), scale, np.float32)
        constants = [
            onnx.numpy_helper.from_array(weight, "weight"),
            onnx.numpy_helper.from_array(np.array(colour, np.float32), "bias"),
        ]
        nodes = [helper.make_node("Conv", ["gray", "weight", "bias"], [f"out{number}"]) for number in range(outputs)]
        given = [helper.make_tensor_value_info("gray", kind, [1, channels, *size])]
        made = [helper.make_tensor_value_info(f"out{n}", kind, [1, len(colour), *size]) for n in range(outputs)]
        graph = helper.make_graph(nodes, "colourist", given, made, constants)
        path = tmp_path / "painter.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    return make


def colours(engine: Engine, data: bytes) -> tuple[list[float], bytes]:
    made = engine.improve(data)
    assert made.colorized is not None
    picture = pictures.opened(made.colorized)
    return ImageStat.Stat(picture).mean, picture.info["comment"]


@pytest.mark.parametrize("size", [("h", "w"), (64, 96)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_that_gives_a_and_b_colours_a_photo(model: Model, channels: int, size: tuple[Any, Any]) -> None:
    path = model((0.0, 50.0), channels=channels, size=size)
    engine = in_process_engine("restore", EngineOptions(colourist=str(path)))
    (red, green, blue), comment = colours(engine, pictures.gray(160, 120))
    assert red > blue + 50
    assert green > blue + 50
    assert comment == b"colours guessed by painter.onnx"


def test_a_network_that_gives_colours_keeps_the_photos_lightness(model: Model) -> None:
    engine = in_process_engine("restore", EngineOptions(colourist=str(model((0.4, 0.45, 0.6)))))
    gray = pictures.gray(160, 120)
    made = engine.improve(gray)
    assert made.colorized is not None
    result = pictures.opened(made.colorized)
    light, before = (ImageStat.Stat(image.convert("L")).mean[0] for image in (result, pictures.opened(gray)))
    assert light == pytest.approx(before, abs=8)
    red, _, blue = ImageStat.Stat(result).mean
    assert blue > red + 15


@pytest.mark.slow
def test_a_network_of_a_process_of_its_own(model: Model) -> None:
    engine = engine_named("restore", EngineOptions(colourist=str(model((60.0, 0.0)))))
    (red, green, _), _ = colours(engine, pictures.gray(160, 120))
    assert red > green + 50


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"colour": (0.0,)}, r"its output is float32 of \(1, 1, 64, 64\)"),
        ({"colour": (0.0, 0.0), "channels": 2}, "its input is"),
        ({"colour": (0.0, 0.0), "outputs": 2}, "1 inputs and 2 outputs"),
        ({"colour": (float("nan"), 0.0)}, "not finite"),
    ],
)
def test_a_network_of_another_kind_is_refused_at_the_start(model: Model, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        OnnxColourist(model(**options))


def test_a_file_that_is_no_network_is_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "letter.onnx"
    path.write_bytes(b"Dear network,")
    with pytest.raises(ConfigurationError, match=r"letter\.onnx cannot be used as a colourist"):
        OnnxColourist(path)
    with pytest.raises(ConfigurationError, match=r"letter\.onnx cannot be used as a colourist"):
        engine_named("restore", EngineOptions(colourist=str(path)))


def test_other_engines_take_no_colourist() -> None:
    with pytest.raises(OptionsError, match="needs the engine 'restore'"):
        engine_named("basic", EngineOptions(colourist="painter.onnx"))


@pytest.mark.parametrize("name", ["basic", "restore"])
def test_toning_can_be_turned_off(name: str) -> None:
    toned = in_process_engine(name).improve(pictures.gray(160, 120))
    plain = in_process_engine(name, EngineOptions(toning=False)).improve(pictures.gray(160, 120))
    assert toned.bw
    assert plain.bw
    assert toned.colorized is not None
    assert (plain.improved, plain.colorized, plain.colorized_improved) == (toned.improved, None, None)
