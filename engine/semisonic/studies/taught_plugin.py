"""The plug-in of the study of the average: only its runs know `taught-mixmatch` and `taught-fixmatch`."""

from semisonic import register
from semisonic.studies.taught import TaughtFixMatch, TaughtMixMatch

register.algorithm("taught-mixmatch", TaughtMixMatch)
register.algorithm("taught-fixmatch", TaughtFixMatch)
