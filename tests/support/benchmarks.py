"""What tests of several benchmarks use."""


class Broken:
    """A variant that cannot be built."""

    def __init__(self, plan: str):
        raise RuntimeError(f"cannot build {plan}")


def scaling_result() -> dict:
    step = {
        "gradients": {"calls": 2, "wire_bytes": 8e6, "bytes": 8e6},
        "parameters": {"calls": 1, "wire_bytes": 4e6, "bytes": 8e6},
        "BatchNorm forward": {"calls": 4, "bytes": 2 * 8 * 96},
        "BatchNorm backward": {"calls": 4, "bytes": 8 * 96},
    }
    compute = {"fixed_seconds": 0.001, "seconds_per_image": 1e-4, "error": 0.0, "data_seconds_per_image": 0.0}
    return {
        "kind": "scaling", "configuration": {"labeled": 8}, "images_per_step": 64, "compute": compute,
        "communication": {"2": {"step": step, "images_per_step": 64}}, "device": "cpu", "hardware": "a machine",
        "cores": 2, "groups": {}, "all_reduce": {},
    }  # fmt: skip
