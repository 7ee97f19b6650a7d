"""A frame as CSV: what pandas writes of it, to the byte, from a text a value and not one a cell."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_ROWS = 1 << 16  # written at once
_MOST = 1 << 12  # different texts that are kept of columns side by side


def write_rows(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame without its index, of categories, bools and numbers; ``.gz`` is compressed."""
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator=os.linesep).writerow(frame.columns)
        quoted = {
            name: np.array([_quoted(text) for text in frame[name].cat.categories] + [""], object)
            for name in frame
            if isinstance(frame[name].dtype, pd.CategoricalDtype)
        }
        for start in range(0, len(frame), _ROWS):
            _write_piece(frame.iloc[start : start + _ROWS], quoted, file)


def _write_piece(frame: pd.DataFrame, quoted: dict[Any, NDArray[Any]], file: TextIO) -> None:
    """Write some rows; columns side by side that have few texts become one."""
    parts: list[NDArray[Any]] = []
    codes, texts = np.zeros(len(frame), np.int64), np.array([""], object)
    last = len(frame.columns) - 1
    for i, name in enumerate(frame):
        own, own_texts = _texts(frame[name], quoted.get(name))
        own_texts = own_texts + (os.linesep if i == last else ",")
        if len(own_texts) > _MOST:
            parts += [texts[codes], own_texts[own]]
            codes, texts = np.zeros(len(frame), np.int64), np.array([""], object)
            continue
        together, pairs = pd.factorize(codes * len(own_texts) + own)
        if len(pairs) > _MOST:
            parts.append(texts[codes])
            codes, texts = own, own_texts
        else:
            codes = together
            texts = texts[pairs // len(own_texts)] + own_texts[pairs % len(own_texts)]
    parts.append(texts[codes])
    file.write("".join(_woven(parts)))


def _woven(parts: list[NDArray[Any]]) -> Iterator[str]:
    return map("".join, zip(*(part.tolist() for part in parts), strict=True))


def _texts(column: pd.Series, quoted: NDArray[Any] | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the different texts of a column, and which of them each row has."""
    if quoted is not None:
        codes, kept = pd.factorize(column.cat.codes.to_numpy())
        return codes, quoted[kept]
    missing = column.isna().to_numpy()
    values = column.to_numpy(
        dtype=column.dtype.numpy_dtype if hasattr(column.dtype, "numpy_dtype") else None, na_value=0
    )
    # By their bits: 0.0 and -0.0 are two texts.
    bits = values.view(np.int64) if values.dtype == np.float64 else values
    codes, kept = pd.factorize(bits)
    kept = kept.view(np.float64) if values.dtype == np.float64 else kept
    texts = np.array([*map(repr, kept.tolist()), ""], object)
    return np.where(missing, len(kept), codes), texts


def _quoted(text: str) -> str:
    """Return a text as the csv module writes it in the middle of a line."""
    line = io.StringIO()
    csv.writer(line, lineterminator=os.linesep).writerow([text, "", ""])
    return line.getvalue()[: -2 - len(os.linesep)]
