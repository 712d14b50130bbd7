"""Recordings of RMSProp runs: the recorder for old programs, and what reads its files.

`record_rmsprop.py` is never imported by the others: `keras-rmsprop recorder` prints it,
and it runs elsewhere. What the file holds is described in `docs/recording.md`.
"""

from keras_rmsprop.migration.recording.reading import (
    RecordedStep,
    Recording,
    read_recording,
)
from keras_rmsprop.migration.recording.slices import Slices

__all__ = ("RecordedStep", "Recording", "Slices", "read_recording")
