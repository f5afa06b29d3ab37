"""Predicts the classes of a folder of images from a checkpoint alone: `python launch/predict.py --help`."""

import sys

from semisonic.cli import predict

if __name__ == "__main__":
    sys.exit(predict(sys.argv[1:]))
