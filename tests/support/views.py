"""Views of a few pictures: their draws, and one DALI pipeline that runs them."""

import io

import numpy as np
import torch
from nvidia.dali import fn, pipeline_def
from PIL import Image

from semisonic.data.views.view import Geometry

FILL = (120, 7, 201)


def geometry(size=32, pad=4, **changes):
    return Geometry(**{"size": size, "pad": pad, "flip": True, "fill": FILL} | changes)


def uniforms(view, count, seed=0):
    return np.random.default_rng(seed).random((count, view.uniforms))


def pictures(count, size, seed=0):
    """uint8 images, a third each: noise, smooth gradients and blobs, low contrast with a flat channel."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    y, x = np.mgrid[:size, :size] / size
    phase = generator.uniform(0, 6, (count, 1, 1, 3))
    smooth = 127 + 120 * np.sin(phase + 5 * y[..., None] * generator.uniform(0, 1, (count, 1, 1, 3)) + 4 * x[..., None])
    flat = 90 + 40 * y[..., None] * x[..., None] + generator.integers(0, 4, (count, size, size, 3))
    flat[..., 1] = 77
    kind = np.arange(count)[:, None, None, None] % 3
    return np.select([kind == 0, kind == 1], [noise, smooth], flat).astype(np.uint8)


def reflect(images, pad):
    return np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")


def run(views, source, params, threads=1, device_id=None):
    """Finished outputs [N, size, size, 3] of one pipeline; views share the source, an array or a list of bytes."""
    views, params = (value if isinstance(value, list) else [value] for value in (views, params))
    pairs = list(zip(views, params, strict=True))
    fed = [(view, {name: own[name] for name in own if name not in view.kernel_params}) for view, own in pairs]
    flat = [array for _, dictionary in fed for array in dictionary.values()]
    layout = None if isinstance(source, list) else "HWC"

    def give_source():
        return source

    def give_params():
        return flat

    @pipeline_def(batch_size=len(source), num_threads=threads, device_id=device_id, enable_conditionals=True)
    def definition():
        images = fn.external_source(give_source, layout=layout, batch=True)
        nodes = iter(fn.external_source(give_params, num_outputs=len(flat), batch=True) if flat else [])
        outputs = []
        for view, dictionary in fed:
            outputs.append(view.graph(images, {name: next(nodes) for name in dictionary}))
        return tuple(outputs)

    arrays = []
    for output, (view, own) in zip(definition().run(), pairs, strict=True):
        images = torch.from_dlpack(output.as_tensor())
        kernel_params = {name: torch.from_numpy(own[name]).to(images.device) for name in view.kernel_params}
        arrays.append(view.apply_kernel(images, kernel_params).cpu().numpy())
    return arrays if len(arrays) > 1 else arrays[0]


def run_weak(view, images, values):
    return run(view, reflect(images, view.geometry.pad), view.params(values, None))


def encode(image, kind, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return np.frombuffer(file.getvalue(), np.uint8)


def files():
    """Bytes, decoded pixels as shown, and shapes: JPEG and PNG of several shapes, one JPEG turned by EXIF."""
    shapes = [(60, 80), (80, 60), (40, 40), (33, 90), (7, 50)]
    images = [pictures(2, 96, seed=n)[1, : shape[0], : shape[1]] for n, shape in enumerate(shapes)]
    encoded = [encode(image, ("JPEG", "PNG")[n % 2]) for n, image in enumerate(images)]
    turned = Image.Exif()
    turned[0x0112] = 6
    encoded.append(encode(images[0], "JPEG", exif=turned))
    decoded = [np.asarray(Image.open(io.BytesIO(data.tobytes())).convert("RGB")) for data in encoded]
    decoded[-1] = np.rot90(decoded[-1], -1)
    return encoded, decoded, np.array([image.shape[:2] for image in decoded])
