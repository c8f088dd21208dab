"""Colour palettes of two photographs, computed on workers.

The photographs are the two that scikit-learn ships. scikit-learn and Pillow are installed by the worker: this program
does not have them, so plain values (colours as text, shares as numbers, PNG files as bytes) come back.

Run it twice. The first run builds the environment and starts the workers; the second finds both.
"""

import asyncio
import sys
import time
from pathlib import Path

from runpod_flash import Endpoint

OUTPUT = Path(__file__).parent / "output"
COLOURS = (2, 4, 8, 16)
SAMPLE = 4_000  # pixels that k-means looks at; all pixels are then given their nearest colour
PACKAGES = ["scikit-learn", "pillow"]  # installed by the worker
BAR = 36  # terminal cells of a palette


@Endpoint(name="photographs", cpu="cpu3c-2-4", dependencies=PACKAGES)
def photographs() -> dict[str, tuple[int, int]]:
    """Name of each photograph, with its width and height in pixels."""
    from sklearn.datasets import load_sample_images

    samples = load_sample_images()
    sizes = [(image.shape[1], image.shape[0]) for image in samples.images]
    return dict(zip((Path(name).name for name in samples.filenames), sizes, strict=True))


@Endpoint(name="palette", cpu="cpu3c-2-4", workers=(0, 2), dependencies=PACKAGES)
def palette(photograph: str, colours: int) -> tuple[list[tuple[str, float]], bytes]:
    """The main colours of a photograph with their shares, largest first; the photograph in these colours as a PNG."""
    import io

    import numpy as np
    from PIL import Image
    from sklearn.cluster import KMeans
    from sklearn.datasets import load_sample_image

    image = load_sample_image(photograph)
    height, width, _ = image.shape
    pixels = image.reshape(-1, 3).astype("float32")
    sample = np.random.default_rng(0).choice(pixels, SAMPLE, replace=False)
    model = KMeans(colours, n_init=2, random_state=0).fit(sample)

    nearest = model.predict(pixels)
    shares = np.bincount(nearest, minlength=colours) / len(pixels)
    centres = model.cluster_centers_.round().astype("uint8")
    picture = Image.fromarray(nearest.reshape(height, width).astype("uint8"))
    picture.putpalette(centres.tobytes())
    png = io.BytesIO()
    picture.save(png, "PNG")
    main_first = np.argsort(-shares)
    return [("#" + centres[i].tobytes().hex(), float(shares[i])) for i in main_first], png.getvalue()


def show(palette: list[tuple[str, float]]) -> str:
    """A palette as one line: a bar in its colours on a terminal, else its colours as text."""
    if not sys.stdout.isatty():
        return " ".join(f"{colour} {share:.0%}" for colour, share in palette)
    bar, before = "", 0.0
    for colour, share in palette:
        red, green, blue = bytes.fromhex(colour[1:])
        cells = round((before + share) * BAR) - round(before * BAR)
        bar += f"\033[48;2;{red};{green};{blue}m{' ' * cells}"
        before += share
    return f"{bar}\033[0m  {' '.join(colour for colour, _ in palette[:3])}{' …' if len(palette) > 3 else ''}"


async def main() -> None:
    """Ask for all palettes at once, save the pictures, print the palettes."""
    start = time.perf_counter()
    photos = await photographs()
    wanted = [(photo, colours) for photo in photos for colours in COLOURS]
    results = await asyncio.gather(*(palette(photo, colours) for photo, colours in wanted))
    elapsed = time.perf_counter() - start

    OUTPUT.mkdir(exist_ok=True)
    for (photo, colours), (found, png) in zip(wanted, results, strict=True):
        if colours == COLOURS[0]:
            print(f"\n{photo}, {photos[photo][0]} x {photos[photo][1]} pixels")
        print(f"  {colours:2} colours  {show(found)}")
        (OUTPUT / f"{Path(photo).stem}-{colours:02}.png").write_bytes(png)
    print(f"\n{len(results)} palettes of {len(photos)} photographs in {elapsed:.1f} s; the pictures are in {OUTPUT}")


if __name__ == "__main__":
    asyncio.run(main())
