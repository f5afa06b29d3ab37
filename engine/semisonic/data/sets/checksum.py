"""By what runs of versions without a fingerprint know their data."""

import hashlib

import numpy as np

from semisonic.data.sets.base import DataSet, ImageFiles


def data_checksum(data: DataSet) -> str:
    """SHA-256 (hex) of the classes, of all labels and, where the images are files, of their names."""
    digest = hashlib.sha256("\n".join(data.classes).encode())
    for images in (data.train, data.test) if data.test is not None else (data.train,):
        digest.update(np.ascontiguousarray(images.labels, "<i8").tobytes())
        if isinstance(images, ImageFiles):
            digest.update("\n".join(images.paths).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
