"""What one TensorBoard event says, as values that can be logged. Reads protobuf messages; writes and keeps nothing."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

from tracker.sdk.histogram import Histogram
from tracker.sdk.media_files import AudioFile, ImageFile, TableFile
from tracker.storage.errors import UsageError

__all__ = ["PrCurve", "config_of", "event_values", "summary_values"]

_HPARAMS: Final = "_hparams_/session_start_info"


class PrCurve(TableFile):
    """Precision by recall as a table, which a chart shows."""

    columns: ClassVar[tuple[str, ...]] = ("class", "recall", "precision")

    def chart(self, key: str, title: str) -> dict[str, Any]:
        """How `key`'s table is drawn (CHART-2)."""
        return {
            "panel_type": "Vega2",
            "panel_config": {
                "panelDefId": "wandb/area-under-curve/v0",
                "fieldSettings": {"x": "recall", "y": "precision", "class": "class"},
                "stringSettings": {"title": title, "x-axis-title": "Recall", "y-axis-title": "Precision"},
                "transform": {"name": "tableWithLeafColNames"},
                "userQuery": {"queryFields": [{"name": "runSets", "fields": [
                    {"name": "id"}, {"name": "name"},
                    {"name": "summaryTable", "args": [{"name": "tableKey", "value": key}]},
                ]}]},
            },
        }  # fmt: skip


def summary_values(summary: str | bytes | Any) -> dict[str, Any]:
    """Tag to value of a `Summary` message, or of its bytes, as any version of TensorBoard writes it.

    Raises:
        UsageError: TensorBoard is not installed. ValueError: these bytes are no summary.
    """
    try:
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        from tensorboard import data_compat, dataclass_compat  # type: ignore[import-untyped]
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
    except ImportError as exc:
        raise UsageError(
            'This needs TensorBoard, which is not installed: pip install "tracker[tensorboard]".'
        ) from exc
    if not isinstance(summary, str | bytes):
        summary = summary.SerializeToString()
    try:
        event = Event(summary=Summary.FromString(summary.encode() if isinstance(summary, str) else summary))
    except DecodeError as exc:
        raise ValueError(f"These {len(summary)} bytes are no TensorBoard summary: {exc}.") from exc
    migrated = dataclass_compat.migrate_event(data_compat.migrate_event(event), {})
    return {tag: value for one in migrated for tag, value in event_values(one).items()}


def event_values(event: Any) -> dict[str, Any]:
    """Tag to value of an event in the form that TensorBoard's loader gives: every value a tensor with a plugin's name.

    Scalars are numbers, histograms `Histogram`, images and audio media files (a list where there are several), text is
    text, PR curves tables. What has no stored form (meshes, graphs, tensors of other plugins) is left out.
    """
    values = {}
    for value in event.summary.value:
        read = _READERS.get(value.metadata.plugin_data.plugin_name)
        if read is not None and value.HasField("tensor"):
            found = read(value)
            if found is not None:
                values[value.tag] = found
    return values


def config_of(event: Any) -> dict[str, Any]:
    """The hyperparameters that `add_hparams` or the HParams plugin wrote, {} for other events."""
    found: dict[str, Any] = {}
    for value in event.summary.value:
        if value.tag == _HPARAMS:
            from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # type: ignore[import-untyped]

            said = HParamsPluginData.FromString(value.metadata.plugin_data.content)
            for name, param in said.session_start_info.hparams.items():
                kind = param.WhichOneof("kind")
                found[name] = None if kind in (None, "null_value") else getattr(param, kind)
    return found


def _array(value: Any) -> Any:
    from tensorboard.util.tensor_util import make_ndarray  # type: ignore[import-untyped]

    return make_ndarray(value.tensor)


def _scalar(value: Any) -> Any:
    if len(value.tensor.float_val) == 1:  # the usual form, without numpy
        return value.tensor.float_val[0]
    array = _array(value)
    return array.item() if array.size == 1 and array.dtype.kind in "biuf" else None


def _histogram(value: Any) -> Any:
    """Rows of left edge, right edge, count. More bins than a histogram has are put together."""
    array = _array(value)
    if array.ndim != 2 or array.shape[1] != 3 or not len(array):
        return None
    edges, counts = [*array[:, 0].tolist(), float(array[-1, 1])], array[:, 2].tolist()
    together = math.ceil(len(counts) / Histogram.MAX_LENGTH)
    merged = [sum(counts[at : at + together]) for at in range(0, len(counts), together)]
    ends = [*edges[:-1:together], edges[-1]]
    return Histogram(np_histogram=(merged, ends)) if all(map(math.isfinite, ends)) else None


def _images(value: Any) -> Any:
    """Width, height, then encoded images."""
    texts = [bytes(text) for text in _array(value).reshape(-1).tolist()]
    if len(texts) < 3:
        return None
    width, height = int(texts[0]), int(texts[1])
    images = [ImageFile.encoded(text, width, height) for text in texts[2:]]
    return images if len(images) > 1 else images[0]


def _audio(value: Any) -> Any:
    """Encoded sounds, with a label each in some versions."""
    array = _array(value)
    sounds = [AudioFile(bytes(sound), ".wav") for sound in (array[:, 0] if array.ndim == 2 else array).tolist()]
    return None if not sounds else sounds if len(sounds) > 1 else sounds[0]


def _text(value: Any) -> Any:
    texts = [bytes(text).decode("utf-8", "replace") for text in _array(value).reshape(-1).tolist()]
    return None if not texts else texts if len(texts) > 1 else texts[0]


def _pr_curve(value: Any) -> Any:
    """Six rows by threshold: true and false positives, true and false negatives, precision, recall."""
    array = _array(value)
    if array.ndim != 2 or array.shape[0] < 6:
        return None
    return PrCurve([["", float(recall), float(precision)] for precision, recall in array[4:6].T.tolist()])


_READERS: Final = {
    "scalars": _scalar,
    "histograms": _histogram,
    "images": _images,
    "audio": _audio,
    "text": _text,
    "pr_curves": _pr_curve,
}
