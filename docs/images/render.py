"""Make the pictures of the README from a real run of the first example: `python docs/images/render.py`."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

from terminal import draw

from runpod_flash import Endpoint

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "01_colour_palettes.py"


@Endpoint(name="montage", cpu="cpu3c-1-2", dependencies=["pillow"])
def montage(pictures: list[bytes]) -> bytes:
    """The pictures side by side, as a PNG of half their size."""
    from PIL import Image

    images = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]
    width, height = images[0].size
    whole = Image.new("RGB", (width * len(images), height))
    for number, image in enumerate(images):
        whole.paste(image, (width * number, 0))
    small = whole.resize((whole.width // 2, height // 2), Image.Resampling.BOX).quantize(64)
    png = io.BytesIO()
    small.save(png, "PNG", optimize=True)
    return png.getvalue()


def output_on_a_terminal(command: list[str]) -> str:
    """What a program writes to its standard output when that is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        chunks = []
        while True:
            try:
                chunks.append(os.read(ours, 65_536))
            except OSError:  # the program has closed the terminal
                break
        os.close(ours)
    if process.returncode:
        sys.exit(f"the example failed with exit status {process.returncode}")
    return b"".join(chunks).decode().replace("\r\n", "\n")  # a terminal gets both


def main() -> None:
    """Run the example, draw its output, put the pictures of one photograph side by side."""
    shown = output_on_a_terminal([sys.executable, str(EXAMPLE)]).replace(str(EXAMPLE.parents[1]) + os.sep, "")
    draw("demo", f"$ make demo\n{shown}", 80)
    pictures = sorted((EXAMPLE.parent / "output").glob("flower-*.png"))
    (HERE / "flower.png").write_bytes(montage.remote([picture.read_bytes() for picture in pictures]))


if __name__ == "__main__":
    main()
