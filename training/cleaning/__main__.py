"""Make the weights of the network that removes noise and JPEG damage.

    python -m training.cleaning --pack pack --out work --minutes 30

trains on the photographs of a folder, those below `val` left out, and writes `cleaning.pt` and `log.txt`. It is meant
for one GPU; without one it runs, too, and takes a hundred times longer for the same result. `training/requirements.txt`
says what it needs.
"""

from __future__ import annotations

import time

import torch

from training.cleaning.photos import held_out, read
from training.cleaning.samples import AROUND
from training.cleaning.train import SIDE, train
from training.photographs import paths
from training.running import arguments, log_to


def main() -> None:
    """Train."""
    began = time.monotonic()
    parser = arguments("training.cleaning", __doc__, batch=32)
    parser.add_argument("--side", type=int, default=SIDE, help="pixels of a sample's side, a multiple of 16")
    options = parser.parse_args()
    cuda = options.device != "cpu"
    torch.set_num_threads(2 if cuda else 1)
    report = log_to(options.out)
    files, held = paths(options.pack)
    photos = read(files[: options.most], least=options.side + AROUND, workers=12 if cuda else 1)
    pictures = held_out(held)[: options.most]
    megapixels = len(photos.pixels) / 1e6
    report(
        f"{len(files)} photographs, {megapixels:.0f} megapixels with copies, {len(pictures)} pictures for validation, "
        f"read in {time.monotonic() - began:.1f} s"
    )
    train(
        photos,
        pictures,
        options.out / "cleaning.pt",
        until=began + 60 * options.minutes - (10 if cuda else 0),
        batch=options.batch,
        side=options.side,
        seed=options.seed,
        device=options.device,
        graphs=cuda and not options.no_graphs,
        report=report,
    )


if __name__ == "__main__":
    main()
