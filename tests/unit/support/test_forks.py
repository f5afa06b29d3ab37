"""Forks of the tests: what other tests have left behind does not hold them up."""

import gc
import multiprocessing
import os

from nvidia.dali import fn, pipeline_def


@pipeline_def(batch_size=2, num_threads=2, device_id=None)
def numbers():
    return fn.random.uniform(range=(0, 1))


def collect() -> None:
    gc.collect()
    os._exit(0)  # no destructor at exit


def test_a_fork_leaves_its_parent_s_garbage_alone():
    """A pipeline's destructor waits for its threads, which a fork does not have."""
    pipeline = numbers()
    pipeline.build()
    pipeline.run()
    pipeline.itself = pipeline
    gc.disable()  # it is still garbage when the fork begins
    try:
        del pipeline
        child = multiprocessing.get_context("fork").Process(target=collect)
        child.start()
    finally:
        gc.enable()
    child.join(20)
    ended = child.exitcode
    child.kill()
    assert ended == 0
