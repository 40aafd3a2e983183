"""Shapes of damage and of thin things, drawn by worker processes into memory that the training reads."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import time
from multiprocessing.process import BaseProcess

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.scratches import damage, scene

__all__ = ["Layers"]

Planes = NDArray[np.uint8]
"""N×H×W; 255 where a layer covers all."""

_KINDS = len(damage.KINDS) + len(scene.KINDS)
_FOLD = len(damage.KINDS) - 1


class _Shape(damage.Canvas):
    """Takes the shapes of damage without its colours."""

    def __init__(self, side: int) -> None:
        super().__init__(np.zeros((1, 1, 3), np.float32), np.zeros((side, side), np.float32))
        self.factor = np.ones((side, side), np.float32)

    def lay(self, cover: NDArray[np.float32], _: NDArray[np.float64], strength: float) -> None:
        np.maximum(self.mask, cover * np.float32(strength), out=self.mask)

    def shade(self, factor: NDArray[np.float32]) -> None:
        self.factor *= factor


class Layers:
    """A store of layers that worker processes redraw again and again.

    The first `kinds_of_damage` kinds are those of `damage`, the others those of `scene`. Each kind has `each` layers.
    A layer that is read while it is redrawn is part one, part the other: that does no harm.

    Args:
        side: of a layer, in pixels.
        each: layers of a kind.
        workers: processes that draw.
        seed: of the layers.
    """

    kinds_of_damage = len(damage.KINDS)
    kinds = _KINDS

    def __init__(self, *, side: int, each: int, workers: int, seed: int) -> None:
        self.each = each
        shape = (_KINDS * each, side, side)
        # The memory of anonymous maps is shared with forked processes.
        self.covers: Planes = np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8).reshape(shape)
        self.factors: Planes = np.frombuffer(mmap.mmap(-1, each * side**2), np.uint8).reshape(each, side, side)
        """What the light is multiplied with beside folds: 128 leaves it as it is."""
        self._drawn: NDArray[np.int64] = np.frombuffer(mmap.mmap(-1, 8 * workers), np.int64)
        self._used: NDArray[np.int64] = np.frombuffer(mmap.mmap(-1, 8), np.int64)
        start = multiprocessing.get_context("fork").Process
        self._workers: list[BaseProcess] = [
            start(target=self._draw, args=(number, workers, seed), daemon=True) for number in range(workers)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def drawn(self) -> int:
        """Layers drawn so far."""
        return int(self._drawn.sum())

    def wait(self, seconds: float) -> None:
        """Until the living workers have drawn each of their layers once, or so many seconds."""
        end, own = time.monotonic() + seconds, len(self.covers) / len(self._workers)
        while time.monotonic() < end:
            alive = [worker.is_alive() for worker in self._workers]
            if all(drawn >= own or not lives for drawn, lives in zip(self._drawn, alive, strict=True)):
                return
            time.sleep(0.1)

    def use(self, count: int) -> None:
        """Let so many more layers be redrawn."""
        self._used += count

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.terminate()
            worker.join()

    def _draw(self, number: int, workers: int, seed: int) -> None:
        os.nice(5)
        cv2.setNumThreads(0)
        dice = np.random.default_rng((seed, number))
        side = self.covers.shape[1]
        while True:
            for at in range(number, len(self.covers), workers):
                while self._drawn[number] * workers > 1.5 * len(self.covers) + self._used[0]:
                    time.sleep(0.05)
                cover, factor = _layer(dice, at // self.each, side)
                self.covers[at] = np.rint(cover * 255)
                if at // self.each == _FOLD:
                    self.factors[at % self.each] = np.rint(np.clip(factor * 128, 0, 255))
                self._drawn[number] += 1


def _layer(dice: Generator, kind: int, side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    shape = _Shape(side)
    if kind < len(damage.KINDS):
        damage.KINDS[kind][1](dice, shape)
        return np.clip(shape.mask, 0, 1), shape.factor
    scene.KINDS[kind - len(damage.KINDS)](dice, shape.mask)
    return np.clip(cv2.GaussianBlur(shape.mask, (0, 0), dice.uniform(0.3, 1.0)), 0, 1), shape.factor
