"""Makes golden.json and golden.bin: what torchvision and Pillow make of chosen pixels and parameters.

usage: make_golden.py        needs torch, torchvision, numpy, pillow; writes beside itself

golden.bin holds arrays of bytes, golden.json says where: {"shape": [...], "offset": ...}.
  sources      uint8 images
  cases        op, source, parameters -> image; "levels" is the tolerance. Floats of torchvision are
               rounded to 8 bits here.
  files        encoded images -> pixels as Pillow reads them (exact for PNG)
  statistics   counts of drawn crop and erasing parameters over 200,000 draws
"""
import io
import json
import pathlib
import struct
import zlib

import numpy as np
import torch
import torchvision.transforms as T
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode

HERE = pathlib.Path(__file__).parent
blob = bytearray()


def put(array):
    array = np.ascontiguousarray(array)
    entry = {"shape": list(array.shape), "offset": len(blob)}
    blob.extend(array.tobytes())
    return entry


def put_bytes(data):
    return put(np.frombuffer(data, np.uint8))


# ---- sources -----------------------------------------------------------------------------------
def noise(height, width, channels, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def scene(height, width):
    """Gradients, a disc and a bar: smooth regions, edges, saturated and grey colours."""
    y, x = np.mgrid[0:height, 0:width]
    y, x = y / height, x / width
    image = np.stack([x, y, 1 - (x + y) / 2], -1)
    disc = (x - 0.6) ** 2 + (y - 0.4) ** 2 < 0.06
    image[disc] = [0.95, 0.15, 0.1]
    image[(np.abs(x - 0.25) < 0.05)] = [0.5, 0.5, 0.5]
    image += 0.1 * np.sin(40 * x * y)[..., None]
    return np.clip(np.round(image * 255), 0, 255).astype(np.uint8)


sources = {
    "noise": noise(32, 32, 3, 1),
    "scene": scene(32, 32),
    "grey": noise(28, 28, 1, 2),
    "large": scene(60, 83),
    "large_noise": noise(50, 41, 3, 3),
}


def pil(name):
    a = sources[name]
    return Image.fromarray(a[..., 0] if a.shape[2] == 1 else a)


def from_pil(image):
    a = np.asarray(image)
    return a[..., None] if a.ndim == 2 else a


def tensor(name):
    return torch.from_numpy(sources[name]).permute(2, 0, 1).contiguous()


def from_tensor(t):
    if t.is_floating_point():
        t = (t.clamp(0, 1) * 255).round().to(torch.uint8)
    return t.permute(1, 2, 0).numpy()


# ---- cases -------------------------------------------------------------------------------------
cases = []


def case(op, source, params, expected, levels):
    cases.append({"op": op, "source": source, "params": params, "expected": put(expected),
                  "levels": levels})


# Only boxes whose height does not shrink more than their width: for others Pillow 13 runs the vertical
# pass first, which earlier versions and this project never do; since each pass is clamped to 8 bits,
# the order shows where colours overshoot.
def resized_crop(source, box, size, mode):
    return F.resized_crop(pil(source), *box, size, InterpolationMode(mode))


for source, box, size in [
    ("noise", (0, 0, 32, 32), (32, 32)),
    ("noise", (3, 5, 17, 22), (32, 32)),
    ("noise", (31, 0, 1, 32), (32, 32)),
    ("scene", (2, 1, 25, 19), (32, 32)),
    ("scene", (4, 8, 11, 9), (24, 28)),
    ("grey", (1, 2, 20, 25), (28, 28)),
    ("large", (0, 0, 60, 83), (32, 32)),
    ("large", (10, 3, 47, 71), (24, 32)),
    ("large_noise", (1, 0, 49, 41), (33, 15)),
    ("large_noise", (0, 0, 50, 41), (7, 5)),
]:
    for mode in ("bilinear", "bicubic"):
        out = resized_crop(source, box, size, mode)
        case("resized_crop", source, {"box": box, "size": size, "interpolation": mode},
             from_pil(out), 2)

for source in ("noise", "scene", "grey"):
    case("hflip", source, {}, from_pil(F.hflip(pil(source))), 0)
    for name, factors in (("brightness", (0.6, 1.4)), ("contrast", (0.6, 1.4, 0.0))):
        adjust = getattr(F, "adjust_" + name)
        for factor in factors:
            params = {"factor": factor}
            case(name, source, params, from_pil(adjust(pil(source), factor)), 2)
            case(name, source, params, from_tensor(adjust(tensor(source), factor)), 2)
    case("solarize", source, {"threshold": 128}, from_pil(F.solarize(pil(source), 128)), 0)
    case("solarize", source, {"threshold": 77}, from_pil(F.solarize(pil(source), 77)), 0)
    for size, sigma in ((3, 0.5), (7, 1.0), (13, 2.0), (23, 1.3)):
        out = F.gaussian_blur(tensor(source), [size, size], [sigma, sigma])
        case("gaussian_blur", source, {"kernel_size": size, "sigma": sigma}, from_tensor(out), 1)
for source in ("noise", "scene"):
    for factor in (0.8, 1.2, 0.0):
        params = {"factor": factor}
        case("saturation", source, params, from_pil(F.adjust_saturation(pil(source), factor)), 2)
        case("saturation", source, params, from_tensor(F.adjust_saturation(tensor(source), factor)), 2)
    for factor in (-0.1, 0.1, 0.5, -0.37, 0.0):
        case("hue", source, {"factor": factor}, from_tensor(F.adjust_hue(tensor(source), factor)), 1)
    case("grayscale", source, {}, from_pil(F.to_grayscale(pil(source), 3)), 1)
    case("grayscale", source, {}, from_tensor(F.rgb_to_grayscale(tensor(source), 3)), 1)

# Whole chains, in floats as ours. The order is that of the list.
for source, box, mode, steps in [
    ("scene", (2, 1, 25, 19), "bicubic", [("brightness", 1.3), ("contrast", 0.7), ("saturation", 1.2), ("hue", 0.08)]),
    ("noise", (3, 5, 17, 22), "bilinear", [("hue", -0.1), ("saturation", 0.8), ("brightness", 0.7), ("contrast", 1.4)]),
    ("scene", (0, 0, 32, 32), "bicubic", [("contrast", 1.4), ("hue", 0.03), ("brightness", 1.4), ("saturation", 0.9)]),
]:
    x = F.to_tensor(resized_crop(source, box, [32, 32], mode))
    for name, factor in steps:
        x = getattr(F, "adjust_" + name)(x, factor)
    case("chain", source, {"box": box, "size": [32, 32], "interpolation": mode, "steps": steps},
         from_tensor(x), 1 if box == (0, 0, 32, 32) else 2)  # Pillow rounds what it crops


# ---- files -------------------------------------------------------------------------------------
files = []


def file(name, data, pixels, levels=0):
    files.append({"name": name, "bytes": put_bytes(data), "pixels": put(pixels), "levels": levels})


def encoded(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def png(width, height, depth, colour, rows, interlaced=False):
    """A PNG from packed rows: for what Pillow cannot write."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


photo = Image.fromarray(scene(21, 34))
for name, options in [("420", {"subsampling": 2}), ("444", {"subsampling": 0}),
                      ("progressive", {"progressive": True})]:
    data = encoded(photo, "JPEG", quality=85, **options)
    file(f"jpeg_{name}", data, np.asarray(Image.open(io.BytesIO(data))), 1)
data = encoded(photo.convert("L"), "JPEG", quality=85)
file("jpeg_grey", data, from_pil(Image.open(io.BytesIO(data))), 1)
data = encoded(photo.convert("CMYK"), "JPEG", quality=95)
file("jpeg_cmyk", data, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), 2)

small = Image.fromarray(scene(9, 13))
alpha = Image.fromarray(noise(9, 13, 1, 4)[..., 0])
rgba = small.copy()
rgba.putalpha(alpha)
palette = small.quantize(7)
for name, image, pixels in [
    ("rgb", small, small), ("grey", small.convert("L"), small.convert("L")), ("rgba", rgba, small),
    ("grey_alpha", rgba.convert("LA"), rgba.convert("LA").getchannel(0)),
    ("palette", palette, palette.convert("RGB")), ("bit", small.convert("1"), small.convert("1").convert("L")),
]:
    file(f"png_{name}", encoded(image, "PNG"), from_pil(pixels))
file("png_palette_transparent", encoded(palette, "PNG", transparency=2), from_pil(palette.convert("RGB")))
deep = np.random.default_rng(5).integers(0, 65536, (4, 5, 3), np.uint16)
file("png_16_bit", png(5, 4, 16, 2, [row.astype(">u2").tobytes() for row in deep]),
     np.round(deep / 257.0).astype(np.uint8))
pixels = noise(11, 10, 3, 6)
rows = [pixels[y0::dy, x0::dx][i].tobytes()
        for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        for i in range(len(pixels[y0::dy])) if pixels[y0::dy, x0::dx].size]
file("png_interlaced", png(10, 11, 8, 2, rows, True), pixels)

# ---- statistics --------------------------------------------------------------------------------
torch.manual_seed(0)
DRAWS = 200_000


def counts(values, size):
    return np.bincount(np.asarray(values), minlength=size + 1).tolist()


def crop_statistics(height, width, scale, ratio):
    image = torch.empty(3, height, width)
    draws = [T.RandomResizedCrop.get_params(image, scale, ratio) for _ in range(DRAWS)]
    columns = list(zip(*draws))
    return {"shape": [height, width], "scale": scale, "ratio": ratio, "draws": DRAWS,
            "top": counts(columns[0], height), "left": counts(columns[1], width),
            "height": counts(columns[2], height), "width": counts(columns[3], width)}


def erasing_statistics(height, width, scale, ratio):
    image = torch.empty(1, height, width)
    draws = [T.RandomErasing.get_params(image, scale, ratio, [0.0])[:4] for _ in range(DRAWS)]
    columns = list(zip(*draws))
    return {"shape": [height, width], "scale": scale, "ratio": ratio, "draws": DRAWS,
            "top": counts(columns[0], height), "left": counts(columns[1], width),
            "height": counts(columns[2], height), "width": counts(columns[3], width)}


statistics = {
    "crop": [crop_statistics(32, 32, [0.2, 1.0], [3 / 4, 4 / 3]),
             crop_statistics(20, 50, [0.08, 1.0], [3 / 4, 4 / 3])],
    "erasing": [erasing_statistics(28, 28, [0.02, 0.33], [0.3, 3.3])],
}

golden = {
    "made_with": f"torchvision {__import__('torchvision').__version__.split('+')[0]}, "
                 f"pillow {__import__('PIL').__version__}",
    "sources": {name: put(a) for name, a in sources.items()},
    "cases": cases, "files": files, "statistics": statistics,
}
lines = [f' "{key}": ' + ("[\n  " + ",\n  ".join(json.dumps(x) for x in value) + "\n ]"
                          if isinstance(value, list) else json.dumps(value))
         for key, value in golden.items()]
(HERE / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
(HERE / "golden.bin").write_bytes(blob)
print(f"{len(cases)} cases, {len(files)} files, golden.bin {len(blob)} bytes")
