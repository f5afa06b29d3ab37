"""The plug-in of the study of interleaving: only its runs know `mixmatch-forwards`."""

from semisonic import register
from semisonic.studies.forwards import Forwards

register.algorithm("mixmatch-forwards", Forwards)
