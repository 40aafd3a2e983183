"""What the benchmark asks of the service."""

from __future__ import annotations

import io
from typing import Any, Literal

import msgspec
from PIL import Image

from benchmarks.quality import damage
from benchmarks.quality.damage import Array, Damage

FADED = damage.fade((72, 60, 40), (225, 205, 150))
REDDISH = damage.fade((66, 40, 44), (238, 196, 180))


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of damage, and what is asked against it.

    Attributes:
        name: what it is called in the report.
        spoil: makes what is sent of what was clean.
        kind: which pictures it is done to.
        quality: the JPEG quality it is sent with; None for PNG.
        factor: how many times larger it is asked to be; 1 asks for `improve`.
        compare: makes what the answer is compared with, of what was clean.
        cut: makes the part that is compared, of what was sent and of the answer.
    """

    name: str
    spoil: Damage = damage.after()
    kind: Literal["photo", "art"] = "photo"
    quality: int | None = None
    factor: int = 1
    compare: Damage = damage.after()
    cut: Damage = damage.after()

    def sent(self, clean: Array) -> bytes:
        """The file that is sent."""
        buffer = io.BytesIO()
        image = Image.fromarray(self.spoil(clean))
        if self.quality is None:
            image.save(buffer, "PNG")
        else:
            image.save(buffer, "JPEG", quality=self.quality)
        return buffer.getvalue()

    @property
    def asked(self) -> dict[str, Any]:
        """The keywords of `SmartyClient.improve`."""
        if self.factor == 1:
            return {}
        return {"modes": ("resolution",), "rfactor": self.factor, "rtype": self.kind}


TASKS = (
    Task(name="good, PNG"),
    Task(name="good, JPEG 92", quality=92),
    Task(name="noise 10", spoil=damage.noise(10)),
    Task(name="noise 25", spoil=damage.noise(25)),
    Task(name="noise 12, blurred by half a pixel", spoil=damage.noise(12, spread=0.5)),
    Task(name="noise 12, JPEG 90", spoil=damage.noise(12), quality=90),
    Task(name="film grain 12", spoil=damage.grain(12)),
    Task(name="JPEG 40", quality=40),
    Task(name="JPEG 15", quality=15),
    Task(name="noise 12, JPEG 60", spoil=damage.noise(12), quality=60),
    Task(name="JPEG 10, saved again as PNG", spoil=damage.jpeg(10)),
    Task(name="faded, yellow", spoil=FADED),
    Task(name="faded, red", spoil=REDDISH),
    *(Task(name=f"contrast {share}", spoil=damage.contrast(share), quality=92) for share in (0.6, 0.5, 0.35)),
    *(
        Task(
            name=f"contrast 0.5, border {pixels} {name}",
            spoil=damage.after(damage.contrast(0.5), damage.border(pixels, colour)),
            quality=92,
            cut=damage.inside(pixels),
        )
        for pixels, name, colour in (
            (4, "black", (2, 2, 2)),
            (24, "white", (250, 250, 248)),
            (40, "paper", (236, 224, 196)),
        )
    ),
    Task(name="contrast 0.45, 6 scratches", spoil=damage.after(damage.contrast(0.45), damage.scratch(6)), quality=92),
    Task(name="scratched", spoil=damage.scratch(6)),
    Task(name="scratched, slanted 45°", spoil=damage.scratch(6, angle=45)),
    Task(name="scratched, dark", spoil=damage.scratch(6, colour=damage.DIRT)),
    Task(name="creased", spoil=damage.crease(0.4)),
    Task(name="blurred 1.6", spoil=damage.blur(1.6)),
    Task(name="faded, noise 6, JPEG 60", spoil=damage.after(FADED, damage.noise(6)), quality=60),
    Task(
        name="old b/w print: faded, scratched, grain 6",
        spoil=damage.after(damage.gray, FADED, damage.scratch(6), damage.grain(6)),
        compare=damage.gray,
    ),
    Task(name="photo ×2", spoil=damage.smaller(2), factor=2),
    Task(name="photo ×4", spoil=damage.smaller(4), factor=4),
    Task(name="photo ×2 of JPEG 75", spoil=damage.smaller(2), factor=2, quality=75),
    Task(name="photo ×2 of JPEG 25", spoil=damage.smaller(2), factor=2, quality=25),
    Task(name="photo ×4 of JPEG 25", spoil=damage.smaller(4), factor=4, quality=25),
    Task(name="art ×2", spoil=damage.smaller(2), factor=2, kind="art"),
    Task(name="art ×4", spoil=damage.smaller(4), factor=4, kind="art"),
)
